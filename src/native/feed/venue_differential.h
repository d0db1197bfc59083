/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: runs datagrams through framer, session, record decoder
 * and raw columns of a venue and through the naive ones, and names what differs.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "feed/framed_session_naive.h"
#include "feed/iex.h"
#include "feed/iex_tp.h"
#include "feed/pillar.h"
#include "feed/pitch.h"
#include "feed/pitch_units.h"
#include "feed/venue_columns.h"
#include "feed/venue_naive.h"

namespace wp::feed::naive {

inline constexpr int64_t kMidnight = 1'699'938'000'000'000'000;

struct IexVenue {
  using Framer = IexTpFramer;
  static auto packet(const Bytes& b) { return iex_packet(b); }

  explicit IexVenue(size_t symbols) : table(symbols), naive_symbols(symbols) {}
  size_t decode(const Bytes& m, const MessageContext& ctx, wp_record* out) {
    return decoder.decode(m.data(), m.size(), ctx, out);
  }
  NaiveDecoded expected(const Bytes& m, const wp_record& start, uint32_t) {
    return iex_message(m, start, naive_symbols);
  }
  static const ColumnTable& columns() { return iex_column_table(); }

  SymbolTable table;
  IexDecoder decoder{table};
  NaiveSymbols naive_symbols;
};

struct PitchVenue {
  using Framer = PitchFramer;
  static auto packet(const Bytes& b) { return pitch_packet(b); }

  explicit PitchVenue(size_t symbols) : table(symbols), naive_symbols(symbols) {}
  size_t decode(const Bytes& m, const MessageContext& ctx, wp_record* out) {
    return decoder.decode(m.data(), m.size(), ctx, out);
  }
  NaiveDecoded expected(const Bytes& m, const wp_record& start, uint32_t unit) {
    return pitch_message(m, start, unit, kMidnight, times, naive_symbols);
  }
  static const ColumnTable& columns() { return pitch_column_table(); }

  SymbolTable table;
  PitchDecoder decoder{table, kMidnight};
  NaiveSymbols naive_symbols;
  NaiveTimes times;
};

struct PillarVenue {  // headers only
  using Framer = PillarFramer;
  static auto packet(const Bytes& b) { return pillar_packet(b); }
  explicit PillarVenue(size_t) {}
};

template <class Venue>
class VenueDifferential {
 public:
  VenueDifferential(uint64_t next_sequence, size_t max_gaps, size_t symbols)
      : session_({next_sequence, max_gaps}),
        naive_(Venue::Framer::kNumbers, next_sequence, max_gaps),
        venue_(symbols) {
    if constexpr (requires { Venue::columns(); })
      columns_ = std::make_unique<MessageColumns>(Venue::columns());
  }

  /* nullptr: no difference. */
  const char* on_packet(const Bytes& datagram) {
    Recorder sink;
    // An exact copy lets a sanitizer see any access outside.
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[datagram.size()]);
    std::copy(datagram.begin(), datagram.end(), exact.get());
    session_.on_datagram(exact.get(), datagram.size(), sink);
    const std::vector<Event> want = naive_.on_packet(Venue::packet(datagram));
    if (sink.events != want) return "events";
    if (!same_counters(session_.counters(), naive_.c)) return "counters of the session";
    const SessionCounters& c = session_.counters();
    // Exact also where the sum of all gaps is beyond 64 bits.
    if (c.gap_messages != c.gap_filled + c.gap_open + c.lost) return "gap counters";
    if (c.packets != c.data + c.heartbeats + c.end_of_session + c.resets + c.unsequenced_packets +
                         c.ignored + c.malformed)
      return "packet counters";
    if constexpr (requires { Venue::columns(); }) {
      for (const Event& e : want) {
        if (e.kind != 'm') continue;
        if (const char* difference = message(e)) return difference;
      }
    }
    return nullptr;
  }

  const FramedSession<typename Venue::Framer>& session() const { return session_; }
  Venue& venue() { return venue_; }

 private:
  const char* message(const Event& e) {
    const std::unique_ptr<uint8_t[]> exact(new uint8_t[e.data.size()]);
    std::copy(e.data.begin(), e.data.end(), exact.get());
    const MessageContext ctx{.seq = e.a,
                             .recv_time = 1'700'000'000'000'000'000,
                             .send_time = 5,
                             .channel = 0x0102,
                             .unit = static_cast<uint8_t>(e.unit),
                             .flags = static_cast<uint8_t>(e.late ? WP_FLAG_LATE : 0)};
    wp_record start{};
    start.seq = ctx.seq;
    start.recv_time = ctx.recv_time;
    start.channel = ctx.channel;
    start.flags = ctx.flags;
    const NaiveDecoded want = venue_.expected(e.data, start, e.unit);
    std::array<wp_record, kMaxRecords> got;
    std::memset(got.data(), 0xee, sizeof got);
    const size_t n = venue_.decoder.decode(exact.get(), e.data.size(), ctx, got.data());
    if (n != want.records.size()) return "number of records";
    if (n != 0 && std::memcmp(got.data(), want.records.data(), n * sizeof(wp_record)) != 0)
      return "records";
    const MessageCounters& c = venue_.decoder.counters();
    counts_[want.result == 'k' ? 0 : want.result == 'u' ? 1 : 2] += 1;
    if (c.messages != counts_[0] || c.unknown != counts_[1] || c.malformed != counts_[2])
      return "counters of the decoder";
    const MessageResult result =
        columns_->append(exact.get(), e.data.size(),
                         {.seq = e.a, .recv_time = 1, .send_time = 2, .event_time = 3, .unit = 4});
    if (result != (want.result == 'k'   ? MessageResult::kOk
                   : want.result == 'u' ? MessageResult::kUnknown
                                        : MessageResult::kMalformed))
      return "result of columns";
    return nullptr;
  }

  FramedSession<typename Venue::Framer> session_;
  NaiveSession naive_;
  Venue venue_;
  std::unique_ptr<MessageColumns> columns_;
  std::array<uint64_t, 3> counts_{};
};

/* A fuzz input or a random one as a stream: the first byte chooses the options, then
 * every datagram is one byte of length, or 0xFF and two, little-endian, and bytes. */
template <class Venue>
const char* stream_difference(const uint8_t* data, size_t size) {
  if (size == 0) return nullptr;
  const uint8_t options = *data++;
  --size;
  VenueDifferential<Venue> d(options & 7, 1 + (options >> 3 & 3), 1 + (options >> 5) * 3);
  while (size != 0) {
    size_t length = *data++;
    --size;
    if (length == 0xFF && size >= 2) {
      length = data[0] | data[1] << 8;
      data += 2;
      size -= 2;
    }
    if (length > size) length = size;
    if (const char* difference = d.on_packet(Bytes(data, data + length))) return difference;
    data += length;
    size -= length;
  }
  return nullptr;
}

}  // namespace wp::feed::naive
