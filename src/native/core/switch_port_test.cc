// SPDX-License-Identifier: Apache-2.0
#include "core/switch_port.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <thread>

#include "core/batch_storage.h"
#include "core/error.h"
#include "core/worker.h"

namespace {

constexpr uint32_t kFrames = 256;

// Hands out the numbers that it is given, in frames of its own, and notices what comes back wrong.
class FakePath final : public wp::Port {
 public:
  explicit FakePath(const wp::PortConfig& config, uint32_t queues = 1) : Port(config) {
    queues_ = queues;
    for (uint32_t i = 0; i < kFrames; i++) free_.insert(i);
    cells_ = add_counters(-1, kNames);
  }
  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override {
    uint32_t n = 0;
    while (n < batch.capacity && given_.load() > taken_ && !free_.empty()) {
      const auto frame = *free_.begin();
      free_.erase(free_.begin());
      numbers_[frame] = base + taken_++;
      batch.data[n] = reinterpret_cast<uint8_t*>(&numbers_[frame]);
      batch.length[n] = 60;
      batch.timestamp[n] = queue;
      batch.verdict[n] = WP_DROP;
      batch.handle[n] = frame + (1000ull << 32);  // as long as a pointer
      n++;
    }
    cells_[0].add(n);
    if (n == 0 && ends) finished_.store(true);
    return batch.count = n;
  }
  uint32_t tx(uint32_t, wp_batch& batch) noexcept override {
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch.count; i++) {
      if (batch.verdict[i] != WP_TX) continue;
      n++;
      if (batch.handle[i] == WP_NO_FRAME) {
        copied++;
        continue;
      }
      own++;
      give(batch.handle[i]);
      batch.handle[i] = WP_NO_FRAME;
    }
    return n;
  }
  void release(uint32_t, wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++)
      if (batch.verdict[i] != WP_KEEP && batch.handle[i] != WP_NO_FRAME) give(batch.handle[i]);
    batch.count = 0;
  }
  wp::Info info() const override { return {}; }
  wp::Capabilities capabilities() const noexcept override {
    return {.tx = true, .pool_frames = kFrames};
  }
  void send(uint64_t n) { given_.fetch_add(n); }
  size_t free() const { return free_.size(); }

  uint64_t base = 0;
  bool ends = false;
  std::atomic<bool> wrong{false};
  uint64_t own = 0, copied = 0;

 private:
  static constexpr std::array<const char*, 1> kNames{"rx_packets"};
  void give(uint64_t handle) {
    const auto frame = static_cast<uint32_t>(handle);
    if (handle >> 32 != 1000 || frame >= kFrames || !free_.insert(frame).second) wrong.store(true);
  }
  std::atomic<uint64_t> given_{0};
  uint64_t taken_ = 0;
  uint64_t numbers_[kFrames] = {};
  std::set<uint32_t> free_;
  wp::Counter* cells_;
};

wp::PortConfig config(const char* spec) {
  wp::PortConfig out;
  out.spec = spec;
  out.clock = &wp::Clock::process();
  out.telemetry = &wp::Telemetry::process();
  return out;
}
std::shared_ptr<FakePath> path(const char* spec, uint64_t base = 0, uint32_t queues = 1) {
  auto out = std::make_shared<FakePath>(config(spec), queues);
  out->base = base;
  return out;
}
std::shared_ptr<wp::SwitchPort> switch_port(const char* queues = "1") {
  wp::PortConfig c = config("auto:test");
  static constexpr std::array known{wp::OptionHelp{"queues", "1", ""}};
  c.options = wp::Options({{"queues", queues}}, known, "auto");
  return std::make_shared<wp::SwitchPort>(c);
}
uint64_t number(const wp_batch& batch, uint32_t i) {
  return *reinterpret_cast<const uint64_t*>(batch.data[i]);
}
uint64_t stat(wp::SwitchPort& port, const std::string& name) {
  for (const auto& [n, v] : port.stats())
    if (n == name) return v;
  return 0;
}

}  // namespace

TEST_CASE("switch: a port without paths gives nothing and does not end") {
  const auto port = switch_port();
  wp::BatchStorage batch(8);
  CHECK(port->rx(0, *batch) == 0);
  CHECK_FALSE(port->finished());
  CHECK(port->capabilities().tx == false);
  batch->count = 2;  // what is sent all the same is counted
  batch->verdict[0] = WP_TX;
  batch->verdict[1] = WP_DROP;
  batch->handle[0] = batch->handle[1] = WP_NO_FRAME;
  CHECK(port->tx(0, *batch) == 0);
  CHECK(stat(*port, "drop.tx_no_path") == 1);
}

TEST_CASE("switch: frames of both paths, each given back where it came from") {
  const auto port = switch_port();
  const auto a = path("a:"), b = path("b:", 1000);
  CHECK(port->add(a, "a", false) == 0);
  CHECK(port->add(b, "b", true) == 1);
  CHECK_FALSE(a->claim(0));  // nobody else may drive it
  a->send(20);
  b->send(20);
  wp::BatchStorage batch(8);
  std::map<uint64_t, uint64_t> held;  // number -> handle
  uint32_t got = 0;
  while (const uint32_t n = port->rx(0, *batch)) {
    got += n;
    for (uint32_t i = 0; i < n; i += 2) {  // every other one is held
      held[number(*batch, i)] = batch->handle[i];
      batch->verdict[i] = WP_KEEP;
    }
    port->release(0, *batch);
  }
  CHECK(got == 40);
  CHECK(port->paths()[0].outstanding + port->paths()[1].outstanding == held.size());
  CHECK(a->free() + b->free() == 2 * kFrames - held.size());
  while (!held.empty()) {  // those held come back mixed
    wp_batch& back = *batch;
    back.count = 0;
    while (!held.empty() && back.count < back.capacity) {
      const auto at = back.count % 2 ? held.begin() : std::prev(held.end());
      back.handle[back.count] = at->second;
      back.verdict[back.count++] = WP_DROP;
      held.erase(at);
    }
    port->release(0, back);
  }
  CHECK(a->free() == kFrames);
  CHECK(b->free() == kFrames);
  CHECK_FALSE(a->wrong);
  CHECK_FALSE(b->wrong);
  CHECK(port->paths()[1].outstanding == 0);
  CHECK(stat(*port, "rx_packets") == 40);
}

TEST_CASE("switch: a path goes once nobody holds its frames, and its counters stay") {
  const auto port = switch_port();
  auto a = path("a:"), b = path("b:", 1000);
  port->add(a, "a", false);
  port->add(b, "b", true);
  a->send(3);
  wp::BatchStorage batch(8), held(8);
  REQUIRE(port->rx(0, *batch) == 3);
  held->handle[0] = batch->handle[0];
  held->verdict[0] = WP_DROP;
  held->count = 1;
  batch->verdict[0] = WP_KEEP;
  port->release(0, *batch);
  port->take_away(0);
  CHECK_FALSE(port->gone(0));  // the driver has not seen it
  CHECK(port->rx(0, *batch) == 0);
  CHECK_FALSE(port->gone(0));  // a frame is out
  CHECK_THROWS_AS(port->forget(0), wp::Error);
  port->release(0, *held);
  CHECK(port->gone(0));
  port->forget(0);
  CHECK(a->claim(0));
  CHECK(a.use_count() == 1);
  CHECK(a->free() == kFrames);
  CHECK(stat(*port, "rx_packets") == 3);
  CHECK(port->delivered() == std::vector<std::pair<std::string, uint64_t>>{{"a", 3}, {"b", 0}});
  a->unclaim(0);
  CHECK(port->add(a, "a", false) == 0);  // and may come back, its counters counted on
  a->send(2);
  CHECK(port->rx(0, *batch) == 2);
  port->release(0, *batch);
  CHECK(port->delivered()[0].second == 5);
}

TEST_CASE("switch: the path read first is read empty before the other") {
  const auto port = switch_port();
  const auto a = path("a:"), b = path("b:", 1000);
  port->add(a, "a", false);
  port->add(b, "b", true);
  wp::BatchStorage batch(4);
  a->send(20);
  b->send(20);
  port->rest(1, false, 1);
  std::vector<uint64_t> order;
  while (const uint32_t n = port->rx(0, *batch)) {
    for (uint32_t i = 0; i < n; i++) order.push_back(number(*batch, i));
    port->release(0, *batch);
  }
  REQUIRE(order.size() == 40);
  CHECK(order[19] == 1019);
  CHECK(order[20] == 0);
}

TEST_CASE("switch: a resting path is looked at now and then, also under load") {
  const auto port = switch_port();
  const auto a = path("a:"), b = path("b:", 1'000'000);
  port->add(a, "a", false);
  port->add(b, "b", true);
  port->rest(1, true, -1);
  wp::BatchStorage batch(4);
  a->send(1 << 20);
  b->send(1);
  uint32_t bursts = 0;
  bool came = false;
  while (!came && bursts < 2000) {
    REQUIRE(port->rx(0, *batch) > 0);
    came = number(*batch, 0) == 1'000'000;
    port->release(0, *batch);
    bursts++;
  }
  CHECK(came);
  CHECK(bursts > 1);
}

TEST_CASE("switch: answers leave by the path that the frame came from, others by the first") {
  const auto port = switch_port();
  const auto a = path("a:"), b = path("b:", 1000);
  port->add(a, "a", false);
  port->add(b, "b", true);
  b->send(4);
  wp::BatchStorage batch(8);
  REQUIRE(port->rx(0, *batch) == 4);
  std::fill_n(batch->verdict, 4, WP_TX);
  CHECK(port->tx(0, *batch) == 4);
  CHECK(b->own == 4);
  port->release(0, *batch);
  CHECK(b->free() == kFrames);
  CHECK(port->paths()[1].outstanding == 0);
  uint64_t foreign = 0;
  batch->count = 1;
  batch->data[0] = reinterpret_cast<uint8_t*>(&foreign);
  batch->handle[0] = WP_NO_FRAME;
  batch->verdict[0] = WP_TX;
  CHECK(port->tx(0, *batch) == 1);
  CHECK(a->copied == 1);
  CHECK_FALSE(b->wrong);
}

TEST_CASE("switch: queues of a path are dealt out") {
  const auto port = switch_port("2");
  const auto a = path("a:", 0, 3);
  port->add(a, "a", false);
  a->send(6);
  wp::BatchStorage batch(1);
  std::set<int64_t> first, second;
  for (int i = 0; i < 3; i++) {
    REQUIRE(port->rx(0, *batch) == 1);
    first.insert(batch->timestamp[0]);
    port->release(0, *batch);
    REQUIRE(port->rx(1, *batch) == 1);
    second.insert(batch->timestamp[0]);
    port->release(1, *batch);
  }
  CHECK(first == std::set<int64_t>{0, 2});
  CHECK(second == std::set<int64_t>{1});
  CHECK_THROWS_AS(port->add(path("b:", 0, 33), "b", true), wp::Error);
}

TEST_CASE("switch: it ends when all its paths have") {
  const auto port = switch_port();
  const auto a = path("a:"), b = path("b:");
  port->add(a, "a", false);
  port->add(b, "b", true);
  wp::BatchStorage batch(4);
  a->ends = true;
  port->rx(0, *batch);
  CHECK_FALSE(port->finished());
  b->ends = true;
  port->rx(0, *batch);
  port->rx(0, *batch);
  CHECK(port->finished());
}

TEST_CASE("switch: paths come and go under a running worker, and no frame is lost") {
  const auto port = switch_port();
  const auto base = path("base:", 0);
  port->add(base, "base", true);
  std::atomic<uint64_t> seen{0};
  const auto count = [](wp_batch* batch, void* state) {
    static_cast<std::atomic<uint64_t>*>(state)->fetch_add(batch->count);
    return 0;
  };
  wp::Worker worker({.name = "switched", .idle = wp::IdlePolicy::kSpin});
  worker.add_port(port);
  worker.add_stage(std::make_shared<wp::CStage>("count", +count, &seen));
  worker.start();
  uint64_t sent = 0;
  for (int round = 0; round < 200; round++) {
    const auto other = path("other:", 0);
    const uint32_t number = port->add(other, "other", false);
    base->send(10);
    other->send(10);
    sent += 20;
    while (seen.load() < sent) std::this_thread::yield();
    port->take_away(number);
    while (!port->gone(number)) std::this_thread::yield();
    port->forget(number);
    CHECK_FALSE(other->wrong);
    CHECK(other->free() == kFrames);
  }
  worker.stop();
  worker.join();
  CHECK(seen.load() == sent);
  CHECK(stat(*port, "rx_packets") == sent);
}
