/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels from packets to records: lines, recovery, mail, filters, counters.
 */
#include "feed/channel.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/arbiter.h"
#include "feed/mold_udp64_packet.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

constexpr int64_t kNow = 1'700'000'000'000'000'000;

std::string itch(char type, uint16_t locate, size_t length) {
  std::string m(length, '\0');
  m[0] = type;
  m[1] = static_cast<char>(locate >> 8);
  m[2] = static_cast<char>(locate & 255);
  return m;
}
std::string deleted(uint16_t locate = 7) {
  return itch('D', locate, 19);
}
std::string added(uint64_t order, uint16_t locate = 7) {
  std::string m = itch('A', locate, 36);
  net::store_be64(reinterpret_cast<uint8_t*>(m.data()) + 11, order);
  m[19] = 'B';
  m[23] = 100;
  m[35] = 50;
  return m;
}
std::string directory(const std::string& stock, uint16_t locate) {
  std::string m = itch('R', locate, 39);
  m.replace(11, 8, (stock + "        ").substr(0, 8));
  return m;
}

std::string mold(uint64_t first, const std::vector<std::string>& messages,
                 const char* name = "SESSION001") {
  MoldSession session;
  std::memcpy(session.data(), name, kMoldSessionSize);
  std::string out(kMoldHeaderSize, '\0');
  mold_encode_header(reinterpret_cast<uint8_t*>(out.data()), session, first,
                     static_cast<uint16_t>(messages.size()));
  for (const std::string& m : messages) {
    out += static_cast<char>(m.size() >> 8);
    out += static_cast<char>(m.size() & 255);
    out += m;
  }
  return out;
}
std::string deletes(uint64_t first, size_t n) {
  return mold(first, std::vector<std::string>(n, deleted()));
}

ChannelOptions itch_options(size_t lines = 2) {
  ChannelOptions o;
  o.name = "test";
  o.protocol = "itch";
  for (size_t i = 0; i < lines; ++i) {
    FlowRule rule;
    rule.port = static_cast<uint16_t>(9000 + i);
    o.lines.push_back(rule);
  }
  o.arbiter.hold_ns = 1'000'000;
  o.arbiter.hold_messages = 1024;
  o.arbiter.hold_bytes = 1 << 20;
  return o;
}
ChannelOptions recovering() {
  ChannelOptions o = itch_options();
  o.encoder = std::make_unique<MoldRequests>();
  o.recovery = o.encoder->limits();
  o.recovery.hold_ns = 1000;
  o.recovery.retry_ns = 10'000;
  o.recovery.deadline_ns = 500'000;
  return o;
}

// A channel with a ring of its own behind it, on a clock of its own.
struct Bench {
  explicit Bench(ChannelOptions options, FullPolicy policy = FullPolicy::kDrop,
                 uint64_t capacity = 4096, std::shared_ptr<LockedBooks> books = nullptr)
      : ring(std::make_shared<Ring>(capacity, policy, "")),
        output(ring, std::move(books)),
        channel(make_channel(std::move(options))) {
    channel->bind(&output, "bench");
    output.start(nullptr);
  }
  ~Bench() {
    output.stop();
    channel->unbind(&output);
  }

  void packet(uint32_t line, const std::string& bytes, int64_t at) {
    now = kNow + at;
    // A heap copy of its exact size lets a sanitizer see a read past the end.
    const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
    channel->on_packet(line, copy.data(), copy.size(), now);
    output.flush(now);
    if (channel->due(now)) service(at);
  }
  void service(int64_t at) {
    now = kNow + at;
    channel->service(now);
    output.flush(now);
  }
  std::vector<wp_record> records() {
    std::vector<wp_record> out(ring->size());
    ring->pop(out.data(), out.size());
    return out;
  }
  std::vector<uint64_t> numbers() {
    std::vector<uint64_t> out;
    for (const wp_record& r : records()) out.push_back(r.seq);
    return out;
  }
  ChannelSnapshot snapshot() {
    channel->publish(now, true);
    return channel->snapshot();
  }
  std::vector<ChannelRequest> requests() {
    std::vector<ChannelRequest> out;
    for (ChannelRequest r; channel->take_request(&r);) out.push_back(r);
    return out;
  }
  bool inject(const std::string& m) {
    return channel->inject(0, reinterpret_cast<const uint8_t*>(m.data()), m.size(), 0, now);
  }
  bool reply(const std::string& bytes, int64_t at) {
    return channel->reply(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), kNow + at);
  }

  std::shared_ptr<Ring> ring;
  RecordOutput output;
  std::unique_ptr<Channel> channel;
  int64_t now = kNow;
};

using Numbers = std::vector<uint64_t>;

// Every message that the arbiter passed on, or that was injected, is in exactly one place.
void check_sums(const ChannelSnapshot& s) {
  UnitCounters units;
  for (size_t i = 0; i < s.used; ++i) units += s.units[i].counters;
  uint64_t offered = units.delivered + s.mail.injected;
  for (const LineCounters& c : s.lines) offered += c.unsequenced_messages;
  const DecodeCounters& d = s.decoded;
  CHECK(offered == d.messages + d.filtered + d.unknown + d.malformed);
  CHECK(d.records == d.delivered + d.ring_full);
  uint64_t by_type = 0;
  for (const auto& [type, n] : d.by_type) by_type += n;
  CHECK(by_type == d.messages);
}

TEST_CASE("two lines give each message once, in order, with where it came from") {
  Bench b(itch_options());
  b.packet(0, deletes(1, 2), 0);
  b.packet(1, deletes(1, 3), 10);
  b.packet(0, deletes(4, 1), 20);
  b.packet(1, deletes(4, 1), 30);
  const auto records = b.records();
  REQUIRE(records.size() == 4);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(records[i].seq == i + 1);
    CHECK(records[i].instrument == 7);
    CHECK(records[i].flags == 0);
  }
  CHECK(records[2].recv_time == kNow + 10);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.lines[0].won == 3);
  CHECK(s.lines[1].won == 1);
  CHECK(s.lines[0].missing == 1);
  CHECK(s.decoded.delivered == 4);
  CHECK(s.decoded.by_type['D'].second == 4);
  CHECK(s.units[0].next_sequence == 5);
  check_sums(s);
}

TEST_CASE("a gap is held back, then asked for, and filled by the server's answer") {
  Bench b(recovering());
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(4, 2), 100);
  CHECK(b.numbers() == Numbers{1});
  CHECK(b.requests().empty());
  b.service(1099);
  CHECK(b.requests().empty());
  CHECK_FALSE(b.channel->due(kNow + 1099));
  CHECK(b.channel->due(kNow + 1100));
  b.service(1100);
  const auto requests = b.requests();
  REQUIRE(requests.size() == 1);
  CHECK(requests[0].what.first == 2);
  CHECK(requests[0].what.count == 2);
  CHECK(requests[0].length == kMoldHeaderSize);
  CHECK(std::memcmp(requests[0].bytes, "SESSION001", 10) == 0);
  CHECK(net::load_be64(requests[0].bytes + 10) == 2);
  CHECK(net::load_be16(requests[0].bytes + 18) == 2);
  CHECK(b.reply(deletes(2, 1), 1200));
  CHECK(b.channel->due(kNow + 1200));
  b.service(1200);
  // A packet's worth came: the rest is asked for at once.
  REQUIRE(b.requests().size() == 1);
  CHECK(b.reply(deletes(3, 1), 1300));
  b.service(1300);
  const auto records = b.records();
  REQUIRE(records.size() == 4);
  CHECK(records[0].flags == WP_FLAG_RECOVERED);
  CHECK(records[0].recv_time == kNow + 1200);
  CHECK(records[1].flags == WP_FLAG_RECOVERED);
  CHECK(records[2].seq == 4);
  CHECK(records[2].flags == 0);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.recovery.requests == 2);
  CHECK(s.recovery.continued == 1);
  CHECK(s.mail.replies == 2);
  CHECK(s.units[0].counters.recovered == 2);
  CHECK(s.units[0].counters.gap_open == 0);
  CHECK(s.abandoned.empty());
  check_sums(s);
}

TEST_CASE("a server that is down costs bounded time; what is given up is told") {
  Bench b(recovering());
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(4, 2), 100);
  int64_t at = 100;
  for (; b.numbers() != Numbers{4, 5} && at < 2'000'000; at += 1000) b.service(at);
  CHECK(at <= 502'000);
  const ChannelSnapshot s = b.snapshot();
  REQUIRE(s.abandoned.size() == 1);
  CHECK(s.abandoned[0].first == 2);
  CHECK(s.abandoned[0].last == 3);
  CHECK((s.abandoned[0].reason == AbandonReason::kAttempts ||
         s.abandoned[0].reason == AbandonReason::kDeadline));
  CHECK(s.recovery.retries > 0);
  CHECK(s.units[0].counters.abandoned == 2);
}

TEST_CASE("a refusal gives up at once, a pause asks for nothing meanwhile") {
  Bench b(recovering());
  b.packet(0, deletes(1, 1), 0);
  b.channel->pause(kNow + 100'000);
  b.packet(0, deletes(4, 1), 100);
  b.service(50'000);
  CHECK(b.requests().empty());
  b.service(100'001);
  CHECK(b.requests().size() == 1);
  b.channel->refuse(0, 2, 3);
  b.service(100'100);
  CHECK(b.numbers() == Numbers{1, 4});
  const ChannelSnapshot s = b.snapshot();
  REQUIRE(s.abandoned.size() == 1);
  CHECK(s.abandoned[0].reason == AbandonReason::kRefused);
  CHECK(s.recovery.refused == 1);
}

TEST_CASE("a pause keeps a gap from being given up, and may be ended") {
  ChannelOptions o = recovering();
  o.arbiter.hold_ns = 2'000'000'000;
  o.recovery.deadline_ns = 1'000'000'000;
  o.recovery.max_attempts = 1;
  Bench b(std::move(o));
  b.packet(0, deletes(1, 1), 0);
  b.channel->pause(kNow + 900'000'000);
  b.packet(0, deletes(4, 1), 100);
  b.service(100'000);
  b.service(500'000'000);
  CHECK(b.requests().empty());
  CHECK(b.numbers() == Numbers{1});
  b.channel->pause(0);
  b.service(500'000'001);
  CHECK(b.requests().size() == 1);
}

TEST_CASE("a pause that began before the first frame lasts by whatever clock frames are stamped") {
  Bench b(recovering());
  b.channel->pause(kNow + 20'000'000'000);
  b.service(0);
  constexpr int64_t kAhead = 37'000'000'000;  // TAI
  for (const std::string& p : {deletes(1, 1), deletes(4, 1)}) {
    const auto* const bytes = reinterpret_cast<const uint8_t*>(p.data());
    b.channel->on_packet(0, bytes, p.size(), kNow + kAhead);
  }
  b.service(100'000);
  b.service(150'000);
  CHECK(b.requests().empty());
  CHECK(b.numbers() == Numbers{1});
  b.channel->pause(0);
  b.service(150'001);
  CHECK(b.requests().size() == 1);
}

TEST_CASE("a new session waits for a snapshot, and nothing is asked for meanwhile") {
  ChannelOptions o = recovering();
  o.arbiter.session_begin = 1;
  o.arbiter.await_snapshot = true;
  o.arbiter.hold_ns = 100'000'000'000;
  o.recovery.deadline_ns = 50'000'000'000;
  Bench b(std::move(o));
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, mold(5, {deleted()}, "SESSION002"), 100);
  b.service(900'000'000);
  CHECK(b.requests().empty());
  b.channel->hold(kNow + 1'500'000'000);  // one is under way
  b.service(1'100'000'000);
  CHECK(b.requests().empty());
  CHECK(b.numbers() == Numbers{1});
  CHECK(b.inject(added(9)));
  b.channel->skip_to(0, 4);
  b.service(1'200'000'000);
  CHECK(b.numbers() == Numbers{0});
  b.service(1'600'000'000);  // 4 was lost, and the snapshot has not got it
  REQUIRE(b.requests().size() == 1);
  b.packet(1, mold(4, {deleted()}, "SESSION002"), 1'600'000'100);
  CHECK(b.numbers() == Numbers{4, 5});
}

TEST_CASE("a snapshot of the session before is not taken for one of this") {
  ChannelOptions o = recovering();
  o.arbiter.session_begin = 1;
  o.arbiter.await_snapshot = true;
  o.arbiter.hold_ns = 100'000'000'000;
  Bench b(std::move(o));
  b.channel->hold(kNow + 5'000'000'000);
  b.packet(0, deletes(1, 1), 0);
  CHECK(b.inject(added(9)));
  b.service(1);
  CHECK(b.numbers() == Numbers{1, 0});
  b.packet(0, mold(1, {deleted()}, "SESSION002"), 100);
  CHECK(b.inject(added(10)));  // its rest
  b.channel->skip_to(0, 1'000'000);
  b.service(200);
  CHECK(b.numbers().empty());
  CHECK(b.snapshot().mail.injected == 1);
  CHECK(b.snapshot().mail.outdated == 1);
  b.channel->hold(kNow + 6'000'000'000);
  CHECK(b.inject(added(11)));
  b.channel->skip_to(0, 1);
  b.service(300);
  CHECK(b.numbers() == Numbers{0, 1});
}

TEST_CASE("while a snapshot is under way nothing is given up, and what was lost is asked for") {
  ChannelOptions o = recovering();
  o.arbiter.hold_ns = 100'000'000'000;
  o.recovery.deadline_ns = 1'000'000;
  Bench b(std::move(o));
  b.channel->hold(kNow + 50'000'000);
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(4, 1), 100);
  b.service(40'000'000);  // long after the deadline
  CHECK(b.numbers() == Numbers{1});
  CHECK(b.snapshot().abandoned_total == 0);
  b.channel->hold(0);
  b.service(40'000'100);
  CHECK(b.requests().size() == 1);
  CHECK(b.numbers().empty());
  b.service(42'000'000);
  CHECK(b.numbers() == Numbers{4});
  REQUIRE(b.snapshot().abandoned_total == 1);
  CHECK(b.snapshot().abandoned[0].reason == AbandonReason::kDeadline);
}

TEST_CASE("a gap that a packet in a queue may fill is waited for, however late it is") {
  Bench b(itch_options());
  b.channel->begin(kNow);
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(3, 1), 100);
  // Line 0 goes on in time, and nobody has looked into the queue of line 1.
  b.packet(0, deletes(4, 1), 2'000'000);
  b.service(5'000'000);
  CHECK(b.numbers() == Numbers{1});
  CHECK(b.snapshot().units[0].counters.gap_open == 1);
  b.packet(1, deletes(1, 2), 200);
  CHECK(b.numbers() == Numbers{2, 3, 4});
  CHECK(b.snapshot().abandoned.empty());
}

TEST_CASE("a line whose queue is empty holds nothing longer than hold_ns") {
  Bench b(itch_options());
  b.channel->begin(kNow);
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(3, 1), 100);
  b.channel->polled_until(kNow + 1'000'099);
  b.service(1'000'200);
  CHECK(b.numbers() == Numbers{1});
  b.channel->polled_until(kNow + 1'000'100);
  b.service(1'000'201);
  CHECK(b.numbers() == Numbers{3});
  const ChannelSnapshot s = b.snapshot();
  REQUIRE(s.abandoned.size() == 1);
  CHECK(s.abandoned[0].reason == AbandonReason::kTimeout);
}

TEST_CASE("a gap that every line has gone past is given up in its time, queues empty or not") {
  Bench b(itch_options());
  b.channel->begin(kNow);
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(3, 1), 100);
  b.packet(1, deletes(3, 1), 150);
  b.packet(0, deletes(4, 1), 1'000'100);
  b.packet(1, deletes(3, 1), 1'000'099);
  CHECK(b.numbers() == Numbers{1});  // what line 1 sent before may still come
  b.packet(1, deletes(4, 1), 1'000'100);
  CHECK(b.numbers() == Numbers{3, 4});
  CHECK(b.snapshot().abandoned_total == 1);
}

TEST_CASE("frames of a clock that is ahead are not held for longer because of it") {
  constexpr int64_t kAhead = 500'000'000;
  Bench b(itch_options());
  b.channel->begin(kNow);
  const auto packet = [&](const std::string& bytes, int64_t at) {
    b.channel->on_packet(0, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                         kNow + kAhead + at);
    b.service(at);
  };
  packet(deletes(1, 1), 0);
  packet(deletes(3, 1), 100);
  b.channel->polled_until(kNow + 1'000'105);
  packet(deletes(4, 1), 1'000'110);
  CHECK(b.numbers() == Numbers{1});
  b.channel->polled_until(kNow + 1'000'109);
  b.service(1'000'200);
  CHECK(b.numbers().empty());
  b.channel->polled_until(kNow + 1'000'110);
  b.service(1'000'300);
  CHECK(b.snapshot().abandoned_total == 0);  // by this machine's clock it is not time yet
  packet(deletes(5, 1), 1'000'400);
  b.channel->polled_until(kNow + 1'000'500);
  b.service(1'000'600);
  CHECK(b.numbers() == Numbers{3, 4, 5});
  CHECK(b.snapshot().abandoned_total == 1);
}

TEST_CASE("with a server that is down, too, what waits in a queue is not given up") {
  Bench b(recovering());
  b.channel->begin(kNow);
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(3, 1), 100);
  for (int64_t at = 1000; at < 3'000'000; at += 1000) b.service(at);
  CHECK(b.numbers() == Numbers{1});
  const uint64_t requests = b.snapshot().recovery.requests;
  CHECK(requests == RecoveryOptions{}.max_attempts);
  b.packet(1, deletes(2, 1), 200);
  CHECK(b.numbers() == Numbers{2, 3});
  b.packet(0, deletes(5, 1), 3'000'000);
  b.channel->polled_until(kNow + 9'000'000);
  for (int64_t at = 3'001'000; at < 4'000'000; at += 1000) b.service(at);
  CHECK(b.numbers() == Numbers{5});
  CHECK(b.snapshot().abandoned_total == 1);
}

TEST_CASE("requests that nobody takes are counted, and made again") {
  ChannelOptions o = recovering();
  o.requests = 2;
  o.recovery.max_per_request = 1;
  o.recovery.coalesce = 0;
  Bench b(std::move(o));
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(6, 1), 100);
  b.service(2000);
  CHECK(b.snapshot().mail.requests_dropped == 2);
  CHECK(b.requests().size() == 2);
  b.service(20'000);
  CHECK(b.requests().size() == 2);
}

TEST_CASE("the newest thousand of what was given up are kept") {
  ChannelOptions o = itch_options();
  o.arbiter.hold_ns = 1;
  Bench b(std::move(o));
  for (uint64_t i = 0; i < 1500; ++i)
    b.packet(0, deletes(1 + 3 * i, 2), static_cast<int64_t>(i) * 10);
  b.service(1'000'000);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.abandoned_total == 1499);
  REQUIRE(s.abandoned.size() == Channel::kAbandonedKept);
  CHECK(s.abandoned.back().first == 3 * 1499);
  CHECK(s.abandoned.front().first == 3 * (1499 - 1023));
}

TEST_CASE("a snapshot is spliced: injected, what it has dropped, the rest goes on in order") {
  ChannelOptions o = itch_options();
  o.arbiter.next_sequence = 1;
  o.arbiter.hold_ns = 1'000'000'000;
  Bench b(std::move(o));
  // Joined late: 1 to 9 are missing, and so are 12 and 16; the rest waits.
  b.packet(0, deletes(10, 2), 0);
  b.packet(0, deletes(13, 3), 10);
  b.packet(0, deletes(17, 1), 20);
  CHECK(b.numbers().empty());
  const std::string snapshot = added(5);
  CHECK(b.channel->inject(0, reinterpret_cast<const uint8_t*>(snapshot.data()), snapshot.size(), 14,
                          kNow + 30));
  b.channel->skip_to(0, 15);
  b.service(40);
  const auto records = b.records();
  REQUIRE(records.size() == 2);
  CHECK(records[0].order_id == 5);
  CHECK(records[0].flags == WP_FLAG_RECOVERED);
  CHECK(records[0].recv_time == kNow + 30);
  CHECK(records[1].seq == 15);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.units[0].counters.superseded == 4);  // 10, 11, 13, 14
  CHECK(s.units[0].counters.abandoned == 10);
  REQUIRE(s.abandoned.size() == 2);
  CHECK(s.abandoned[0].reason == AbandonReason::kSnapshot);
  CHECK(s.units[0].next_sequence == 16);
  CHECK(s.mail.injected == 1);
  check_sums(s);
  b.packet(1, deletes(16, 1), 50);
  CHECK(b.numbers() == Numbers{16, 17});
}

TEST_CASE("mail that finds no room is refused and counted") {
  ChannelOptions o = recovering();
  o.mail_bytes = 4096;
  Bench b(std::move(o));
  const std::string reply(1000, 'x');
  int taken = 0;
  while (b.reply(reply, 0)) ++taken;
  CHECK(taken == 3);
  const std::string message = deleted();
  CHECK(
      b.channel->inject(0, reinterpret_cast<const uint8_t*>(message.data()), message.size(), 1, 0));
  while (b.channel->inject(0, reinterpret_cast<const uint8_t*>(message.data()), message.size(), 1,
                           0)) {
  }
  CHECK(b.snapshot().mail.replies_refused == 1);
  CHECK(b.snapshot().mail.injected_refused == 1);
  CHECK_THROWS_WITH_AS(b.channel->skip_to(0, 5), doctest::Contains("worker"), Error);
}

TEST_CASE("only the wanted instruments and types are decoded, by locate and by symbol") {
  ChannelOptions o = itch_options(1);
  o.filter.instruments = {{3}};
  o.filter.symbols = {{"AAPL", "MSFT"}};
  Bench b(std::move(o));
  b.packet(0,
           mold(1, {itch('S', 0, 12), directory("AAPL", 11), directory("IBM", 12), added(1, 11),
                    added(2, 12), added(3, 3), added(4, 99)}),
           0);
  CHECK(b.numbers() == Numbers{1, 2, 4, 6});
  ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.filtered == 3);
  CHECK(s.resolved == std::vector<uint32_t>{11, 0});
  check_sums(s);
  // The number is another instrument's now; a new session forgets what is not fixed.
  b.packet(0, mold(8, {directory("IBM", 11), added(5, 11), directory("MSFT", 12), added(6, 12)}),
           1);
  CHECK(b.numbers() == Numbers{10, 11});
  b.packet(0, mold(1, {added(7, 12), added(8, 3)}, "SESSION002"), 2);
  CHECK(b.numbers() == Numbers{2});
  s = b.snapshot();
  CHECK(s.resolved == std::vector<uint32_t>{0, 0});
  check_sums(s);
}

TEST_CASE("a directory message that is not wanted is learned from") {
  ChannelOptions o = itch_options(1);
  o.filter.symbols = {{"AAPL"}};
  o.filter.types = {{'A'}};
  Bench b(std::move(o));
  b.packet(0, mold(1, {directory("AAPL", 11), added(1, 11), itch('D', 11, 19), added(2, 12), ""}),
           0);
  CHECK(b.numbers() == Numbers{2});
  CHECK(b.snapshot().decoded.filtered == 3);
  CHECK(b.snapshot().units[0].counters.empty == 1);
}

TEST_CASE("malformed and unknown messages are counted where there is a filter, too") {
  ChannelOptions o = itch_options(1);
  o.filter.types = {{'A', '?'}};
  Bench b(std::move(o));
  b.packet(0, mold(1, {itch('A', 7, 35), itch('?', 7, 20), "A", added(1)}), 0);
  CHECK(b.numbers() == Numbers{4});
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.malformed == 2);
  CHECK(s.decoded.unknown == 1);
  check_sums(s);
}

TEST_CASE("what the ring has no room for is counted by channel and ring, and books have it") {
  auto books = std::make_shared<LockedBooks>(BookOptions{});
  Bench b(itch_options(1), FullPolicy::kDrop, 16, books);
  std::vector<std::string> messages;
  for (uint64_t i = 1; i <= 40; ++i) messages.push_back(added(i));
  b.packet(0, mold(1, messages), 0);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.delivered == 16);
  CHECK(s.decoded.ring_full == 24);
  CHECK(b.output.ring_full() == 24);
  CHECK(b.ring->dropped() == 24);
  CHECK(books->books.order_count() == 40);
  CHECK(books->books.counters().records == 40);
  check_sums(s);
}

TEST_CASE("another session, or numbers that begin anew: the books are void, and the ring says so") {
  auto books = std::make_shared<LockedBooks>(BookOptions{});
  Bench b(itch_options(1), FullPolicy::kDrop, 4096, books);
  b.packet(0, mold(1, {added(1), added(2)}), 0);
  CHECK(b.records().size() == 2);
  CHECK(books->books.order_count() == 2);
  b.packet(0, mold(1, {added(3)}, "SESSION002"), 1000);
  std::vector<wp_record> records = b.records();
  REQUIRE(records.size() == 2);
  CHECK(records[0].action == WP_ACTION_CLEAR);
  CHECK(records[0].instrument == 0);
  CHECK(records[0].seq == 0);
  CHECK(records[0].venue == WP_VENUE_NASDAQ);
  CHECK(records[0].event_time == kNow + 1000);
  CHECK(records[1].order_id == 3);
  CHECK(books->books.order_count() == 1);
  // A sender that begins anew without a word: a heartbeat goes back.
  for (uint64_t i = 2; i <= 10'000; ++i) b.packet(0, mold(i, {deleted()}, "SESSION002"), 1000);
  b.records();
  b.packet(0, mold(1, {}, "SESSION002"), 2000);
  records = b.records();
  REQUIRE(records.size() == 1);
  CHECK(records[0].action == WP_ACTION_CLEAR);
  CHECK(books->books.order_count() == 0);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.cleared == 2);
  CHECK(s.decoded.records == s.decoded.messages + s.decoded.cleared);
  CHECK(s.decoded.records == s.decoded.delivered + s.decoded.ring_full);
}

TEST_CASE("without books a new session makes no record of its own") {
  Bench b(itch_options(1));
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, mold(1, {deleted()}, "SESSION002"), 1000);
  CHECK(b.numbers() == Numbers{1, 1});
  CHECK(b.snapshot().decoded.cleared == 0);
}

TEST_CASE("frames of a clock of another day: timers run by the frames' clock") {
  Bench b(itch_options());
  const int64_t day = 86'400'000'000'000;
  // A capture of yesterday, read now.
  const auto frame = [&](uint32_t line, const std::string& bytes, int64_t stamp, int64_t now) {
    b.channel->on_packet(line, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                         kNow - day + stamp);
    b.channel->service(kNow + now);
    b.output.flush(kNow + now);
  };
  frame(0, deletes(1, 1), 0, 0);
  frame(0, deletes(3, 1), 1000, 10);
  CHECK(b.numbers() == Numbers{1});
  b.channel->service(kNow + 10 + 999'999);
  b.output.flush(kNow);
  CHECK(b.numbers().empty());
  b.channel->service(kNow + 10 + 1'000'000);
  b.output.flush(kNow);
  CHECK(b.numbers() == Numbers{3});
}

TEST_CASE("the end of a capture gives out what was held") {
  Bench b(itch_options());
  b.packet(0, deletes(1, 1), 0);
  b.packet(0, deletes(3, 2), 1);
  CHECK(b.numbers() == Numbers{1});
  b.channel->finish();
  b.output.flush(0);
  CHECK(b.numbers() == Numbers{3, 4});
  CHECK(b.snapshot().units[0].counters.abandoned == 1);
}

TEST_CASE("options that do not go together are refused by name") {
  ChannelOptions o = recovering();
  o.arbiter.hold_ns = o.recovery.deadline_ns;
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("deadline_ns"), Error);
  o = itch_options(0);
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("lines"), Error);
  o = itch_options();
  o.protocol = "morse";
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("itch, iex, pitch, cme"),
                       Error);
  o = itch_options();
  o.protocol = "cme";
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("schema"), Error);
  o = itch_options();
  o.filter.instruments = {{70'000}};
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("70000"), Error);
  o = itch_options();
  o.filter.symbols = {{"TOOLONGNAME"}};
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("TOOLONGNAME"), Error);
  o = itch_options();
  o.filter.types = {{256}};
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("types"), Error);
  o = itch_options();
  o.protocol = "iex";
  o.filter.instruments = {{5}};
  CHECK_THROWS_WITH_AS(make_channel(std::move(o)), doctest::Contains("symbol_table"), Error);
  Bench b(itch_options());
  CHECK_THROWS_WITH_AS(b.channel->bind(&b.output, "other"), doctest::Contains("bench"), Error);
  CHECK_THROWS_WITH_AS(b.reply("", 0), doctest::Contains("recovery"), Error);
}

TEST_CASE("from packet to record nothing is allocated, with gaps, requests and replies") {
  Bench b(recovering());
  std::vector<std::string> packets;
  for (uint64_t i = 0; i < 64; ++i) packets.push_back(deletes(1 + 4 * i, 4));
  wp_record out[256];
  b.channel->publish(b.now, true);
  for (int round = 0; round < 2; ++round) {
    const uint64_t before = testing::allocations();
    for (size_t i = static_cast<size_t>(round) * 32; i < static_cast<size_t>(round + 1) * 32; ++i) {
      if (i % 8 == 5) continue;  // lost
      const auto* p = reinterpret_cast<const uint8_t*>(packets[i].data());
      b.channel->on_packet(0, p, packets[i].size(), b.now += 1000);
      b.channel->service(b.now += 2000);
      b.output.flush(b.now);
      ChannelRequest request;
      while (b.channel->take_request(&request)) {
        b.reply(packets[(request.what.first - 1) / 4], b.now - kNow);
      }
      b.channel->publish(b.now, true);
      b.ring->pop(out, 256);
    }
    CHECK(testing::allocations() - before == 0);
  }
  CHECK(b.snapshot().units[0].counters.recovered > 0);
}

// --- the other venues ------------------------------------------------------------------------

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string pitch_add(const std::string& symbol, uint32_t ns) {  // long form
  std::string m;
  put<uint8_t>(m, 34);
  put<uint8_t>(m, 0x21);
  put(m, ns);
  put<uint64_t>(m, 77);
  m += 'B';
  put<uint32_t>(m, 100);
  m += (symbol + "      ").substr(0, 6);
  put<uint64_t>(m, 10'000);
  put<uint8_t>(m, 0);
  return m;
}
std::string pitch_time(uint32_t seconds) {
  std::string m;
  put<uint8_t>(m, 6);
  put<uint8_t>(m, 0x20);
  put(m, seconds);
  return m;
}
std::string pitch(uint32_t first, const std::vector<std::string>& messages, uint8_t unit = 1) {
  std::string body;
  for (const std::string& m : messages) body += m;
  std::string out;
  put<uint16_t>(out, static_cast<uint16_t>(8 + body.size()));
  put<uint8_t>(out, static_cast<uint8_t>(messages.size()));
  put(out, unit);
  put(out, first);
  return out + body;
}

ChannelOptions pitch_options() {
  ChannelOptions o = itch_options();
  o.protocol = "pitch";
  o.arbiter.units = 4;
  return o;
}

TEST_CASE(
    "pitch: time is followed though messages of time are not wanted; symbols by their bytes") {
  ChannelOptions o = pitch_options();
  o.filter.types = {{0x21}};
  o.filter.symbols = {{"IBM"}};
  Bench b(std::move(o));
  b.packet(0, pitch(1, {pitch_time(34'000), pitch_add("IBM", 5), pitch_add("MSFT", 6)}), 0);
  const auto records = b.records();
  REQUIRE(records.size() == 1);
  CHECK(records[0].event_time == 34'000'000'000'005);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.filtered == 2);
  CHECK(s.decoded.untimed == 0);
  check_sums(s);
}

TEST_CASE("pitch: the time is not known behind what was given up, and is behind what was filled") {
  Bench b(pitch_options());
  b.packet(0, pitch(1, {pitch_time(34'000), pitch_add("IBM", 5)}), 0);
  b.packet(0, pitch(4, {pitch_add("IBM", 6)}), 10);
  b.packet(1, pitch(3, {pitch_time(34'001)}), 20);
  auto records = b.records();
  REQUIRE(records.size() == 4);
  CHECK(records[3].event_time == 34'001'000'000'006);
  b.packet(0, pitch(6, {pitch_add("IBM", 7)}), 30);
  b.service(2'000'000);
  records = b.records();
  REQUIRE(records.size() == 1);
  CHECK(records[0].event_time == 0);
  CHECK(b.snapshot().decoded.untimed == 1);
}

TEST_CASE("pitch: units are sequences of their own, as many as there is room for") {
  Bench b(pitch_options());
  for (uint8_t unit = 1; unit <= 5; ++unit) {
    b.packet(0, pitch(1, {pitch_time(1), pitch_add("IBM", 5)}, unit), unit);
  }
  CHECK(b.numbers().size() == 8);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.used == 4);
  CHECK(s.lines[0].unknown_unit == 1);
  check_sums(s);
}

std::string iex_quote(const std::string& symbol) {
  std::string m = "Q";
  m += '\0';
  put<int64_t>(m, 123);
  m += (symbol + "        ").substr(0, 8);
  put<uint32_t>(m, 100);
  put<int64_t>(m, 50'000);
  put<int64_t>(m, 50'100);
  put<uint32_t>(m, 200);
  return m;
}
std::string iex(int64_t first, const std::vector<std::string>& messages) {
  std::string body;
  for (const std::string& m : messages) {
    put<uint16_t>(body, static_cast<uint16_t>(m.size()));
    body += m;
  }
  std::string out;
  put<uint8_t>(out, 1);
  put<uint8_t>(out, 0);
  put<uint16_t>(out, 0x8003);
  put<uint32_t>(out, 1);
  put<uint32_t>(out, 42);
  put<uint16_t>(out, static_cast<uint16_t>(body.size()));
  put<uint16_t>(out, static_cast<uint16_t>(messages.size()));
  put<int64_t>(out, 0);
  put(out, first);
  put<int64_t>(out, kNow);
  return out + body;
}

TEST_CASE("iex: a quote's two records go round the end of the ring and over its brim") {
  ChannelOptions o = itch_options(1);
  o.protocol = "iex";
  Bench b(std::move(o), FullPolicy::kDrop, 8);
  for (int64_t i = 0; i < 30; ++i) {
    b.packet(0, iex(1 + i, {iex_quote("IBM")}), i);
    const auto records = b.records();
    REQUIRE(records.size() == 2);
    CHECK(records[0].side == 'B');
    CHECK(records[1].side == 'S');
    CHECK(records[0].seq == static_cast<uint64_t>(1 + i));
    CHECK(records[0].instrument == 1);
    if (i % 3 != 0) continue;
    // Odd places: one record at a time.
    wp_record one{};
    b.ring->try_push(&one, 1);
    b.records();
  }
  b.packet(0, iex(31, std::vector<std::string>(6, iex_quote("IBM"))), 100);
  const ChannelSnapshot s = b.snapshot();
  CHECK(s.decoded.messages == 36);
  CHECK(s.decoded.records == 72);
  CHECK(s.decoded.ring_full == 4);
  check_sums(s);
}

TEST_CASE("iex: instruments by the table's numbers, and requests in the venue's words") {
  ChannelOptions o = itch_options(1);
  o.protocol = "iex";
  o.symbols = std::make_shared<SymbolTable>(16);
  o.symbols->intern(symbol_key("IBM"));
  o.symbols->intern(symbol_key("MSFT"));
  o.filter.instruments = {{2}};
  o.encoder = std::make_unique<IexRequests>();
  o.recovery = o.encoder->limits();
  o.recovery.hold_ns = 10;
  o.recovery.deadline_ns = 1000;
  Bench b(std::move(o));
  b.packet(0, iex(1, {iex_quote("IBM"), iex_quote("MSFT")}), 0);
  auto records = b.records();
  REQUIRE(records.size() == 2);
  CHECK(records[0].instrument == 2);
  CHECK(b.snapshot().decoded.filtered == 1);
  b.packet(0, iex(5, {iex_quote("MSFT")}), 10);
  b.service(30);
  const auto requests = b.requests();
  REQUIRE(requests.size() == 1);
  IexGapRequest request;
  REQUIRE(decode_iex_gap_request(requests[0].bytes, requests[0].length, &request));
  CHECK(request.type == IexGapRequest::kSequences);
  CHECK(request.protocol == 0x8003);
  CHECK(request.channel == 1);
  CHECK(request.session == 42);
  REQUIRE(request.ranges.size() == 1);
  CHECK(request.ranges[0].first == 3);
  CHECK(request.ranges[0].last == 4);
}

}  // namespace
}  // namespace wp::feed
