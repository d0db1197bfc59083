// SPDX-License-Identifier: Apache-2.0
#include "core/clock.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

// How far `clock` is from the system's, with the interval in which it was read taken off.
int64_t error_ns(const wp::Clock& clock) {
  int64_t best = INT64_MAX;
  for (int i = 0; i < 1000; i++) {
    const int64_t before = wp::Clock::realtime();
    const int64_t now = clock.now();
    const int64_t after = wp::Clock::realtime();
    const int64_t error = now < before ? before - now : now > after ? now - after : 0;
    best = std::min(best, error);
  }
  return best;
}

}  // namespace

TEST_CASE("clock: agrees with CLOCK_REALTIME right after calibration and after recalibration") {
  wp::Clock clock;
  CHECK(error_ns(clock) < 50'000);
  const timespec pause{0, 30'000'000};
  nanosleep(&pause, nullptr);
  clock.recalibrate();
  CHECK(error_ns(clock) < 50'000);
}

TEST_CASE("clock: the fallback is the system clock itself") {
  wp::Clock clock(true);
  CHECK_FALSE(clock.uses_tsc());
  CHECK(std::string(clock.source()) == "clock_gettime");
  CHECK(error_ns(clock) == 0);
  clock.recalibrate();
  CHECK(clock.tsc_hz() == 0.0);
}

TEST_CASE("clock: readers stay sane while another thread recalibrates") {
  wp::Clock clock;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop.load()) clock.recalibrate();
  });
  int64_t worst = 0;
  for (int i = 0; i < 200'000; i++) {
    const int64_t before = wp::Clock::realtime();
    const int64_t now = clock.now();
    const int64_t after = wp::Clock::realtime();
    if (now < before) worst = std::max(worst, before - now);
    if (now > after) worst = std::max(worst, now - after);
  }
  stop.store(true);
  writer.join();
  CHECK(worst < 10'000'000);  // a torn read would be off by years
}
