// SPDX-License-Identifier: Apache-2.0
// Owns the arrays of a wp_batch: one cache-line aligned block, allocated once.
#pragma once

#include <cstdlib>
#include <new>
#include <utility>

#include "core/batch.h"

namespace wp {

class BatchStorage {
 public:
  explicit BatchStorage(uint32_t capacity) {
    const size_t n = (size_t{capacity} + 63) & ~size_t{63};  // keeps every array on a line
    const size_t bytes = n * (8 + 4 + 8 + 4 + 1 + 2 + 8);
    block_ = static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) & ~size_t{63}));
    if (!block_) throw std::bad_alloc();
    uint8_t* p = block_;
    auto take = [&](size_t width) { return std::exchange(p, p + n * width); };
    batch_ = {.abi = WP_BATCH_ABI,
              .capacity = capacity,
              .count = 0,
              .port = 0,
              .queue = 0,
              .data = reinterpret_cast<uint8_t**>(take(8)),
              .length = reinterpret_cast<uint32_t*>(take(4)),
              .timestamp = reinterpret_cast<int64_t*>(take(8)),
              .hash = reinterpret_cast<uint32_t*>(take(4)),
              .verdict = take(1),
              .target = reinterpret_cast<uint16_t*>(take(2)),
              .handle = reinterpret_cast<uint64_t*>(take(8))};
    for (uint32_t i = 0; i < capacity; i++) {
      batch_.data[i] = nullptr;
      batch_.length[i] = 0;
      batch_.timestamp[i] = 0;
      batch_.hash[i] = 0;
      batch_.verdict[i] = WP_DROP;
      batch_.target[i] = 0;
      batch_.handle[i] = WP_NO_FRAME;
    }
  }
  ~BatchStorage() { std::free(block_); }
  BatchStorage(const BatchStorage&) = delete;
  BatchStorage& operator=(const BatchStorage&) = delete;

  wp_batch& operator*() noexcept { return batch_; }
  wp_batch* operator->() noexcept { return &batch_; }
  wp_batch* get() noexcept { return &batch_; }

 private:
  uint8_t* block_ = nullptr;
  wp_batch batch_{};
};

}  // namespace wp
