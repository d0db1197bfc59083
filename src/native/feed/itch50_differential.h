/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: runs decode_frames, decode and the raw columns over
 * the same bytes as the naive decoder and names the first thing that differs.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "feed/itch50.h"
#include "feed/itch50_columns.h"
#include "feed/itch50_naive.h"

namespace wp::feed::naive {

struct ItchStream {
  std::vector<wp_record> records;
  std::array<uint64_t, 256> by_type{};
  uint64_t unknown = 0, malformed = 0, truncated = 0, end_of_session = 0;
  uint64_t next_seq = 0;
  size_t consumed = 0;

  bool operator==(const Itch50Counters& c) const {
    return c.messages == records.size() && c.by_type == by_type && c.unknown == unknown &&
           c.malformed == malformed && c.truncated == truncated &&
           c.end_of_session == end_of_session;
  }
};

/* The whole of a file, byte by byte. */
inline ItchStream itch_stream(const std::vector<uint8_t>& bytes, const Itch50Context& ctx) {
  ItchStream s;
  s.next_seq = ctx.seq;
  while (s.consumed < bytes.size()) {
    const size_t left = bytes.size() - s.consumed;
    const size_t len = left < 2 ? 0 : bytes[s.consumed] * size_t{256} + bytes[s.consumed + 1];
    if (left >= 2 && len == 0) {
      s.end_of_session = 1;
      s.consumed += 2;
      break;
    }
    if (left < 2 + len || left < 2) {
      s.truncated = 1;
      s.consumed = bytes.size();
      break;
    }
    const uint8_t* const msg = bytes.data() + s.consumed + 2;
    const ItchDecoded d =
        ItchDecode(msg, len, s.next_seq, ctx.recv_time, ctx.midnight_ns, ctx.channel, ctx.flags)
            .decoded();
    if (d.result == 'k') {
      s.records.push_back(d.record);
      ++s.by_type[msg[0]];
    }
    s.unknown += d.result == 'u';
    s.malformed += d.result == 'm';
    ++s.next_seq;
    s.consumed += 2 + len;
  }
  return s;
}

inline bool same_records(std::span<const wp_record> a, std::span<const wp_record> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/* slots: records per call of decode_frames, at least 1. chunk: bytes shown to it
 * at first, to be grown when a frame does not fit; 0 shows everything. */
inline const char* itch_difference(const std::vector<uint8_t>& bytes, const Itch50Context& start,
                                   size_t slots, size_t chunk) {
  const ItchStream want = itch_stream(bytes, start);

  Itch50Decoder decoder;
  Itch50Context ctx = start;
  std::vector<wp_record> records;
  size_t at = 0;
  size_t window = chunk == 0 ? bytes.size() : chunk;
  for (;;) {
    const size_t shown = std::min(window, bytes.size() - at);
    const bool last = shown == bytes.size() - at;
    // Exact copies let a sanitizer see any access outside.
    const std::vector<uint8_t> input(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                     bytes.begin() + static_cast<std::ptrdiff_t>(at + shown));
    std::vector<wp_record> out(slots);
    size_t used = 0;
    const size_t n =
        decoder.decode_frames(input.data(), shown, out.data(), slots, &used, ctx, last);
    if (n > slots) return "more records than slots";
    if (used > shown) return "more bytes consumed than given";
    records.insert(records.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n));
    at += used;
    if (decoder.end() == ItchFileEnd::kEndOfSession ||
        (last && decoder.end() != ItchFileEnd::kNone))
      break;
    if (decoder.end() == ItchFileEnd::kNone && n != slots) return "stopped early";
    if (used == 0 && n == 0) ++window;
  }
  if (!same_records(records, want.records)) return "records of decode_frames";
  if (!(want == decoder.counters())) return "counters of decode_frames";
  if (ctx.seq != want.next_seq) return "sequence of decode_frames";
  if (at != want.consumed) return "bytes consumed by decode_frames";

  Itch50Decoder single;
  ItchFileReader reader(bytes);
  std::span<const uint8_t> message;
  Itch50Context one = start;
  records.clear();
  for (; reader.next(message); ++one.seq) {
    wp_record r;
    std::memset(&r, 0xee, sizeof r);
    if (single.decode(message.data(), message.size(), one, r) == ItchResult::kOk) {
      records.push_back(r);
    }
  }
  if (!same_records(records, want.records)) return "records of decode";
  const Itch50Counters& c = single.counters();
  if (c.messages != records.size() || c.by_type != want.by_type || c.unknown != want.unknown ||
      c.malformed != want.malformed) {
    return "counters of decode";
  }

  Itch50Columns columns;
  uint64_t seq = start.seq;
  if (columns.append_frames(bytes.data(), bytes.size(), &seq, 5) != want.consumed) {
    return "bytes consumed by columns";
  }
  if (!(want == columns.counters())) return "counters of columns";
  for (const ItchRowLayout& layout : itch50_row_layouts()) {
    const uint8_t type = static_cast<uint8_t>(layout.type);
    if (columns.rows(layout.type) != want.by_type[type]) return "rows";
    if (columns.data(layout.type).size() != want.by_type[type] * layout.itemsize) return "row size";
  }
  return nullptr;
}

}  // namespace wp::feed::naive
