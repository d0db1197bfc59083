// SPDX-License-Identifier: Apache-2.0
#include "core/ring.h"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "core/error.h"

namespace {

wp::Ring::Record numbered(uint64_t n) {
  wp::Ring::Record r{};
  r.seq = n;
  r.aux = ~n;
  return r;
}

}  // namespace

TEST_CASE("ring: capacity must be a power of two") {
  for (const uint64_t bad : {0ULL, 1ULL, 3ULL, 1000ULL, 1ULL << 31})
    CHECK_THROWS_AS(wp::Ring(bad, wp::FullPolicy::kDrop, ""), wp::Error);
  CHECK(wp::Ring(2, wp::FullPolicy::kDrop, "").capacity() == 2);
}

TEST_CASE("ring: order across many laps, reserve and commit at the wrap") {
  wp::Ring ring(8, wp::FullPolicy::kDrop, "");
  uint64_t next_in = 0, next_out = 0;
  for (int step = 0; step < 1000; step++) {
    wp::Ring::Record* slots;
    const size_t room = ring.reserve(1 + step % 8, &slots);
    for (size_t i = 0; i < room; i++) slots[i] = numbered(next_in++);
    ring.commit(room);
    CHECK(ring.size() <= 8);
    const wp::Ring::Record* records;
    const size_t got = ring.peek(1 + step % 5, &records);
    for (size_t i = 0; i < got; i++) {
      CHECK(records[i].seq == next_out);
      CHECK(records[i].aux == ~next_out);
      next_out++;
    }
    ring.consume(got);
  }
  CHECK(next_out > 900);
  CHECK(next_in - next_out == ring.size());
  CHECK(ring.high_water() <= 8);
  CHECK(ring.high_water() > 0);
}

TEST_CASE("ring: a full ring under `drop` counts what it throws away") {
  wp::Ring ring(4, wp::FullPolicy::kDrop, "");
  std::vector<wp::Ring::Record> records;
  for (uint64_t i = 0; i < 7; i++) records.push_back(numbered(i));
  CHECK(ring.push(records.data(), records.size()) == 4);
  CHECK(ring.dropped() == 3);
  CHECK(ring.blocked() == 0);
  wp::Ring::Record out[8];
  CHECK(ring.pop(out, 8) == 4);
  CHECK(out[3].seq == 3);
  CHECK(ring.pushed() == 4);
  CHECK(ring.popped() == 4);
}

TEST_CASE("ring: under `block` a closed ring gives the producer up, counted") {
  wp::Ring ring(4, wp::FullPolicy::kBlock, "");
  std::vector<wp::Ring::Record> records(6);
  ring.close();
  CHECK(ring.push(records.data(), records.size()) == 4);
  CHECK(ring.dropped() == 2);
  CHECK(ring.blocked() == 1);
}

TEST_CASE("ring: two threads, every record once, in order, whole") {
  constexpr uint64_t kRecords = 300'000;
  wp::Ring ring(256, wp::FullPolicy::kBlock, "");
  std::thread producer([&] {
    std::vector<wp::Ring::Record> burst;
    for (uint64_t n = 0; n < kRecords;) {
      burst.clear();
      for (uint64_t i = 0; i < 1 + n % 37 && n < kRecords; i++) burst.push_back(numbered(n++));
      ring.push(burst.data(), burst.size(), static_cast<int64_t>(n));
    }
    ring.close();
  });
  uint64_t expected = 0, wrong = 0;
  std::vector<wp::Ring::Record> out(100);
  for (;;) {
    const bool closed = ring.closed();
    const size_t got = ring.pop(out.data(), out.size());
    for (size_t i = 0; i < got; i++) {
      wrong += out[i].seq != expected || out[i].aux != ~expected;
      expected++;
    }
    if (got == 0 && closed) break;
    if (got == 0) std::this_thread::yield();
  }
  producer.join();
  CHECK(wrong == 0);
  CHECK(expected == kRecords);
  CHECK(ring.dropped() == 0);
  CHECK(ring.high_water() <= 256);
}

TEST_CASE("ring: hand-over ages count one sample per record, also for half-taken bursts") {
  wp::Ring ring(64, wp::FullPolicy::kDrop, "");
  wp::Histogram histogram;
  std::vector<wp::Ring::Record> records(10);
  ring.push(records.data(), 10, 1000);
  ring.push(records.data(), 5, 2000);
  wp::Ring::Record out[16];
  ring.pop(out, 4);
  ring.record_hand_over(1500, histogram);
  CHECK(histogram.total() == 4);
  CHECK(histogram.max() == 500);
  ring.pop(out, 11);
  ring.record_hand_over(3000, histogram);
  CHECK(histogram.total() == 15);
  CHECK(histogram.max() == 2000);
  ring.record_hand_over(9000, histogram);
  CHECK(histogram.total() == 15);
}

TEST_CASE("ring: another process's view by name") {
  wp::Ring ring(16, wp::FullPolicy::kDrop, "ring_test.shared");
  const auto record = numbered(42);
  ring.push(&record, 1);
  wp::Ring other = wp::Ring::attach("ring_test.shared");
  wp::Ring::Record out;
  REQUIRE(other.pop(&out, 1) == 1);
  CHECK(out.seq == 42);
  CHECK(ring.size() == 0);
  CHECK_THROWS_AS(wp::Ring(16, wp::FullPolicy::kDrop, "ring_test.shared"), wp::Error);
  CHECK_THROWS_AS(wp::Ring::attach("ring_test.absent"), wp::Error);
  CHECK_THROWS_AS(wp::Ring::attach("../etc"), wp::Error);
}

TEST_CASE(
    "ring: one producer and one consumer at a time, and the next goes on where they stopped") {
  using Turn = wp::Ring::Turn;
  wp::Ring ring(16, wp::FullPolicy::kDrop, "ring_test.turns");
  wp::Ring other = wp::Ring::attach("ring_test.turns");
  {
    const Turn producer(ring, Turn::kProducer);
    const Turn consumer(other, Turn::kConsumer);
    CHECK_THROWS_WITH_AS(Turn(other, Turn::kProducer), doctest::Contains("has a producer, in"),
                         wp::Error);
    CHECK_THROWS_WITH_AS(Turn(ring, Turn::kConsumer), doctest::Contains("has a consumer, in"),
                         wp::Error);
    CHECK_THROWS_WITH_AS(Turn(ring, Turn::kProducer), doctest::Contains("in another thread"),
                         wp::Error);
  }
  uint64_t pushed = 0, popped = 0;
  for (int round = 0; round < 20; round++)
    for (wp::Ring* each : {&ring, &other}) {
      const Turn producer(*each, Turn::kProducer);
      const auto record = numbered(pushed++);
      CHECK(each->push(&record, 1) == 1);
      const Turn consumer(round % 3 ? *each : ring, Turn::kConsumer);
      wp::Ring::Record out;
      CHECK((round % 3 ? *each : ring).pop(&out, 1) == 1);
      CHECK(out.seq == popped++);
    }
  wp::Ring unnamed(16, wp::FullPolicy::kDrop, "");
  const Turn one(unnamed, Turn::kConsumer);
  CHECK_THROWS_AS(Turn(unnamed, Turn::kConsumer), wp::Error);
}
