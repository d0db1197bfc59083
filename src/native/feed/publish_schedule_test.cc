// SPDX-License-Identifier: Apache-2.0
#include "feed/publish_schedule.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "feed/mold_udp64.h"
#include "net/bytes.h"

using namespace wp;
using namespace wp::feed;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;
constexpr int64_t kStart = 5'000 * kSecond;  // any

// Messages of a given timestamp and length, the running number in the tracking number.
class Script final : public MessageSource {
 public:
  struct Line {
    int64_t time;
    size_t length = 36;
  };
  explicit Script(std::vector<Line> lines) : lines_(std::move(lines)) {}
  bool next(std::span<const uint8_t>& message) noexcept override {
    if (at_ == lines_.size()) return false;
    const Line& line = lines_[at_++];
    bytes_.assign(line.length, 'x');
    if (line.length >= 11) {
      net::store_be64(bytes_.data() + 3, static_cast<uint64_t>(line.time));
      net::store_be16(bytes_.data() + 3, static_cast<uint16_t>(at_));
      bytes_[0] = 'A';
    }
    message = bytes_;
    return true;
  }

 private:
  std::vector<Line> lines_;
  size_t at_ = 0;
  std::vector<uint8_t> bytes_;
};

std::shared_ptr<MessageSource> messages(size_t n, int64_t step = 0) {
  std::vector<Script::Line> lines;
  for (size_t i = 0; i < n; i++) lines.push_back({static_cast<int64_t>(i) * step});
  return std::make_shared<Script>(lines);
}

struct Sent {
  PlannedPacket plan;
  int64_t at;
  std::vector<uint8_t> payload;
  uint64_t sequence() const { return net::load_be64(payload.data() + 10); }
};

// Takes every packet when it is due, or `late` after that.
std::vector<Sent> run(PublishSchedule& schedule, int64_t late = 0, size_t most = 100'000) {
  std::vector<Sent> out;
  int64_t now = kStart;
  schedule.start(now);
  while (out.size() < most) {
    const int64_t due = schedule.next_due(now);
    if (due == PublishSchedule::kNever) break;
    if (due > now) {
      now = due + late;
      continue;
    }
    Sent sent{.plan = {}, .at = now, .payload = std::vector<uint8_t>(schedule.buffer_size())};
    sent.plan = schedule.take(sent.payload.data(), now);
    sent.payload.resize(sent.plan.length);
    out.push_back(std::move(sent));
  }
  return out;
}

std::vector<int64_t> dues(const std::vector<Sent>& sent, PlanKind kind = PlanKind::kData) {
  std::vector<int64_t> out;
  for (const Sent& s : sent)
    if (s.plan.kind == kind) out.push_back(s.plan.due - kStart);
  return out;
}

PublishScheduleOptions quiet(Pacing pacing) {  // no control packets
  PublishScheduleOptions o;
  o.pacing = pacing;
  o.heartbeat_ns = 0;
  o.end_of_session = 0;
  return o;
}

struct Receiver {
  uint64_t messages = 0, gaps = 0, heartbeats = 0, ends = 0;
  void message(uint64_t, const uint8_t*, uint16_t, int64_t, bool) { messages++; }
  void gap(uint64_t, uint64_t) { gaps++; }
  void heartbeat(uint64_t) { heartbeats++; }
  void end_of_session(uint64_t) { ends++; }
  void session_change(const MoldSession&, const MoldSession&) {}
};

bool refused(const PublishScheduleOptions& options, const std::string& field) {
  try {
    PublishSchedule schedule(options, messages(1));
  } catch (const Error& e) {
    return e.kind() == ErrorKind::kConfig && std::string(e.what()).starts_with(field);
  }
  return false;
}

}  // namespace

TEST_CASE("message rate: the deadline of the n-th message is start + n / rate, for ever") {
  auto o = quiet(Pacing::kMessages);
  o.rate = 3'000;  // no whole number of nanoseconds apart
  o.pack_window_ns = 0;
  PublishSchedule schedule(o, messages(30'001));
  const auto sent = run(schedule, 7 * kMs);  // always late
  REQUIRE(sent.size() == 30'001);
  for (size_t i = 0; i < sent.size(); i += 3'000)
    CHECK(sent[i].plan.due - kStart == static_cast<int64_t>(i / 3'000) * kSecond);
  CHECK(sent[1].plan.due - kStart == 333'333);
}

TEST_CASE("messages within the window of the first share a packet, due with the last") {
  auto o = quiet(Pacing::kMessages);
  o.rate = 1'000;
  o.pack_window_ns = 3 * kMs;
  PublishSchedule schedule(o, messages(10));
  const auto sent = run(schedule);
  CHECK(dues(sent) == std::vector<int64_t>{3 * kMs, 7 * kMs, 9 * kMs});
  CHECK(sent[0].plan.messages == 4);
  CHECK(sent[1].plan.messages == 4);
  CHECK(sent[2].plan.messages == 2);
}

TEST_CASE("packet rate: full packets, evenly spaced") {
  auto o = quiet(Pacing::kPackets);
  o.rate = 1'000;
  o.max_messages = 4;
  PublishSchedule schedule(o, messages(10));
  const auto sent = run(schedule);
  CHECK(dues(sent) == std::vector<int64_t>{0, kMs, 2 * kMs});
  CHECK(sent[1].sequence() == 5);
  CHECK(sent[2].plan.messages == 2);
}

TEST_CASE("as fast as possible: always due now, packed up to the payload") {
  auto o = quiet(Pacing::kFast);
  o.max_payload = 20 + 3 * 38;
  PublishSchedule schedule(o, messages(7));
  const auto sent = run(schedule);
  REQUIRE(sent.size() == 3);
  CHECK(sent[0].payload.size() == 20 + 3 * 38);
  CHECK(sent[2].plan.messages == 1);
  for (const Sent& s : sent) {
    CHECK_FALSE(s.plan.paced);
    CHECK(s.plan.due == kStart);
  }
}

TEST_CASE("original pacing follows the timestamps, divided by the speed") {
  std::vector<Script::Line> lines;
  // Two share a stamp; one steps back and must not go before the one in front of it.
  for (const int64_t ms : {100, 100, 140, 120, 200}) lines.push_back({ms * kMs});
  auto o = quiet(Pacing::kOriginal);
  o.speed = 2;
  PublishSchedule schedule(o, std::make_shared<Script>(lines));
  const auto sent = run(schedule);
  CHECK(dues(sent) == std::vector<int64_t>{0, 20 * kMs, 50 * kMs});
  CHECK(sent[0].plan.messages == 2);
  CHECK(sent[1].plan.messages == 2);
}

TEST_CASE("being late changes neither the packets nor the deadlines to come") {
  auto o = quiet(Pacing::kOriginal);
  PublishSchedule punctual(o, messages(500, 70'000)), slow(o, messages(500, 70'000));
  const auto a = run(punctual), b = run(slow, 30 * kMs);
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); i++) {
    CHECK(a[i].payload == b[i].payload);
    CHECK(a[i].plan.due == b[i].plan.due);
    CHECK(a[i].at == a[i].plan.due);
    CHECK(b[i].at >= b[i].plan.due);
    CHECK(b[i].at - b[i].plan.due <= 30 * kMs);  // lateness does not add up
  }
}

TEST_CASE("heartbeats while idle, with the number of the message to come") {
  PublishScheduleOptions o;
  o.pacing = Pacing::kOriginal;
  o.first_sequence = 100;
  PublishSchedule schedule(o, messages(2, 3'500 * kMs));
  const auto sent = run(schedule);
  CHECK(dues(sent) == std::vector<int64_t>{0, 3'500 * kMs});
  CHECK(dues(sent, PlanKind::kHeartbeat) ==
        std::vector<int64_t>{kSecond, 2 * kSecond, 3 * kSecond});
  CHECK(sent[0].sequence() == 100);
  for (size_t i = 1; i <= 4; i++) CHECK(sent[i].sequence() == 101);  // 3 heartbeats, the message
  MoldUDP64 session;
  Receiver receiver;
  for (const Sent& s : sent) session.on_packet(s.payload.data(), s.payload.size(), s.at, receiver);
  CHECK(receiver.messages == 2);
  CHECK(receiver.gaps == 0);
  CHECK(receiver.heartbeats == 3);
  CHECK(receiver.ends == 3);
  CHECK(session.counters().malformed + session.counters().trailing == 0);
}

TEST_CASE("overdue data goes before a heartbeat that is overdue as well") {
  PublishScheduleOptions o;
  o.pacing = Pacing::kOriginal;
  PublishSchedule schedule(o, messages(3, 1'500 * kMs));
  schedule.start(kStart);
  std::vector<uint8_t> payload(schedule.buffer_size());
  schedule.next_due(kStart);
  schedule.take(payload.data(), kStart);
  const int64_t overslept = kStart + 10 * kSecond;
  CHECK(schedule.next_due(overslept) == kStart + 1'500 * kMs);
  CHECK(schedule.take(payload.data(), overslept).kind == PlanKind::kData);
  CHECK(schedule.next_due(overslept) == kStart + 3'000 * kMs);
  CHECK(schedule.take(payload.data(), overslept).kind == PlanKind::kData);
}

TEST_CASE("the end of session is repeated, after a linger with heartbeats") {
  PublishScheduleOptions o;
  o.linger_ns = 2'500 * kMs;
  o.end_of_session = 4;
  o.end_of_session_interval_ns = 200 * kMs;
  PublishSchedule schedule(o, messages(5));
  const auto sent = run(schedule);
  CHECK(dues(sent, PlanKind::kHeartbeat) == std::vector<int64_t>{kSecond, 2 * kSecond});
  CHECK(dues(sent, PlanKind::kEndOfSession) ==
        std::vector<int64_t>{2'500 * kMs, 2'700 * kMs, 2'900 * kMs, 3'100 * kMs});
  CHECK(sent.back().sequence() == 6);
  CHECK(net::load_be16(sent.back().payload.data() + 18) == 0xFFFF);
  CHECK(schedule.next_due(kStart + 100 * kSecond) == PublishSchedule::kNever);
}

TEST_CASE("an empty source is a session that ends") {
  PublishSchedule schedule({}, messages(0));
  const auto sent = run(schedule);
  CHECK(dues(sent, PlanKind::kEndOfSession).size() == 3);
  CHECK(sent[0].sequence() == 1);
}

TEST_CASE("messages too long for a packet are left out and counted, without a number") {
  auto o = quiet(Pacing::kMessages);
  o.rate = 1'000;
  o.max_payload = 100;
  PublishSchedule schedule(
      o, std::make_shared<Script>(std::vector<Script::Line>{{0, 36}, {0, 79}, {0, 78}, {0, 3}}));
  const auto sent = run(schedule);
  CHECK(schedule.too_long() == 1);
  CHECK(schedule.next_sequence() == 4);
  CHECK(sent.size() == 3);
}

TEST_CASE("a capture passes unchanged and its session is continued") {
  MoldPacketizer packetizer("CAPTURED", 50);
  auto source = std::make_shared<PacketListSource>();
  std::vector<std::vector<uint8_t>> payloads;
  for (int i = 0; i < 3; i++) {
    std::vector<uint8_t> payload(200);
    packetizer.begin(payload.data());
    packetizer.append("Dmessage one", 12);
    packetizer.append("Dmessage two", 12);
    payload.resize(packetizer.finish());
    payloads.push_back(payload);
    source->add(1'000 * kSecond + i * 1'600 * kMs, payload);
  }
  PublishScheduleOptions o;
  o.pacing = Pacing::kOriginal;
  o.max_packet = 1'458;
  o.end_of_session = 1;
  PublishSchedule schedule(o, source);
  const auto sent = run(schedule);
  CHECK(dues(sent) == std::vector<int64_t>{0, 1'600 * kMs, 3'200 * kMs});
  CHECK(dues(sent, PlanKind::kHeartbeat) == std::vector<int64_t>{kSecond, 2'600 * kMs});
  REQUIRE(sent.size() == 6);
  CHECK(sent[0].payload == payloads[0]);
  CHECK(sent[2].payload == payloads[1]);
  CHECK(sent[4].payload == payloads[2]);
  CHECK(std::string(sent[1].payload.begin(), sent[1].payload.begin() + 10) == "CAPTURED  ");
  CHECK(sent[1].sequence() == 52);
  CHECK(sent[5].plan.kind == PlanKind::kEndOfSession);
  CHECK(sent[5].sequence() == 56);
  CHECK(sent[4].plan.messages == 2);
}

TEST_CASE("a capture that ends its session is not ended twice; foreign packets get no control") {
  auto ended = std::make_shared<PacketListSource>();
  MoldPacketizer packetizer("X", 9);
  std::vector<uint8_t> end(20);
  packetizer.end_of_session(end.data());
  ended->add(0, end);
  PublishSchedule first({}, ended);
  auto sent = run(first);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].plan.kind == PlanKind::kEndOfSession);

  auto foreign = std::make_shared<PacketListSource>();
  const std::vector<uint8_t> other(19, 0xff), too_long(101, 0xff);
  foreign->add(0, other);
  foreign->add(5 * kSecond, too_long);
  foreign->add(6 * kSecond, other);
  PublishScheduleOptions o;
  o.pacing = Pacing::kOriginal;
  o.max_packet = 100;
  PublishSchedule second(o, foreign);
  sent = run(second);
  CHECK(dues(sent) == std::vector<int64_t>{0, 6 * kSecond});
  CHECK(sent.size() == 2);
  CHECK(second.too_long() == 1);
}

TEST_CASE("a capture at a rate") {
  const auto capture = [] {
    auto source = std::make_shared<PacketListSource>();
    MoldPacketizer packetizer("X");
    for (int i = 0; i < 4; i++) {
      std::vector<uint8_t> payload(100);
      packetizer.begin(payload.data());
      for (int k = 0; k <= i; k++) packetizer.append("D", 1);
      payload.resize(packetizer.finish());
      source->add(i * 100 * kSecond, payload);
    }
    return source;
  };
  auto o = quiet(Pacing::kPackets);
  o.rate = 10;
  PublishSchedule packets(o, capture());
  CHECK(dues(run(packets)) == std::vector<int64_t>{0, 100 * kMs, 200 * kMs, 300 * kMs});
  o.pacing = Pacing::kMessages;
  PublishSchedule by_message(o, capture());  // packets of 1, 2, 3, 4 messages
  CHECK(dues(run(by_message)) == std::vector<int64_t>{0, 100 * kMs, 300 * kMs, 600 * kMs});
}

TEST_CASE("a generated day goes through whole, in any pacing") {
  for (const Pacing pacing : {Pacing::kFast, Pacing::kMessages, Pacing::kOriginal}) {
    PublishScheduleOptions o;
    o.pacing = pacing;
    o.rate = 1e6;
    ItchGeneratorOptions g{.symbols = 10, .messages = 20'000};
    g.start_ns = 34'200 * kSecond;
    g.end_ns = 34'201 * kSecond;
    PublishSchedule schedule(o, std::make_shared<GeneratorSource>(g));
    const auto sent = run(schedule);
    MoldUDP64 session;
    Receiver receiver;
    for (const Sent& s : sent)
      session.on_packet(s.payload.data(), s.payload.size(), s.at, receiver);
    CHECK(receiver.messages == 20'000);
    CHECK(receiver.gaps == 0);
    CHECK(receiver.ends == 3);
    CHECK(session.next_sequence() == 20'001);
    CHECK(sent.size() < 20'000);
  }
}

TEST_CASE("between old numbers and new there is a pause, in which the old ones are said") {
  PublishScheduleOptions o;
  o.max_messages = 1;
  o.heartbeat_ns = 30 * kMs;
  o.end_of_session = 1;
  o.end_of_session_interval_ns = 10 * kMs;
  o.epochs = {
      {.at = 2, .session = "WIREPATH", .sequence = 1, .pause_ns = 100 * kMs},
      {.at = 4, .session = "NEXT", .sequence = 1, .end_of_session = true, .pause_ns = 25 * kMs}};
  struct Case {
    Pacing pacing;
    std::vector<int64_t> data, ends;
  };
  // Of ends, the last one is the stream's own.
  const std::vector<Case> cases{
      {Pacing::kMessages,
       {0, 1 * kMs, 102 * kMs, 103 * kMs, 129 * kMs, 130 * kMs},
       {104 * kMs, 114 * kMs, 124 * kMs, 130 * kMs}},
      {Pacing::kPackets,
       {0, 1 * kMs, 102 * kMs, 103 * kMs, 129 * kMs, 130 * kMs},
       {104 * kMs, 114 * kMs, 124 * kMs, 130 * kMs}},
      {Pacing::kFast,
       {0, 0, 100 * kMs, 100 * kMs, 125 * kMs, 125 * kMs},
       {100 * kMs, 110 * kMs, 120 * kMs, 125 * kMs}},
      {Pacing::kOriginal,
       {0, 1 * kMs, 102 * kMs, 103 * kMs, 129 * kMs, 130 * kMs},
       {104 * kMs, 114 * kMs, 124 * kMs, 130 * kMs}},
  };
  for (const Case& each : cases) {
    o.pacing = each.pacing;
    o.rate = 1000;
    PublishSchedule schedule(o, messages(6, kMs));
    const auto sent = run(schedule);
    CHECK(dues(sent) == each.data);
    CHECK(dues(sent, PlanKind::kEndOfSession) == each.ends);
    // Heartbeats of the old numbers, as far as nothing else was said.
    const auto beats = dues(sent, PlanKind::kHeartbeat);
    REQUIRE(beats.size() == 3);
    CHECK(beats[0] == each.data[1] + 30 * kMs);
    for (const Sent& s : sent)
      if (s.plan.kind == PlanKind::kHeartbeat) CHECK(s.sequence() == 3);
    CHECK(sent.back().sequence() == 3);
  }
}

TEST_CASE("schedule options out of range are refused by name") {
  using O = PublishScheduleOptions;
  CHECK(refused(O{.session = ""}, "session"));
  CHECK(refused(O{.session = "ELEVEN CHAR"}, "session"));
  CHECK(refused(O{.first_sequence = 0}, "first_sequence"));
  CHECK(refused(O{.pacing = Pacing::kMessages}, "rate"));
  CHECK(refused(O{.pacing = Pacing::kPackets, .rate = 2e9}, "rate"));
  CHECK(refused(O{.pacing = Pacing::kOriginal, .speed = 0}, "speed"));
  CHECK(refused(O{.max_payload = 71}, "max_payload"));
  CHECK(refused(O{.max_payload = 65'508}, "max_payload"));
  CHECK(refused(O{.max_messages = 0}, "max_messages"));
  CHECK(refused(O{.pack_window_ns = -1}, "pack_window_ns"));
  CHECK(refused(O{.heartbeat_ns = -1}, "heartbeat_ns"));
  CHECK(refused(O{.linger_ns = -1}, "linger_ns"));
  CHECK(refused(O{.end_of_session = 1'001}, "end_of_session"));
  CHECK(refused(O{.end_of_session_interval_ns = 61 * kSecond}, "end_of_session_interval_ns"));
  CHECK(refused(O{.max_packet = 19}, "max_packet"));
}
