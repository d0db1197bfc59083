/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery: when it asks, how much, how often, and when it gives up; the bytes
 * of each venue's request; state over a restart.
 */
#include "feed/recovery.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/mold_udp64_packet.h"
#include "feed/recovery_requests.h"
#include "feed/wire_sequence.h"

namespace wp::feed {
namespace {

/* What Recovery reads of an arbiter: units and their gaps. */
struct Gaps {
  struct Unit {
    uint32_t number;
    std::vector<SequenceRange> ranges;
    uint32_t unit() const { return number; }
    const Unit& assembler() const { return *this; }
    std::span<const SequenceRange> gaps() const { return ranges; }
  };
  std::vector<Unit> all{{0, {}}};
  size_t units() const { return all.size(); }
  const Unit& unit(size_t i) const { return all[i]; }
  std::vector<SequenceRange>& open() { return all[0].ranges; }
};

struct Sink {
  std::vector<std::string> said;
  void request(const RecoveryRequest& r) {
    said.push_back("ask " + std::to_string(r.unit) + ":" + std::to_string(r.first) + "+" +
                   std::to_string(r.count) + (r.attempt > 1 ? " again" : ""));
  }
  void give_up(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
    said.push_back("give up " + std::to_string(unit) + ":" + std::to_string(first) + "-" +
                   std::to_string(last) + " " + kAbandonReasons[static_cast<int>(reason)]);
  }
};
using Said = std::vector<std::string>;

RecoveryOptions options() {
  RecoveryOptions o;
  o.hold_ns = 10;
  o.retry_ns = 100;
  o.max_retry_ns = 300;
  o.max_attempts = 3;
  o.deadline_ns = 10'000;
  o.coalesce = 0;
  return o;
}

Said poll(Recovery& r, const Gaps& gaps, int64_t now) {
  Sink sink;
  r.poll(now, gaps, sink);
  return sink.said;
}

TEST_CASE("a gap is left alone for the hold time, asked for, asked for again, given up") {
  Recovery r(options());
  Gaps gaps;
  gaps.open() = {{5, 9, 1000}};
  CHECK(poll(r, gaps, 1000).empty());
  CHECK(r.deadline() == 1010);
  CHECK(poll(r, gaps, 1010) == Said{"ask 0:5+5"});
  CHECK(r.deadline() == 1110);
  CHECK(poll(r, gaps, 1109).empty());
  CHECK(poll(r, gaps, 1110) == Said{"ask 0:5+5 again"});
  CHECK(r.deadline() == 1310);  // backed off
  CHECK(poll(r, gaps, 1310) == Said{"ask 0:5+5 again"});
  CHECK(r.deadline() == 1610);  // no longer than max_retry_ns
  CHECK(poll(r, gaps, 1610) == Said{"give up 0:5-9 attempts"});
  CHECK(r.counters().requests == 3);
  CHECK(r.counters().retries == 2);
  CHECK(r.counters().abandoned == 5);
  gaps.open().clear();
  CHECK(poll(r, gaps, 1611).empty());
  CHECK(r.deadline() == INT64_MAX);
}

TEST_CASE("what another line fills within the hold time is not asked for") {
  Recovery r(options());
  Gaps gaps;
  gaps.open() = {{5, 9, 0}};
  poll(r, gaps, 5);
  gaps.open() = {{5, 6, 0}, {9, 9, 0}};
  CHECK(poll(r, gaps, 10) == Said{"ask 0:5+2", "ask 0:9+1"});
  gaps.open().clear();
  CHECK(poll(r, gaps, 11).empty());
  CHECK(r.ranges() == 0);
}

TEST_CASE("an answer bounded to a packet: the rest at once, and progress starts the count anew") {
  RecoveryOptions o = options();
  o.continue_at_once = true;
  Recovery r(o);
  Gaps gaps;
  gaps.open() = {{1, 100, 0}};
  CHECK(poll(r, gaps, 10) == Said{"ask 0:1+100"});
  gaps.open() = {{39, 100, 0}};
  CHECK(poll(r, gaps, 40) == Said{"ask 0:39+62"});
  CHECK(poll(r, gaps, 140) == Said{"ask 0:39+62 again"});
  gaps.open() = {{77, 100, 0}};
  CHECK(poll(r, gaps, 160) == Said{"ask 0:77+24"});
  CHECK(r.counters().continued == 2);
  // Where answers come in pieces of their own accord, the rest is given time.
  Recovery patient(options());
  gaps.open() = {{1, 100, 0}};
  poll(patient, gaps, 10);
  gaps.open() = {{1, 20, 0}, {39, 100, 0}};
  CHECK(poll(patient, gaps, 40).empty());
  CHECK(poll(patient, gaps, 139).empty());
  CHECK(poll(patient, gaps, 140) == Said{"ask 0:1+20", "ask 0:39+62"});
}

TEST_CASE("near gaps are one request, large ones several") {
  RecoveryOptions o = options();
  o.coalesce = 4;
  o.max_per_request = 30;
  Recovery r(o);
  Gaps gaps;
  gaps.open() = {{1, 2, 0}, {7, 8, 0}, {13, 20, 0}, {26, 31, 0}, {100, 170, 0}};
  // 4 apart and no more; together at most 30 messages.
  CHECK(poll(r, gaps, 10) ==
        Said{"ask 0:1+20", "ask 0:26+6", "ask 0:100+30", "ask 0:130+30", "ask 0:160+11"});
  CHECK(r.counters().requested == 20 + 6 + 71);
  CHECK(r.ranges() == 7);
}

TEST_CASE("no more requests in flight than allowed") {
  RecoveryOptions o = options();
  o.max_in_flight = 2;
  o.max_per_request = 10;
  Recovery r(o);
  Gaps gaps;
  gaps.open() = {{1, 50, 0}};
  CHECK(poll(r, gaps, 10) == Said{"ask 0:1+10", "ask 0:11+10"});
  CHECK(poll(r, gaps, 11).empty());
  gaps.open() = {{11, 50, 0}};
  CHECK(poll(r, gaps, 12) == Said{"ask 0:21+10"});
  // However often it was looked at: it has been waiting all the time.
  CHECK(r.counters().waited == 1);
  gaps.open() = {{31, 40, 0}};
  CHECK(poll(r, gaps, 13) == Said{"ask 0:31+10"});
  gaps.open() = {{31, 60, 0}};
  poll(r, gaps, 14);
  poll(r, gaps, 15);
  CHECK(r.counters().waited == 2);
}

TEST_CASE("what had to wait for a snapshot is not too old for that") {
  RecoveryOptions o = options();
  o.hold_ns = 0;
  o.deadline_ns = 100;
  for (const bool forgiven : {false, true}) {
    Recovery r(o);
    Gaps gaps;
    gaps.open() = {{5, 5, 0}};
    if (forgiven) r.forgive(900);
    CHECK(poll(r, gaps, 999) == (forgiven ? Said{"ask 0:5+1"} : Said{"give up 0:5-5 deadline"}));
    if (forgiven) CHECK(poll(r, gaps, 1000) == Said{"give up 0:5-5 deadline"});
  }
}

TEST_CASE("quotas hold in every window, not only from tick to tick") {
  RecoveryOptions o = options();
  o.hold_ns = 0;
  o.retry_ns = o.max_retry_ns = o.deadline_ns = 1'000'000 * Recovery::kSecond;
  o.per_second = 2;
  o.per_minute = 3;
  o.per_day = 4;
  Recovery r(o);
  Gaps gaps;
  constexpr int64_t s = Recovery::kSecond;
  for (uint64_t seq = 1; seq <= 9; seq += 2) gaps.open().push_back({seq, seq, 0});
  CHECK(poll(r, gaps, s / 2).size() == 2);
  CHECK(r.deadline() == s / 2 + s);
  CHECK(poll(r, gaps, s).empty());
  CHECK(poll(r, gaps, s / 2 + s).size() == 1);
  CHECK(r.deadline() == s / 2 + 60 * s);
  CHECK(poll(r, gaps, s / 2 + 60 * s - 1).empty());
  CHECK(poll(r, gaps, s / 2 + 60 * s).size() == 1);
  CHECK(r.deadline() == s / 2 + Recovery::kDay);
  CHECK(r.requests_in_day(100 * s) == 4);
  // A restart does not make a new day.
  Recovery after(o);
  after.resume(4, 200 * s);
  CHECK(poll(after, gaps, 300 * s).empty());
  CHECK(after.deadline() == 200 * s + Recovery::kDay);
}

TEST_CASE("restarts keep the requests of a day, by the hour, and do not make them younger") {
  constexpr int64_t kHour = RequestHours::kHour;
  constexpr int64_t kStart = 400'000 * kHour;
  RecoveryOptions o = options();
  o.per_day = 10;
  Recovery first(o);
  first.resume(3, kStart + 5);
  first.resume(2, kStart + kHour + 7);
  const RequestHours told = first.requests_by_hour(kStart + kHour + 8);
  CHECK(told.first == kStart / kHour - 23);
  CHECK(told.counts[23] == 3);
  CHECK(told.counts[24] == 2);
  RequestHours again = told;
  for (int restart = 0; restart < 50; ++restart) {
    Recovery r(o);
    r.resume(again);
    again = r.requests_by_hour(kStart + kHour + 9);
  }
  CHECK(again == told);
  Recovery after(o);
  after.resume(again);
  CHECK(after.requests_in_day(kStart + kHour) == 5);
  CHECK(after.requests_in_day(kStart + kHour + Recovery::kDay) == 2);
  CHECK(after.requests_in_day(kStart + 2 * kHour + Recovery::kDay) == 0);
}

TEST_CASE("a gap has a deadline whatever becomes of its requests") {
  RecoveryOptions o = options();
  o.per_day = 1;
  Recovery r(o);
  Gaps gaps;
  gaps.open() = {{1, 3, 0}, {8, 9, 50}};
  CHECK(poll(r, gaps, 60) == Said{"ask 0:1+3"});
  gaps.open() = {{8, 9, 50}};
  CHECK(poll(r, gaps, 10'049).empty());
  CHECK(poll(r, gaps, 10'050) == Said{"give up 0:8-9 deadline"});
}

TEST_CASE("refusals end it, pauses delay it") {
  Recovery r(options());
  Gaps gaps;
  gaps.open() = {{1, 3, 0}, {8, 9, 0}};
  poll(r, gaps, 10);
  r.refuse(0, 1, 3);
  CHECK(r.deadline() == INT64_MIN);
  CHECK(poll(r, gaps, 11) == Said{"give up 0:1-3 refused"});
  gaps.open() = {{8, 9, 0}};
  r.pause(500);
  CHECK(poll(r, gaps, 400).empty());
  CHECK(poll(r, gaps, 500) == Said{"ask 0:8+2"});
}

TEST_CASE("units have gaps of their own; the same numbers missing again are another gap") {
  Recovery r(options());
  Gaps gaps;
  gaps.all = {{3, {{1, 2, 0}}}, {7, {{1, 2, 0}}}};
  CHECK(poll(r, gaps, 10) == Said{"ask 3:1+2", "ask 7:1+2"});
  gaps.all[0].ranges = {{1, 2, 50}};  // the sequence began anew
  CHECK(poll(r, gaps, 55).empty());
  CHECK(poll(r, gaps, 60) == Said{"ask 3:1+2"});
}

TEST_CASE("more ranges than there is room for wait, and nothing allocates") {
  RecoveryOptions o = options();
  o.max_ranges = 4;
  Recovery r(o);
  Gaps gaps;
  for (uint64_t seq = 1; seq <= 19; seq += 2) gaps.open().push_back({seq, seq, 0});
  struct {
    uint64_t asked = 0;
    void request(const RecoveryRequest&) { ++asked; }
    void give_up(uint32_t, uint64_t, uint64_t, AbandonReason) {}
  } sink;
  const uint64_t before = wp::testing::allocations();
  r.poll(10, gaps, sink);
  const uint64_t after = wp::testing::allocations();
  CHECK(after == before);
  CHECK(sink.asked == 4);
  gaps.open().erase(gaps.open().begin(), gaps.open().begin() + 4);
  r.poll(20, gaps, sink);
  CHECK(sink.asked == 8);
}

std::string hex(const RequestEncoder& encoder, const RecoveryRequest& request,
                const SessionName& session = {}) {
  uint8_t bytes[RequestEncoder::kMaxBytes];
  const size_t n = encoder.encode(request, session, bytes);
  std::string out;
  for (size_t i = 0; i < n; ++i) {
    out += "0123456789abcdef"[bytes[i] >> 4];
    out += "0123456789abcdef"[bytes[i] & 15];
  }
  return out;
}

TEST_CASE("requests as each venue wants them") {
  SessionName session{};
  std::copy_n("000010059B", 10, session.begin());
  CHECK(hex(MoldRequests(), {0, 14764496, 38, 1}, session) ==
        "30303030313030353942"
        "0000000000e149d0"
        "0026");
  CHECK(MoldRequests().limits().continue_at_once);
  // As a proxy's session of Cboe's laboratory has it.
  CHECK(hex(PitchRequests(), {1, 14, 1, 1}) == "11000100000000000903010e0000000100");
  CHECK(hex(PitchRequests(), {1, uint64_t{4294967295} + 14, 1, 1}) ==
        "11000100000000000903010e0000000100");
  CHECK(PitchRequests().limits().max_per_request == 65'535);
  CHECK(hex(NyseRequests("CLIENT", 7, 2), {0, 100, 1000, 1}) ==
        "28000b01000000000000000000000000"
        "18000a00"
        "64000000"
        "4b040000"
        "434c49454e5400000000"
        "0702");
  CHECK(NyseRequests("A", 1, 1).limits().max_per_request == 1000);
  CHECK(NyseRequests("A", 1, 1).limits().per_day == 10'000);
  CHECK_THROWS_WITH_AS(NyseRequests("", 1, 1), doctest::Contains("source_id"), Error);
}

TEST_CASE("a PITCH gap response: accepted, over a quota, refused") {
  const uint8_t accepted[] = {0x0a, 0x04, 0x01, 0x0e, 0, 0, 0, 0x01, 0, 0x41};
  PitchGapResponse response;
  CHECK(decode_pitch_gap_response(accepted, sizeof accepted, &response));
  CHECK(response.unit == 1);
  CHECK(response.sequence == 14);
  CHECK(response.count == 1);
  CHECK(response.status == 'A');
  CHECK_FALSE(decode_pitch_gap_response(accepted, 9, &response));

  Recovery r(options());
  Gaps gaps;
  gaps.all = {{1, {{14, 14, 0}}}};
  poll(r, gaps, 10);
  on_pitch_gap_response(response, 14, 20, r);
  CHECK(poll(r, gaps, 20).empty());
  response.status = 'S';
  on_pitch_gap_response(response, 14, 30, r);
  CHECK(r.deadline() != INT64_MIN);
  CHECK(poll(r, gaps, 200).empty());
  CHECK(r.counters().waited > 0);
  response.status = 'O';
  on_pitch_gap_response(response, 14, 300, r);
  CHECK(poll(r, gaps, 300) == Said{"give up 1:14-14 refused"});
}

TEST_CASE("an IEX gap fill request is read as it was written; one out of order is refused") {
  SessionName session{};
  const uint8_t name[10] = {0x04, 0x80, 7, 0, 0, 0, 42, 0, 0, 0};
  std::memcpy(session.data(), name, sizeof name);
  uint8_t bytes[RequestEncoder::kMaxBytes];
  const size_t n = IexRequests().encode({0, 100, 5, 1}, session, bytes);
  CHECK(n == 32);
  CHECK(IexRequests().limits().continue_at_once);
  IexGapRequest request;
  REQUIRE(decode_iex_gap_request(bytes, n, &request));
  CHECK(request.type == IexGapRequest::kSequences);
  CHECK(request.protocol == 0x8004);
  CHECK(request.channel == 7);
  CHECK(request.session == 42);
  CHECK(request.ranges == std::vector<SequenceRange>{{100, 104}});

  for (size_t cut = 0; cut < n; ++cut) CHECK_FALSE(decode_iex_gap_request(bytes, cut, &request));
  // Two ranges, then the second touching the first; none is a sign of life.
  std::vector<uint8_t> two(bytes, bytes + 16);
  two[12] = 2;
  for (int64_t v : {5, 6, 7, 7}) {
    const auto* p = reinterpret_cast<const uint8_t*>(&v);
    two.insert(two.end(), p, p + 8);
  }
  REQUIRE(decode_iex_gap_request(two.data(), two.size(), &request));
  CHECK(request.ranges == std::vector<SequenceRange>{{5, 6}, {7, 7}});
  two[32] = 6;
  CHECK_FALSE(decode_iex_gap_request(two.data(), two.size(), &request));
  two[32] = 8;
  CHECK_FALSE(decode_iex_gap_request(two.data(), two.size(), &request));
  bytes[12] = 0;
  REQUIRE(decode_iex_gap_request(bytes, 16, &request));
  CHECK(request.ranges.empty());
  bytes[0] = 2;
  CHECK_FALSE(decode_iex_gap_request(bytes, 16, &request));
  bytes[0] = 1;
  bytes[1] = 3;
  CHECK_FALSE(decode_iex_gap_request(bytes, 16, &request));
}

TEST_CASE("recovery options are checked") {
  RecoveryOptions o;
  o.max_per_request = 0;
  CHECK_THROWS_WITH_AS(Recovery{o}, doctest::Contains("max_per_request = 0"), Error);
  o = {};
  o.max_retry_ns = 1;
  CHECK_THROWS_WITH_AS(Recovery{o}, doctest::Contains("max_retry_ns"), Error);
}

}  // namespace
}  // namespace wp::feed
