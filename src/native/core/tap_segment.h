// SPDX-License-Identifier: Apache-2.0
// The shared memory of one capture: what is wanted of each frame, and a ring for each queue of
// the port. The capturer makes it, so that it goes with the capturer, also with one that was
// killed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/classic_bpf.h"
#include "core/frame_ring.h"
#include "core/shm.h"

namespace wp {

class TapSegment {
 public:
  // Ring of `ring_bytes` (a power of two) for each of `queues`. Memory is taken now, so that the
  // data path never meets a full /dev/shm. snap_length: bytes of each frame to keep.
  static TapSegment create(uint64_t request, uint32_t queues, uint64_t ring_bytes,
                           uint32_t snap_length, std::span<const BpfInstruction> filter);
  // Throws where it is not there, or not whole.
  static TapSegment attach(uint64_t request);

  uint32_t queues() const noexcept { return queues_; }
  uint32_t snap_length() const noexcept { return snap_length_; }
  // Empty = every frame. A checked copy, that nobody changes while it runs.
  const std::vector<BpfInstruction>& filter() const noexcept { return filter_; }
  FrameRing ring(uint32_t queue) const noexcept;
  // For a process of another user, by root.
  void give_to(unsigned user) const { memory_.give_to(user); }

  // Queues whose driver has noticed and copies its frames into its ring.
  uint32_t followers() const noexcept;
  void follow(bool on) const noexcept;

 private:
  struct Header;
  explicit TapSegment(SharedMemory memory) : memory_(std::move(memory)) {}
  static size_t bytes_for(uint32_t queues, uint64_t ring_bytes) noexcept;

  SharedMemory memory_;
  uint32_t queues_ = 0;
  uint32_t snap_length_ = 0;
  uint64_t ring_bytes_ = 0;
  std::vector<BpfInstruction> filter_;
};

}  // namespace wp
