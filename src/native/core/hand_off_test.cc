// SPDX-License-Identifier: Apache-2.0
#include "core/hand_off.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <cstring>
#include <set>
#include <thread>

#include "core/worker.h"

namespace {

constexpr uint32_t kFrames = 64;
constexpr uint32_t kFrameBytes = 128;

// Numbered frames from a pool of 64 that notices a frame given out or given back twice.
class PoolPort final : public wp::Port {
 public:
  PoolPort(const wp::PortConfig& config, uint64_t limit) : Port(config), limit_(limit) {
    for (uint32_t i = 0; i < kFrames; i++) free_.insert(i);
  }
  uint32_t rx(uint32_t, wp_batch& batch) noexcept override {
    uint32_t n = 0;
    while (n < batch.capacity && next_ < limit_ && !free_.empty()) {
      const uint32_t frame = *free_.begin();
      free_.erase(free_.begin());
      std::memcpy(memory_[frame], &next_, sizeof next_);
      batch.data[n] = memory_[frame];
      batch.length[n] = next_ % 3 == 0 ? 16 : kFrameBytes;
      batch.timestamp[n] = static_cast<int64_t>(next_);
      batch.hash[n] = 0;
      batch.verdict[n] = WP_DROP;
      batch.handle[n] = frame;
      next_++;
      n++;
    }
    if (free_.empty()) ran_dry.store(true);
    if (next_ == limit_ && n == 0) finished_.store(true);
    return batch.count = n;
  }
  void release(uint32_t, wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] == WP_KEEP) continue;
      const auto frame = static_cast<uint32_t>(batch.handle[i]);
      if (!free_.insert(frame).second) wrong.store(true);
      std::memset(memory_[frame], 0xee, 8);  // whoever still reads it sees that
    }
    batch.count = 0;
  }
  wp::Info info() const override { return {}; }
  wp::Capabilities capabilities() const noexcept override { return {.pool_frames = kFrames}; }
  size_t free() const { return free_.size(); }
  void more(uint64_t frames) {
    limit_ += frames;
    finished_.store(false);
  }
  std::atomic<bool> ran_dry{false}, wrong{false};

 private:
  uint64_t limit_, next_ = 0;
  std::set<uint32_t> free_;
  uint8_t memory_[kFrames][kFrameBytes] = {};
};

std::shared_ptr<PoolPort> pool_port(uint64_t limit) {
  wp::PortConfig config;
  config.spec = "pool:";
  config.clock = &wp::Clock::process();
  config.telemetry = &wp::Telemetry::process();
  return std::make_shared<PoolPort>(config, limit);
}

uint64_t stat(const wp::HandOff& hand_off, const std::string& name) {
  for (const auto& [n, v] : hand_off.stats())
    if (n == name) return v;
  FAIL("no counter " << name);
  return 0;
}

}  // namespace

TEST_CASE("spsc queue: everything in order, full and empty") {
  wp::SpscQueue<uint32_t> queue(3);  // four slots
  uint32_t value = 0;
  CHECK_FALSE(queue.pop(value));
  for (uint32_t round = 0; round < 10; round++) {
    for (uint32_t i = 0; i < 4; i++) CHECK(queue.push(round * 10 + i));
    CHECK_FALSE(queue.push(99));
    CHECK(queue.size() == 4);
    for (uint32_t i = 0; i < 4; i++) {
      CHECK(queue.pop(value));
      CHECK(value == round * 10 + i);
    }
    CHECK_FALSE(queue.pop(value));
  }
}

TEST_CASE("hand-off: frames reach another thread unharmed, and every one comes back") {
  constexpr uint64_t kCount = 200'000;
  auto port = pool_port(kCount);
  auto hand_off = std::make_shared<wp::HandOff>(wp::HandOffConfig{
      .name = "threads", .zero_copy_threshold = 64, .capacity = 128, .max_held = 40});
  wp::Worker worker({.name = "handing", .batch_size = 8});
  worker.add_port(port);
  worker.add_stage(hand_off);
  worker.start();
  uint64_t got = 0, last = 0, bad = 0;
  // The consumer takes frames; two other threads release some of them.
  wp::SpscQueue<uint32_t> odd(128), even(128);
  std::atomic<bool> done{false};
  const auto releaser = [&](wp::SpscQueue<uint32_t>& queue) {
    uint32_t slot = 0;
    for (;;) {
      const bool ended = done.load();
      if (queue.pop(slot))
        hand_off->release(slot);
      else if (ended)
        return;
      else
        sched_yield();
    }
  };
  std::thread first(releaser, std::ref(odd)), second(releaser, std::ref(even));
  for (;;) {
    const bool ended = hand_off->ended();
    uint32_t slot = 0;
    if (!hand_off->pop(slot)) {
      if (ended) break;
      sched_yield();
      continue;
    }
    const wp::HandOff::Frame& frame = hand_off->frame(slot);
    uint64_t number = 0;
    std::memcpy(&number, frame.data, sizeof number);
    bad += number != static_cast<uint64_t>(frame.timestamp);
    bad += got != 0 && number <= last;
    bad += frame.by_reference != (number % 3 != 0);
    last = number;
    got++;
    (got % 2 ? odd : even).push(slot);
  }
  done.store(true);
  first.join();
  second.join();
  worker.join();
  CHECK(bad == 0);
  CHECK_FALSE(port->wrong.load());
  CHECK_FALSE(port->ran_dry.load());
  CHECK(stat(*hand_off, "frames") == kCount);
  CHECK(got == stat(*hand_off, "by_reference") + stat(*hand_off, "copied"));
  CHECK(kCount == got + stat(*hand_off, "drop.queue_full") + stat(*hand_off, "drop.held_full"));
  CHECK(stat(*hand_off, "returned") == got);
  CHECK(stat(*hand_off, "held") == 0);
  port->collect_returned(0);  // what was released after the worker had ended
  CHECK(port->free() == kFrames);
}

TEST_CASE("hand-off: a consumer that takes nothing costs frames, never the pool") {
  auto port = pool_port(1000);
  auto hand_off =
      std::make_shared<wp::HandOff>(wp::HandOffConfig{.name = "idle", .zero_copy_threshold = 0});
  wp::Worker worker({.name = "handing", .batch_size = 8});
  worker.add_port(port);
  worker.add_stage(hand_off);
  worker.start();
  worker.join();
  CHECK(hand_off->max_held() == 48);  // three quarters of the port's
  CHECK(stat(*hand_off, "held") == 48);
  CHECK(stat(*hand_off, "drop.held_full") == 1000 - 48);
  CHECK_FALSE(port->ran_dry.load());
}

TEST_CASE("hand-off: what waits goes back when it is thrown away") {
  auto port = pool_port(30);
  {
    auto hand_off = std::make_shared<wp::HandOff>(
        wp::HandOffConfig{.name = "thrown", .zero_copy_threshold = 0});
    wp::Worker worker({.name = "handing"});
    worker.add_port(port);
    worker.add_stage(hand_off);
    worker.start();
    worker.join();
    CHECK(port->free() == kFrames - 30);
    CHECK(port.use_count() == 2);  // ours, and the hand-off's while frames are out
  }
  CHECK(port.use_count() == 1);
  CHECK(port->free() == kFrames - 30);  // until somebody drives the queue
  port->collect_returned(1);
  CHECK(port->free() == kFrames - 30);
  port->collect_returned(0);
  CHECK(port->free() == kFrames);
  CHECK_FALSE(port->wrong.load());
}

TEST_CASE("hand-off: a frame that is not the port's own is not referred to") {
  wp::HandOff hand_off({.name = "strange", .zero_copy_threshold = 10});
  wp::BatchStorage batch(4);
  uint8_t bytes[64] = {};
  batch->count = 2;
  for (uint32_t i = 0; i < 2; i++) batch->data[i] = bytes;
  batch->length[0] = 64;
  batch->length[1] = 9;
  CHECK(hand_off.process(*batch));
  CHECK(stat(hand_off, "drop.not_owned") == 1);
  CHECK(stat(hand_off, "copied") == 1);
  CHECK(batch->verdict[0] == WP_DROP);
}

TEST_CASE("hand-off: frames of a worker that has ended come back while another drives the port") {
  auto port = pool_port(40);
  auto first =
      std::make_shared<wp::HandOff>(wp::HandOffConfig{.name = "first", .zero_copy_threshold = 0});
  {
    wp::Worker worker({.name = "ended"});
    worker.add_port(port);
    worker.add_stage(first);
    worker.start();
    worker.join();
  }
  CHECK(port->free() == kFrames - 40);
  port->more(100'000);
  wp::Worker worker({.name = "next", .batch_size = 8});
  worker.add_port(port);
  worker.start();
  uint32_t slot = 0;
  for (int i = 0; i < 40; i++) {
    REQUIRE(first->pop(slot));
    first->release(slot);
    sched_yield();
  }
  worker.join();
  port->collect_returned(0);
  CHECK(stat(*first, "held") == 0);
  CHECK(port->free() == kFrames);
  CHECK_FALSE(port->wrong.load());
}

TEST_CASE("hand-off: KEEP without somebody who holds is a drop, and the frame is not lost") {
  struct Keeping final : wp::Stage {
    explicit Keeping(uint64_t fail_at) : fail_at(fail_at) {}
    const char* name() const noexcept override { return "keeping"; }
    bool process(wp_batch& batch) noexcept override {
      for (uint32_t i = 0; i < batch.count; i += 2) batch.verdict[i] = WP_KEEP;
      return ++bursts != fail_at;
    }
    const uint64_t fail_at;
    uint64_t bursts = 0;
  };
  const auto run = [](uint64_t fail_at, std::shared_ptr<wp::HandOff> hand_off) {
    auto port = pool_port(3 * kFrames);
    wp::Worker worker({.name = "keeping", .batch_size = 16});
    worker.add_port(port);
    worker.add_stage(std::make_shared<Keeping>(fail_at));
    if (hand_off) worker.add_stage(hand_off);
    worker.start();
    if (fail_at)
      CHECK_THROWS_AS(worker.join(), wp::Error);
    else
      worker.join();
    uint64_t unsupported = 0;
    for (const auto& [name, count] : worker.stats())
      if (name == "drop.keep_unsupported") unsupported = count;
    CHECK_FALSE(port->wrong.load());
    return std::pair{unsupported, port->free()};
  };
  CHECK(run(0, nullptr) == std::pair{uint64_t{3 * kFrames / 2}, size_t{kFrames}});
  // The stage that held did not see the burst that an earlier one failed with.
  auto hand_off = std::make_shared<wp::HandOff>(
      wp::HandOffConfig{.name = "kept", .zero_copy_threshold = 0, .kept_only = true});
  CHECK(run(2, hand_off) == std::pair{uint64_t{8}, size_t{kFrames - 8}});
  // One that takes everything takes what was kept as well.
  auto all =
      std::make_shared<wp::HandOff>(wp::HandOffConfig{.name = "all", .zero_copy_threshold = 0});
  CHECK(run(2, all) == std::pair{uint64_t{8}, size_t{kFrames - 16}});
}

TEST_CASE("hand-off: its counters go with it") {
  const auto count = [] {
    size_t n = 0;
    for (const auto& entry : wp::Telemetry::process().entries())
      n += entry.name.starts_with("hand_off/passing");
    return n;
  };
  {
    const wp::HandOff hand_off({.name = "passing"});
    CHECK(count() == 8);
  }
  CHECK(count() == 0);
}
