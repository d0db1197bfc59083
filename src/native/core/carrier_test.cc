// SPDX-License-Identifier: Apache-2.0
#include "core/carrier.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/worker.h"

namespace {

// Frames of one byte each that matters: its number. Remembers what it sent and gave back.
class MemoryPort final : public wp::Port {
 public:
  MemoryPort(const wp::PortConfig& config, uint32_t frames, const void* memory, uint32_t room)
      : Port(config), memory_(memory), room_(room), bytes_(frames) {
    for (uint32_t i = 0; i < frames; i++) bytes_[i] = static_cast<uint8_t>(i);
  }
  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override {
    batch.count = 0;
    if (queue < from_queue) return 0;
    while (batch.count < batch.capacity && at_ < bytes_.size()) {
      batch.data[batch.count] = &bytes_[at_];
      batch.length[batch.count] = 1;
      batch.verdict[batch.count] = WP_DROP;
      batch.timestamp[batch.count] = 0;
      batch.handle[batch.count++] = at_++;
    }
    if (batch.count == 0) finished_.store(true);
    return batch.count;
  }
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override {
    by_queues.push_back(queue);
    return send_all(batch, false);
  }
  uint32_t tx_lent(uint32_t, wp_batch& batch) noexcept override { return send_all(batch, true); }
  void lent(uint32_t, uint32_t frames) noexcept override { lent_out += frames; }
  void widen(uint32_t queues) { queues_ = queues; }
  void release(uint32_t, wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) released += batch.handle[i] != WP_NO_FRAME;
    batch.count = 0;
  }
  const void* frame_memory() const noexcept override { return memory_; }
  wp::Info info() const override { return {}; }
  wp::Capabilities capabilities() const noexcept override { return {.tx = true}; }

  std::vector<uint8_t> sent;
  std::vector<uint32_t> bursts, by_queues;
  bool sends_own = false;   // frames with a handle, without a copy
  uint32_t from_queue = 0;  // the first one with frames
  uint32_t copied = 0, lent_out = 0, refused = 0;
  std::atomic<uint32_t> released{0};

 private:
  uint32_t send_all(wp_batch& batch, bool lent) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] != WP_TX) continue;
      if (sent.size() >= room_) {
        refused++;
        continue;
      }
      sent.push_back(batch.data[i][0]);
      if (lent || (sends_own && batch.handle[i] != WP_NO_FRAME))
        batch.handle[i] = WP_NO_FRAME;
      else
        copied++;
      n++;
    }
    bursts.push_back(n);
    return n;
  }
  const void* memory_;
  size_t room_;
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

std::shared_ptr<MemoryPort> port(uint32_t frames, const void* memory = nullptr,
                                 uint32_t room = 1000) {
  wp::PortConfig config;
  config.spec = "memory:";
  config.clock = &wp::Clock::process();
  config.telemetry = &wp::Telemetry::process();
  return std::make_shared<MemoryPort>(config, frames, memory, room);
}

// Verdict and target of a frame by its number.
class Sorter final : public wp::Stage {
 public:
  using Decision = std::pair<uint8_t, uint16_t> (*)(uint8_t);
  explicit Sorter(Decision decision) : decision_(decision) {}
  const char* name() const noexcept override { return "sorter"; }
  bool decides() const noexcept override { return true; }
  bool process(wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++)
      std::tie(batch.verdict[i], batch.target[i]) = decision_(batch.data[i][0]);
    return true;
  }

 private:
  Decision decision_;
};

uint64_t value(const wp::Worker& worker, const std::string& name) {
  for (const auto& [n, v] : worker.stats())
    if (n == name) return v;
  FAIL("no counter " << name);
  return 0;
}

void run(wp::Worker& worker, Sorter::Decision decision) {
  worker.add_stage(std::make_shared<Sorter>(decision));
  worker.start();
  worker.join();
}

}  // namespace

TEST_CASE("carrier: frames leave by port in one burst each, in their order") {
  auto in = port(60), a = port(0), b = port(0);
  wp::Worker worker({.name = "gather"});
  worker.add_port(in);
  worker.add_port(a);
  worker.add_port(b);
  run(worker, [](uint8_t n) {
    return std::pair<uint8_t, uint16_t>(n % 4 == 3 ? WP_DROP : WP_REDIRECT,
                                        n % 4 == 2 ? 9 : 1 + n % 4);
  });
  std::vector<uint8_t> to_a, to_b;
  for (uint8_t n = 0; n < 60; n++) (n % 4 == 0 ? to_a : n % 4 == 1 ? to_b : in->sent).push_back(n);
  CHECK(a->sent == to_a);
  CHECK(b->sent == to_b);
  CHECK(a->bursts == std::vector<uint32_t>{15});
  CHECK(b->bursts == std::vector<uint32_t>{15});
  CHECK(value(worker, "verdict.redirect") == 45);
  CHECK(value(worker, "drop.bad_target") == 15);
  CHECK(value(worker, "verdict.drop") == 15);
  CHECK(in->released == 60);
  CHECK(a->copied == 15);
}

TEST_CASE("carrier: ports with frames in the same memory lend them, and none is released twice") {
  const int memory = 0;
  for (const bool mixed : {false, true}) {
    auto in = port(60, &memory), same = port(0, &memory, 20), other = port(0);
    wp::Worker worker({.name = "lend"});
    worker.add_port(in);
    worker.add_port(same);
    worker.add_port(other);
    run(worker, mixed ? +[](uint8_t n) {
      return std::pair<uint8_t, uint16_t>(WP_REDIRECT, static_cast<uint16_t>(1 + n % 2));
    } : +[](uint8_t) { return std::pair<uint8_t, uint16_t>(WP_REDIRECT, 1); });
    CHECK(same->sent.size() == 20);
    CHECK(same->copied == 0);
    CHECK(same->refused == (mixed ? 10 : 40));
    CHECK(other->copied == (mixed ? 30 : 0));
    CHECK(in->lent_out == 20);
    CHECK(in->released == 40);  // whatever was not lent
  }
}

TEST_CASE("carrier: a frame that goes back by the port it came from is not copied") {
  for (const bool mixed : {false, true}) {
    auto in = port(60), other = port(0);
    in->sends_own = true;
    in->widen(3);
    in->from_queue = 2;
    wp::Worker worker({.name = "back"});
    worker.add_port(in, {0, 2});
    worker.add_port(other);
    run(worker, mixed ? +[](uint8_t n) {
      return std::pair<uint8_t, uint16_t>(WP_REDIRECT, static_cast<uint16_t>(n % 2));
    } : +[](uint8_t) { return std::pair<uint8_t, uint16_t>(WP_REDIRECT, 0); });
    CHECK(in->sent.size() == (mixed ? 30 : 60));
    CHECK(in->copied == 0);
    CHECK(in->lent_out == 0);
    CHECK(in->by_queues == std::vector<uint32_t>{2});  // whose frames they are
    CHECK(other->copied == (mixed ? 30 : 0));
    CHECK(in->released == (mixed ? 30 : 0));
  }
}

TEST_CASE(
    "worker: what is passed or left undecided goes to the host, what it sends leaves by the port") {
  auto in = port(40), host = port(5), out = port(0);
  wp::Worker worker({.name = "host"});
  const uint16_t first = worker.add_port(in);
  worker.add_port(out);
  CHECK(worker.add_host(first, host) == 2);
  CHECK_THROWS_AS(worker.add_host(first, port(0)), wp::Error);
  CHECK_THROWS_AS(worker.add_host(2, port(0)), wp::Error);
  CHECK_THROWS_AS(worker.add_host(7, port(0)), wp::Error);
  run(worker, [](uint8_t n) {
    constexpr uint8_t kCycle[] = {WP_PASS, wp::kUndecided, WP_REDIRECT, WP_DROP};
    return std::pair<uint8_t, uint16_t>(kCycle[n % 4], 1);
  });
  std::vector<uint8_t> passed;
  for (uint8_t n = 0; n < 40; n++)
    if (n % 4 < 2) passed.push_back(n);
  CHECK(host->sent == passed);
  CHECK(out->sent.size() == 10);
  CHECK(in->sent == std::vector<uint8_t>{0, 1, 2, 3, 4});  // by the host
  CHECK(host->released == 5);
  CHECK(value(worker, "from_host") == 5);
  CHECK(value(worker, "frames") == 40);
  CHECK(value(worker, "verdict.pass") == 20);
  CHECK(value(worker, "verdict.redirect") == 10);
  CHECK(value(worker, "verdict.drop") == 10);
  CHECK(value(worker, "drop.pass_unsupported") == 0);
}

TEST_CASE("worker: a host's end of one queue stands behind a port of several") {
  auto in = port(40), host = port(5);
  in->widen(3);
  wp::Worker worker({.name = "host_of_several"});
  const uint16_t first = worker.add_port(in, {0, 2});
  CHECK_THROWS_AS(worker.add_host(first, host), wp::Error);  // it has no queue 2
  CHECK_THROWS_AS(worker.add_host(first, host, {1}), wp::Error);
  CHECK(worker.add_host(first, host, {0}) == 1);
  run(worker, [](uint8_t) { return std::pair<uint8_t, uint16_t>(WP_PASS, 0); });
  CHECK(host->sent.size() == 40);
  CHECK(in->sent.size() == 5);  // by the host
}

TEST_CASE("worker: without a host, what stays undecided is done with") {
  auto in = port(40);
  wp::Worker worker({.name = "no_host"});
  worker.add_port(in);
  run(worker, [](uint8_t) { return std::pair<uint8_t, uint16_t>(wp::kUndecided, 0); });
  CHECK(value(worker, "verdict.drop") == 40);
  CHECK(value(worker, "drop.bad_verdict") == 0);
  CHECK(in->released == 40);
}
