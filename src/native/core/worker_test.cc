// SPDX-License-Identifier: Apache-2.0
#include "core/worker.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backends/builtin.h"
#include "core/error.h"

namespace {

std::shared_ptr<wp::Port> null_port(const std::string& options, uint32_t batch = 64) {
  wp::register_backend(wp::kNullBackend);
  return wp::open_port("null:" + options, {true, {}}, {}, batch);
}

uint64_t value(const std::vector<std::pair<std::string, uint64_t>>& stats,
               const std::string& name) {
  for (const auto& [n, v] : stats)
    if (n == name) return v;
  FAIL("no counter " << name);
  return 0;
}

class VerdictStage final : public wp::Stage {
 public:
  explicit VerdictStage(std::vector<uint8_t> cycle, uint16_t target = 0)
      : cycle_(std::move(cycle)), target_(target) {}
  const char* name() const noexcept override { return "verdicts"; }
  bool process(wp_batch& batch) noexcept override {
    for (uint32_t i = 0; i < batch.count; i++) {
      batch.verdict[i] = cycle_[seen_++ % cycle_.size()];
      batch.target[i] = target_;
    }
    return true;
  }
  bool idle(int64_t) noexcept override {
    idle_calls++;
    return true;
  }
  std::atomic<uint64_t> idle_calls{0};

 private:
  std::vector<uint8_t> cycle_;
  uint16_t target_;
  uint64_t seen_ = 0;
};

// Hands out `frames` frames and cannot send any.
class DeafPort final : public wp::Port {
 public:
  DeafPort(const wp::PortConfig& config, uint32_t frames) : Port(config), left_(frames) {}
  uint32_t rx(uint32_t, wp_batch& batch) noexcept override {
    batch.count = std::min(left_, batch.capacity);
    left_ -= batch.count;
    if (batch.count == 0) finished_.store(true);
    for (uint32_t i = 0; i < batch.count; i++) {
      batch.data[i] = frame_;
      batch.length[i] = sizeof frame_;
      batch.verdict[i] = WP_DROP;
      batch.handle[i] = i;
    }
    return batch.count;
  }
  void release(uint32_t, wp_batch& batch) noexcept override { batch.count = 0; }
  wp::Info info() const override { return {}; }
  wp::Capabilities capabilities() const noexcept override { return {}; }

 private:
  uint32_t left_;
  uint8_t frame_[64] = {};
};

std::shared_ptr<wp::Port> deaf_port(uint32_t frames) {
  wp::PortConfig config;
  config.spec = "deaf:";
  config.clock = &wp::Clock::process();
  config.telemetry = &wp::Telemetry::process();
  return std::make_shared<DeafPort>(config, frames);
}

// Waits for somebody who never comes.
class WaitingStage final : public wp::Stage {
 public:
  const char* name() const noexcept override { return "waiting"; }
  bool process(wp_batch&) noexcept override {
    entered.store(true);
    while (!abandoned_.load()) sched_yield();
    return true;
  }
  void abandon() noexcept override { abandoned_.store(true); }
  std::atomic<bool> entered{false};

 private:
  std::atomic<bool> abandoned_{false};
};

int fail_at_third(wp_batch*, void* state) {
  return ++*static_cast<int*>(state) == 3 ? 17 : 0;
}

}  // namespace

TEST_CASE("worker: every frame gets exactly one verdict and a finite source ends it") {
  auto port = null_port(",frames=10000");
  auto stage = std::make_shared<VerdictStage>(
      std::vector<uint8_t>{WP_DROP, WP_TX, WP_PASS, WP_ABORTED, WP_REDIRECT, 99, WP_REDIRECT});
  wp::Worker worker({.name = "verdicts"});
  worker.add_port(port);
  worker.add_stage(stage);
  worker.start();
  worker.join();
  const auto stats = worker.stats();
  CHECK(value(stats, "frames") == 10000);
  const uint64_t verdicts = value(stats, "verdict.aborted") + value(stats, "verdict.drop") +
                            value(stats, "verdict.pass") + value(stats, "verdict.tx") +
                            value(stats, "verdict.redirect") + value(stats, "verdict.keep") +
                            value(stats, "drop.bad_verdict");
  CHECK(verdicts == 10000);
  CHECK(value(stats, "drop.pass_unsupported") == value(stats, "verdict.pass"));
  CHECK(value(stats, "drop.bad_target") == 0);
  const auto sent = port->stats();
  CHECK(value(sent, "tx_packets") == value(stats, "verdict.tx") + value(stats, "verdict.redirect"));
  CHECK(stage->idle_calls.load() > 0);
}

TEST_CASE("worker: REDIRECT reaches the port it names; a port that is not there is counted") {
  auto in = null_port(",frames=1000"), out = null_port(",frames=1");
  wp::Worker worker({.name = "redirect"});
  worker.add_port(in);
  const uint16_t target = worker.add_port(out);
  worker.add_stage(std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_REDIRECT}, target));
  worker.start();
  worker.join();
  CHECK(value(out->stats(), "tx_packets") == 1001);
  wp::Worker lost({.name = "bad_target"});
  lost.add_port(null_port(",frames=500"));
  lost.add_stage(std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_REDIRECT}, uint16_t{9}));
  lost.start();
  lost.join();
  CHECK(value(lost.stats(), "drop.bad_target") == 500);
}

TEST_CASE("worker: the first error of a stage stops it and is raised by join, once") {
  int calls = 0;
  wp::Worker worker({.name = "failing"});
  worker.add_port(null_port(""));
  worker.add_stage(std::make_shared<wp::CStage>("third", fail_at_third, &calls));
  worker.start();
  std::string text;
  try {
    worker.join();
  } catch (const wp::Error& e) {
    text = e.what();
  }
  CHECK(text == "stage third returned 17");
  CHECK(calls == 3);
  worker.join();
  CHECK_FALSE(worker.running());
}

TEST_CASE("worker: several queues are all drained") {
  auto port = null_port(",frames=777,queues=3");
  wp::Worker worker({.name = "queues"});
  worker.add_port(port);
  worker.start();
  worker.join();
  CHECK(value(worker.stats(), "frames") == 3 * 777);
}

TEST_CASE("worker: pinned to the core asked for, as read back") {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  int core = 0;
  while (!CPU_ISSET(core, &allowed)) core++;
  wp::Worker worker({.name = "pinned", .cpu_core = core});
  worker.add_port(null_port(",frames=100"));
  worker.start();
  worker.join();
  CHECK(worker.affinity() == core);
}

TEST_CASE("worker: refuses to start wrongly") {
  wp::Worker empty({.name = "empty"});
  CHECK_THROWS_AS(empty.start(), wp::Error);
  wp::Worker nowhere({.name = "nowhere", .cpu_core = 1000});
  nowhere.add_port(null_port(",frames=1"));
  CHECK_THROWS_AS(nowhere.start(), wp::Error);
  CHECK_THROWS_AS(wp::Worker({.name = "negative", .cpu_core = -1}), wp::Error);
  wp::Worker queue({.name = "queue"});
  CHECK_THROWS_AS(queue.add_port(null_port(""), {1}), wp::Error);
}

TEST_CASE("worker: stop ends an endless source") {
  wp::Worker worker({.name = "endless", .idle = wp::IdlePolicy::kSpin});
  worker.add_port(null_port(""));
  worker.start();
  while (value(worker.stats(), "frames") < 1000) sched_yield();
  worker.stop();
  worker.join();
  CHECK(value(worker.stats(), "verdict.drop") == value(worker.stats(), "frames"));
}

TEST_CASE("worker: frames for a port that cannot send are counted as lost") {
  for (const uint8_t verdict : {WP_TX, WP_REDIRECT}) {
    wp::Worker worker({.name = "deaf"});
    worker.add_port(deaf_port(1000));
    worker.add_stage(std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_DROP, verdict}));
    worker.start();
    worker.join();
    CHECK(value(worker.stats(), "frames") == 1000);
    CHECK(value(worker.stats(), "drop.tx_unsupported") == 500);
  }
}

TEST_CASE("worker: REDIRECT leaves by a queue that is this worker's") {
  auto out = null_port(",queues=2,frames=1");
  wp::Worker worker({.name = "redirect_queue"});
  worker.add_port(null_port(",frames=100"));
  const uint16_t target = worker.add_port(out, {1});
  worker.add_stage(std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_REDIRECT}, target));
  worker.start();
  while (value(worker.stats(), "verdict.redirect") < 101) sched_yield();
  worker.stop();
  worker.join();
  uint64_t by_queue[2] = {};
  for (const auto& entry : wp::Telemetry::process().entries())
    for (const int q : {0, 1})
      if (entry.name.starts_with("port/null:,queues=2,frames=1/q" + std::to_string(q)) &&
          entry.name.ends_with("tx_packets"))
        by_queue[q] += entry.value;
  CHECK(by_queue[0] == 0);
  CHECK(by_queue[1] == 101);
}

TEST_CASE("worker: runs once; a second start is refused rather than silently nothing") {
  wp::Worker worker({.name = "once"});
  worker.add_port(null_port(""));
  worker.start();
  worker.stop();
  worker.join();
  CHECK_THROWS_AS(worker.start(), wp::Error);
}

TEST_CASE("worker: a stage that failed is not called again, whatever queues there are") {
  int calls = 2;
  wp::Worker worker({.name = "failing_queues"});
  worker.add_port(null_port(",queues=4"));
  worker.add_stage(std::make_shared<wp::CStage>("third", fail_at_third, &calls));
  worker.start();
  CHECK_THROWS_AS(worker.join(), wp::Error);
  CHECK(calls == 3);
}

TEST_CASE("worker: destroyed in the middle of a burst that waits, it does not wait along") {
  wp::Worker worker({.name = "waiting"});
  worker.add_port(null_port(""));
  auto stage = std::make_shared<WaitingStage>();
  worker.add_stage(stage);
  worker.start();
  while (!stage->entered.load()) sched_yield();
}

TEST_CASE("worker: refuses bursts that stages have no room for") {
  CHECK_THROWS_AS(wp::Worker({.name = "none", .batch_size = 0}), wp::Error);
  CHECK_THROWS_AS(wp::Worker({.name = "huge", .batch_size = 8192}), wp::Error);
}

TEST_CASE("worker: a queue has one driver at a time") {
  auto port = null_port(",queues=2");
  wp::Worker first({.name = "first"}), both({.name = "both"}), second({.name = "second"});
  first.add_port(port, {1});
  both.add_port(port);
  second.add_port(port, {0});
  first.start();
  CHECK_THROWS_AS(both.start(), wp::Error);
  second.start();  // what the refused one had taken already is free again
  first.stop();
  second.stop();
  first.join();
  second.join();
  CHECK_FALSE(port->claimed());
  both.start();
  CHECK(port->claimed());
}

TEST_CASE("worker: stages are told of its start and end, and are one worker's") {
  struct Noting final : wp::Stage {
    const char* name() const noexcept override { return "noting"; }
    void attach(const wp::StageContext& context) override {
      ports = context.ports.size();
      batch = context.batch_size;
    }
    void enter() noexcept override { steps += 'e'; }
    bool process(wp_batch&) noexcept override {
      if (steps.size() < 3) steps += 'p';
      return true;
    }
    void end(int64_t) noexcept override { steps += 'l'; }
    std::string steps;
    size_t ports = 0;
    uint32_t batch = 0;
  };
  auto stage = std::make_shared<Noting>();
  wp::Worker worker({.name = "noted", .batch_size = 32});
  worker.add_port(null_port(",frames=1000"));
  worker.add_stage(stage);
  worker.start();
  worker.join();
  CHECK(stage->steps == "eppl");
  CHECK(stage->ports == 1);
  CHECK(stage->batch == 32);
  wp::Worker other({.name = "other"});
  other.add_port(null_port(",frames=1000"));
  other.add_stage(stage);
  CHECK_THROWS_AS(other.start(), wp::Error);
}

TEST_CASE("worker: stages know until when every queue was found empty") {
  struct Looking final : wp::Stage {
    const char* name() const noexcept override { return "looking"; }
    void attach(const wp::StageContext& context) override {
      until = context.polled_until;
      first = *until;
    }
    bool process(wp_batch&) noexcept override {
      in_process.push_back(*until);
      return true;
    }
    bool idle(int64_t now) noexcept override {
      in_idle.push_back(*until);
      last_idle = now;
      return true;
    }
    const int64_t* until = nullptr;
    int64_t first = 0, last_idle = 0;
    std::vector<int64_t> in_process, in_idle;
  };
  const auto run = [](std::vector<std::shared_ptr<wp::Port>> ports) {
    auto stage = std::make_shared<Looking>();
    wp::Worker worker({.name = "looked", .batch_size = 32});
    for (auto& port : ports) worker.add_port(std::move(port));
    worker.add_stage(stage);
    worker.start();
    worker.join();
    return stage;
  };
  const int64_t before = wp::Clock::process().now();
  // 32, 32, 32, 4, nothing: only the last two say that no more was there.
  const auto alone = run({deaf_port(100)});
  CHECK(alone->first >= before);
  CHECK(alone->in_process == std::vector<int64_t>(4, alone->first));
  CHECK(alone->in_idle[0] > alone->first);
  CHECK(alone->in_idle[0] <= alone->last_idle);
  // The one that is full for longer is what counts.
  const auto two = run({deaf_port(5), deaf_port(96)});
  CHECK(two->in_process == std::vector<int64_t>(4, two->first));
  CHECK(two->in_idle[0] > two->first);
  // Nothing waits in a capture, or in what is made up.
  const auto made_up = run({null_port(",frames=100")});
  CHECK(made_up->in_process == std::vector<int64_t>(made_up->in_process.size(), INT64_MAX));
  CHECK(made_up->in_idle.back() == INT64_MAX);
}

TEST_CASE("worker: a stage has one worker for good, also where the next has its address") {
  auto stage = std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_DROP});
  std::optional<wp::Worker> worker;
  worker.emplace(wp::WorkerConfig{.name = "first"});
  worker->add_port(null_port(",frames=10"));
  worker->add_stage(stage);
  worker->start();
  worker->join();
  worker.emplace(wp::WorkerConfig{.name = "second"});
  worker->add_port(null_port(",frames=10"));
  worker->add_stage(stage);
  CHECK_THROWS_AS(worker->start(), wp::Error);
}

TEST_CASE("worker: a start that is refused leaves queues and stages to others") {
  struct Refusing final : wp::Stage {
    const char* name() const noexcept override { return "refusing"; }
    void attach(const wp::StageContext&) override { throw wp::Error(wp::ErrorKind::kConfig, "no"); }
    bool process(wp_batch&) noexcept override { return true; }
  };
  auto stage = std::make_shared<VerdictStage>(std::vector<uint8_t>{WP_DROP});
  auto port = null_port(",frames=10");
  wp::Worker refused({.name = "refused"}), other({.name = "other"});
  refused.add_port(port);
  refused.add_stage(stage);
  refused.add_stage(std::make_shared<Refusing>());
  CHECK_THROWS_AS(refused.start(), wp::Error);
  CHECK_FALSE(refused.running());
  CHECK_FALSE(port->claimed());
  other.add_port(port);
  other.add_stage(stage);
  other.start();
  other.join();
  CHECK(value(other.stats(), "frames") == 10);
}

TEST_CASE("worker: joined by several threads, it keeps no port open") {
  auto port = null_port("");
  const std::weak_ptr<wp::Port> alive = port;
  wp::Worker worker({.name = "joined"});
  worker.add_port(std::move(port));
  worker.start();
  CHECK_FALSE(worker.wait_for_end(std::chrono::milliseconds(1)));
  std::thread first([&] { worker.join(); }), second([&] { worker.join(); });
  worker.stop();
  first.join();
  second.join();
  CHECK(worker.wait_for_end(std::chrono::milliseconds(0)));
  CHECK(alive.expired());
  CHECK(worker.queues().size() == 1);
}
