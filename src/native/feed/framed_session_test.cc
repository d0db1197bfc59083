/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions of IEX-TP, PITCH units, Pillar and raw datagrams: the venues' traps by
 * hand, then random streams against the naive session, then no allocation.
 */
#include "feed/framed_session.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/raw_datagrams.h"
#include "feed/venue_differential.h"

namespace wp::feed {
namespace {

using naive::Bytes;
using naive::Recorder;

void put(Bytes& b, size_t width, uint64_t value) {
  for (size_t i = 0; i < width; ++i) b.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

void put(Bytes& b, const std::string& text) {
  b.insert(b.end(), text.begin(), text.end());
}

Bytes segment(uint64_t first, const std::vector<std::string>& blocks, int64_t sent = 1,
              uint32_t session = 7) {
  Bytes payload;
  for (const std::string& block : blocks) put(payload, 2, block.size()), put(payload, block);
  Bytes b;
  put(b, 2, 1), put(b, 2, 0x8003), put(b, 4, 1), put(b, 4, session), put(b, 2, payload.size());
  put(b, 2, blocks.size()), put(b, 8, 100), put(b, 8, first),
      put(b, 8, static_cast<uint64_t>(sent));
  b.insert(b.end(), payload.begin(), payload.end());
  return b;
}

Bytes unit(uint64_t first, const std::vector<std::string>& messages, uint8_t number = 1) {
  Bytes body;
  for (const std::string& m : messages) {
    put(body, 1, m.size() + 1);
    put(body, m);
  }
  Bytes b;
  put(b, 2, 8 + body.size()), put(b, 1, messages.size()), put(b, 1, number), put(b, 4, first);
  b.insert(b.end(), body.begin(), body.end());
  return b;
}

Bytes pillar(uint8_t flag, uint64_t first, const std::vector<std::string>& messages) {
  Bytes body;
  for (const std::string& m : messages) put(body, 2, m.size() + 4), put(body, 2, 3), put(body, m);
  Bytes b;
  put(b, 2, 16 + body.size()), put(b, 1, flag), put(b, 1, messages.size()), put(b, 4, first);
  put(b, 4, 1'700'000'000), put(b, 4, 5);
  b.insert(b.end(), body.begin(), body.end());
  return b;
}

/* What a session says of datagrams, one word per event. */
template <class Framer>
std::string told(FramedSession<Framer>& session, const std::vector<Bytes>& datagrams) {
  Recorder sink;
  for (const Bytes& d : datagrams) session.on_datagram(d.data(), d.size(), sink);
  std::string out;
  for (const naive::Event& e : sink.events) {
    out += out.empty() ? "" : " ";
    out += e.kind + std::to_string(e.a);
    if (e.kind == 'g') out += "-" + std::to_string(e.b);
    if (e.unit > 1) out += "/" + std::to_string(e.unit);
    if (e.late) out += "late";
  }
  return out;
}

template <class Framer>
bool whole(const FramedSession<Framer>& session) {
  const SessionCounters& c = session.counters();
  return c.packets == c.data + c.heartbeats + c.end_of_session + c.resets + c.unsequenced_packets +
                          c.ignored + c.malformed;
}

TEST_CASE("IEX-TP: a header as the specification has it") {
  const Bytes b = segment(9, {"ab", ""}, 1'499'692'800'000'000'001, 0x01020304);
  IexTpHeader h;
  REQUIRE(IexTpFramer::header(b.data(), b.size(), h));
  CHECK(h.protocol == static_cast<uint16_t>(IexProtocol::kTops));
  CHECK(h.channel == 1);
  CHECK(h.session == 0x01020304);
  CHECK(h.payload_length == 6);
  CHECK(h.stream_offset == 100);
  Packet p;
  REQUIRE(IexTpFramer::parse(b.data(), b.size(), p));
  CHECK(p.kind == PacketKind::kData);
  CHECK(p.count == 2);
  CHECK(p.first == 9);
  CHECK(p.send_time == 1'499'692'800'000'000'001);
  CHECK(std::string(p.session.data(), 10) == std::string("\x03\x80\x01\0\0\0\x04\x03\x02\x01", 10));
  std::string seen;
  IexTpFramer::for_each(
      p, [&](const uint8_t* data, size_t n) { seen += std::string(data, data + n) + "|"; });
  CHECK(seen == "ab||");
}

TEST_CASE("IEX-TP: what is not a whole segment is malformed") {
  Packet p;
  const Bytes good = segment(1, {"abc", "d"});
  const auto parse = [&](Bytes b) { return IexTpFramer::parse(b.data(), b.size(), p); };
  CHECK(parse(good));
  for (size_t n = 0; n < good.size(); ++n)
    CHECK_FALSE(parse(Bytes(good.begin(), good.begin() + n)));
  Bytes padded = good;
  padded.resize(good.size() + 5);
  CHECK(parse(padded));  // behind the payload anything may stand
  for (const auto& [at, value] :
       std::vector<std::pair<size_t, uint8_t>>{{0, 2},      // another version
                                               {12, 7},     // payload shorter than its blocks
                                               {14, 3},     // one block too many
                                               {14, 1},     // one too few
                                               {14, 0},     // a heartbeat with a payload
                                               {31, 0x80},  // a negative sequence
                                               {40, 9}}) {  // a block that runs past the payload
    Bytes bad = good;
    bad[at] = value;
    CHECK_FALSE(parse(bad));
  }
  CHECK_FALSE(parse(segment(INT64_MAX, {"a", "b"})));
}

TEST_CASE("IEX-TP: gaps, late messages, duplicates, heartbeats that reveal a lost tail") {
  FramedSession<IexTpFramer> s;
  CHECK(told(s, {segment(5, {"a", "b"}), segment(10, {"j"}), segment(8, {"h", "i"}),
                 segment(5, {"a"}), segment(7, {""}), segment(13, {})}) ==
        "m5 m6 g7-9 m10 m8late m9late g11-12 h13");
  CHECK(s.next_sequence() == 13);
  CHECK(s.gaps() == std::vector<SequenceRange>{{11, 12}});
  const SessionCounters& c = s.counters();
  CHECK(c.messages == 5);
  CHECK(c.empty == 1);
  CHECK(c.duplicates == 1);
  CHECK(c.late == 2);
  CHECK(c.gap_messages == 5);
  CHECK(c.gap_open == 2);
  CHECK(c.gap_filled == 3);
  CHECK(s.missing() == 2);
  CHECK(whole(s));
}

TEST_CASE("IEX-TP: the sequence returns to 1 in the same session, on a heartbeat") {
  FramedSession<IexTpFramer> s;
  CHECK(told(s, {segment(50, {"a"}, 1000), segment(1, {}, 2000), segment(1, {"n"}, 3000)}) ==
        "m50 r1 h1 m1");
  CHECK(s.counters().restarts == 1);
  // A heartbeat that was only delayed is none.
  CHECK(told(s, {segment(2, {"o", "p"}, 4000), segment(2, {}, 3500), segment(4, {"q"}, 5000)}) ==
        "m2 m3 h2 m4");
  CHECK(s.counters().restarts == 1);
  CHECK(s.counters().gaps == 0);
}

TEST_CASE("IEX-TP: another session begins anew") {
  FramedSession<IexTpFramer> s;
  CHECK(told(s, {segment(1, {"a"}), segment(4, {"d"}), segment(1, {"A"}, 1, 8)}) ==
        "m1 g2-3 m4 s0 m1");
  CHECK(s.counters().session_changes == 1);
  CHECK(s.counters().lost == 2);
  CHECK(s.counters().gap_open == 0);
}

TEST_CASE("PITCH: each unit has its own sequence") {
  FramedSession<PitchFramer> s;
  CHECK(told(s, {unit(1, {"a"}, 1), unit(7, {"x"}, 2), unit(3, {"c"}, 1), unit(8, {"y"}, 2)}) ==
        "m1 m7/2 g2-2 m3 m8/2");
  CHECK(s.next_sequence(1) == 4);
  CHECK(s.next_sequence(2) == 9);
  CHECK(s.next_sequence(3) == 0);
}

TEST_CASE("PITCH: 4,294,967,295 is followed by 1") {
  FramedSession<PitchFramer> s;
  const uint64_t top = 4'294'967'295;
  CHECK(told(s, {unit(top - 1, {"a", "b", "c"}), unit(2, {"d"}), unit(top, {"b"}), unit(4, {"f"}),
                 unit(3, {"e"})}) == "m4294967294 m4294967295 m1 m2 g3-3 m4 m3late");
  CHECK(s.counters().duplicates == 1);
  FramedSession<PitchFramer> across;  // a gap over the wrap
  CHECK(told(across, {unit(top - 1, {"a"}), unit(2, {"d"}), unit(1, {"c"})}) ==
        "m4294967294 g4294967295-1 m2 m1late");
  CHECK(across.gaps(1) == std::vector<SequenceRange>{{top, top}});
}

TEST_CASE("PITCH: sequence 0 is outside of any sequence, count 0 a heartbeat") {
  FramedSession<PitchFramer> s;
  CHECK(told(s, {unit(0, {}), unit(5, {}), unit(0, {"u"}), unit(5, {"a"}), unit(0, {}),
                 unit(7, {})}) == "h0 h5 m0 m5 h0 g6-6 h7");
  CHECK(s.counters().heartbeats == 4);
  CHECK(s.counters().unsequenced == 1);
  CHECK(s.counters().unsequenced_packets == 1);
  CHECK(whole(s));
}

TEST_CASE("PITCH: lengths that would never end or run out are malformed") {
  Packet p;
  const auto parse = [&](const Bytes& b) { return PitchFramer::parse(b.data(), b.size(), p); };
  const Bytes good = unit(1, {"ab", "c"});
  CHECK(parse(good));
  for (size_t n = 0; n < good.size(); ++n)
    CHECK_FALSE(parse(Bytes(good.begin(), good.begin() + n)));
  for (const auto& [at, value] :
       std::vector<std::pair<size_t, uint8_t>>{{0, 7}, {2, 1}, {2, 3}, {8, 0}, {8, 1}, {8, 200}}) {
    Bytes bad = good;
    bad[at] = value;
    CHECK_FALSE(parse(bad));
  }
}

TEST_CASE("Pillar: delivery flags") {
  Packet p;
  Bytes b;  // p points into it
  const auto kind = [&](uint8_t flag, const std::vector<std::string>& messages) {
    b = pillar(flag, 3, messages);
    REQUIRE(PillarFramer::parse(b.data(), b.size(), p));
    return p.kind;
  };
  CHECK(kind(1, {}) == PacketKind::kHeartbeat);
  CHECK(p.send_time == 1'700'000'000'000'000'005);
  CHECK(kind(11, {"a"}) == PacketKind::kData);
  CHECK_FALSE(p.retransmitted);
  CHECK(kind(10, {"a"}) == PacketKind::kData);
  CHECK(kind(12, {"a"}) == PacketKind::kReset);
  for (uint8_t flag : {13, 15}) {
    CHECK(kind(flag, {"a"}) == PacketKind::kData);
    CHECK(p.retransmitted);
  }
  for (uint8_t flag : {17, 18, 19, 20}) CHECK(kind(flag, {"a"}) == PacketKind::kUnsequenced);
  CHECK(kind(21, {"a"}) == PacketKind::kIgnored);
  CHECK(kind(99, {"a"}) == PacketKind::kIgnored);
  size_t walked = 0;
  PillarFramer::for_each(p, [&](const uint8_t* data, size_t n) {
    ++walked;
    CHECK(n == 5);
    CHECK(PillarFramer::message_type(data) == 3);
  });
  CHECK(walked == 1);
}

TEST_CASE("Pillar: a reset, a retransmission, a refresh") {
  FramedSession<PillarFramer> s;
  CHECK(told(s, {pillar(11, 900, {"a"}), pillar(11, 903, {"d"}), pillar(13, 901, {"b"}),
                 pillar(18, 1, {"r"}), pillar(12, 1, {"reset"}), pillar(11, 2, {"n"}),
                 pillar(1, 3, {})}) == "m900 g901-902 m903 m901late m0 r1 m1 m2 h3");
  const SessionCounters& c = s.counters();
  CHECK(c.retransmitted == 1);
  CHECK(c.resets == 1);
  CHECK(c.lost == 1);
  CHECK(c.duplicates == 0);
  CHECK(whole(s));
}

TEST_CASE("raw datagrams: rows, a number in the header, and wrong layouts") {
  const RawLayout layout{
      .header = 4, .row = 2, .sequence_at = 2, .sequence_width = 2, .big_endian = true};
  FramedSession<RawFramer> s({}, RawFramer(layout));
  const auto datagram = [](uint16_t seq, const std::string& rows) {
    Bytes b = {9, 9, static_cast<uint8_t>(seq >> 8), static_cast<uint8_t>(seq)};
    put(b, rows);
    return b;
  };
  CHECK(told(s, {datagram(65'534, "aabbcc"),
                 datagram(2, "ee"),
                 datagram(2, "x"),
                 {1, 2},
                 datagram(4, "")}) == "m65534 m65535 m0 g1-1 m2 g3-3 h4");
  CHECK(s.counters().malformed == 2);
  FramedSession<RawFramer> plain({}, RawFramer({.row = 3}));
  CHECK(told(plain, {{1, 2, 3, 4, 5, 6}, {1, 2}}) == "m0 m0");
  CHECK_THROWS_WITH_AS(RawFramer({.row = 0}), doctest::Contains("dtype = 0 bytes"), Error);
  CHECK_THROWS_AS(RawFramer({.row = 4, .sequence_width = 3}), Error);
  CHECK_THROWS_AS(RawFramer({.row = 4, .sequence_at = 2, .sequence_width = 4}), Error);
  CHECK_THROWS_AS(FramedSession<PitchFramer>({.max_gaps = 0}), Error);
}

/* Datagrams near to what may be expected: some lost, repeated, reordered, damaged. */
template <class Venue, class Make>
void random_streams(unsigned seed, Make make) {
  std::mt19937 random(seed);
  for (int round = 0; round < 60; ++round) {
    naive::VenueDifferential<Venue> d(random() % 3, 1 + random() % 4, 1 + random() % 9);
    uint64_t next = 1 + random() % 5;
    for (int i = 0; i < 120; ++i) {
      const uint64_t back = random() % 8 == 0 ? random() % 12 : 0;
      const uint64_t skip = random() % 6 == 0 ? random() % 5 : 0;
      const uint64_t first = next + skip > back ? next + skip - back : 1;
      const size_t count = random() % 4;
      Bytes b = make(random, first, count);
      if (back == 0) next = first + count;
      if (random() % 20 == 0) b[random() % b.size()] ^= static_cast<uint8_t>(1 + random() % 255);
      const char* const difference = d.on_packet(b);
      INFO("round ", round, " datagram ", i);
      REQUIRE(std::string(difference == nullptr ? "" : difference).empty());
    }
  }
}

template <class Table>
std::string some_message(std::mt19937& random, const Table& table, size_t type_at) {
  const WireMessage& m = table[random() % std::size(table)];
  const size_t length = m.long_length != 0 && random() % 2 != 0 ? m.long_length : m.length;
  std::string out(length, 0);
  for (char& c : out) c = static_cast<char>(random() % 3 == 0 ? random() : 'A' + random() % 4);
  out[type_at] = static_cast<char>(m.type);
  return out;
}

TEST_CASE("random IEX streams are what the naive session and decoder say") {
  random_streams<naive::IexVenue>(1, [](std::mt19937& random, uint64_t first, size_t count) {
    std::vector<std::string> blocks;
    for (size_t i = 0; i < count; ++i)
      blocks.push_back(random() % 9 == 0 ? "" : some_message(random, kIexMessages, 0));
    return segment(first, blocks, static_cast<int64_t>(random() % 1000), 7 + (random() % 50 == 0));
  });
}

TEST_CASE("random PITCH streams are what the naive session and decoder say") {
  random_streams<naive::PitchVenue>(2, [](std::mt19937& random, uint64_t first, size_t count) {
    std::vector<std::string> messages;
    for (size_t i = 0; i < count; ++i)  // unit() writes the length byte
      messages.push_back(some_message(random, kPitchMessages, 1).substr(1));
    const uint64_t wrapped = (first + 4'294'967'200) % 4'294'967'296;
    return unit(wrapped, messages, static_cast<uint8_t>(1 + random() % 2));
  });
}

TEST_CASE("random Pillar streams are what the naive session says") {
  random_streams<naive::PillarVenue>(3, [](std::mt19937& random, uint64_t first, size_t count) {
    const uint8_t flags[] = {11, 11, 11, 11, 11, 10, 1, 12, 13, 15, 17, 21, 55};
    return pillar(flags[random() % std::size(flags)], first, std::vector<std::string>(count, "xy"));
  });
}

TEST_CASE("a session allocates nothing once it is there") {
  struct Sink {
    void message(const Packet&, uint64_t, const uint8_t*, size_t, bool) { ++messages; }
    void gap(uint32_t, uint64_t, uint64_t) {}
    void heartbeat(uint32_t, uint64_t) {}
    void end_of_session(uint32_t, uint64_t) {}
    void reset(uint32_t, uint64_t, bool) {}
    void session_change(const SessionName&, const SessionName&) {}
    uint64_t messages = 0;
  } sink;
  FramedSession<PitchFramer> session;
  std::vector<Bytes> datagrams;
  for (uint64_t i = 0; i < 500; ++i)
    datagrams.push_back(unit(1 + 3 * i, {"a", "b"}, static_cast<uint8_t>(i % 3)));
  const uint64_t before = testing::allocations();
  for (const Bytes& d : datagrams) session.on_datagram(d.data(), d.size(), sink);
  CHECK(testing::allocations() == before);
  CHECK(sink.messages == 1000);
}

}  // namespace
}  // namespace wp::feed
