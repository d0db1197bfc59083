// SPDX-License-Identifier: Apache-2.0
#include "load/perf_counters.h"

#include <doctest/doctest.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <thread>

using namespace wp::load;

namespace {

PerfValue named(const std::vector<PerfValue>& values, const char* name) {
  const auto found = std::ranges::find(values, name, &PerfValue::name);
  REQUIRE(found != values.end());
  return *found;
}

// For so long of the thread's own time, however busy the machine.
void spin(int64_t ns) {
  timespec used{};
  do {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  } while (used.tv_sec * 1'000'000'000 + used.tv_nsec < ns);
}

}  // namespace

TEST_CASE("perf counters: a thread started later is counted, and what is missing says why") {
  const PerfCounters counters;
  const PerfValue before = named(counters.read(), "task_clock_ns");
  std::thread(spin, 10'000'000).join();
  const PerfValue after = named(counters.read(), "task_clock_ns");
  if (before.available) {
    CHECK(after.value - before.value > 5'000'000);
    CHECK(after.share == doctest::Approx(1.0));
  } else {
    MESSAGE("no perf events here: ", before.reason);
  }
  for (const PerfValue& value : counters.read()) {
    CAPTURE(value.name);
    CHECK(value.available == value.reason.empty());
  }
}
