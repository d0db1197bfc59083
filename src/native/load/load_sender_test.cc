// SPDX-License-Identifier: Apache-2.0
#include "load/load_sender.h"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "load/probe.h"
#include "net/headers.h"

using namespace wp;
using namespace wp::load;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kWall = 1'700'000'000'000'000'000;  // the wall clock at monotonic zero

// Time passes only by waiting, and by what the port costs.
class FakeClock final : public LoadClock {
 public:
  int64_t time = 5'000 * kMs;
  int64_t now() noexcept override { return time; }
  int64_t wall() noexcept override { return kWall + time; }
  void sleep_until(int64_t deadline) noexcept override { time = std::max(time, deadline); }
  void spin() noexcept override { time += 100; }
};

PortConfig port_config() {
  PortConfig config;
  config.spec = "fake:";
  config.clock = &Clock::process();
  config.telemetry = &Telemetry::process();
  return config;
}

class FakePort final : public Port {
 public:
  struct Sent {
    int64_t at;
    uint32_t length;
    Probe probe;
  };
  explicit FakePort(std::shared_ptr<FakeClock> clock)
      : Port(port_config()), clock_(std::move(clock)) {}

  Capabilities can{.rx = false, .tx = true, .max_frame = 1'514};
  std::vector<Sent> sent;
  int64_t stall_at = INT64_MAX, stall = 0;  // the first burst from then on takes this long
  int64_t cost = 0;                         // ns per burst
  uint32_t room = UINT32_MAX;               // frames taken of a burst

  uint32_t rx(uint32_t, wp_batch& batch) noexcept override { return batch.count = 0; }
  void release(uint32_t, wp_batch& batch) noexcept override { batch.count = 0; }
  Info info() const override { return {}; }
  Capabilities capabilities() const noexcept override { return can; }
  uint32_t tx(uint32_t, wp_batch& batch) noexcept override {
    if (clock_->time >= stall_at) {
      clock_->time += stall;
      stall_at = INT64_MAX;
    }
    clock_->time += cost;
    const uint32_t n = std::min(batch.count, room);
    for (uint32_t i = 0; i < n; i++) {
      net::Headers h;
      net::parse_headers(batch.data[i], batch.length[i], h);
      Probe probe;
      REQUIRE((h.layers & net::kUdp));
      REQUIRE(probe.read(batch.data[i] + h.payload_offset, h.payload_length));
      sent.push_back({clock_->time, batch.length[i], probe});
    }
    return n;
  }

 private:
  std::shared_ptr<FakeClock> clock_;
};

LoadSenderOptions options() {
  LoadSenderOptions out;
  out.flow.destination_ip = "239.1.1.1";
  out.flow.source_ip = "10.0.0.1";
  return out;
}

LoadPlan even(int64_t gap, uint64_t count, uint32_t size = 128) {
  return {{0}, {size}, gap, count};
}

struct Bench {
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  std::shared_ptr<FakePort> port = std::make_shared<FakePort>(clock);
  int64_t start = clock->time + 10 * kMs;

  void run(LoadSender& sender, LoadPlan plan) {
    sender.start(std::move(plan), 7, start);
    sender.join();
  }
};

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("load sender: packets leave at absolute deadlines and carry them") {
  Bench b;
  LoadSender sender(options(), b.port, b.clock);
  // Two packets at once, a third one 3 µs later, every 10 µs.
  b.run(sender, {{0, 0, 3'000}, {60, 1'514, 300}, 10'000, 300});
  REQUIRE(b.port->sent.size() == 300);
  for (size_t i = 0; i < 300; i++) {
    const auto& packet = b.port->sent[i];
    const int64_t due = static_cast<int64_t>(i / 3) * 10'000 + (i % 3 == 2 ? 3'000 : 0);
    CHECK(packet.probe.run == 7);
    CHECK(packet.probe.sequence == i);
    CHECK(packet.probe.intended == kWall + b.start + due);
    CHECK(packet.at >= b.start + due);
    CHECK(packet.at - b.start - due <= 100);  // a step of the clock
    CHECK(packet.length == (i % 3 == 0 ? 60u : i % 3 == 1 ? 1'514u : 300u));
  }
  const LoadCounts counts = sender.counts();
  CHECK(counts.planned == 300);
  CHECK(counts.sent == 300);
  CHECK(counts.refused == 0);
  CHECK(counts.unsent == 0);
  CHECK(counts.bytes == 100 * (60 + 1'514 + 300));
  CHECK(sender.start_wall() == kWall + b.start);
}

TEST_CASE("load sender: a port that stalls moves no deadline") {
  Bench b;
  b.port->stall_at = b.start + 100 * kMs;
  b.port->stall = 50 * kMs;
  LoadSender sender(options(), b.port, b.clock);
  b.run(sender, even(100'000, 10'000));  // 10 kHz for a second
  REQUIRE(b.port->sent.size() == 10'000);
  for (size_t i = 0; i < 10'000; i++)
    CHECK(b.port->sent[i].probe.intended == kWall + b.start + static_cast<int64_t>(i) * 100'000);
  // 500 deadlines passed meanwhile; the packets of them leave at once, and then all is on time.
  CHECK(b.port->sent[1'001].at - (b.start + 1'001 * 100'000) ==
        doctest::Approx(49.9e6).epsilon(0.01));
  CHECK(b.port->sent[2'000].at - (b.start + 2'000 * 100'000) <= 100);
  CHECK(sender.lateness().max() == doctest::Approx(49.9e6).epsilon(0.01));
  CHECK(sender.lateness().total() == 10'000);
}

TEST_CASE("load sender: what the port does not take is lost, once, and counted") {
  Bench b;
  b.port->room = 3;
  LoadSender sender(options(), b.port, b.clock);
  LoadPlan plan{{0, 0, 0, 0, 0}, {100, 100, 100, 100, 100}, 1'000'000, 500};
  b.run(sender, plan);
  const LoadCounts counts = sender.counts();
  CHECK(counts.sent == 300);
  CHECK(counts.refused == 200);
  CHECK(counts.unsent == 0);
  CHECK(b.port->sent.size() == 300);
}

TEST_CASE("load sender: far behind it gives up, and the rest is unsent") {
  Bench b;
  b.port->cost = 1 * kMs;  // a burst; 64 packets at most, so 64,000 a second
  LoadSenderOptions o = options();
  o.give_up_ns = 20 * kMs;
  LoadSender sender(o, b.port, b.clock);
  b.run(sender, even(1'000, 1'000'000));  // a million a second
  const LoadCounts counts = sender.counts();
  CHECK(counts.sent + counts.refused + counts.unsent == 1'000'000);
  CHECK(counts.refused == 0);
  CHECK(counts.unsent > 990'000);
  CHECK(counts.sent == b.port->sent.size());
  CHECK(b.clock->time - b.start < 40 * kMs);
}

TEST_CASE("load sender: one plan after another, and stop") {
  Bench b;
  auto real = std::make_shared<LoadClock>();
  LoadSender sender(options(), b.port, real);
  sender.start(even(1'000'000'000, 1'000), 1, real->now() + 1'000 * kMs);  // 1,000 seconds
  CHECK(error_of([&] { sender.start(even(1'000, 1), 2, 0); }).find("at work") != std::string::npos);
  sender.stop();
  sender.join();
  CHECK(sender.counts().unsent == 1'000);
  sender.start(even(1'000, 5), 2, real->now());
  sender.join();
  CHECK(sender.counts().sent == 5);
  CHECK(b.port->sent.back().probe.run == 2);
}

TEST_CASE("load sender: an unusable plan or option is an error that names it") {
  Bench b;
  LoadSender sender(options(), b.port, b.clock);
  const auto refused = [&](LoadPlan plan, const char* field) {
    const std::string error = error_of([&] { sender.start(plan, 1, 0); });
    CAPTURE(error);
    CHECK(error.starts_with(field));
  };
  refused({{}, {}, 1, 1}, "due = ");
  refused({{0, 1}, {60}, 1, 1}, "size = ");
  refused({{1, 0}, {60, 60}, 1, 1}, "due = ");
  refused({{-1}, {60}, 1, 1}, "due = ");
  refused({{0, 10}, {60, 60}, 9, 1}, "period = ");
  refused({{0}, {60}, 0, 1}, "period = ");
  refused({{0}, {60}, 1, 0}, "count = ");
  refused({{0}, {59}, 1, 1}, "size = 59");
  refused({{0}, {1'515}, 1, 1}, "size = 1515");
  b.port->can.tx = false;
  CHECK(error_of([&] { LoadSender(options(), b.port); }).find("cannot transmit") !=
        std::string::npos);
  b.port->can.tx = true;
  LoadSenderOptions o = options();
  o.burst = 0;
  CHECK(error_of([&] { LoadSender(o, b.port); }).starts_with("burst = 0"));
  o = options();
  o.tx_queue = 3;
  CHECK(error_of([&] { LoadSender(o, b.port); }).starts_with("tx_queue = 3"));
  o = options();
  o.cpu_core = -3;
  CHECK(error_of([&] { LoadSender(o, b.port); }).starts_with("cpu_core = -3"));
}

TEST_CASE("load sender: a queue that somebody drives is not taken") {
  Bench b;
  LoadSender sender(options(), b.port, b.clock);
  REQUIRE(b.port->claim(0));
  CHECK(error_of([&] { sender.start(even(1'000, 1), 1, 0); }).find("driven by somebody else") !=
        std::string::npos);
  b.port->unclaim(0);
  b.run(sender, even(1'000, 1));
  CHECK(b.port->claim(0));  // given back
}
