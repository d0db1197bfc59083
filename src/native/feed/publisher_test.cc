// SPDX-License-Identifier: Apache-2.0
#include "feed/publisher.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/mold_udp64.h"
#include "feed/random.h"
#include "net/bytes.h"
#include "net/headers.h"

using namespace wp;
using namespace wp::feed;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;

// Time passes only by waiting, and by what the port costs.
class FakeClock final : public PublishClock {
 public:
  int64_t time = 77 * kSecond;
  int64_t slept_past = INT64_MIN;  // the latest deadline of a sleep
  uint64_t sleeps = 0, spins = 0;
  int64_t now() noexcept override { return time; }
  void sleep_until(int64_t deadline) noexcept override {
    sleeps++;
    slept_past = deadline;
    if (deadline > time) time = deadline;
  }
  void spin() noexcept override {
    spins++;
    time += 50;
  }
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
  struct Frame {
    std::vector<uint8_t> bytes;
    int64_t at;
  };
  explicit FakePort(std::shared_ptr<FakeClock> clock = {})
      : Port(port_config()), time_(std::move(clock)) {}

  Capabilities can{.rx = false, .tx = true, .max_frame = 1'514};
  int64_t cost = 0;           // ns per burst
  Random* room = nullptr;     // takes a random number of the frames
  bool full = false;          // takes none
  std::vector<Frame> frames;  // what was taken
  uint64_t refused = 0, largest_burst = 0;

  uint32_t rx(uint32_t, wp_batch& batch) noexcept override { return batch.count = 0; }
  void release(uint32_t, wp_batch& batch) noexcept override { batch.count = 0; }
  Info info() const override { return {}; }
  Capabilities capabilities() const noexcept override { return can; }
  uint32_t tx(uint32_t, wp_batch& batch) noexcept override {
    largest_burst = std::max<uint64_t>(largest_burst, batch.count);
    uint32_t n = room ? static_cast<uint32_t>(room->below(batch.count + 1)) : batch.count;
    if (full) n = 0;
    for (uint32_t i = 0; i < n; i++) {
      CHECK(batch.verdict[i] == WP_TX);
      CHECK(batch.handle[i] == WP_NO_FRAME);
      frames.push_back({{batch.data[i], batch.data[i] + batch.length[i]}, time_ ? time_->time : 0});
    }
    refused += batch.count - n;
    if (time_) time_->time += cost;
    return n;
  }

 private:
  std::shared_ptr<FakeClock> time_;
};

// What a receiver makes of the frames.
struct Receiver {
  MoldUDP64 session;
  uint64_t messages = 0, missing = 0, heartbeats = 0, ends = 0;
  void message(uint64_t, const uint8_t*, uint16_t, int64_t, bool) { messages++; }
  void gap(uint64_t first, uint64_t last) { missing += last - first + 1; }
  void heartbeat(uint64_t) { heartbeats++; }
  void end_of_session(uint64_t) { ends++; }
  void session_change(const MoldSession&, const MoldSession&) {}

  explicit Receiver(const FakePort& port) {
    for (const FakePort::Frame& frame : port.frames) {
      net::Headers h;
      net::parse_headers(frame.bytes.data(), frame.bytes.size(), h);
      CHECK((h.layers & net::kUdp) != 0);
      session.on_packet(frame.bytes.data() + h.payload_offset, h.payload_length, frame.at, *this);
    }
    CHECK(session.counters().malformed == 0);
    CHECK(session.counters().duplicates == 0);
  }
};

PublisherOptions options_for_test() {
  PublisherOptions o;
  o.name = "test";
  o.flow.source_ip = "10.0.0.1";
  return o;
}

std::shared_ptr<MessageSource> day(uint64_t messages = 20'000) {
  ItchGeneratorOptions g;
  g.symbols = 10;
  g.messages = messages;
  g.start_ns = 34'200 * kSecond;
  g.end_ns = 34'202 * kSecond;
  return std::make_shared<GeneratorSource>(g);
}

std::map<std::string, uint64_t> run(Publisher& publisher) {
  publisher.start();
  publisher.join();
  CHECK_FALSE(publisher.running());
  const auto stats = publisher.stats();
  return {stats.begin(), stats.end()};
}

template <class Change>
std::string refusal(Change change) {
  auto port = std::make_shared<FakePort>();
  PublisherOptions o = options_for_test();
  change(o, *port);
  try {
    Publisher publisher(o, port, day());
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("as fast as possible: everything arrives, in bursts, exactly counted") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  Publisher publisher(options_for_test(), port, day(), clock);
  auto stats = run(publisher);
  const Receiver receiver(*port);
  CHECK(receiver.messages == 20'000);
  CHECK(receiver.missing == 0);
  CHECK(receiver.ends == 3);
  CHECK(stats["packets"] == port->frames.size());
  CHECK(stats["messages"] == 20'000);
  CHECK(publisher.published_messages() == 20'000);
  CHECK(publisher.published_packets() == port->frames.size());
  CHECK(stats["end_of_session"] == 3);
  CHECK(stats["tx_refused"] + stats["drop.packets"] + stats["drop.too_long"] == 0);
  uint64_t bytes = 0;
  for (const auto& frame : port->frames) bytes += frame.bytes.size() - net::kUdp4HeaderBytes;
  CHECK(stats["bytes"] == bytes);
  CHECK(port->largest_burst == 32);
  CHECK(publisher.send_lateness().total() == 0);  // nothing had a deadline
}

TEST_CASE("deadlines: never early, sleeps end before them, nothing adds up") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  port->cost = 20'000;
  PublisherOptions o = options_for_test();
  o.schedule.pacing = Pacing::kPackets;
  o.schedule.rate = 10'000;  // 100 µs apart, 20 of them spent in the port
  const int64_t start = clock->time;
  Publisher publisher(o, port, day(), clock);
  auto stats = run(publisher);
  const uint64_t data = stats["packets"] - stats["end_of_session"];
  const Histogram& late = publisher.send_lateness();
  CHECK(late.total() == data);
  CHECK(late.negative() == 0);
  CHECK(late.max() < 100);  // the step of a spin
  REQUIRE(data > 300);
  for (size_t i = 0; i < data; i++) {
    const int64_t due = start + static_cast<int64_t>(i) * 100'000;
    CHECK(port->frames[i].at >= due);
    CHECK(port->frames[i].at < due + 100);
  }
  // Between two packets: one sleep to the spin window, then spins through it.
  CHECK(clock->sleeps >= data - 1);
  CHECK(clock->sleeps <= data + 20);
  CHECK(clock->spins >= (data - 1) * 10'000 / 50);
  CHECK(clock->spins <= (data + 20) * (10'000 / 50 + 1));
}

TEST_CASE("a stall is caught up at once and recorded") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  port->cost = 5 * kMs;  // every call costs 50 intervals
  PublisherOptions o = options_for_test();
  o.schedule.pacing = Pacing::kPackets;
  o.schedule.rate = 10'000;
  o.burst = 64;
  Publisher publisher(o, port, day(), clock);
  run(publisher);
  CHECK(Receiver(*port).messages == 20'000);
  CHECK(port->largest_burst == 50);
  CHECK(publisher.send_lateness().max() >= 4'900'000);
  CHECK(publisher.send_lateness().max() <= 5 * kMs);
}

TEST_CASE("a port that takes some: offered again until taken, no loss, no duplicate") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  Random random(5);
  port->room = &random;
  Publisher publisher(options_for_test(), port, day(), clock);
  auto stats = run(publisher);
  const Receiver receiver(*port);
  CHECK(receiver.messages == 20'000);
  CHECK(receiver.missing == 0);
  CHECK(stats["packets"] == port->frames.size());
  CHECK(port->refused > 100);
  CHECK(stats["tx_refused"] == port->refused);
  CHECK(stats["drop.packets"] == 0);
}

TEST_CASE("drop policy: published + dropped is everything, and the gaps are what was dropped") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  Random random(6);
  port->room = &random;
  PublisherOptions o = options_for_test();
  o.on_refused = OnRefused::kDrop;
  o.schedule.end_of_session = 200;  // some of them arrive and show the loss at the tail
  Publisher publisher(o, port, day(), clock);
  auto stats = run(publisher);
  const Receiver receiver(*port);
  CHECK(stats["drop.packets"] == port->refused);
  CHECK(stats["tx_refused"] == port->refused);
  CHECK(stats["drop.messages"] > 1'000);
  CHECK(stats["messages"] + stats["drop.messages"] == 20'000);
  CHECK(receiver.messages == stats["messages"]);
  CHECK(receiver.session.next_sequence() == 20'001);
  // Whether the first packet was lost a receiver cannot know.
  CHECK(receiver.missing <= stats["drop.messages"]);
}

TEST_CASE("a port that takes nothing ends the publisher, and join() says so") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  port->full = true;
  PublisherOptions o = options_for_test();
  o.retry_timeout_ms = 20;
  Publisher publisher(o, port, day(), clock);
  const int64_t start = clock->time;
  publisher.start();
  CHECK_THROWS_WITH_AS(publisher.join(), doctest::Contains("took no packet for 20 ms"), Error);
  CHECK_NOTHROW(publisher.join());  // raised once
  CHECK(clock->time - start < 21 * kMs);
  CHECK(publisher.published_packets() == 0);
  CHECK(publisher.stats()[6].second == 32);  // drop.packets: the burst it gave up
  CHECK_THROWS_AS(publisher.start(), Error);
}

TEST_CASE("stop() ends a publisher that waits for a far deadline") {
  auto port = std::make_shared<FakePort>();
  PublisherOptions o = options_for_test();
  o.schedule.pacing = Pacing::kPackets;
  o.schedule.rate = 0.001;
  Publisher publisher(o, port, day());  // the real clock
  publisher.start();
  while (publisher.published_packets() == 0) std::this_thread::yield();
  CHECK(publisher.running());
  publisher.stop();
  publisher.join();
  CHECK(port->frames.size() == 1);
  CHECK(publisher.stats()[4].second == 0);  // no end of session
}

TEST_CASE("the real clock: sleeping and spinning are never early") {
  for (const int64_t spin : {int64_t{0}, 200'000L}) {
    auto port = std::make_shared<FakePort>();
    PublisherOptions o = options_for_test();
    o.schedule.pacing = Pacing::kPackets;
    o.schedule.rate = 5'000;
    o.schedule.end_of_session_interval_ns = 0;
    o.spin_ns = spin;
    Publisher publisher(o, port, day(5'000));
    auto stats = run(publisher);
    CHECK(publisher.send_lateness().total() == stats["packets"] - 3);
    CHECK(publisher.send_lateness().negative() == 0);
  }
}

TEST_CASE("a capture passes through, headers and all") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  auto source = std::make_shared<PacketListSource>();
  MoldPacketizer packetizer("CAPTURED", 10);
  std::vector<uint8_t> payload(100);
  packetizer.begin(payload.data());
  packetizer.append("Dabcdefghijklmnopqr", 19);
  payload.resize(packetizer.finish());
  source->add(0, payload);
  source->add(kMs, std::vector<uint8_t>(1'473));  // one byte more than a frame of 1514 holds
  Publisher publisher(options_for_test(), port, std::shared_ptr<PacketSource>(source), clock);
  auto stats = run(publisher);
  CHECK(stats["packets"] == 4);
  CHECK(stats["messages"] == 1);
  CHECK(stats["drop.too_long"] == 1);
  const auto& frame = port->frames.at(0).bytes;
  CHECK(std::vector<uint8_t>(frame.begin() + 42, frame.end()) == payload);
}

TEST_CASE("frames carry the flow of the options and a valid checksum") {
  for (const bool six : {false, true}) {
    auto clock = std::make_shared<FakeClock>();
    auto port = std::make_shared<FakePort>(clock);
    PublisherOptions o = options_for_test();
    o.flow.destination_ip = six ? "ff05::1:2:3" : "239.200.7.9";
    o.flow.source_ip = six ? "fd00::1" : "10.1.2.3";
    o.flow.destination_port = 26'477;
    o.flow.source_port = 1'234;
    o.flow.ttl = 9;
    o.flow.source_mac = "02:aa:bb:cc:dd:ee";
    Publisher publisher(o, port, day(100), clock);
    run(publisher);
    for (const auto& sent : port->frames) {
      const auto& f = sent.bytes;
      net::Headers h;
      net::parse_headers(f.data(), f.size(), h);
      CHECK(h.ip_version == (six ? 6 : 4));
      CHECK(h.ttl == 9);
      CHECK(h.src_port == 1'234);
      CHECK(h.dst_port == 26'477);
      CHECK(h.payload_offset + h.payload_length == f.size());
      const std::vector<uint8_t> mac(f.begin(), f.begin() + 6);
      CHECK(mac == (six ? std::vector<uint8_t>{0x33, 0x33, 0, 2, 0, 3}
                        : std::vector<uint8_t>{0x01, 0x00, 0x5e, 0x48, 7, 9}));
      CHECK(f[7] == 0xaa);
      CHECK(h.ip_dst[0] == (six ? 0xff : 239));
      // RFC 768: pseudo header, UDP header and data sum up to all ones.
      const size_t ip = six ? 16 : 4, at = h.l4_offset;
      uint64_t sum = 17 + f.size() - at;
      for (size_t i = at - 2 * ip; i < f.size(); i += 2)
        sum += static_cast<uint64_t>(f[i]) << 8 | (i + 1 < f.size() ? f[i + 1] : 0);
      while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
      CHECK(sum == 0xffff);
    }
  }
}

TEST_CASE("a port that strips headers needs no addresses of ours") {
  auto clock = std::make_shared<FakeClock>();
  auto port = std::make_shared<FakePort>(clock);
  port->can.ethernet_headers = false;
  PublisherOptions o;
  o.flow.destination_ip = "127.0.0.1";
  Publisher publisher(o, port, day(), clock);
  run(publisher);
  CHECK(Receiver(*port).messages == 20'000);
}

TEST_CASE("what cannot be published is refused when it is made") {
  using O = PublisherOptions;
  const auto starts = [](const std::string& what, const char* with) {
    CAPTURE(what);
    CHECK(what.starts_with(with));
  };
  starts(refusal([](O&, FakePort& p) { p.can.tx = false; }), "port fake: cannot transmit");
  starts(refusal([](O& o, FakePort&) { o.tx_queue = 1; }), "tx_queue");
  starts(refusal([](O& o, FakePort&) { o.schedule.max_payload = 1'473; }), "max_payload");
  starts(refusal([](O& o, FakePort&) { o.burst = 0; }), "burst");
  starts(refusal([](O& o, FakePort&) { o.name = ""; }), "name");
  starts(refusal([](O& o, FakePort&) { o.cpu_core = -2; }), "cpu_core");
  starts(refusal([](O& o, FakePort&) { o.retry_timeout_ms = 0; }), "retry_timeout_ms");
  starts(refusal([](O& o, FakePort&) { o.spin_ns = -1; }), "spin_ns");
  starts(refusal([](O& o, FakePort&) { o.schedule.session = ""; }), "session");
  starts(refusal([](O& o, FakePort&) { o.flow.destination_ip = "239.1.1"; }), "destination_ip");
  starts(refusal([](O& o, FakePort&) { o.flow.destination_port = 0; }), "destination_port");
  starts(refusal([](O& o, FakePort&) { o.flow.ttl = 0; }), "ttl");
  starts(refusal([](O& o, FakePort&) { o.flow.source_ip = ""; }), "source_ip");
  starts(refusal([](O& o, FakePort&) { o.flow.source_ip = "fd00::1"; }), "source_ip");
  starts(refusal([](O& o, FakePort&) { o.flow.destination_ip = "10.0.0.2"; }), "destination_mac");
  starts(refusal([](O& o, FakePort&) { o.flow.destination_mac = "1:2:3"; }), "destination_mac");
  starts(refusal([](O& o, FakePort&) { o.flow.source_mac = "02:00:00:00:00:01:05"; }),
         "source_mac");
  CHECK(refusal([](O&, FakePort&) {}) == "");
  CHECK_THROWS_AS(Publisher(options_for_test(), nullptr, day()), Error);
  PublisherOptions o = options_for_test();
  o.cpu_core = 1'023;
  Publisher pinned(o, std::make_shared<FakePort>(), day());
  CHECK_THROWS_WITH_AS(pinned.start(), doctest::Contains("cpu_core = 1023"), Error);
}
