/* SPDX-License-Identifier: Apache-2.0
 *
 * The clock that frames are stamped by, continued between frames. A NIC's clock
 * may be in another time scale (TAI), and a capture's is of another day: timers
 * that began with a frame have to run on by its clock.
 */
#pragma once

#include <cstdint>

namespace wp::feed {

class FrameClock {
 public:
  /* Closer to each other than this, both are the same clock. */
  static constexpr int64_t kSame = 1'000'000'000;

  /* A frame stamped so was the latest when this machine's clock said now. */
  void saw(int64_t stamp, int64_t now) noexcept {
    int64_t ahead = 0;
    if (__builtin_sub_overflow(stamp, now, &ahead)) return;
    offset_ = ahead > -kSame && ahead < kSame ? 0 : ahead;
  }
  /* This machine's time as a frame would be stamped. */
  int64_t at(int64_t now) const noexcept {
    int64_t time = 0;
    return __builtin_add_overflow(now, offset_, &time) ? now : time;
  }

 private:
  int64_t offset_ = 0;
};

}  // namespace wp::feed
