/* SPDX-License-Identifier: Apache-2.0
 *
 * ITCH 5.0 messages to wp_record. One decoder for every type: a 64-byte plan
 * per type, derived from itch50_tables.h, says where each member of the record
 * ends in the message and which bits of it count, so there is no branch on the
 * type. A real mix of types makes such a branch miss every third message.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/record.h"
#include "feed/itch50_tables.h"
#include "feed/itch_file.h"
#include "net/bytes.h"

namespace wp::feed {

using ItchResult = MessageResult;

/* What a message does not carry itself. */
struct Itch50Context {
  uint64_t seq = 0;
  int64_t recv_time = 0;    // ns since the Unix epoch
  int64_t midnight_ns = 0;  // New York midnight of the session, ns since the Unix epoch;
                            // 0 leaves event_time as ns since that midnight
  uint16_t channel = 0;
  uint8_t flags = 0;  // or-ed into the record: WP_FLAG_LATE, WP_FLAG_RECOVERED
};

namespace itch50_detail {

/* A field is loaded as the 8 bytes that END with it: messages are at least 12
 * bytes and fields end at 12 or later, so no load leaves the message. */
struct alignas(64) Plan {
  uint64_t order_mask = 0;
  uint64_t aux_mask = 0;     // over the number
  uint64_t symbol_mask = 0;  // over the bytes as they stand
  uint64_t price_mask = 0;
  uint64_t price_scale = 0;
  uint64_t qty_mask = 0;
  uint16_t length = 0;  // 0: unknown type
  uint8_t order_at = 0;
  uint8_t aux_at = 0;
  uint8_t price_at = 0;
  uint8_t qty_at = 0;
  uint8_t side_at = 0;
  uint8_t side_mask = 0;
  uint8_t printable_at = 0;
  uint8_t printable_mask = 0;
  uint8_t action = 0;
};
static_assert(sizeof(Plan) == 64);

consteval const ItchField& field_of(const ItchMessage& m, std::string_view name) {
  for (const ItchField& f : m.fields) {
    if (f.name == name) return f;
  }
  throw "the record map names a field that the message does not have";
}

consteval uint8_t load_at(const ItchField& f) {
  return static_cast<uint8_t>(f.offset + f.width - 8);
}

consteval Plan make_plan(const ItchMessage& m) {
  Plan plan;
  const ItchRecordMap& map = m.record;
  plan.length = m.length;
  plan.action = map.action;
  if (!map.order_id.empty()) {
    const ItchField& f = field_of(m, map.order_id);
    plan.order_at = load_at(f);
    plan.order_mask = low_bytes(f.width);
  }
  if (!map.aux.empty()) {
    const ItchField& f = field_of(m, map.aux);
    plan.aux_at = load_at(f);
    (f.kind == FieldKind::kAlpha ? plan.symbol_mask : plan.aux_mask) = low_bytes(f.width);
  }
  if (!map.price.empty()) {
    const ItchField& f = field_of(m, map.price);
    plan.price_at = load_at(f);
    plan.price_mask = low_bytes(f.width);
    plan.price_scale = price_scale(f.kind);
  }
  if (!map.qty.empty()) {
    const ItchField& f = field_of(m, map.qty);
    plan.qty_at = load_at(f);
    plan.qty_mask = low_bytes(f.width);
  }
  if (!map.side.empty()) {
    plan.side_at = static_cast<uint8_t>(field_of(m, map.side).offset);
    plan.side_mask = 0xff;
  }
  if (!map.printable.empty()) {
    plan.printable_at = static_cast<uint8_t>(field_of(m, map.printable).offset);
    plan.printable_mask = WP_FLAG_NON_PRINTABLE;
  }
  return plan;
}

consteval std::array<Plan, 256> make_plans() {
  std::array<Plan, 256> plans{};
  for (const ItchMessage& m : kItch50Messages) plans[static_cast<uint8_t>(m.type)] = make_plan(m);
  return plans;
}
inline constexpr std::array<Plan, 256> kPlans = make_plans();

/* Largest Price(8) that fits the record; no Price(4) comes near it. */
inline constexpr uint64_t kMaxPrice8 = uint64_t{INT64_MAX} / 10;

/* 'B' and 'S' as they are, all else 0. A compare would be a branch that misses
 * every second time. */
inline constexpr std::array<uint8_t, 256> kSides = [] {
  std::array<uint8_t, 256> sides{};
  sides['B'] = 'B';
  sides['S'] = 'S';
  return sides;
}();

template <size_t kWord>
inline void store_word(wp_record* out, uint64_t value) {
  // Through the register: left alone, GCC gathers the words on its stack to store
  // them in pairs, and stalls on that.
  asm("" : "+r"(value));
  std::memcpy(reinterpret_cast<uint8_t*>(out) + 8 * kWord, &value, sizeof value);
}

/* The message is known to be plan.length bytes long. Eight whole-word stores:
 * the record is one cache line and need not be read. */
inline void decode_known(const uint8_t* p, const Plan& plan, const Itch50Context& ctx, uint64_t seq,
                         wp_record* out) {
  const uint64_t timestamp = net::load_be64(p + 3) & 0xffff'ffff'ffffULL;
  store_word<0>(out, seq);
  store_word<1>(out, static_cast<uint64_t>(ctx.midnight_ns) + timestamp);
  store_word<2>(out, static_cast<uint64_t>(ctx.recv_time));
  store_word<3>(out, net::load_be64(p + plan.order_at) & plan.order_mask);
  const uint64_t aux = net::load_le<uint64_t>(p + plan.aux_at);
  store_word<4>(out, (aux & plan.symbol_mask) | (__builtin_bswap64(aux) & plan.aux_mask));

  uint64_t flags = ctx.flags | (plan.printable_mask & -uint64_t{p[plan.printable_at] == 'N'});
  const uint64_t price_raw = net::load_be64(p + plan.price_at) & plan.price_mask;
  uint64_t price = price_raw * plan.price_scale;
  if (price_raw > kMaxPrice8) [[unlikely]] {
    price = uint64_t{INT64_MAX};
    flags |= WP_FLAG_SATURATED;
  }
  store_word<5>(out, price);
  uint64_t qty = net::load_be64(p + plan.qty_at) & plan.qty_mask;
  if (qty > UINT32_MAX) [[unlikely]] {
    qty = UINT32_MAX;
    flags |= WP_FLAG_SATURATED;
  }
  store_word<6>(out, qty | uint64_t{net::load_be16(p + 1)} << 32);
  const uint64_t side = kSides[p[plan.side_at] & plan.side_mask];
  store_word<7>(out, uint64_t{p[0]} | uint64_t{plan.action} << 16 | side << 24 | flags << 32 |
                         uint64_t{WP_VENUE_NASDAQ} << 40 | uint64_t{ctx.channel} << 48);
}
static_assert(offsetof(wp_record, qty) == 48 && offsetof(wp_record, instrument) == 52 &&
              offsetof(wp_record, action) == 58 && offsetof(wp_record, side) == 59 &&
              offsetof(wp_record, flags) == 60 && offsetof(wp_record, venue) == 61 &&
              offsetof(wp_record, channel) == 62);

}  // namespace itch50_detail

/* One message to one record; out is written only on kOk. */
inline ItchResult itch50_decode(const uint8_t* msg, size_t len, const Itch50Context& ctx,
                                wp_record& out) {
  if (len == 0) [[unlikely]]
    return ItchResult::kMalformed;
  const itch50_detail::Plan& plan = itch50_detail::kPlans[msg[0]];
  if (plan.length != len) [[unlikely]] {
    return plan.length == 0 ? ItchResult::kUnknown : ItchResult::kMalformed;
  }
  itch50_detail::decode_known(msg, plan, ctx, ctx.seq, &out);
  return ItchResult::kOk;
}

/* messages + unknown + malformed = messages offered; messages = sum of by_type. */
struct Itch50Counters {
  uint64_t messages = 0;                // decoded
  std::array<uint64_t, 256> by_type{};  // of those, by type byte
  uint64_t unknown = 0;                 // type not in the table, skipped
  uint64_t malformed = 0;               // known type of another length, skipped
  uint64_t truncated = 0;               // incomplete last frame of a file
  uint64_t end_of_session = 0;          // frames of length 0
};

class Itch50Decoder {
 public:
  ItchResult decode(const uint8_t* msg, size_t len, const Itch50Context& ctx, wp_record& out) {
    const ItchResult result = itch50_decode(msg, len, ctx, out);
    if (result == ItchResult::kOk) [[likely]] {
      ++counters_.messages;
      ++counters_.by_type[msg[0]];
    } else {
      count_bad(result);
    }
    return result;
  }

  /* Decodes length-prefixed frames from buf[0, n) into out[0, max) and returns
   * the number of records written. *consumed is the number of bytes done with:
   * whole frames, and the end-of-session mark, at which decoding stops (end()
   * tells). ctx.seq numbers the first frame and is advanced by every frame, also
   * by those skipped. An incomplete last frame is left unconsumed, for a caller
   * that has more bytes to put behind it; with last = true it is counted as
   * truncated and consumed. */
  size_t decode_frames(const uint8_t* buf, size_t n, wp_record* out, size_t max, size_t* consumed,
                       Itch50Context& ctx, bool last = true);

  /* How the latest decode_frames ended; kNone: out is full. */
  ItchFileEnd end() const { return end_; }
  const Itch50Counters& counters() const { return counters_; }
  void reset_counters() { counters_ = {}; }

 private:
  void count_bad(ItchResult result) {
    ++(result == ItchResult::kUnknown ? counters_.unknown : counters_.malformed);
  }

  Itch50Counters counters_;
  ItchFileEnd end_ = ItchFileEnd::kNone;
};

inline size_t Itch50Decoder::decode_frames(const uint8_t* buf, size_t n, wp_record* out, size_t max,
                                           size_t* consumed, Itch50Context& ctx, bool last) {
  const uint8_t* at = buf;
  const uint8_t* const end = buf + n;
  wp_record* slot = out;
  wp_record* const slots_end = out + max;
  // The records are stored through a pointer that may alias ctx for all the
  // compiler knows; copies stay in registers.
  const Itch50Context constant = ctx;
  uint64_t seq = ctx.seq;
  end_ = ItchFileEnd::kNone;
  while (slot != slots_end) {
    const size_t left = static_cast<size_t>(end - at);
    if (left < 3) [[unlikely]] {
      if (left >= 2 && net::load_be16(at) == 0) {
        end_ = ItchFileEnd::kEndOfSession;
      } else {
        end_ = left == 0 ? ItchFileEnd::kClean : ItchFileEnd::kTruncated;
      }
      break;
    }
    const size_t length = net::load_be16(at);
    const itch50_detail::Plan& plan = itch50_detail::kPlans[at[2]];
    if (length > left - 2) [[unlikely]] {
      end_ = ItchFileEnd::kTruncated;
      break;
    }
    if (plan.length != length || length == 0) [[unlikely]] {
      if (length == 0) {
        end_ = ItchFileEnd::kEndOfSession;
        break;
      }
      count_bad(plan.length == 0 ? ItchResult::kUnknown : ItchResult::kMalformed);
    } else {
      itch50_detail::decode_known(at + 2, plan, constant, seq, slot);
      ++counters_.by_type[at[2]];
      ++slot;
    }
    ++seq;
    at += 2 + length;
  }
  if (end_ == ItchFileEnd::kEndOfSession) {
    at += 2;
    ++counters_.end_of_session;
  } else if (end_ == ItchFileEnd::kTruncated && last) {
    at = end;
    ++counters_.truncated;
  }
  const size_t written = static_cast<size_t>(slot - out);
  counters_.messages += written;
  ctx.seq = seq;
  *consumed = static_cast<size_t>(at - buf);
  return written;
}

}  // namespace wp::feed
