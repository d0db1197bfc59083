// SPDX-License-Identifier: Apache-2.0
// The timestamps of a generated day: how many messages fall into each second, each millisecond,
// and when. Seconds follow the hours of a trading day with their own excitement; within a busy
// second the milliseconds carry short bursts that double from nothing and decay by half.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "feed/random.h"

namespace wp::feed {

class ItchDayClock {
 public:
  // `messages` timestamps in [start, end), ns since midnight. `burst`: the peak of the largest
  // bursts, as a multiple of the average millisecond of their second; 1 = none.
  ItchDayClock(uint64_t seed, int64_t start, int64_t end, uint64_t messages, uint32_t burst);

  // The next timestamp, never below the one before. At most `messages` calls.
  int64_t next() noexcept {
    while (left_ == 0) [[unlikely]] next_segment();
    const auto room = static_cast<uint64_t>(segment_end_ - now_);
    const uint64_t mean = room / (left_ + 1);
    const uint64_t bits = random_.next();
    // Twice the mean at most, so the last message still falls into the segment. Cascades: now
    // and then a message comes right behind the one before it.
    uint64_t span = 2 * mean;
    if ((bits & 3) == 0 && span > 2 * kCascade) span = kCascade;
    now_ += static_cast<int64_t>(((bits >> 32) * span) >> 32);
    left_--;
    return now_;
  }

 private:
  static constexpr uint64_t kCascade = 2'000;  // ns
  static constexpr size_t kMillis = 1'000;
  // Below this many messages a second, milliseconds mean nothing.
  static constexpr uint64_t kBusySecond = 125;

  void next_segment() noexcept;
  void plan_second(uint64_t messages, int64_t start, int64_t end) noexcept;

  Random random_;
  int64_t start_;
  int64_t end_;
  uint64_t messages_;
  uint32_t burst_;
  std::vector<uint64_t> weights_;           // of the seconds, summed up
  size_t second_ = 0;                       // the next to plan
  uint64_t planned_ = 0;                    // messages up to there
  std::array<uint64_t, kMillis> millis_{};  // messages up to the end of each
  size_t milli_ = kMillis;
  int64_t second_start_ = 0;
  int64_t milli_ns_ = 0;
  int64_t segment_end_ = 0;
  uint64_t left_ = 0;  // messages of the segment still to come
  int64_t now_ = 0;
};

}  // namespace wp::feed
