/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: the packets and messages of IEX, Cboe PITCH and NYSE
 * the slow and obvious way, written from the specifications' offsets and sharing
 * nothing with framers and decoders but the names of packet kinds.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/record.h"
#include "feed/packet.h"

namespace wp::feed::naive {

using Bytes = std::vector<uint8_t>;

inline uint64_t little(const Bytes& b, size_t at, size_t width) {
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value * 256 + b.at(at + i);
  return value;
}

struct NaivePacket {
  PacketKind kind = PacketKind::kIgnored;
  bool retransmitted = false;
  uint32_t unit = 0;
  uint64_t first = 0;
  int64_t send_time = 0;
  Bytes session;
  std::vector<Bytes> messages;
};

/* Cuts b[at, end) into `count` messages whose length is `width` bytes at their front.
 * prefix: bytes of it that are not part of the message. */
inline bool cut(const Bytes& b, size_t at, size_t end, size_t count, size_t width, size_t prefix,
                size_t least, std::vector<Bytes>& out) {
  for (size_t i = 0; i < count; ++i) {
    if (at + width > end) return false;
    const size_t length = little(b, at, width);
    if (length < least || at + prefix + length > end) return false;
    out.emplace_back(b.begin() + static_cast<long>(at + prefix),
                     b.begin() + static_cast<long>(at + prefix + length));
    at += prefix + length;
  }
  return at == end;
}

inline std::optional<NaivePacket> iex_packet(const Bytes& b) {
  NaivePacket p;
  if (b.size() < 40 || b[0] != 1) return {};
  const size_t end = 40 + little(b, 12, 2);
  const uint64_t count = little(b, 14, 2);
  p.first = little(b, 24, 8);
  if (end > b.size() || p.first >> 63 != 0 || (p.first + count) >> 63 != 0) return {};
  if (!cut(b, 40, end, count, 2, 2, 0, p.messages)) return {};
  p.kind = count == 0 ? PacketKind::kHeartbeat : PacketKind::kData;
  p.send_time = static_cast<int64_t>(little(b, 32, 8));
  p.session = Bytes(b.begin() + 2, b.begin() + 12);
  return p;
}

inline std::optional<NaivePacket> pitch_packet(const Bytes& b) {
  NaivePacket p;
  if (b.size() < 8) return {};
  const size_t end = little(b, 0, 2);
  if (end < 8 || end > b.size()) return {};
  if (!cut(b, 8, end, b[2], 1, 0, 2, p.messages)) return {};
  p.unit = b[3];
  p.first = little(b, 4, 4);
  p.kind = b[2] == 0 ? PacketKind::kHeartbeat : PacketKind::kData;
  if (p.first == 0) p.kind = PacketKind::kUnsequenced;
  return p;
}

inline std::optional<NaivePacket> pillar_packet(const Bytes& b) {
  NaivePacket p;
  if (b.size() < 16) return {};
  const size_t end = little(b, 0, 2);
  if (end < 16 || end > b.size()) return {};
  if (!cut(b, 16, end, b[3], 2, 0, 4, p.messages)) return {};
  p.first = little(b, 4, 4);
  p.send_time = static_cast<int64_t>(little(b, 8, 4)) * 1'000'000'000 +
                static_cast<int64_t>(little(b, 12, 4));
  const int flag = b[2];
  const bool none = p.messages.empty();
  if (flag == 1 && none) p.kind = PacketKind::kHeartbeat;
  if (flag == 10 || flag == 11) p.kind = none ? PacketKind::kHeartbeat : PacketKind::kData;
  if (flag == 12) p.kind = PacketKind::kReset;
  if ((flag == 13 || flag == 15) && !none) p.kind = PacketKind::kData;
  if (flag >= 17 && flag <= 20) p.kind = PacketKind::kUnsequenced;
  p.retransmitted = flag == 13 || flag == 15 || (flag >= 17 && flag <= 20);
  if (p.kind != PacketKind::kIgnored && p.first == 0) p.kind = PacketKind::kUnsequenced;
  return p;
}

/* 'k' decoded, 'u' unknown type, 'm' malformed. */
struct NaiveDecoded {
  char result = 'k';
  std::vector<wp_record> records;
};

/* Numbers of symbols, as many as fit. */
class NaiveSymbols {
 public:
  explicit NaiveSymbols(size_t capacity) : capacity_(capacity) {}
  uint32_t number(std::string symbol) {
    symbol.resize(8, ' ');
    const auto known = numbers_.find(symbol);
    if (known != numbers_.end()) return known->second;
    if (numbers_.size() == capacity_) return 0;
    return numbers_[symbol] = static_cast<uint32_t>(numbers_.size() + 1);
  }

 private:
  size_t capacity_;
  std::map<std::string, uint32_t> numbers_;
};

class NaiveRecord {
 public:
  NaiveRecord(const Bytes& message, const wp_record& start) : m_(message), r(start) {}

  void symbol(size_t at, size_t width, NaiveSymbols& symbols, bool in_aux) {
    std::string text(m_.begin() + static_cast<long>(at),
                     m_.begin() + static_cast<long>(at + width));
    r.instrument = symbols.number(text);
    text.resize(8, ' ');
    if (in_aux) std::memcpy(&r.aux, text.data(), 8);
  }
  void order(size_t at) { r.order_id = little(m_, at, 8); }
  void aux(size_t at) { r.aux = little(m_, at, 8); }
  void qty(size_t at, size_t width) { r.qty = static_cast<uint32_t>(little(m_, at, width)); }
  void side(uint8_t letter) {
    if (letter == 'B' || letter == '8') r.side = 'B';
    if (letter == 'S' || letter == '5') r.side = 'S';
  }
  void price(size_t at, size_t width, int64_t scale, bool is_signed) {
    const uint64_t raw = little(m_, at, width);
    const __int128 value =
        is_signed ? static_cast<__int128>(static_cast<int64_t>(raw)) : static_cast<__int128>(raw);
    const __int128 nanos = value * scale;
    // The magnitude that fits both ways; the smallest number is kept for "did not fit".
    if (nanos > INT64_MAX || nanos < -static_cast<__int128>(INT64_MAX)) {
      r.price = nanos < 0 ? INT64_MIN : INT64_MAX;
      r.flags |= WP_FLAG_SATURATED;
    } else {
      r.price = static_cast<int64_t>(nanos);
    }
  }

 private:
  const Bytes& m_;

 public:
  wp_record r;
};

/* start: seq, recv_time, channel, flags. */
inline NaiveDecoded iex_message(const Bytes& m, wp_record start, NaiveSymbols& symbols) {
  static const std::map<char, size_t> kLengths = {
      {'S', 10}, {'D', 31}, {'H', 22}, {'O', 18}, {'P', 19}, {'E', 18}, {'I', 18},
      {'8', 30}, {'5', 30}, {'Q', 42}, {'T', 38}, {'B', 38}, {'X', 26}, {'A', 80},
      {'a', 38}, {'M', 38}, {'R', 26}, {'L', 46}, {'C', 18}};
  if (m.empty()) return {'m', {}};
  const char type = static_cast<char>(m[0]);
  const auto known = kLengths.find(type);
  if (known == kLengths.end()) return {'u', {}};
  if (known->second != m.size()) return {'m', {}};
  start.venue = WP_VENUE_IEX;
  start.type = m[0];
  start.event_time = static_cast<int64_t>(little(m, 2, 8));
  NaiveRecord n(m, start);
  const bool has_match = type == 'T' || type == 'B' || type == 'L' || type == 'M';
  if (type != 'S') n.symbol(10, 8, symbols, !has_match);
  n.r.action = WP_ACTION_STATUS;
  switch (type) {
    case 'S':
    case 'H':
    case 'O':
    case 'P':
    case 'E':
    case 'I':
      n.qty(1, 1);
      break;
    case 'X':
      n.qty(1, 1), n.price(18, 8, 100'000, true);
      break;
    case 'D':
      n.qty(18, 4), n.price(22, 8, 100'000, true);
      break;
    case 'A':
      n.qty(18, 4), n.price(22, 8, 100'000, true), n.side(m[42]);
      break;
    case '8':
    case '5':
      n.r.action = WP_ACTION_MODIFY;
      n.qty(18, 4), n.price(22, 8, 100'000, true), n.side(m[0]);
      if (m[1] & 1) n.r.flags |= WP_FLAG_END_OF_EVENT;
      break;
    case 'Q': {
      n.r.action = WP_ACTION_MODIFY;
      NaiveRecord ask = n;
      n.qty(18, 4), n.price(22, 8, 100'000, true), n.side('B');
      ask.price(30, 8, 100'000, true), ask.qty(38, 4), ask.side('S');
      ask.r.flags |= WP_FLAG_END_OF_EVENT;
      return {'k', {n.r, ask.r}};
    }
    case 'T':
    case 'B':
      n.r.action = type == 'T' ? WP_ACTION_TRADE : WP_ACTION_BREAK;
      n.qty(18, 4), n.price(22, 8, 100'000, true), n.aux(30);
      break;
    case 'a':
      n.r.action = WP_ACTION_ADD;
      n.side(m[1]), n.order(18), n.qty(26, 4), n.price(30, 8, 100'000, true);
      break;
    case 'M':
      n.r.action = WP_ACTION_MODIFY;
      n.order(18), n.aux(18), n.qty(26, 4), n.price(30, 8, 100'000, true);
      if (m[1] & 1) n.r.flags |= WP_FLAG_KEEPS_PRIORITY;
      break;
    case 'R':
      n.r.action = WP_ACTION_DELETE;
      n.order(18);
      break;
    case 'L':
      n.r.action = WP_ACTION_EXECUTE;
      n.order(18), n.qty(26, 4), n.price(30, 8, 100'000, true), n.aux(38);
      break;
    case 'C':
      n.r.action = WP_ACTION_CLEAR;
      break;
  }
  return {'k', {n.r}};
}

/* The latest Time message of each unit; of late messages only within a run of them. */
class NaiveTimes {
 public:
  std::optional<int64_t>& of(uint32_t unit, uint64_t seq, bool late) {
    if (!late) return now_[unit];
    Late& run = late_[unit];
    if (run.last + 1 != seq) run.second.reset();
    run.last = seq;
    return run.second;
  }

 private:
  struct Late {
    uint64_t last = UINT64_MAX;
    std::optional<int64_t> second;
  };
  std::map<uint32_t, std::optional<int64_t>> now_;
  std::map<uint32_t, Late> late_;
};

inline NaiveDecoded pitch_message(const Bytes& m, wp_record start, uint32_t unit, int64_t midnight,
                                  NaiveTimes& times, NaiveSymbols& symbols) {
  static const std::map<int, std::vector<size_t>> kLengths = {
      {0x20, {6}},      {0x97, {6}},      {0x21, {34}},     {0x22, {26}},     {0x2F, {41, 50}},
      {0x23, {26, 27}}, {0x24, {38, 39}}, {0x25, {18}},     {0x26, {16}},     {0x27, {27}},
      {0x28, {19}},     {0x29, {14}},     {0x2A, {41, 42}}, {0x2B, {33, 34}}, {0x30, {43, 44}},
      {0x2C, {14}},     {0x2D, {6}},      {0x2E, {30}},     {0x31, {18}},     {0x95, {47}},
      {0x96, {27}},     {0x98, {15}},     {0xBC, {6}},      {0xBD, {6}}};
  if (m.size() < 2) return {'m', {}};
  const int type = m[1];
  const auto known = kLengths.find(type);
  if (known == kLengths.end()) return {'u', {}};
  bool fits = false;
  for (size_t length : known->second) fits = fits || length == m.size();
  if (!fits) return {'m', {}};
  start.venue = WP_VENUE_CBOE;
  start.type = m[1];
  std::optional<int64_t>& second = times.of(unit, start.seq, start.flags & WP_FLAG_LATE);
  if (type == 0x20) second = midnight + static_cast<int64_t>(little(m, 2, 4)) * 1'000'000'000;
  if (second) {
    const bool whole = type == 0x20 || type == 0x2E;
    start.event_time = *second + (whole ? 0 : static_cast<int64_t>(little(m, 2, 4)));
  }
  NaiveRecord n(m, start);
  switch (type) {
    case 0x97:
      n.r.action = WP_ACTION_CLEAR;
      n.r.aux = unit;
      break;
    case 0x21:
    case 0x2A:
      n.order(6), n.side(m[14]), n.qty(15, 4), n.price(25, 8, 100'000, false);
      n.symbol(19, 6, symbols, type == 0x21);
      n.r.action = type == 0x21 ? WP_ACTION_ADD : WP_ACTION_TRADE;
      if (type == 0x2A) n.aux(33);
      break;
    case 0x22:
    case 0x2B:
      n.order(6), n.side(m[14]), n.qty(15, 2), n.price(23, 2, 10'000'000, false);
      n.symbol(17, 6, symbols, type == 0x22);
      n.r.action = type == 0x22 ? WP_ACTION_ADD : WP_ACTION_TRADE;
      if (type == 0x2B) n.aux(25);
      break;
    case 0x2F:
    case 0x30:
      n.order(6), n.side(m[14]), n.qty(15, 4), n.price(27, 8, 100'000, false);
      n.symbol(19, 8, symbols, type == 0x2F);
      n.r.action = type == 0x2F ? WP_ACTION_ADD : WP_ACTION_TRADE;
      if (type == 0x30) n.aux(35);
      break;
    case 0x23:
      n.r.action = WP_ACTION_EXECUTE;
      n.order(6), n.qty(14, 4), n.aux(18);
      break;
    case 0x24:
      n.r.action = WP_ACTION_EXECUTE;
      n.order(6), n.qty(14, 4), n.aux(22), n.price(30, 8, 100'000, false);
      break;
    case 0x25:
    case 0x26:
      n.r.action = WP_ACTION_CANCEL;
      n.order(6), n.qty(14, type == 0x25 ? 4 : 2);
      break;
    case 0x27:
      n.r.action = WP_ACTION_MODIFY;
      n.order(6), n.aux(6), n.qty(14, 4), n.price(18, 8, 100'000, false);
      if (m[26] & 2) n.r.flags |= WP_FLAG_KEEPS_PRIORITY;
      break;
    case 0x28:
      n.r.action = WP_ACTION_MODIFY;
      n.order(6), n.aux(6), n.qty(14, 2), n.price(16, 2, 10'000'000, false);
      if (m[18] & 2) n.r.flags |= WP_FLAG_KEEPS_PRIORITY;
      break;
    case 0x29:
      n.r.action = WP_ACTION_DELETE;
      n.order(6);
      break;
    case 0x2C:
      n.r.action = WP_ACTION_BREAK;
      n.aux(6);
      break;
    case 0x2D:
      n.r.action = WP_ACTION_STATUS;
      break;
    case 0x2E:
      n.r.action = WP_ACTION_STATUS;
      n.symbol(2, 6, symbols, true), n.qty(29, 1);
      break;
    case 0x31:
    case 0x98:
      n.r.action = WP_ACTION_STATUS;
      n.symbol(6, 8, symbols, true), n.qty(14, 1);
      break;
    case 0x95:
      n.r.action = WP_ACTION_STATUS;
      n.symbol(6, 8, symbols, true), n.qty(23, 4), n.price(31, 8, 100'000, false);
      break;
    case 0x96:
      n.r.action = WP_ACTION_STATUS;
      n.symbol(6, 8, symbols, true), n.qty(23, 4), n.price(15, 8, 100'000, false);
      break;
    case 0xBD:
      n.r.flags |= WP_FLAG_END_OF_EVENT;
      break;
  }
  return {'k', {n.r}};
}

}  // namespace wp::feed::naive
