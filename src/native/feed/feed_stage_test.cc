// SPDX-License-Identifier: Apache-2.0
#include "feed/feed_stage.h"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "backends/builtin.h"
#include "core/error.h"
#include "core/worker.h"
#include "feed/channel.h"
#include "feed/mold_udp64_packet.h"
#include "feed/symbol_table.h"

namespace {

std::vector<std::shared_ptr<wp::feed::Channel>> one_channel() {
  wp::feed::ChannelOptions o;
  o.name = "only";
  o.protocol = "itch";
  o.lines = {wp::FlowRule{}};
  o.arbiter.in_order = false;
  return {wp::feed::make_channel(std::move(o))};
}

}  // namespace

TEST_CASE(
    "feed stage: the snapshot is exact once the worker has stopped, whoever looks meanwhile") {
  wp::register_backend(wp::kNullBackend);
  uint64_t wrong = 0;
  for (int round = 0; round < 200; round++) {
    auto ring = std::make_shared<wp::Ring>(16, wp::FullPolicy::kDrop, "");
    auto stage =
        std::make_shared<wp::feed::FeedStage>(wp::feed::FeedOptions{}, ring, one_channel());
    std::atomic<bool> stop{false};
    std::thread reader([&] {
      while (!stop.load()) stage->snapshot();
    });
    wp::Worker worker({.name = "snapshots"});
    worker.add_port(wp::open_port("null:,frames=50", {true, {}}, {}, 64));
    worker.add_stage(stage);
    worker.start();
    worker.join();
    wrong += stage->snapshot().frames != 50;
    stop.store(true);
    reader.join();
  }
  CHECK(wrong == 0);
}

TEST_CASE("feed stage: a symbol table is of one worker at a time") {
  const auto symbols = std::make_shared<wp::feed::SymbolTable>();
  const auto stage_of = [&](const char* name) {
    wp::feed::ChannelOptions o;
    o.name = name;
    o.protocol = "iex";
    o.lines = {wp::FlowRule{}};
    o.symbols = symbols;
    std::vector<std::shared_ptr<wp::feed::Channel>> channels{wp::feed::make_channel(std::move(o))};
    return std::make_shared<wp::feed::FeedStage>(
        wp::feed::FeedOptions{.name = name},
        std::make_shared<wp::Ring>(16, wp::FullPolicy::kDrop, ""), channels);
  };
  const wp::StageContext context{{}, 64};
  auto first = stage_of("first"), second = stage_of("second");
  first->attach(context);
  first->attach(context);
  CHECK_THROWS_WITH_AS(second->attach(context), doctest::Contains("symbol_table"), wp::Error);
  first->end(0);
  second->attach(context);
  CHECK_THROWS_AS(first->attach(context), wp::Error);
  second.reset();
  first->attach(context);
}

TEST_CASE("feed stage: a gap is not given up before every queue was looked into") {
  wp::feed::ChannelOptions o;
  o.name = "two";
  o.protocol = "itch";
  o.lines = {wp::FlowRule{}};
  o.arbiter.hold_ns = 1'000'000;
  std::vector<std::shared_ptr<wp::feed::Channel>> channels{wp::feed::make_channel(std::move(o))};
  auto ring = std::make_shared<wp::Ring>(16, wp::FullPolicy::kDrop, "");
  wp::feed::FeedStage stage({}, ring, channels);
  const int64_t now = wp::Clock::process().now();
  int64_t polled_until = now;
  stage.attach({{}, 64, nullptr, &polled_until});
  const auto packet = [&](uint64_t number) {
    uint8_t bytes[wp::feed::kMoldHeaderSize + 2 + 19] = {};
    wp::feed::mold_encode_header(bytes, {}, number, 1);
    bytes[wp::feed::kMoldHeaderSize + 1] = 19;
    bytes[wp::feed::kMoldHeaderSize + 2] = 'D';
    channels[0]->on_packet(0, bytes, sizeof bytes, now);
  };
  packet(1);
  packet(3);
  stage.idle(now + 5'000'000);
  CHECK(ring->size() == 1);
  polled_until = now + 1'000'000;
  stage.idle(now + 5'000'000);
  CHECK(ring->size() == 2);
  stage.end(now + 5'000'000);
  // Where no worker says, the time does.
  stage.attach({{}, 64});
  packet(5);
  stage.idle(now + 10'000'000);
  CHECK(ring->size() == 3);
  stage.end(now + 10'000'000);
}

TEST_CASE("feed stage: abandoned, it closes a full ring rather than wait for its consumer") {
  auto ring = std::make_shared<wp::Ring>(16, wp::FullPolicy::kBlock, "");
  wp::feed::FeedStage stage({}, ring, one_channel());
  CHECK_FALSE(ring->closed());
  stage.abandon();
  CHECK(ring->closed());
}
