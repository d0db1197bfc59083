// SPDX-License-Identifier: Apache-2.0
// Frames that events have announced and rx has not handed out yet: whoever polls the event queue,
// for room to transmit perhaps, may find received frames in it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wp::ef_vi_backend {

struct Ready {
  uint8_t* data;
  uint64_t handle;
  int64_t timestamp;  // ns since the Unix epoch, 0 = the NIC gave none
  uint32_t length;
};

class ReadyRing {
 public:
  explicit ReadyRing(uint32_t least) : slots_(std::bit_ceil(least)), mask_(slots_.size() - 1) {}

  uint32_t size() const noexcept { return put_ - taken_; }
  uint32_t room() const noexcept { return static_cast<uint32_t>(slots_.size()) - size(); }
  void put(const Ready& frame) noexcept { slots_[put_++ & mask_] = frame; }
  const Ready& take() noexcept { return slots_[taken_++ & mask_]; }

 private:
  std::vector<Ready> slots_;
  std::size_t mask_;
  uint32_t put_ = 0, taken_ = 0;  // run freely
};

}  // namespace wp::ef_vi_backend
