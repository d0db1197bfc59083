// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/device_clock.h"

#include <doctest/doctest.h>

TEST_CASE("device clock: two readings draw the line, later ones redraw it") {
  wp::dpdk::DeviceClock clock;
  constexpr int64_t kEpoch = 1'700'000'000'000'000'000;
  clock.sample(1000, kEpoch);
  CHECK_FALSE(clock.ready());
  clock.sample(1010, kEpoch + 100);  // too near to tell anything
  CHECK_FALSE(clock.ready());
  clock.sample(1000 + 125'000'000, kEpoch + 1'000'000'000);  // 125 MHz
  REQUIRE(clock.ready());
  CHECK(clock.to_ns(1000 + 125'000'000) == kEpoch + 1'000'000'000);
  CHECK(clock.to_ns(1000 + 125'000'000 + 125) == kEpoch + 1'000'001'000);
  CHECK(clock.to_ns(1000 + 125'000'000 - 125) == kEpoch + 999'999'000);
  // The device runs 1 ppm fast: by 2000 s the line has followed.
  const uint64_t ticks = 1000 + 250'000'250'000;
  clock.sample(ticks, kEpoch + 2'000'000'000'000);
  CHECK(clock.to_ns(ticks + 125'000'125) - (kEpoch + 2'001'000'000'000) < 10);
  CHECK(clock.to_ns(ticks + 125'000'125) - (kEpoch + 2'001'000'000'000) > -10);
}

TEST_CASE("device clock: a counter that wraps round") {
  wp::dpdk::DeviceClock clock;
  clock.sample(~uint64_t{0} - 999, 0);
  clock.sample(1'999'000, 2'000'000);
  REQUIRE(clock.ready());
  CHECK(clock.to_ns(2'000'000) == 2'001'000);
  CHECK(clock.to_ns(~uint64_t{0}) == 999);
}
