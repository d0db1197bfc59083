/* SPDX-License-Identifier: Apache-2.0
 *
 * The MoldUDP64 session: its rules one by one, then random packets against the
 * naive model, then no allocation.
 */
#include "feed/mold_udp64.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "feed/alloc_counter.h"
#include "feed/mold_udp64_differential.h"

namespace wp::feed {
namespace {

using naive::mold_packet;
using naive::MoldDifferential;
using naive::MoldEvent;
using Events = std::vector<MoldEvent>;

const std::string kA = "000010059B";
const std::string kB = "000010060A";

/* Feeds one packet and requires the model's consent. */
const Events& feed(MoldDifferential& d, const std::string& packet) {
  const char* const difference = d.on_packet(packet);
  INFO("differs in " << (difference == nullptr ? "" : difference));
  CHECK(difference == nullptr);
  return d.events();
}

std::vector<SequenceRange> gaps(const MoldDifferential& d) {
  return {d.session().gaps().begin(), d.session().gaps().end()};
}

MoldEvent msg(uint64_t seq, const std::string& data) {
  return {MoldEvent::kMessage, seq, seq, data};
}
MoldEvent late(uint64_t seq, const std::string& data) {
  return {MoldEvent::kLate, seq, seq, data};
}
MoldEvent gap(uint64_t first, uint64_t last) {
  return {MoldEvent::kGap, first, last, ""};
}

TEST_CASE("the first packet sets session and sequence") {
  MoldDifferential d("", 0, 8);
  CHECK_FALSE(d.session().has_session());
  CHECK(feed(d, mold_packet(kA, 100, {"x", "yy"})) == Events{msg(100, "x"), msg(101, "yy")});
  CHECK(d.session().next_sequence() == 102);
  CHECK(std::string(d.session().session().begin(), d.session().session().end()) == kA);
  CHECK(d.session().counters().messages == 2);
}

TEST_CASE("a configured start reveals what was missed before the first packet") {
  MoldDifferential d(kA, 5, 8);
  CHECK(feed(d, mold_packet(kA, 8, {"x"})) == Events{gap(5, 7), msg(8, "x")});
  CHECK(d.session().missing() == 3);
}

TEST_CASE("a packet may repeat, fill and extend at once") {
  MoldDifferential d("", 1, 8);
  feed(d, mold_packet(kA, 1, {"1", "2"}));
  CHECK(feed(d, mold_packet(kA, 2, {"2", "3"})) == Events{msg(3, "3")});
  CHECK(d.session().counters().duplicates == 1);
  CHECK(feed(d, mold_packet(kA, 7, {"7"})) == Events{gap(4, 6), msg(7, "7")});
  CHECK(feed(d, mold_packet(kA, 5, {"5"})) == Events{late(5, "5")});
  CHECK(gaps(d) == std::vector<SequenceRange>{{4, 4}, {6, 6}});
  CHECK(feed(d, mold_packet(kA, 3, {"3", "4", "5", "6", "7", "8"})) ==
        Events{late(4, "4"), late(6, "6"), msg(8, "8")});
  CHECK(gaps(d).empty());
  CHECK(d.session().counters().late == 3);
  CHECK(d.session().counters().duplicates == 4);
  CHECK(d.session().missing() == 0);
}

TEST_CASE("heartbeat and end of session carry the next sequence") {
  MoldDifferential d("", 1, 8);
  feed(d, mold_packet(kA, 1, {"1"}));
  CHECK(feed(d, mold_packet(kA, 2, {}, 0)) == Events{{MoldEvent::kHeartbeat, 2, 2, ""}});
  CHECK(feed(d, mold_packet(kA, 4, {}, 0)) == Events{gap(2, 3), {MoldEvent::kHeartbeat, 4, 4, ""}});
  CHECK_FALSE(d.session().ended());
  // Not 65,535 blocks, whatever follows the header.
  CHECK(feed(d, mold_packet(kA, 6, {"abc"}, 0xFFFF)) ==
        Events{gap(4, 5), {MoldEvent::kEnd, 6, 6, ""}});
  CHECK(d.session().ended());
  CHECK(d.session().counters().trailing == 1);
  CHECK(feed(d, mold_packet(kA, 2, {"2"})) == Events{late(2, "2")});
}

TEST_CASE("an empty block consumes a sequence number") {
  MoldDifferential d("", 1, 8);
  CHECK(feed(d, mold_packet(kA, 1, {"1", "", "3"})) == Events{msg(1, "1"), msg(3, "3")});
  CHECK(d.session().counters().empty == 1);
  CHECK(d.session().next_sequence() == 4);
  feed(d, mold_packet(kA, 5, {"5"}));
  CHECK(feed(d, mold_packet(kA, 4, {""})).empty());
  CHECK(gaps(d).empty());
}

TEST_CASE("damaged packets: what can be read is delivered, the rest is a gap") {
  MoldDifferential d("", 1, 8);
  feed(d, mold_packet(kA, 1, {"1"}));
  const std::string packet = mold_packet(kA, 2, {"22", "33", "44"});
  CHECK(feed(d, packet.substr(0, packet.size() - 1)) ==
        Events{msg(2, "22"), msg(3, "33"), gap(4, 4)});
  CHECK(feed(d, packet.substr(0, 19)).empty());
  CHECK(feed(d, "").empty());
  CHECK(feed(d, mold_packet(kA, 5, {"5"}, 3) + "x") == Events{msg(5, "5"), gap(6, 7)});
  CHECK(gaps(d) == std::vector<SequenceRange>{{4, 4}, {6, 7}});
  CHECK(d.session().counters().malformed == 4);
  CHECK(feed(d, mold_packet(kA, 8, {"8"}) + "tail") == Events{msg(8, "8")});
  CHECK(d.session().counters().trailing == 1);
}

TEST_CASE("a sequence that wraps is malformed") {
  MoldDifferential d("", 1, 8);
  CHECK(feed(d, mold_packet(kA, UINT64_MAX, {"x"})).empty());
  CHECK(d.session().counters().malformed == 1);
  CHECK(feed(d, mold_packet(kA, UINT64_MAX - 1, {"x"})).size() == 2);
  CHECK(d.session().next_sequence() == UINT64_MAX);
  CHECK(d.session().missing() == UINT64_MAX - 2);
}

TEST_CASE("another session: followed when not pinned, dropped when pinned") {
  MoldDifferential d("", 1, 8);
  feed(d, mold_packet(kA, 3, {"3"}));
  CHECK(feed(d, mold_packet(kB, 50, {"x"})) ==
        Events{{MoldEvent::kSession, 0, 0, kA + kB}, msg(50, "x")});
  CHECK(gaps(d).empty());
  CHECK(d.session().counters().lost == 2);
  CHECK(d.session().counters().session_changes == 1);
  // A damaged packet is no reason to throw the state away.
  CHECK(feed(d, mold_packet(kA, 4, {"4"}, 2)).empty());
  CHECK(d.session().counters().malformed == 1);
  CHECK(d.session().next_sequence() == 51);

  MoldDifferential pinned(kA, 0, 8);
  CHECK(feed(pinned, mold_packet(kB, 1, {"1"})).empty());
  CHECK(pinned.session().counters().wrong_session == 1);
  CHECK(feed(pinned, mold_packet(kA, 9, {"9"})) == Events{msg(9, "9")});
}

TEST_CASE("the list of gaps is bounded, the count of what is lost exact") {
  MoldDifferential d("", 1, 2);
  for (uint64_t seq : {10, 20, 30}) feed(d, mold_packet(kA, seq, {"x"}));
  CHECK(gaps(d) == std::vector<SequenceRange>{{11, 19}, {21, 29}});
  CHECK(d.session().counters().gaps_forgotten == 1);
  CHECK(d.session().counters().lost == 9);
  CHECK(d.session().missing() == 27);
  CHECK(feed(d, mold_packet(kA, 5, {"5"})).empty());
  CHECK(d.session().counters().duplicates == 1);
  feed(d, mold_packet(kA, 25, {"25"}));  // a split needs room too
  CHECK(gaps(d) == std::vector<SequenceRange>{{21, 24}, {26, 29}});
  feed(d, mold_packet(kA, 23, {"23"}));  // of the oldest itself
  CHECK(gaps(d) == std::vector<SequenceRange>{{24, 24}, {26, 29}});
  CHECK(d.session().missing() == 25);
  CHECK_THROWS_WITH_AS(SequenceGaps(0), doctest::Contains("max_gaps"), Error);
}

TEST_CASE("random packets: the session agrees with the naive model") {
  std::mt19937_64 random(20240607);
  auto below = [&](uint64_t n) { return random() % n; };
  uint64_t messages = 0, lates = 0, forgotten = 0, changes = 0, malformed = 0;
  for (int round = 0; round < 300; ++round) {
    MoldDifferential d(below(4) == 0 ? kA : "", below(2) * (1 + below(40)), 1 + below(5));
    for (int i = 0; i < 200; ++i) {
      const uint64_t base = d.session().next_sequence();
      const uint64_t sequence = base + below(12) - std::min<uint64_t>(base, below(30));
      std::vector<std::string> blocks(below(8));
      for (std::string& block : blocks) block.assign(below(4), static_cast<char>('a' + below(26)));
      const uint64_t kind = below(40);
      int count = kind == 0 ? 0 : kind == 1 ? 0xFFFF : -1;
      if (kind == 2) count = static_cast<int>(below(12));
      std::string packet = mold_packet(below(60) == 0 ? kB : kA, sequence, blocks, count);
      if (kind == 3) packet.resize(below(packet.size() + 1));
      if (kind == 4) packet += "zz";
      if (kind == 5) packet[below(packet.size())] = static_cast<char>(below(256));
      const char* const difference = d.on_packet(packet);
      INFO("round " << round << " packet " << i << " differs in "
                    << (difference == nullptr ? "" : difference));
      REQUIRE(difference == nullptr);
    }
    const MoldCounters& c = d.session().counters();
    messages += c.messages;
    lates += c.late;
    forgotten += c.gaps_forgotten;
    changes += c.session_changes;
    malformed += c.malformed;
  }
  // The walk must have been where it is interesting.
  CHECK(messages > 10'000);
  CHECK(lates > 1'000);
  CHECK(forgotten > 100);
  CHECK(changes > 100);
  CHECK(malformed > 500);
}

struct CountingSink {
  uint64_t calls = 0;
  void message(uint64_t, const uint8_t*, uint16_t, int64_t, bool) { ++calls; }
  void gap(uint64_t, uint64_t) { ++calls; }
  void heartbeat(uint64_t) { ++calls; }
  void end_of_session(uint64_t) { ++calls; }
  void session_change(const MoldSession&, const MoldSession&) { ++calls; }
};

TEST_CASE("no packet allocates") {
  MoldUDP64 session;
  CountingSink sink;
  std::mt19937 random(3);
  std::vector<std::string> packets;
  for (uint64_t i = 0; i < 5000; ++i) {
    packets.push_back(mold_packet(i % 1000 == 999 ? kB : kA, 1 + 3 * (i + random() % 9),
                                  {"abc", "", "d"}, i % 50 == 0 ? 4 : -1));
  }
  const uint64_t before = wp::testing::allocations();
  for (const std::string& p : packets) {
    session.on_packet(reinterpret_cast<const uint8_t*>(p.data()), p.size(), 0, sink);
  }
  const uint64_t after = wp::testing::allocations();
  CHECK(after == before);
  CHECK(sink.calls > 5000);
  CHECK(session.counters().late > 100);
  CHECK(session.counters().session_changes > 5);
}

}  // namespace
}  // namespace wp::feed
