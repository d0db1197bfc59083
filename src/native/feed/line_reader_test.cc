/* SPDX-License-Identifier: Apache-2.0
 *
 * Captures as channels: lines found and put together, sessions told apart, every
 * payload in one counter; random loss against the messages that were sent.
 */
#include "feed/line_reader.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "feed/mold_udp64_packet.h"

namespace wp::feed {
namespace {

struct Kept {
  uint64_t seq;
  uint16_t channel;
  std::string text;
  friend bool operator==(const Kept&, const Kept&) = default;
};

struct KeepingMaker {
  std::vector<Kept> kept;
  int lost_calls = 0;

  void message(const MessageInfo& info, uint16_t channel, const uint8_t* data, size_t length) {
    kept.push_back({info.seq, channel, {reinterpret_cast<const char*>(data), length}});
  }
  void lost(uint32_t) { ++lost_calls; }
};

using Reader = LineReader<MoldFramer, KeepingMaker>;

std::string text_of(uint64_t seq) {
  return "message " + std::to_string(seq);
}

std::vector<uint8_t> packet(const char* session, uint64_t first, uint32_t count) {
  std::vector<uint8_t> out(kMoldHeaderSize);
  MoldSession name{};
  std::memcpy(name.data(), session, 10);
  mold_encode_header(out.data(), name, first, static_cast<uint16_t>(count));
  for (uint64_t seq = first; seq < first + count; ++seq) {
    const std::string text = text_of(seq);
    out.push_back(0);
    out.push_back(static_cast<uint8_t>(text.size()));
    out.insert(out.end(), text.begin(), text.end());
  }
  return out;
}

LineAddress address(uint8_t last, uint16_t port = 5000) {
  LineAddress out;
  out.ip[0] = 239;
  out.ip[3] = last;
  out.port = port;
  return out;
}

void send(Reader& reader, const LineAddress& to, const std::vector<uint8_t>& p, int64_t time) {
  reader.on_payload(to, p.data(), p.size(), time);
}

uint64_t line_packets(const Reader& reader) {
  uint64_t sum = 0;
  for (size_t c = 0; c < reader.channels(); ++c)
    for (const ArbiterLine& line : reader.arbiter(c).lines()) sum += line.counters.packets;
  return sum;
}

void check_account(const Reader& reader) {
  const LineReaderCounters& c = reader.counters();
  CHECK(c.frames >= c.not_udp);
  CHECK(c.payloads ==
        line_packets(reader) + c.foreign + c.other_line + c.other_channel + c.no_session);
}

TEST_CASE("line reader: two lines that pack and lose differently make every message, in order") {
  std::mt19937_64 random(4);
  for (int round = 0; round < 20; ++round) {
    struct Sent {
      int64_t time;
      uint8_t line;
      std::vector<uint8_t> bytes;
    };
    std::vector<Sent> sent;
    constexpr uint64_t kMessages = 2000;
    for (uint8_t line = 0; line < 2; ++line) {
      uint64_t seq = 1;
      while (seq <= kMessages) {
        const uint64_t n = std::min<uint64_t>(1 + random() % 9, kMessages + 1 - seq);
        // Each line loses of its own half, so that nothing is lost on both.
        const bool loses = (seq / 200) % 2 == line && (seq + n) / 200 == seq / 200 && seq > 10;
        if (!loses || random() % 5 != 0)
          sent.push_back({static_cast<int64_t>(seq * 1000 + line * 300), line,
                          packet("DAY       ", seq, static_cast<uint32_t>(n))});
        seq += n;
      }
    }
    std::stable_sort(sent.begin(), sent.end(),
                     [](const Sent& a, const Sent& b) { return a.time < b.time; });
    Reader reader({}, {}, 7);
    for (const Sent& each : sent) send(reader, address(each.line), each.bytes, each.time);
    reader.flush();
    check_account(reader);
    const auto& kept = reader.maker().kept;
    REQUIRE(kept.size() == kMessages);
    for (uint64_t i = 0; i < kMessages; ++i) CHECK(kept[i] == Kept{i + 1, 7, text_of(i + 1)});
    CHECK(reader.abandoned().empty());
    CHECK(reader.maker().lost_calls == 0);
  }
}

TEST_CASE("line reader: what no line brought is abandoned at the end, and told") {
  Reader reader({}, {});
  send(reader, address(1), packet("DAY       ", 1, 3), 10);
  send(reader, address(1), packet("DAY       ", 6, 2), 20);
  CHECK(reader.maker().kept.size() == 3);
  reader.flush();
  REQUIRE(reader.abandoned().size() == 1);
  CHECK(reader.abandoned()[0].first == 4);
  CHECK(reader.abandoned()[0].last == 5);
  CHECK(reader.maker().kept.back() == Kept{7, 0, text_of(7)});
  CHECK(reader.maker().lost_calls == 1);
  reader.flush();  // has nothing more to do
  CHECK(reader.maker().kept.size() == 5);
}

TEST_CASE("line reader: sessions are channels, also on one line") {
  Reader reader({}, {}, 100);
  send(reader, address(1), packet("FIRST     ", 500, 2), 1);
  send(reader, address(1), packet("SECOND    ", 1, 1), 2);
  send(reader, address(2), packet("FIRST     ", 501, 2), 3);
  send(reader, address(2), packet("SECOND    ", 2, 1), 4);
  reader.flush();
  CHECK(reader.channels() == 2);
  const std::vector<Kept> expected{{500, 100, text_of(500)},
                                   {501, 100, text_of(501)},
                                   {1, 101, text_of(1)},
                                   {502, 100, text_of(502)},
                                   {2, 101, text_of(2)}};
  CHECK(reader.maker().kept == expected);
  CHECK(reader.abandoned().empty());
}

TEST_CASE("line reader: lines, sessions and payloads beyond what there is room for are counted") {
  Reader reader({}, {});
  for (uint16_t port = 1; port <= 20; ++port)
    send(reader, address(1, port), packet("DAY       ", 1, 1), port);
  CHECK(reader.lines().size() == Reader::kMaxLines);
  CHECK(reader.counters().other_line == 4);
  for (int i = 0; i < 70; ++i) {
    const std::string name = "SESSION-" + std::to_string(10 + i);
    send(reader, address(1, 1), packet(name.c_str(), 1, 1), 100 + i);
  }
  CHECK(reader.channels() == Reader::kMaxChannels);
  CHECK(reader.counters().other_channel == 7);
  const uint8_t little[9] = {};
  reader.on_payload(address(1, 1), little, sizeof little, 200);
  reader.on_payload(address(1, 1), nullptr, 0, 200);
  CHECK(reader.counters().no_session == 2);
  check_account(reader);
}

TEST_CASE("line reader: other traffic takes no line, a damaged packet of a line is malformed") {
  Reader reader({}, {});
  const std::vector<uint8_t> noise(60, 0x55);
  for (uint16_t port = 1; port <= 100; ++port) send(reader, address(9, port), noise, port);
  CHECK(reader.counters().foreign == 100);
  CHECK(reader.lines().empty());
  send(reader, address(1), packet("DAY       ", 1, 1), 200);
  std::vector<uint8_t> cut = packet("DAY       ", 2, 2);
  cut.pop_back();
  send(reader, address(1), cut, 201);
  CHECK(reader.arbiter(0).lines()[0].counters.malformed == 1);
  CHECK(reader.maker().kept.size() == 1);
  check_account(reader);
}

TEST_CASE("line reader: frames that are no UDP datagrams are counted") {
  Reader reader({}, {});
  const uint8_t frame[60] = {1, 2, 3};
  reader.on_frame(frame, sizeof frame, 1);
  reader.on_frame(frame, 0, 1);
  CHECK(reader.counters().frames == 2);
  CHECK(reader.counters().not_udp == 2);
  CHECK(reader.counters().payloads == 0);
}

TEST_CASE("line reader: CME's packets come out as they went in") {
  LineReader<CmeFramer, PacketMaker> reader({}, {});
  std::vector<uint8_t> p(kCmeHeaderSize + 12);
  const auto fill = [&](uint32_t seq, int64_t sent) {
    std::memcpy(p.data(), &seq, 4);
    std::memcpy(p.data() + 4, &sent, 8);
    p[kCmeHeaderSize] = 12;  // the size of its message
    p[kCmeHeaderSize + 11] = static_cast<uint8_t>(seq);
  };
  std::vector<uint8_t> expected;
  for (uint32_t seq = 1; seq <= 50; ++seq) {
    fill(seq, 1000 + seq);
    reader.on_payload(address(1), p.data(), p.size(), seq * 10);
    reader.on_payload(address(2), p.data(), p.size(), seq * 10 + 1);
    expected.insert(expected.end(), p.begin(), p.end());
  }
  CHECK(reader.maker().data() == expected);
  CHECK(reader.maker().lengths() == std::vector<uint32_t>(50, kCmeHeaderSize + 12));
  CHECK(reader.maker().times()[49] == 500);
}

}  // namespace
}  // namespace wp::feed
