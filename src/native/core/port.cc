// SPDX-License-Identifier: Apache-2.0
#include "core/port.h"

namespace wp {

void Port::release_returned(uint32_t queue) noexcept {
  const std::lock_guard lock(returned_mutex_);
  size_t left = 0;
  uint64_t others = 0;
  for (Returned& frame : returned_) {
    if (frame.queue != queue) {
      returned_[left++] = frame;
      others |= bit(frame.queue);
      continue;
    }
    uint32_t length = 0, hash = 0;
    int64_t timestamp = 0;
    uint8_t verdict = WP_DROP;
    uint16_t target = 0;
    wp_batch one{.abi = WP_BATCH_ABI,
                 .capacity = 1,
                 .count = 1,
                 .port = 0,
                 .queue = static_cast<uint16_t>(queue),
                 .data = &frame.data,
                 .length = &length,
                 .timestamp = &timestamp,
                 .hash = &hash,
                 .verdict = &verdict,
                 .target = &target,
                 .handle = &frame.handle};
    release(queue, one);
  }
  returned_.resize(left);
  returned_queues_.store(others, std::memory_order_release);
}

}  // namespace wp
