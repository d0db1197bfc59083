// SPDX-License-Identifier: Apache-2.0
#include "load/perf_counters.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <thread>

using namespace wp::load;

namespace {

PerfValue named(const std::vector<PerfValue>& values, const char* name) {
  const auto found = std::ranges::find(values, name, &PerfValue::name);
  REQUIRE(found != values.end());
  return *found;
}

void spin(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

}  // namespace

TEST_CASE("perf counters: a thread started later is counted, and what is missing says why") {
  const PerfCounters counters;
  const PerfValue before = named(counters.read(), "task_clock_ns");
  std::thread(spin, std::chrono::milliseconds(30)).join();
  const PerfValue after = named(counters.read(), "task_clock_ns");
  if (before.available) {
    CHECK(after.value - before.value > 5'000'000);  // of 30 ms, on however busy a machine
    CHECK(after.share == doctest::Approx(1.0));
  } else {
    MESSAGE("no perf events here: ", before.reason);
  }
  for (const PerfValue& value : counters.read()) {
    CAPTURE(value.name);
    CHECK(value.available == value.reason.empty());
  }
}
