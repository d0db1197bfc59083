// SPDX-License-Identifier: Apache-2.0
// Memory for packet buffers and the stack of those that nobody uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wp {

class PacketMemory {
 public:
  // Zeroed, on huge pages where the kernel has some. Throws kIo.
  explicit PacketMemory(size_t bytes);
  ~PacketMemory();
  PacketMemory(const PacketMemory&) = delete;
  PacketMemory& operator=(const PacketMemory&) = delete;

  uint8_t* data() const noexcept { return data_; }
  size_t size() const noexcept { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

// Last in, first out: the frame used last is the one most likely still in cache.
class FrameStack {
 public:
  explicit FrameStack(uint32_t capacity) : frames_(capacity) {}
  uint32_t size() const noexcept { return size_; }
  void push(uint64_t address) noexcept {
    if (size_ < frames_.size()) frames_[size_++] = address;
  }
  uint64_t pop() noexcept { return frames_[--size_]; }

 private:
  std::vector<uint64_t> frames_;
  uint32_t size_ = 0;
};

}  // namespace wp
