// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/gate.h"

#include <doctest/doctest.h>

#include <thread>

using wp::dpdk::Gate;

TEST_CASE("gate: closed for one reason of two is closed") {
  Gate gate(2);
  CHECK(gate.enter(0));
  gate.leave(0);
  CHECK(gate.close(Gate::kInterrupt, 0));
  CHECK(gate.close(Gate::kRestart, 0));
  CHECK_FALSE(gate.enter(0));
  gate.open(Gate::kInterrupt);
  CHECK_FALSE(gate.closed(Gate::kInterrupt));
  CHECK_FALSE(gate.enter(1));
  gate.open(Gate::kRestart);
  CHECK(gate.enter(1));
}

TEST_CASE("gate: closing waits for who is inside, and not for ever") {
  Gate gate(2);
  REQUIRE(gate.enter(1));
  CHECK_FALSE(gate.close(Gate::kInterrupt, 1000));
  gate.leave(1);
  CHECK(gate.close(Gate::kInterrupt, 0));
}

TEST_CASE("gate: what stands behind it goes away only while nobody is inside") {
  Gate gate(1);
  std::atomic<bool> end{false};
  int* volatile behind = new int(1);
  uint64_t entered = 0;
  int sum = 0;
  std::thread data([&] {
    while (!end.load()) {
      if (!gate.enter(0)) continue;
      for (int i = 0; i < 50; i++) sum += *behind;
      entered++;
      gate.leave(0);
    }
  });
  for (int round = 0; round < 200; round++) {
    REQUIRE(gate.close(Gate::kRestart, 10'000'000));
    delete behind;
    behind = new int(1);
    gate.open(Gate::kRestart);
    std::this_thread::yield();
  }
  end = true;
  data.join();
  CHECK(static_cast<uint64_t>(sum) == entered * 50);
  delete behind;
}
