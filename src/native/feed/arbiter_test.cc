/* SPDX-License-Identifier: Apache-2.0
 *
 * The arbiter: its rules one by one, then random packets on several lines
 * against the naive model, then no allocation.
 */
#include "feed/arbiter.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/arbiter_differential.h"
#include "feed/mold_framer.h"
#include "feed/mold_udp64_differential.h"
#include "feed/plain_framer.h"

namespace wp::feed {
namespace {

using naive::ArbiterDifferential;
using naive::ArbiterEvent;
using naive::plain_packet;
using Events = std::vector<ArbiterEvent>;
using Wide = naive::PlainFramer<4294967295, 1>;
using Narrow = naive::PlainFramer<999, 1>;

template <class Framer>
const Events& feed(ArbiterDifferential<Framer>& d, uint32_t line, const std::string& packet,
                   int64_t now = 0, uint32_t unit = 0) {
  const char* const difference = d.on_packet(line, packet, now);
  INFO("differs in " << std::string(difference == nullptr ? "" : difference));
  CHECK(difference == nullptr);
  return d.events(unit);
}

std::string data(uint32_t first, const std::vector<std::string>& blocks, char session = 0) {
  return plain_packet(PacketKind::kData, first, blocks, session);
}
std::string heartbeat(uint32_t next) {
  return plain_packet(PacketKind::kHeartbeat, next);
}

ArbiterEvent msg(uint64_t seq, const std::string& text, int line = 0, int64_t time = 0,
                 int flags = 0) {
  return {ArbiterEvent::kMessage, seq, seq, line * 256 + flags, time, text};
}
ArbiterEvent gap(uint64_t first, uint64_t last) {
  return {ArbiterEvent::kGap, first, last, 0, 0, ""};
}
ArbiterEvent abandoned(uint64_t first, uint64_t last, AbandonReason reason) {
  return {ArbiterEvent::kAbandoned, first, last, static_cast<int>(reason), 0, ""};
}
ArbiterEvent alive(uint64_t next, int line) {
  return {ArbiterEvent::kHeartbeat, next, 0, line, 0, ""};
}
ArbiterEvent reset(uint64_t next, ResetCause cause) {
  return {ArbiterEvent::kReset, next, 0, static_cast<int>(cause), 0, ""};
}

ArbiterOptions options(bool in_order = true) {
  ArbiterOptions o;
  o.in_order = in_order;
  o.hold_messages = 64;
  o.hold_bytes = 1 << 16;
  o.hold_ns = 1000;
  return o;
}

TEST_CASE("the first arrival wins, message by message, however the lines pack") {
  ArbiterDifferential<Wide> d(options());
  CHECK(feed(d, 0, data(1, {"1", "2"}), 10) == Events{msg(1, "1", 0, 10), msg(2, "2", 0, 10)});
  CHECK(feed(d, 1, data(1, {"1", "2", "3"}), 25) == Events{msg(3, "3", 1, 25)});
  CHECK(feed(d, 0, data(3, {"3", "4"}), 30) == Events{msg(4, "4", 0, 30)});
  CHECK(feed(d, 1, data(4, {"4"}), 32).empty());
  const auto lines = d.arbiter().lines();
  CHECK(lines[0].counters.won == 3);
  CHECK(lines[0].counters.duplicates == 1);
  CHECK(lines[1].counters.won == 1);
  CHECK(lines[1].counters.duplicates == 3);
  CHECK(lines[0].counters.missing + lines[1].counters.missing == 0);
  // B was 15 ns behind for message 1, A 5 ns for 3, B 2 ns for 4.
  CHECK(lines[1].behind.total() == 2);
  CHECK(lines[0].behind.total() == 1);
  CHECK(d.arbiter().skew(0, 1, 0.0) == -5);
  CHECK(d.arbiter().skew(0, 1, 0.5) == 2);
  CHECK(d.arbiter().skew(0, 1, 1.0) == 15);
}

TEST_CASE("what a line loses is counted by line, what both lose is a gap") {
  ArbiterDifferential<Wide> d(options());
  feed(d, 0, data(1, {"1"}));
  feed(d, 1, data(1, {"1"}));
  CHECK(feed(d, 0, data(3, {"3"})) == Events{gap(2, 2)});
  CHECK(d.arbiter().counters().held == 1);
  CHECK(feed(d, 1, data(2, {"2"})) == Events{msg(2, "2", 1), msg(3, "3")});
  CHECK(feed(d, 1, data(4, {"4"})) == Events{msg(4, "4", 1)});
  CHECK(d.arbiter().lines()[0].counters.missing == 1);
  CHECK(d.arbiter().lines()[1].counters.missing == 1);
  CHECK(d.arbiter().lines()[1].counters.expected == 4);
  CHECK(d.arbiter().counters().gap_open == 0);
}

TEST_CASE("a heartbeat reveals loss at the tail; the hold timer ends the wait") {
  ArbiterDifferential<Wide> d(options());
  feed(d, 0, data(1, {"1"}), 0);
  CHECK(feed(d, 1, heartbeat(4), 100) == Events{gap(2, 3), alive(4, 1)});
  CHECK(feed(d, 0, data(4, {"4"}), 200).empty());
  CHECK(d.arbiter().deadline() == 1100);
  CHECK(d.on_time(1099) == nullptr);
  CHECK(d.events().empty());
  CHECK(d.on_time(1100) == nullptr);
  CHECK(d.events() == Events{abandoned(2, 3, AbandonReason::kTimeout), msg(4, "4", 0, 200)});
  CHECK(d.arbiter().deadline() == INT64_MAX);
  CHECK(feed(d, 1, data(3, {"3"}), 1200).empty());
  CHECK(d.arbiter().lines()[1].counters.too_late == 1);
  // A packet's time runs the timer too.
  feed(d, 0, data(6, {"6"}), 2000);
  CHECK(feed(d, 0, data(7, {"7"}), 3000) == Events{abandoned(5, 5, AbandonReason::kTimeout),
                                                   msg(6, "6", 0, 2000), msg(7, "7", 0, 3000)});
}

TEST_CASE("as it comes: nothing is held, what fills a gap is late") {
  ArbiterDifferential<Wide> d(options(false));
  feed(d, 0, data(1, {"1"}));
  CHECK(feed(d, 0, data(4, {"4"})) == Events{gap(2, 3), msg(4, "4")});
  CHECK(feed(d, 1, data(2, {"2", "3", "4"})) ==
        Events{msg(2, "2", 1, 0, WP_FLAG_LATE), msg(3, "3", 1, 0, WP_FLAG_LATE)});
  CHECK(d.arbiter().counters().late == 2);
}

TEST_CASE("a full buffer gives up the oldest gap and keeps the order") {
  ArbiterOptions o = options();
  o.hold_messages = 2;
  ArbiterDifferential<Wide> d(o);
  feed(d, 0, data(1, {"1"}));
  CHECK(feed(d, 0, data(3, {"3"})) == Events{gap(2, 2)});
  CHECK(feed(d, 0, data(6, {"6"})) == Events{gap(4, 5)});
  CHECK(feed(d, 0, data(5, {"5"})) ==
        Events{abandoned(2, 2, AbandonReason::kBufferFull), msg(3, "3")});
  CHECK(feed(d, 0, data(7, {"7"})) ==
        Events{abandoned(4, 4, AbandonReason::kBufferFull), msg(5, "5"), msg(6, "6"), msg(7, "7")});
  CHECK(d.arbiter().counters().held_peak == 2);

  o.hold_messages = 100;
  o.hold_bytes = 1024;
  Arbiter<Wide> bytes(o);
  naive::ArbiterRecorder sink;
  for (uint32_t seq : {1, 3, 4, 5, 6, 7, 8}) {
    const std::string p = data(seq, {std::string(250, 'x')});
    bytes.on_packet(0, reinterpret_cast<const uint8_t*>(p.data()), p.size(), 0, sink);
  }
  CHECK(bytes.counters().held == 0);
  CHECK(bytes.counters().abandoned == 1);
  CHECK(bytes.counters().delivered == 7);
}

TEST_CASE("another session is followed once, and the slower line's old packets are stale") {
  ArbiterDifferential<Wide> d(options());
  feed(d, 0, data(100, {"a"}, 'A'));
  feed(d, 1, data(100, {"a"}, 'A'));
  feed(d, 0, data(102, {"c"}, 'A'));
  CHECK(feed(d, 0, data(1, {"x"}, 'B')) ==
        Events{abandoned(101, 101, AbandonReason::kSessionChange),
               msg(102, "c"),
               {ArbiterEvent::kSession, 0, 0, 0, 0, "AB"},
               msg(1, "x")});
  CHECK(feed(d, 1, data(101, {"b", "c"}, 'A')).empty());
  CHECK(d.arbiter().lines()[1].counters.stale == 1);
  CHECK(feed(d, 1, data(1, {"x", "y"}, 'B')) == Events{msg(2, "y", 1)});
  CHECK(feed(d, 1, data(101, {"b"}, 'A')).size() == 2);  // its own mind: back to A

  ArbiterOptions o = options();
  o.session[0] = 'A';
  o.pin_session = true;
  o.next_sequence = 5;
  ArbiterDifferential<Wide> pinned(o);
  CHECK(feed(pinned, 0, data(1, {"x"}, 'B')).empty());
  CHECK(pinned.arbiter().lines()[0].counters.wrong_session == 1);
  CHECK(feed(pinned, 0, data(7, {"x"}, 'A')) == Events{gap(5, 6)});
}

TEST_CASE("where the first number is known, what no line brought of a session's start is a gap") {
  ArbiterOptions o = options();
  o.recovery_lines = 1;
  o.session_begin = 1;
  o.max_jump = 1000;
  ArbiterDifferential<Wide> d(o);
  // Nothing went before it: joined in the middle.
  CHECK(feed(d, 0, data(100, {"a"}, 'A')) == Events{msg(100, "a")});
  CHECK(feed(d, 0, data(4, {"4"}, 'B')) ==
        Events{{ArbiterEvent::kSession, 0, 0, 0, 0, "AB"}, gap(1, 3)});
  CHECK(feed(d, 1, data(3, {"3"}, 'B')).empty());
  CHECK(feed(d, 2, data(1, {"1", "2"}, 'B')) ==
        Events{msg(1, "1", 2, 0, 8), msg(2, "2", 2, 0, 8), msg(3, "3", 1), msg(4, "4")});
  CHECK(d.arbiter().counters().gap_filled == 3);
  // All of it was lost but a heartbeat.
  CHECK(feed(d, 1, plain_packet(PacketKind::kHeartbeat, 3, {}, 'C')) ==
        Events{{ArbiterEvent::kSession, 0, 0, 0, 0, "BC"}, gap(1, 2), alive(3, 1)});
  // Further away than a start can be: joined there.
  CHECK(feed(d, 0, data(1002, {"x"}, 'D')) == Events{abandoned(1, 2, AbandonReason::kSessionChange),
                                                     {ArbiterEvent::kSession, 0, 0, 0, 0, "CD"},
                                                     msg(1002, "x")});
  CHECK(feed(d, 0, data(1001, {"y"}, 'E')) ==
        Events{{ArbiterEvent::kSession, 0, 0, 0, 0, "DE"}, gap(1, 1000)});
  // Numbers below it are numbers too.
  o.session_begin = 10;
  ArbiterDifferential<Wide> below(o);
  feed(below, 0, data(100, {"a"}, 'A'));
  CHECK(feed(below, 0, data(9, {"x"}, 'B')) ==
        Events{{ArbiterEvent::kSession, 0, 0, 0, 0, "AB"}, msg(9, "x")});
}

TEST_CASE("a new session waits for its snapshot, from its very first message on") {
  ArbiterOptions o = options();
  o.session_begin = 1;
  o.await_snapshot = true;
  ArbiterDifferential<Wide> d(o);
  CHECK(feed(d, 0, data(50, {"a"}, 'A')) == Events{msg(50, "a")});
  CHECK(feed(d, 0, data(1, {"1", "2"}, 'B')) ==
        Events{{ArbiterEvent::kSession, 0, 0, 0, 0, "AB"}, gap(0, 0)});
  CHECK(feed(d, 1, data(1, {"1", "2", "3"}, 'B')).empty());
  CHECK(d.skip_to(0, 3, 5) == nullptr);
  CHECK(d.events() == Events{abandoned(0, 0, AbandonReason::kSnapshot), msg(3, "3", 1)});
  CHECK(feed(d, 0, data(4, {"4"}, 'B'), 6) == Events{msg(4, "4", 0, 6)});
  // Without one it goes on in its time.
  CHECK(feed(d, 0, data(1, {"x"}, 'C'), 7).size() == 2);
  CHECK(d.on_time(7 + o.hold_ns) == nullptr);
  CHECK(d.events() == Events{abandoned(0, 0, AbandonReason::kTimeout), msg(1, "x", 0, 7)});
}

TEST_CASE("where the first number is known, a restart without a word begins there") {
  ArbiterOptions o = options();
  o.session_begin = 1;
  o.reorder_messages = 50;
  ArbiterDifferential<Wide> d(o);
  for (uint32_t seq = 100; seq < 300; ++seq) feed(d, 0, data(seq, {"m"}));
  const int64_t later = 1'000'000'000;
  CHECK(feed(d, 0, heartbeat(4), later) ==
        Events{reset(1, ResetCause::kHeartbeat), gap(1, 3), alive(4, 0)});
  CHECK(feed(d, 1, data(1, {"1", "2", "3", "4"}), later + 1).size() == 4);
  for (uint32_t seq = 5; seq < 200; ++seq) feed(d, 1, data(seq, {"m"}), later + 2);
  for (uint32_t seq : {3, 4}) CHECK(feed(d, 1, data(seq, {"again"}), later + 3).empty());
  CHECK(feed(d, 1, data(5, {"again"}), later + 3) ==
        Events{reset(1, ResetCause::kData), gap(1, 4)});
  // What the venue itself says of the next number holds.
  const int64_t last = 3 * later;
  CHECK(feed(d, 1, plain_packet(PacketKind::kReset, 7), last).back() ==
        reset(7, ResetCause::kAnnounced));
  CHECK(feed(d, 1, data(7, {"7"}), last) == Events{msg(7, "7", 1, last)});
}

TEST_CASE("a bare restart on a heartbeat is told from late duplicates") {
  ArbiterDifferential<Wide> d(options());
  for (uint32_t seq = 1; seq <= 10; ++seq) {
    feed(d, 0, data(seq, {"m"}), seq);
    feed(d, 1, data(seq, {"m"}), seq);
  }
  // Overtaken a moment ago: late, not a restart.
  CHECK(feed(d, 0, heartbeat(9), 100) == Events{alive(9, 0)});
  CHECK(feed(d, 0, data(5, {"m"}), 200).empty());
  CHECK(d.arbiter().counters().resets == 0);
  // A second of silence, then from 1 again; the session is the same.
  const int64_t later = 1'000'000'000;
  CHECK(feed(d, 0, heartbeat(1), later) == Events{reset(1, ResetCause::kHeartbeat), alive(1, 0)});
  CHECK(feed(d, 1, data(11, {"old"}), later + 10).empty());
  CHECK(d.arbiter().lines()[1].counters.stale == 1);
  CHECK(feed(d, 0, data(1, {"new"}), later + 20) == Events{msg(1, "new", 0, later + 20)});
  CHECK(feed(d, 1, heartbeat(1), later + 30) == Events{alive(1, 1)});
  CHECK(feed(d, 1, data(1, {"new", "2"}), later + 40) == Events{msg(2, "2", 1, later + 40)});
  CHECK(d.arbiter().counters().resets == 1);
  // 1 to 10 once and 1 to 2 once; what was stale is not missing.
  CHECK(d.arbiter().counters().delivered == 12);
  CHECK(d.arbiter().lines()[1].counters.missing == 0);
}

TEST_CASE("data that goes back far is believed when packets of one line continue each other") {
  ArbiterOptions o = options();
  o.reorder_messages = 50;
  ArbiterDifferential<Wide> d(o);
  for (uint32_t seq = 100; seq < 300; ++seq) feed(d, 0, data(seq, {"m"}));
  feed(d, 0, data(101, {"m"}));
  feed(d, 0, data(102, {"m"}));
  CHECK(feed(d, 0, data(300, {"m"})).size() == 1);  // the line goes on: the proof is void
  feed(d, 0, data(103, {"m"}));
  CHECK(d.arbiter().lines()[0].counters.doubted == 3);
  CHECK(d.arbiter().counters().resets == 0);
  feed(d, 0, data(1, {"a"}));
  feed(d, 0, data(2, {"b"}));
  CHECK(feed(d, 0, data(3, {"c"})) == Events{reset(1, ResetCause::kData), gap(1, 2)});
  // The other line still has them.
  CHECK(feed(d, 1, data(1, {"a", "b"})) == Events{msg(1, "a", 1), msg(2, "b", 1), msg(3, "c")});
}

TEST_CASE("a number far ahead needs proof as well") {
  ArbiterOptions o = options();
  o.max_jump = 1000;
  ArbiterDifferential<Wide> d(o);
  feed(d, 0, data(1, {"m"}));
  CHECK(feed(d, 0, data(1'000'000, {"bad"})).empty());
  CHECK(feed(d, 0, data(2, {"m"})).size() == 1);
  CHECK(d.arbiter().lines()[0].counters.doubted == 1);
  for (uint32_t seq = 5000; seq < 5002; ++seq) CHECK(feed(d, 0, data(seq, {"m"})).empty());
  CHECK(feed(d, 0, data(5002, {"m"})) == Events{gap(3, 5001)});
}

TEST_CASE("an announced reset counts once, from whichever lines it comes") {
  ArbiterDifferential<Wide> d(options());
  const std::string announcement = plain_packet(PacketKind::kReset, 1);
  for (uint32_t line : {0, 1}) feed(d, line, data(50, {"m"}));
  feed(d, 0, data(52, {"n"}));
  CHECK(feed(d, 0, announcement) == Events{abandoned(51, 51, AbandonReason::kReset), msg(52, "n"),
                                           reset(1, ResetCause::kAnnounced)});
  CHECK(feed(d, 0, announcement).empty());
  CHECK(feed(d, 0, data(1, {"1"})) == Events{msg(1, "1")});
  CHECK(feed(d, 1, data(51, {"old"})).empty());
  CHECK(feed(d, 1, announcement).empty());
  CHECK(feed(d, 1, data(1, {"1", "2"})) == Events{msg(2, "2", 1)});
  // A second one, later.
  CHECK(feed(d, 1, announcement, 1'000'000'000) == Events{reset(1, ResetCause::kAnnounced)});
}

TEST_CASE("a reset's own messages are the first of the new sequence, once from all lines") {
  ArbiterDifferential<Wide> d(options());
  const std::string announcement = plain_packet(PacketKind::kReset, 1, {"r", "s"});
  for (uint32_t line : {0, 1}) feed(d, line, data(50, {"m"}));
  CHECK(feed(d, 0, announcement, 10) ==
        Events{reset(1, ResetCause::kAnnounced), msg(1, "r", 0, 10), msg(2, "s", 0, 10)});
  CHECK(feed(d, 0, announcement, 20).empty());
  CHECK(feed(d, 0, data(3, {"3"}), 30) == Events{msg(3, "3", 0, 30)});
  CHECK(feed(d, 1, announcement, 40).empty());
  CHECK(feed(d, 1, data(3, {"3", "4"}), 50) == Events{msg(4, "4", 1, 50)});
  const LineCounters& a = d.arbiter().lines()[0].counters;
  CHECK(a.resets == 2);
  CHECK(a.data == 2);
  CHECK(a.duplicates == 2);
  CHECK(d.arbiter().lines()[1].counters.missing == 0);
  CHECK(d.arbiter().counters().resets == 1);
  // A line that lost the reset itself follows by its data; what it lost was the other's.
  const std::string second = plain_packet(PacketKind::kReset, 1, {"x"});
  CHECK(feed(d, 1, second, 1'000'000'000) ==
        Events{reset(1, ResetCause::kAnnounced), msg(1, "x", 1, 1'000'000'000)});
  CHECK(feed(d, 0, data(2, {"y"}), 1'000'000'010) == Events{msg(2, "y", 0, 1'000'000'010)});
}

TEST_CASE("a snapshot's numbers are given up, what is held of them is dropped, the rest goes on") {
  ArbiterDifferential<Wide> d(options());
  feed(d, 0, data(1, {"1"}));
  feed(d, 0, data(3, {"3", "4"}));
  feed(d, 0, data(7, {"7"}));
  CHECK(d.skip_to(0, 4, 5) == nullptr);
  CHECK(d.events() == Events{abandoned(2, 2, AbandonReason::kSnapshot), msg(4, "4")});
  CHECK(d.arbiter().counters().superseded == 1);
  CHECK(feed(d, 1, data(2, {"2", "3"}), 6).empty());
  CHECK(d.arbiter().lines()[1].counters.too_late == 1);
  CHECK(d.arbiter().lines()[1].counters.duplicates == 1);
  // Into a gap, and beyond all that is known.
  CHECK(d.skip_to(0, 6, 7) == nullptr);
  CHECK(d.events() == Events{abandoned(5, 5, AbandonReason::kSnapshot)});
  CHECK(d.skip_to(0, 10, 8) == nullptr);
  CHECK(d.events() == Events{gap(8, 9), abandoned(6, 6, AbandonReason::kSnapshot),
                             abandoned(8, 9, AbandonReason::kSnapshot)});
  CHECK(feed(d, 0, data(10, {"10"}), 9) == Events{msg(10, "10", 0, 9)});
  CHECK(d.skip_to(0, 3, 10) == nullptr);
  CHECK(d.events().empty());
}

TEST_CASE("a line alone gives what stands before damage, two lines wait for the whole packet") {
  const auto packet = [](uint64_t first, size_t cut) {
    std::string p = naive::mold_packet("SESSION001", first, {"one", "two", "three"});
    p.resize(p.size() - cut);
    return p;
  };
  const auto take = [](auto& arbiter, naive::ArbiterRecorder& seen, uint32_t line,
                       const std::string& p) {
    const std::vector<uint8_t> copy(p.begin(), p.end());
    arbiter.on_packet(line, copy.data(), copy.size(), 0, seen);
  };
  ArbiterOptions o = options();
  o.lines = 1;
  Arbiter<MoldFramer> alone(o);
  naive::ArbiterRecorder seen;
  take(alone, seen, 0, packet(1, 0));
  seen.events.clear();
  take(alone, seen, 0, packet(4, 3));
  CHECK(seen.events[0] == Events{msg(4, "one"), msg(5, "two")});
  seen.events.clear();
  take(alone, seen, 0, packet(7, 0));
  CHECK(seen.events[0] == Events{gap(6, 6)});
  CHECK(alone.lines()[0].counters.malformed == 1);
  CHECK(alone.lines()[0].counters.data == 2);
  CHECK(alone.lines()[0].counters.messages == 8);
  CHECK(alone.lines()[0].counters.missing == 1);
  take(alone, seen, 0, packet(10, 30));
  CHECK(alone.lines()[0].counters.malformed == 2);

  o.lines = 2;
  Arbiter<MoldFramer> two(o);
  take(two, seen, 0, packet(1, 0));
  seen.events.clear();
  take(two, seen, 0, packet(4, 3));
  CHECK(seen.events.empty());
  take(two, seen, 1, packet(4, 0));
  CHECK(seen.events[0].size() == 3);
}

TEST_CASE("u32 sequences roll over and go on counting") {
  ArbiterDifferential<Wide> d(options());
  CHECK(feed(d, 0, data(4294967294, {"a", "b", "c"})).back() == msg(4294967296, "c"));
  CHECK(feed(d, 1, data(4294967295, {"b"})).empty());
  CHECK(feed(d, 0, data(4, {"f"})) == Events{gap(4294967297, 4294967298)});
  CHECK(feed(d, 1, data(2, {"d", "e"})).size() == 3);
  CHECK(feed(d, 0, heartbeat(5)) == Events{alive(4294967299 + 1, 0)});
  CHECK(d.arbiter().counters().resets == 0);
  CHECK(wire_sequence(Wide::kNumbers, d.arbiter().unit(0).state().next) == 5);
}

TEST_CASE("a restart is no roll, though nearest over one") {
  ArbiterDifferential<Wide> d(options());
  feed(d, 0, data(3'000'000'000, {"a"}));
  CHECK(feed(d, 0, heartbeat(1)) == Events{reset(1, ResetCause::kHeartbeat), alive(1, 0)});
  CHECK(feed(d, 0, data(1, {"b"})) == Events{msg(1, "b")});
}

TEST_CASE("units are sequences of their own") {
  ArbiterOptions o = options();
  o.units = 2;
  ArbiterDifferential<Wide> d(o);
  auto unit = [](uint8_t number, uint32_t first) {
    return plain_packet(PacketKind::kData, first, {"m"}, 0, number);
  };
  feed(d, 0, unit(3, 10));
  feed(d, 0, unit(7, 500));
  CHECK(feed(d, 1, unit(3, 12), 0, 3) == Events{gap(11, 11)});
  CHECK(feed(d, 1, unit(7, 501), 0, 7).size() == 1);
  CHECK(feed(d, 1, unit(8, 1), 0, 8).empty());
  CHECK(d.arbiter().lines()[1].counters.unknown_unit == 1);
}

TEST_CASE("retransmissions fill gaps, are flagged, and change nothing else") {
  ArbiterOptions o = options();
  o.recovery_lines = 1;
  ArbiterDifferential<Wide> d(o);
  CHECK(feed(d, 2, data(1, {"x"}, 'A')).empty());  // no session begins with them
  feed(d, 0, data(1, {"1"}, 'A'));
  feed(d, 0, data(4, {"4"}, 'A'));
  CHECK(feed(d, 2, data(2, {"2"}, 'A')) == Events{msg(2, "2", 2, 0, WP_FLAG_RECOVERED)});
  CHECK(feed(d, 0, plain_packet(PacketKind::kData, 3, {"3"}, 'A', 0, true)) ==
        Events{msg(3, "3", 0, 0, WP_FLAG_RECOVERED), msg(4, "4")});
  CHECK(feed(d, 2, data(1, {"z"}, 'B')).empty());
  CHECK(feed(d, 2, plain_packet(PacketKind::kHeartbeat, 900, {}, 'A')).empty());
  CHECK(d.arbiter().counters().recovered == 2);
  CHECK(d.arbiter().counters().session_changes == 0);
  CHECK(d.arbiter().lines()[0].counters.missing == 2);
}

TEST_CASE("what recovery gives up is delivered past, from anywhere") {
  Arbiter<Wide> arbiter(options());
  naive::ArbiterRecorder sink;
  auto packet = [&](uint32_t seq) {
    const std::string p = data(seq, {std::to_string(seq)});
    arbiter.on_packet(0, reinterpret_cast<const uint8_t*>(p.data()), p.size(), 0, sink);
  };
  for (uint32_t seq : {1, 10, 20, 30}) packet(seq);
  sink.events.clear();
  arbiter.abandon(0, 13, 16, AbandonReason::kRefused, sink);
  CHECK(sink.events[0] == Events{abandoned(13, 16, AbandonReason::kRefused)});
  CHECK(arbiter.counters().gap_open == 8 + 5 + 9);
  sink.events.clear();
  arbiter.abandon(0, 1, 12, AbandonReason::kDeadline, sink);
  CHECK(sink.events[0] == Events{abandoned(2, 9, AbandonReason::kDeadline), msg(10, "10"),
                                 abandoned(11, 12, AbandonReason::kDeadline)});
  sink.events.clear();
  packet(17);
  packet(18);
  CHECK(sink.events[0] == Events{msg(17, "17"), msg(18, "18")});
  arbiter.abandon(0, 0, UINT64_MAX, AbandonReason::kAttempts, sink);
  CHECK(arbiter.counters().held == 0);
  CHECK(arbiter.counters().abandoned == 4 + 8 + 2 + 1 + 9);
  CHECK(arbiter.unit(0).state().next == 31);
}

TEST_CASE("state taken from one arbiter starts another") {
  Arbiter<Wide> before(options());
  naive::ArbiterRecorder sink;
  const std::string p = data(4294967295, {"a", "b"}, 'S');
  before.on_packet(0, reinterpret_cast<const uint8_t*>(p.data()), p.size(), 0, sink);
  const SequenceState state = before.unit(0).state();
  CHECK(state.next == 4294967297);
  ArbiterOptions o = options();
  o.session = state.session;
  o.next_sequence = state.next;
  ArbiterDifferential<Wide> after(o);
  CHECK(feed(after, 0, data(4, {"e"}, 'S')) == Events{gap(4294967297, 4294967298)});
}

TEST_CASE("a state of a sequence that began anew meanwhile does not keep the new one out") {
  ArbiterOptions o = options();
  o.next_sequence = 100'000;
  o.reorder_messages = 100;
  o.session_begin = 1;
  SUBCASE("by data: what proved it is a gap") {
    o.resumed = true;
    ArbiterDifferential<Wide> d(o);
    CHECK(feed(d, 0, data(3, {"3"})).empty());
    CHECK(feed(d, 0, data(4, {"4"})).empty());
    CHECK(feed(d, 0, data(5, {"5"})) == Events{reset(1, ResetCause::kData), gap(1, 4)});
    CHECK(d.arbiter().lines()[0].counters.doubted == 2);
    CHECK(feed(d, 1, data(1, {"1", "2", "3", "4"})) ==
          Events{msg(1, "1", 1), msg(2, "2", 1), msg(3, "3", 1), msg(4, "4", 1), msg(5, "5")});
  }
  SUBCASE("by a heartbeat") {
    o.resumed = true;
    ArbiterDifferential<Wide> d(o);
    CHECK(feed(d, 0, heartbeat(3)) ==
          Events{reset(1, ResetCause::kHeartbeat), gap(1, 2), alive(3, 0)});
  }
  SUBCASE("a line a little behind is no news") {
    o.resumed = true;
    ArbiterDifferential<Wide> d(o);
    CHECK(feed(d, 0, data(99'990, {"a"})).empty());
    CHECK(feed(d, 0, data(100'000, {"b"})) == Events{msg(100'000, "b")});
    // Nor is one that is far behind, once another is where the state was.
    for (uint32_t seq = 1; seq < 5; ++seq) CHECK(feed(d, 1, data(seq, {"c"})).empty());
  }
  SUBCASE("a number that was asked for skips what is below") {
    ArbiterDifferential<Wide> d(o);
    for (uint32_t seq = 1; seq < 9; ++seq) CHECK(feed(d, 0, data(seq, {"c"})).empty());
  }
}

TEST_CASE("options are checked") {
  auto with = [](auto change) {
    ArbiterOptions o;
    change(o);
    return o;
  };
  CHECK_THROWS_WITH_AS(Arbiter<Wide>(with([](auto& o) { o.lines = 0; })),
                       doctest::Contains("lines = 0"), Error);
  CHECK_THROWS_WITH_AS(Arbiter<Wide>(with([](auto& o) { o.hold_ns = -1; })),
                       doctest::Contains("hold_ns"), Error);
  CHECK_THROWS_WITH_AS(Arbiter<Wide>(with([](auto& o) { o.hold_messages = 0; })),
                       doctest::Contains("hold_messages"), Error);
  CHECK_THROWS_WITH_AS(Arbiter<Wide>(with([](auto& o) { o.await_snapshot = true; })),
                       doctest::Contains("await_snapshot"), Error);
  CHECK_THROWS_WITH_AS(Arbiter<Wide>(with([](auto& o) { o.pin_session = true; })),
                       doctest::Contains("pin_session"), Error);
}

TEST_CASE("random lines: the arbiter agrees with the naive model") {
  std::mt19937_64 random(20241121);
  auto below = [&](uint64_t n) { return random() % n; };
  UnitCounters sum;
  LineCounters lines;
  for (int round = 0; round < 400; ++round) {
    ArbiterOptions o;
    o.lines = static_cast<uint32_t>(1 + below(3));
    o.recovery_lines = static_cast<uint32_t>(below(2));
    o.units = static_cast<uint32_t>(1 + below(2));
    o.in_order = below(3) != 0;
    o.hold_ns = static_cast<int64_t>(1 + below(60));
    o.hold_messages = 1 + below(30);
    o.hold_bytes = 1 << 14;
    o.max_gaps = 1 + below(6);
    o.next_sequence = below(2) * (1 + below(2500));
    if (below(3) == 0) o.session[0] = 'A';
    o.pin_session = o.session[0] != 0 && below(3) == 0;
    o.reorder_messages = below(60);
    o.reorder_ns = static_cast<int64_t>(below(40));
    o.restart_packets = static_cast<uint32_t>(below(4));
    o.max_jump = 20 + below(300);
    o.session_begin = below(2) * (1 + below(9));
    o.resumed = below(2) != 0;
    o.await_snapshot = o.session_begin != 0 && o.in_order && below(3) == 0;
    o.skew_packets = below(2) * 8;
    ArbiterDifferential<Narrow> d(o);
    uint64_t at[2] = {o.next_sequence != 0 ? o.next_sequence : 1 + below(2000), 1 + below(2000)};
    if (below(3) == 0) at[0] = 1 + below(2000);  // a sequence that began anew, or is behind
    int64_t now = 0;
    const bool polls = below(2) == 0;
    if (polls) d.polled_until(0);
    char session = 'A';
    for (int i = 0; i < 250; ++i) {
      now += static_cast<int64_t>(below(8) == 0 ? below(100) : below(4));
      const size_t unit = below(2);
      const uint64_t kind = below(60);
      if (kind == 0) at[unit] = 1 + below(30);
      if (kind == 1) at[unit] += below(400);
      if (kind == 2 && session < 'D') ++session;
      const uint64_t seq = at[unit] + below(9) - std::min<uint64_t>(at[unit] - 1, below(12));
      std::vector<std::string> blocks(below(6));
      for (std::string& block : blocks) block.assign(below(4), static_cast<char>('a' + below(26)));
      const auto wire = static_cast<uint32_t>(wire_sequence(Narrow::kNumbers, seq));
      PacketKind what = PacketKind::kData;
      if (kind >= 3 && kind < 8) what = PacketKind::kHeartbeat;
      if (kind == 8) what = PacketKind::kEndOfSession;
      if (kind == 9) what = PacketKind::kReset;
      if (kind == 10) what = PacketKind::kUnsequenced;
      if (kind == 11) what = PacketKind::kIgnored;
      const char name = below(20) == 0 ? static_cast<char>('A' + below(3)) : session;
      std::string packet =
          plain_packet(what, wire, blocks, name, static_cast<uint8_t>(unit), below(15) == 0);
      if (kind == 12) packet.resize(below(packet.size() + 1));
      const auto line = static_cast<uint32_t>(below(o.lines + o.recovery_lines));
      if (polls && below(12) == 0) d.polled_until(now - static_cast<int64_t>(below(50)));
      const char* difference = d.on_packet(line, packet, now);
      if (difference == nullptr && below(10) == 0) difference = d.on_time(now += 20);
      if (difference == nullptr && below(60) == 0) {
        const uint64_t to = wire_sequence(Narrow::kNumbers, at[unit] + below(20));
        difference = d.skip_to(static_cast<uint32_t>(unit), to, now);
      }
      INFO("round " << round << " packet " << i << " differs in "
                    << std::string(difference == nullptr ? "" : difference));
      REQUIRE(difference == nullptr);
      if (what == PacketKind::kData && below(3) != 0) {
        at[unit] = std::max(at[unit], seq + blocks.size());
      }
    }
    sum += d.arbiter().counters();
    for (const ArbiterLine& l : d.arbiter().lines()) {
      lines.stale += l.counters.stale;
      lines.doubted += l.counters.doubted;
      lines.too_late += l.counters.too_late;
      lines.reordered += l.counters.reordered;
    }
  }
  // The walk must have been where it is interesting.
  CHECK(sum.delivered > 20'000);
  CHECK(sum.held_total > 5'000);
  CHECK(sum.late > 500);
  CHECK(sum.recovered > 500);
  CHECK(sum.gaps_abandoned > 2'000);
  CHECK(sum.session_changes > 500);
  CHECK(sum.resets > 500);
  CHECK(sum.superseded > 300);
  CHECK(lines.stale > 500);
  CHECK(lines.doubted > 300);
  CHECK(lines.too_late > 500);
  CHECK(lines.reordered > 300);
}

struct CountingSink : ArbiterSink {
  uint64_t calls = 0;
  void message(const MessageInfo&, const uint8_t*, size_t) { ++calls; }
};

TEST_CASE("no packet allocates, whatever is held, lost or begun anew") {
  ArbiterOptions o;
  o.recovery_lines = 1;
  o.hold_messages = 128;
  o.hold_bytes = 4096;
  o.max_gaps = 16;
  o.hold_ns = 500;
  Arbiter<MoldFramer> arbiter(o);
  CountingSink sink;
  std::mt19937 random(3);
  std::vector<std::string> packets;
  for (uint64_t i = 0; i < 20'000; ++i) {
    packets.push_back(naive::mold_packet(i / 5000 % 2 == 0 ? "000010059B" : "000010060A",
                                         1 + 2 * (i % 5000) + random() % 9, {"abc", "", "d"},
                                         i % 50 == 0 ? 0 : -1));
  }
  const uint64_t before = wp::testing::allocations();
  int64_t now = 0;
  for (const std::string& p : packets) {
    const uint32_t line = static_cast<uint32_t>(random() % 3);
    arbiter.on_packet(line, reinterpret_cast<const uint8_t*>(p.data()), p.size(), now += 10, sink);
    arbiter.on_time(now, sink);
  }
  const uint64_t after = wp::testing::allocations();
  CHECK(after == before);
  CHECK(sink.calls > 10'000);
  CHECK(arbiter.counters().held_total > 1000);
  CHECK(arbiter.counters().gaps_abandoned > 100);
  CHECK(arbiter.counters().session_changes > 2);
}

TEST_CASE("what was given up out of turn does not make the lines wait, however much may be held") {
  ArbiterOptions o;
  o.lines = 1;
  o.recovery_lines = 1;
  o.hold_ns = INT64_MAX;
  o.hold_messages = 1 << 22;
  o.max_gaps = 1 << 15;
  Arbiter<MoldFramer> arbiter(o);
  struct : ArbiterSink {
    uint64_t calls = 0, last = 0;
    bool sorted = true;
    void message(const MessageInfo& info, const uint8_t*, size_t) {
      ++calls;
      sorted &= info.seq > last;
      last = info.seq;
    }
  } sink;
  const auto send = [&](uint32_t line, uint64_t first, const std::vector<std::string>& blocks) {
    const std::string p = naive::mold_packet("000010059B", first, blocks, -1);
    arbiter.on_packet(line, reinterpret_cast<const uint8_t*>(p.data()), p.size(), 0, sink);
  };
  send(0, 1, {"a"});
  // A step for every number that may be held, at every gap, would be 10^11 steps: for minutes.
  const uint64_t gaps = 20'000;
  for (uint64_t i = 0; i <= gaps; ++i) send(0, 3 + 2 * i, {"b"});
  for (uint64_t i = 0; i < gaps; ++i)
    arbiter.abandon(0, 4 + 2 * i, 4 + 2 * i, AbandonReason::kRefused, sink);
  send(1, 2, {"c"});  // the first gap is filled: all that was held goes
  CHECK(sink.calls == gaps + 3);
  CHECK(sink.sorted);
  CHECK(arbiter.counters().held == 0);
}

}  // namespace
}  // namespace wp::feed
