// SPDX-License-Identifier: Apache-2.0
// Keeps the frames that a stage has decided out of sight of the stages behind it.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/batch_storage.h"
#include "core/stage.h"

namespace wp {

class Decided {
 public:
  explicit Decided(uint32_t capacity) : apart_(capacity) {}

  // Leaves the undecided frames in `batch`, in their order and as they came (WP_DROP), and sets the
  // others apart. Returns how many are left; where none is, `batch` stays as it is.
  uint32_t set_apart(wp_batch& batch) noexcept {
    uint32_t left = 0;
    for (uint32_t i = 0; i < batch.count; i++) left += batch.verdict[i] == kUndecided;
    if (left == batch.count) {
      if (left) std::memset(batch.verdict, WP_DROP, left);
      return left;
    }
    if (left == 0) return 0;
    wp_batch& apart = *apart_;
    uint32_t to = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] != kUndecided) {
        move(batch, i, apart, apart.count++);
        continue;
      }
      if (i != to) move(batch, i, batch, to);
      batch.verdict[to++] = WP_DROP;
    }
    batch.count = left;
    return left;
  }

  // Behind what the other stages left.
  void put_back(wp_batch& batch) noexcept {
    wp_batch& apart = *apart_;
    if (apart.count == 0) [[likely]]
      return;
    for (uint32_t i = 0; i < apart.count; i++) move(apart, i, batch, batch.count++);
    apart.count = 0;
  }

 private:
  static void move(const wp_batch& from, uint32_t i, wp_batch& to, uint32_t j) noexcept {
    to.data[j] = from.data[i];
    to.length[j] = from.length[i];
    to.timestamp[j] = from.timestamp[i];
    to.hash[j] = from.hash[i];
    to.verdict[j] = from.verdict[i];
    to.target[j] = from.target[i];
    to.handle[j] = from.handle[i];
  }

  BatchStorage apart_;
};

}  // namespace wp
