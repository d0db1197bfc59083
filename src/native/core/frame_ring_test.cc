// SPDX-License-Identifier: Apache-2.0
#include "core/frame_ring.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr uint64_t kCapacity = wp::FrameRing::kMinCapacity;

struct Memory {
  explicit Memory(uint64_t capacity = kCapacity)
      : bytes(new (std::align_val_t{64}) uint8_t[wp::FrameRing::bytes_for(capacity)]()) {}
  ~Memory() { operator delete[](bytes, std::align_val_t{64}); }
  wp::FrameRing::Shared* shared() { return reinterpret_cast<wp::FrameRing::Shared*>(bytes); }
  uint8_t* bytes;
};

bool put(wp::FrameRing& ring, uint32_t captured, uint8_t fill) {
  wp::FrameRecord* record = ring.reserve(captured);
  if (!record) return false;
  record->original = captured;
  std::memset(record->data(), fill, captured);
  return true;
}

}  // namespace

TEST_CASE("frame ring: lengths of every kind come out as they went in, round after round") {
  const Memory memory;
  wp::FrameRing producer(memory.bytes, kCapacity), consumer(memory.bytes, kCapacity);
  std::mt19937 random(1);
  for (uint32_t n = 0; n < 5000; n++) {
    const uint32_t length = random() % 700;
    REQUIRE(put(producer, length, static_cast<uint8_t>(n)));
    CHECK(consumer.peek() == nullptr);  // not before it is published
    producer.publish();
    const wp::FrameRecord* record = consumer.peek();
    REQUIRE(record);
    CHECK(record->captured == length);
    CHECK(record->lost == 0);
    const std::vector<uint8_t> expected(length, static_cast<uint8_t>(n));
    CHECK(std::equal(expected.begin(), expected.end(), record->data()));
    consumer.consume(record);
  }
  CHECK(consumer.peek() == nullptr);
  CHECK(consumer.broken() == 0);
}

TEST_CASE("frame ring: what finds no room is told by the record after it") {
  const Memory memory;
  wp::FrameRing producer(memory.bytes, kCapacity), consumer(memory.bytes, kCapacity);
  uint32_t fitted = 0;
  while (put(producer, 1000, 1)) fitted++;
  CHECK(fitted == 3);
  producer.lose(1);
  producer.lose(1);
  producer.publish();
  CHECK(producer.dropped() == 2);
  while (const wp::FrameRecord* record = consumer.peek()) {
    CHECK(record->lost == 0);
    consumer.consume(record);
  }
  REQUIRE(put(producer, 10, 2));
  producer.publish();
  REQUIRE(consumer.peek());
  CHECK(consumer.peek()->lost == 2);
}

TEST_CASE("frame ring: what was reserved is walked through, and can be taken back") {
  const Memory memory;
  wp::FrameRing producer(memory.bytes, kCapacity), consumer(memory.bytes, kCapacity);
  for (uint32_t round = 0; round < 50; round++) {  // so that the end is met in every position
    for (uint32_t n = 0; n < 5; n++) {
      if (n == 3) producer.lose(7);
      REQUIRE(put(producer, 100 + 90 * n, static_cast<uint8_t>(n)));
    }
    uint32_t walked = 0;
    wp::FrameRecord* third = nullptr;
    for (wp::FrameRecord* r = producer.first(); r; r = producer.next(r), walked++) {
      CHECK(r->captured == 100 + 90 * walked);
      if (walked == 2) third = r;
    }
    CHECK(walked == 5);
    producer.take_back(third);
    producer.publish();
    for (uint32_t n = 0; n < 2; n++) {
      const wp::FrameRecord* record = consumer.peek();
      REQUIRE(record);
      CHECK(record->captured == 100 + 90 * n);
      CHECK(record->lost == (n == 0 && round > 0 ? 7 : 0));  // what was told too early is told
      consumer.consume(record);
    }
    CHECK(consumer.peek() == nullptr);
  }
}

TEST_CASE("frame ring: neither side believes what makes no sense") {
  Memory memory;
  wp::FrameRing producer(memory.bytes, kCapacity), consumer(memory.bytes, kCapacity);
  REQUIRE(put(producer, 40, 1));
  producer.publish();
  auto* record = reinterpret_cast<wp::FrameRecord*>(memory.shared()->data);
  SUBCASE("a length past what was published") {
    record->bytes = 1 << 20;
  }
  SUBCASE("a length of nothing") {
    record->bytes = 0;
  }
  SUBCASE("a frame longer than its record") {
    record->captured = 4000;
  }
  SUBCASE("an index from nowhere") {
    memory.shared()->head.store(uint64_t{1} << 40);
  }
  CHECK(consumer.peek() == nullptr);
  CHECK(consumer.broken() == 1);
  CHECK(consumer.peek() == nullptr);
  memory.shared()->tail.store(uint64_t{1} << 50);
  uint32_t fitted = 0;
  while (put(producer, 1000, 1)) fitted++;
  CHECK(fitted <= 3);  // full, not overrun
}

TEST_CASE("frame ring: lengths that change after they were judged are not believed") {
  Memory memory;
  wp::FrameRing producer(memory.bytes, kCapacity), consumer(memory.bytes, kCapacity);
  SUBCASE("by the producer: a record that is being read") {
    REQUIRE(put(producer, 40, 1));
    REQUIRE(put(producer, 16, 2));
    producer.publish();
    const wp::FrameRecord* record = consumer.peek();
    REQUIRE(record);
    memory.shared()->data[0] = 255;  // its bytes
    memory.shared()->data[4] = 255;  // its captured
    CHECK(consumer.captured() == 40);
    consumer.consume(record);
    record = consumer.peek();
    REQUIRE(record);
    CHECK(consumer.captured() == 16);
    CHECK(record->data()[0] == 2);
  }
  SUBCASE("by the consumer: records that are being written") {
    for (uint8_t n = 0; n < 4; n++) REQUIRE(put(producer, 800, n));
    wp::FrameRecord* first = producer.first();
    for (const uint32_t captured : {1u << 20, 4040u, 4016u, UINT32_MAX - 1, UINT32_MAX}) {
      first->captured = captured;
      CHECK(producer.next(first) == nullptr);
    }
    for (const uint32_t captured : {0u, 8u, 24u}) {
      first->captured = captured;
      uint32_t walked = 0;
      for (wp::FrameRecord* r = first; r && walked < 1000; r = producer.next(r)) {
        const auto offset = reinterpret_cast<uint8_t*>(r) - memory.shared()->data;
        CHECK(offset + sizeof *r <= kCapacity);
        walked++;
      }
      CHECK(walked < 1000);
    }
  }
  SUBCASE("by the consumer: a tail that runs ahead of what was published") {
    uint32_t fitted = 0;
    for (; fitted < 100 && put(producer, 472, 1); fitted++)
      memory.shared()->tail.store(512 * (uint64_t{fitted} + 1));
    CHECK(fitted == 8);  // one round
  }
}

TEST_CASE("frame ring: one that is taken over at an odd index keeps within its memory") {
  constexpr size_t kBytes = wp::FrameRing::bytes_for(kCapacity);
  auto* bytes = new (std::align_val_t{64}) uint8_t[kBytes + 64]();
  auto* shared = reinterpret_cast<wp::FrameRing::Shared*>(bytes);
  shared->head.store(kCapacity - 4);
  shared->tail.store(kCapacity - 4);
  wp::FrameRing producer(bytes, kCapacity), consumer(bytes, kCapacity);
  REQUIRE(put(producer, 100, 7));
  producer.publish();
  CHECK(std::all_of(bytes + kBytes, bytes + kBytes + 64, [](uint8_t b) { return b == 0; }));
  const wp::FrameRecord* record = consumer.peek();
  REQUIRE(record);
  CHECK(record->data()[0] == 7);
  operator delete[](bytes, std::align_val_t{64});
}

TEST_CASE("frame ring: between two threads nothing is lost or torn but what is counted") {
  constexpr uint32_t kFrames = 200'000;
  const Memory memory(1 << 16);
  std::thread reader;
  uint64_t lost = 0, seen = 0;
  bool whole = true;
  reader = std::thread([&] {
    wp::FrameRing ring(memory.bytes, 1 << 16);
    uint64_t last = 0;
    while (last < kFrames) {
      const wp::FrameRecord* record = ring.peek();
      if (!record) {
        std::this_thread::yield();
        continue;
      }
      last = record->cookie;
      lost += record->lost;
      seen++;
      const uint8_t* data = record->data();
      for (uint32_t i = 0; i < record->captured; i++)
        whole = whole && data[i] == static_cast<uint8_t>(last);
      ring.consume(record);
    }
  });
  wp::FrameRing ring(memory.bytes, 1 << 16);
  for (uint32_t n = 1; n <= kFrames; n++) {
    wp::FrameRecord* record = ring.reserve(n % 300);
    while (!record && n == kFrames) record = ring.reserve(n % 300);  // the reader waits for it
    if (!record) {
      ring.lose(1);
      continue;
    }
    record->cookie = n;
    std::memset(record->data(), static_cast<int>(n & 0xff), n % 300);
    if (n % 7 == 0 || n == kFrames) ring.publish();
  }
  reader.join();
  CHECK(whole);
  CHECK(seen + lost == kFrames);
  CHECK(lost == ring.dropped());
}
