// SPDX-License-Identifier: Apache-2.0
// Lines of a publisher: what a receiver of each misses is exactly what the line says it lost, and
// the numbers that begin anew; all on a clock of the tests' own.
#include "feed/publish_line.h"

#include <doctest/doctest.h>

#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/mold_udp64.h"
#include "feed/stream_numbers.h"
#include "net/headers.h"

namespace wp::feed {
namespace {

// Message n of `messages` is its number in eight bytes.
class Numbers final : public MessageSource {
 public:
  explicit Numbers(uint64_t messages) : messages_(messages) {}
  bool next(std::span<const uint8_t>& message) noexcept override {
    if (at_ == messages_) return false;
    net::store_be64(bytes_.data(), at_++);
    message = bytes_;
    return true;
  }

 private:
  uint64_t messages_, at_ = 0;
  std::array<uint8_t, 8> bytes_{};
};

struct Receiver {
  MoldUDP64 session{{.session = {}, .next_sequence = 1, .max_gaps = 1 << 20}};
  std::map<uint64_t, uint64_t> got;  // content by number
  uint64_t backwards = 0, latest = 0, heartbeats = 0, ends = 0;
  void message(uint64_t seq, const uint8_t* p, uint16_t, int64_t, bool late) {
    got[seq] = net::load_be64(p);
    backwards += late;
  }
  void gap(uint64_t, uint64_t) {}
  void heartbeat(uint64_t) { heartbeats++; }
  void end_of_session(uint64_t) { ends++; }
  void session_change(const MoldSession&, const MoldSession&) {}
};

// Counters of a line, outside telemetry.
struct Counters {
  std::array<Counter, kLineCounters> cells{};
  uint64_t operator[](LineCounter i) const { return cells[i].value(); }
};

// Runs lines to their end on a clock that jumps from deadline to deadline; f gets every packet.
template <class F>
void run(std::vector<PublishLine*> lines, std::shared_ptr<MessageLog> log, F&& f) {
  std::vector<uint8_t> frame(4'096);
  int64_t now = 1'000'000'000;
  for (PublishLine* line : lines) line->start(now);
  for (;;) {
    size_t next = 0;
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < lines.size(); i++) {
      const int64_t its = lines[i]->next_due(now);
      if (its < due || (its == due && due != INT64_MAX &&
                        lines[i]->schedule().taken() < lines[next]->schedule().taken()))
        due = its, next = i;
    }
    if (due == INT64_MAX) return;
    now = std::max(now, due);
    if (lines[next]->next_due(now) > now) continue;
    PlannedPacket packet;
    const bool leaves = lines[next]->take(frame.data(), now, packet);
    if (log) log->publish(lines[next]->schedule().taken());
    if (leaves) f(next, frame.data() + lines[next]->header_bytes(), packet, now);
  }
}

PublishLineOptions line_options(uint32_t max_messages, uint64_t seed) {
  PublishLineOptions o;
  o.flow.source_ip = "10.0.0.1";
  o.max_messages = max_messages;
  o.impairment.seed = seed;
  return o;
}

PublishSchedule schedule_of(const PublishLineOptions& line, std::shared_ptr<MessageSource> source,
                            PublishScheduleOptions o = {}) {
  if (line.max_messages) o.max_messages = line.max_messages;
  return PublishSchedule(o, std::move(source));
}

std::set<uint64_t> numbers_of(const RangeList& list) {
  std::set<uint64_t> out;
  for (const auto& r : list.ranges())
    for (uint64_t n = r.first; n <= r.last; n++) out.insert(n);
  return out;
}

TEST_CASE("two lines: what each receiver misses is what its line lost, and both what both lost") {
  constexpr uint64_t kMessages = 100'000;
  for (const Pacing pacing : {Pacing::kFast, Pacing::kMessages}) {
    auto log =
        std::make_shared<MessageLog>(std::make_shared<Numbers>(kMessages), MessageLog::kLeastBytes);
    LostEverywhere everywhere;
    everywhere.log = log;
    everywhere.lines = 2;
    PublishScheduleOptions stream;
    stream.pacing = pacing;
    stream.rate = 1e6;
    PublishLineOptions a = line_options(7, 1), b = line_options(5, 2);
    a.impairment.loss = 0.05;
    a.impairment.duplicate = 0.01;
    a.impairment.reorder = 0.01;
    b.impairment.burst_loss = 0.001;
    b.impairment.burst_packets = 50;
    if (pacing != Pacing::kFast) b.skew_ns = 3'000'000;
    Counters counters[2];
    PublishLine first(a, schedule_of(a, std::make_shared<LogSource>(log), stream), true, everywhere,
                      counters[0].cells.data());
    PublishLine second(b, schedule_of(b, std::make_shared<LogSource>(log), stream), true,
                       everywhere, counters[1].cells.data());
    Receiver receivers[2];
    uint64_t packets[2] = {}, repeated = 0, later = 0;
    run({&first, &second}, log,
        [&](size_t line, const uint8_t* p, const PlannedPacket& packet, int64_t now) {
          receivers[line].session.on_packet(p, packet.length, now, receivers[line]);
          packets[line]++;
          repeated += packet.kind == PlanKind::kData && packet.messages == 0;
          if (line == 1 && pacing != Pacing::kFast && packet.kind == PlanKind::kData)
            later += now - packet.due == 0 && packet.due >= 1'003'000'000;
        });
    std::set<uint64_t> both;
    for (size_t i = 0; i < 2; i++) {
      const PublishLine& line = i == 0 ? first : second;
      std::set<uint64_t> missed;
      for (uint64_t n = 0; n < kMessages; n++) {
        const auto found = receivers[i].got.find(n + 1);
        if (found == receivers[i].got.end())
          missed.insert(n);
        else
          CHECK(found->second == n);
      }
      CHECK(missed == numbers_of(line.lost()));
      CHECK(line.lost().messages() == missed.size());
      CHECK(counters[i][kLineLostMessages] == missed.size());
      CHECK(missed.size() > kMessages / 50);
      if (i == 0) both = missed;
      if (i == 1) std::erase_if(both, [&](uint64_t n) { return !missed.count(n); });
    }
    CHECK(numbers_of(everywhere.ranges.sorted()) == both);
    CHECK(everywhere.ranges.messages() == both.size());
    CHECK(both.size() > 20);
    CHECK(repeated == counters[0][kLineDuplicated]);
    CHECK(receivers[0].session.counters().duplicates >= repeated);
    CHECK(repeated > 50);
    CHECK(counters[0][kLineReordered] > 50);
    CHECK(receivers[0].backwards > 50);
    CHECK(receivers[1].backwards == 0);
    CHECK(counters[1][kLineReordered] + counters[1][kLineDuplicated] == 0);
    if (pacing != Pacing::kFast) CHECK(later == packets[1] - 3);
  }
}

TEST_CASE("the same seed loses the same, another one something else") {
  const auto lost = [](uint64_t seed) {
    LostEverywhere everywhere;
    Counters counters;
    PublishLineOptions o = line_options(3, seed);
    o.impairment.loss = 0.02;
    o.impairment.burst_loss = 0.001;
    PublishLine line(o, schedule_of(o, std::make_shared<Numbers>(30'000)), true, everywhere,
                     counters.cells.data());
    run({&line}, nullptr, [](size_t, const uint8_t*, const PlannedPacket&, int64_t) {});
    CHECK(everywhere.ranges.ranges() == line.lost().ranges());
    return line.lost().ranges();
  };
  CHECK(lost(4) == lost(4));
  CHECK(lost(4) != lost(5));
}

TEST_CASE("a rate of 1: everything is lost, twice, or held and still sent") {
  for (const int what : {0, 1, 2}) {
    LostEverywhere everywhere;
    Counters counters;
    PublishLineOptions o = line_options(10, 1);
    (what == 0 ? o.impairment.loss : what == 1 ? o.impairment.duplicate : o.impairment.reorder) = 1;
    PublishLine line(o, schedule_of(o, std::make_shared<Numbers>(1'000)), true, everywhere,
                     counters.cells.data());
    Receiver receiver;
    run({&line}, nullptr, [&](size_t, const uint8_t* p, const PlannedPacket& packet, int64_t now) {
      receiver.session.on_packet(p, packet.length, now, receiver);
    });
    CHECK(receiver.got.size() == (what == 0 ? 0 : 1'000));
    CHECK(receiver.session.counters().duplicates == (what == 1 ? 1'000 : 0));
    CHECK(receiver.ends == 3);  // control packets are spared
    CHECK(receiver.session.next_sequence() == 1'001);
    CHECK(line.held() == 0);
  }
}

TEST_CASE("numbers begin anew, in the same session and in another one") {
  PublishScheduleOptions o;
  o.session = "ONE";
  o.first_sequence = 11;
  o.max_messages = 7;
  o.epochs = {{100, "ONE", 1, true, false}, {250, "TWO", 5, false, true}};
  PublishSchedule schedule(o, std::make_shared<Numbers>(300));
  const StreamNumbers numbers(o);
  schedule.start(0);
  std::vector<uint8_t> p(2'000);
  uint64_t n = 0;
  std::string control;
  while (schedule.next_due(0) == 0 || schedule.next_due(1'000'000'000) < INT64_MAX) {
    const PlannedPacket packet = schedule.take(p.data(), 1'000'000'000);
    const std::string session(p.begin(), p.begin() + 10);
    const uint64_t sequence = net::load_be64(p.data() + 10);
    if (packet.kind != PlanKind::kData) {
      control += (packet.kind == PlanKind::kHeartbeat ? "beat " : "end ") + session.substr(0, 3) +
                 std::to_string(sequence) + " ";
      continue;
    }
    CHECK(packet.first == n);
    CHECK(sequence == (n < 100 ? 11 + n : n < 250 ? 1 + n - 100 : 5 + n - 250));
    CHECK(session == (n < 250 ? "ONE       " : "TWO       "));
    CHECK(numbers.sequence_of(n) == sequence);
    CHECK(numbers.message(mold_session(session), sequence, n + packet.messages) == n);
    for (uint32_t i = 0; i < packet.messages; i++)
      CHECK(net::load_be64(p.data() + 22 + 10 * i) == n + i);
    n += packet.messages;
  }
  CHECK(n == 300);
  CHECK(control == "beat ONE1 end ONE151 end ONE151 end ONE151 end TWO55 end TWO55 end TWO55 ");
}

TEST_CASE("which message a number means, when numbers have begun anew") {
  PublishScheduleOptions o;
  o.session = "S";
  o.epochs = {{100, "S", 1, false, false}, {120, "T", 1, false, false}};
  const StreamNumbers numbers(o);
  const MoldSession s = mold_session("S"), t = mold_session("T");
  CHECK(numbers.message(s, 5, 50) == 4);     // only the first has begun
  CHECK(numbers.message(s, 5, 110) == 104);  // the newer one
  CHECK(numbers.message(s, 21, 130) == 20);  // which has no 21
  CHECK(numbers.message(t, 3, 130) == 122);
  CHECK_FALSE(numbers.message(t, 3, 110));  // not begun
  CHECK_FALSE(numbers.message(s, 0, 50));
  CHECK_FALSE(numbers.message(mold_session("U"), 1, 50));
  CHECK(numbers.end_of_part(99) == 100);
  CHECK(numbers.end_of_part(120) == UINT64_MAX);
}

TEST_CASE("no packet allocates") {
  auto log =
      std::make_shared<MessageLog>(std::make_shared<Numbers>(50'000), MessageLog::kLeastBytes);
  LostEverywhere everywhere;
  everywhere.log = log;
  everywhere.lines = 1;
  Counters counters;
  PublishLineOptions o = line_options(7, 1);
  o.impairment.loss = o.impairment.duplicate = o.impairment.reorder = 0.05;
  PublishScheduleOptions stream;
  stream.epochs = {{20'000, "NEXT", 1, true, true}};
  PublishLine line(o, schedule_of(o, std::make_shared<LogSource>(log), stream), true, everywhere,
                   counters.cells.data());
  std::vector<uint8_t> frame(4'096);
  line.start(0);
  PlannedPacket packet;
  const uint64_t before = wp::testing::allocations();
  while (line.next_due(0) == 0) line.take(frame.data(), 0, packet);
  CHECK(wp::testing::allocations() == before);
  CHECK(line.schedule().taken() == 50'000);
}

TEST_CASE("unusable lines are refused by name") {
  const auto refusal = [](auto change) {
    PublishLineOptions o;
    change(o);
    try {
      o.validate();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  using O = PublishLineOptions;
  CHECK(refusal([](O&) {}) == "");
  CHECK(refusal([](O& o) { o.impairment.loss = 1.5; }).starts_with("loss"));
  CHECK(refusal([](O& o) { o.impairment.burst_loss = -1; }).starts_with("burst_loss"));
  CHECK(refusal([](O& o) { o.impairment.duplicate = 2; }).starts_with("duplicate"));
  CHECK(refusal([](O& o) { o.impairment.reorder = 2; }).starts_with("reorder"));
  CHECK(refusal([](O& o) { o.impairment.burst_packets = 0; }).starts_with("burst_packets"));
  CHECK(refusal([](O& o) { o.impairment.reorder_packets = 0; }).starts_with("reorder_packets"));
  CHECK(refusal([](O& o) { o.skew_ns = -1; }).starts_with("line.skew_ns"));
  CHECK(refusal([](O& o) { o.max_messages = 65'535; }).starts_with("line.max_messages"));
  PublishScheduleOptions s;
  s.epochs = {{5, "A", 1, false, false}, {5, "B", 1, false, false}};
  CHECK_THROWS_WITH_AS(s.validate(), doctest::Contains("epochs.at"), Error);
  s.epochs = {{5, "", 1, false, false}};
  CHECK_THROWS_WITH_AS(s.validate(), doctest::Contains("session"), Error);
}

}  // namespace
}  // namespace wp::feed
