// SPDX-License-Identifier: Apache-2.0
// Buffers for datagrams with room for headers in front, allocated once. Last in, first out: a
// buffer that was just given back is still in the cache.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "backends/socket/header_template.h"

namespace wp::socket {

class FramePool {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  FramePool(uint32_t frames, uint32_t payload_bytes)
      : frames_(frames),
        stride_((size_t{payload_bytes} + HeaderTemplate::kRoom + 63) & ~size_t{63}),
        free_(std::make_unique<uint32_t[]>(frames)) {
    void* memory = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<uint8_t*>(memory);
    while (available_ < frames) {
      free_[available_] = frames - 1 - available_;
      available_++;
    }
  }
  ~FramePool() { ::munmap(memory_, bytes()); }
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  uint32_t take() noexcept { return available_ ? free_[--available_] : kNone; }
  void give(uint32_t frame) noexcept { free_[available_++] = frame; }
  uint8_t* payload(uint32_t frame) const noexcept {
    return memory_ + frame * stride_ + HeaderTemplate::kRoom;
  }
  uint32_t available() const noexcept { return available_; }
  uint32_t frames() const noexcept { return frames_; }

 private:
  size_t bytes() const noexcept { return frames_ * stride_; }

  uint32_t frames_;
  size_t stride_;
  std::unique_ptr<uint32_t[]> free_;
  uint32_t available_ = 0;
  uint8_t* memory_ = nullptr;
};

}  // namespace wp::socket
