// SPDX-License-Identifier: Apache-2.0
// When a packet of a capture is due: an absolute time counted from the first packet, so that
// lateness never adds up. No clock inside.
#pragma once

#include <algorithm>
#include <cstdint>

namespace wp::pcap {

class ReplayPace {
 public:
  // speed 2 = twice as fast as captured; 0 = no pacing, everything is due at once.
  explicit ReplayPace(double speed) noexcept : speed_(speed) {}

  bool paced() const noexcept { return speed_ > 0; }

  // Due time, in ns of the clock that `now` was read from, of the packet stamped `stamp`. The
  // first call ties that packet to `now`. Packets without a stamp are due with the one before.
  int64_t due(int64_t stamp, int64_t now) noexcept {
    if (!started_) {
      started_ = true;
      origin_ = latest_ = now;
    }
    if (stamp == 0) return latest_;
    if (first_ == 0) first_ = stamp;
    // Stamps of today need 61 bits: their difference is taken in integers, then scaled.
    int64_t after;
    if (__builtin_sub_overflow(stamp, first_, &after)) after = stamp < first_ ? -kFar : kFar;
    const double scaled = static_cast<double>(after) / speed_;
    const int64_t due =
        origin_ + static_cast<int64_t>(std::clamp(scaled, double{-kFar}, double{kFar}));
    latest_ = std::max(latest_, due);
    return due;
  }

  // The capture begins again: its first packet is due with the last one of this pass.
  void next_pass() noexcept { origin_ = latest_; }

 private:
  static constexpr int64_t kFar = 1'000'000'000'000'000'000;  // 31 years

  double speed_;
  bool started_ = false;
  int64_t first_ = 0;
  int64_t origin_ = 0;
  int64_t latest_ = 0;
};

}  // namespace wp::pcap
