/* SPDX-License-Identifier: Apache-2.0
 *
 * Cboe Multicast PITCH messages to wp_record; see pitch_tables.h.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "feed/message_decoder.h"
#include "feed/pitch_tables.h"

namespace wp::feed {

/* A message's time is the second of its unit's latest Time message and an offset in
 * ns, so decoding has state per unit: messages of a unit must come in order. Until
 * the first Time message event_time is 0 (counted in `untimed`). Messages flagged
 * WP_FLAG_LATE are of another moment: they neither use that second nor change it, and
 * have one only where their Time message came late as well, in the same run.
 *
 * instrument: SymbolTable's number, 0 for messages that name an order only. */
class PitchDecoder : public TableDecoder<kPitchMessages, WP_VENUE_CBOE, 1> {
 public:
  /* midnight_ns: New York midnight of the trading day, ns since the Unix epoch; 0
   * leaves event_time as ns since that midnight. */
  explicit PitchDecoder(SymbolTable& symbols, int64_t midnight_ns = 0)
      : TableDecoder(symbols), midnight_(midnight_ns) {}

  /* Returns how many records of out[0, kMaxRecords) were written; 0: see counters. */
  size_t decode(const uint8_t* msg, size_t len, const MessageContext& ctx, wp_record* out) {
    const message_detail::Plan* const plan = plan_of(msg, len);
    if (plan == nullptr) [[unlikely]]
      return 0;
    uint8_t padded[message_detail::kPadded] = {};
    if (len < sizeof padded) {
      std::memcpy(padded, msg, len);
      msg = padded;
    }
    const size_t made = make_records(msg, *plan, time_of(msg, ctx), ctx, out);
    if (msg[1] == kPitchUnitClear) [[unlikely]]
      out->aux = ctx.unit;  // only this unit's books are void
    return made;
  }

  /* When messages of a unit were lost, a Time message may be among them: its time is
   * not known again until the next one, at most a second later. */
  void forget_time(uint8_t unit) { units_[unit].second = kUnknown; }

  /* What the record of a message of right length has. Counts `untimed`. */
  int64_t time_of(const uint8_t* msg, const MessageContext& ctx) {
    Unit& unit = units_[ctx.unit];
    int64_t* second = &unit.second;
    if (ctx.flags & WP_FLAG_LATE) [[unlikely]] {
      second = &unit.late_second;
      if (ctx.seq != unit.late_next) *second = kUnknown;
      unit.late_next = ctx.seq + 1;
    }
    const uint8_t type = msg[1];
    const uint32_t value = net::load_le<uint32_t>(msg + 2);
    if (type == kPitchTime) [[unlikely]]
      *second = midnight_ + int64_t{value} * 1'000'000'000;
    if (*second == kUnknown) [[unlikely]] {
      ++counters_.untimed;
      return 0;
    }
    const bool has_offset = type != kPitchTime && type != kPitchSymbolMapping;
    return *second + (has_offset ? int64_t{value} : 0);
  }

 private:
  static constexpr int64_t kUnknown = INT64_MIN;
  struct Unit {
    int64_t second = kUnknown;
    int64_t late_second = kUnknown;
    uint64_t late_next = 0;  // sequence number that continues the late run
  };

  int64_t midnight_;
  std::array<Unit, 256> units_;
};

}  // namespace wp::feed
