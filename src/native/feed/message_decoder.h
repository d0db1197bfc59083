/* SPDX-License-Identifier: Apache-2.0
 *
 * Little-endian messages to wp_record, for any table of WireMessage. A plan per
 * type, derived at compile time, says where each member of the record stands and
 * which bits of it count, so that there is no branch on the type.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/record.h"
#include "feed/message_table.h"
#include "feed/symbol_table.h"
#include "net/bytes.h"

namespace wp::feed {

/* What a message does not carry itself. */
struct MessageContext {
  uint64_t seq = 0;
  int64_t recv_time = 0;  // ns since the Unix epoch
  int64_t send_time = 0;  // the venue's for the packet; 0: not told
  uint16_t channel = 0;
  uint8_t unit = 0;   // see Packet
  uint8_t flags = 0;  // or-ed into the record: WP_FLAG_LATE, WP_FLAG_RECOVERED
};

/* messages + unknown + malformed = messages offered; messages = sum of by_type. */
struct MessageCounters {
  uint64_t messages = 0;                // decoded
  std::array<uint64_t, 256> by_type{};  // of those, by type byte
  uint64_t records = 0;                 // made of them
  uint64_t unknown = 0;                 // type not in the table, skipped
  uint64_t malformed = 0;               // known type of another length, skipped
  uint64_t untimed = 0;                 // decoded, but the venue's time is not known yet
};

namespace message_detail {

/* A field is loaded as 8 bytes that begin with it, or end with the message where
 * those would reach behind it: shifted and masked it is the same. Messages of
 * less than 8 bytes are padded by the caller. */
struct Place {
  uint64_t mask = 0;
  uint8_t at = 0;
  uint8_t shift = 0;

  uint64_t load(const uint8_t* p) const { return (net::load_le<uint64_t>(p + at) >> shift) & mask; }
};

inline constexpr size_t kPadded = 8;

struct alignas(64) Plan {
  Place order, aux, symbol, price, qty;
  uint64_t symbol_pad = 0;   // spaces behind a short symbol
  uint64_t aux_symbol = 0;   // all ones: aux is the symbol
  uint64_t price_scale = 0;  // to 1e-9
  uint64_t price_limit = 0;  // larger ones do not fit the record
  uint64_t price_sign = 0;   // bit 63 where prices are signed
  uint16_t length = 0;       // 0: unknown type
  uint16_t long_length = 0;
  uint8_t side_at = 0;
  uint8_t side_mask = 0;
  uint8_t fixed_side = 0;
  uint8_t flag_at = 0;
  uint8_t flag_bits = 0;
  uint8_t flag = 0;
  uint8_t fixed_flags = 0;
  uint8_t action = 0;
  uint8_t second = 0;  // index of the plan of a second record; 0: none
};

consteval const MessageField& field_of(const WireMessage& m, std::string_view name) {
  for (const MessageField& f : m.fields) {
    if (f.name == name) return f;
  }
  throw "the record map names a field that the message does not have";
}

consteval Place place_of(const WireMessage& m, const MessageField& f) {
  // What only the long form has could not be loaded from the short one.
  if (f.offset + f.width > m.length) throw "a field of the long form feeds the record";
  const uint16_t last = static_cast<uint16_t>(std::max<size_t>(m.length, kPadded) - 8);
  const uint16_t at = std::min(f.offset, last);
  return {low_bytes(f.width), static_cast<uint8_t>(at), static_cast<uint8_t>(8 * (f.offset - at))};
}

consteval Plan make_plan(const WireMessage& m, const RecordMap& map) {
  Plan plan;
  plan.length = m.length;
  plan.long_length = m.long_length != 0 ? m.long_length : m.length;
  plan.action = map.action;
  plan.fixed_side = static_cast<uint8_t>(map.fixed_side);
  plan.fixed_flags = map.fixed_flags;
  for (const MessageField& f : m.fields) {
    if (f.name != "symbol") continue;
    plan.symbol = place_of(m, f);
    plan.symbol_pad = 0x2020'2020'2020'2020ULL & ~low_bytes(f.width);
  }
  if (!map.order_id.empty()) plan.order = place_of(m, field_of(m, map.order_id));
  if (map.aux == "symbol") {
    plan.aux_symbol = ~uint64_t{0};
  } else if (!map.aux.empty()) {
    plan.aux = place_of(m, field_of(m, map.aux));
  }
  if (!map.price.empty()) {
    const MessageField& f = field_of(m, map.price);
    plan.price = place_of(m, f);
    plan.price_scale = price_scale(f.kind);
    if (plan.price_scale == 0) throw "the field of the price is not a price";
    plan.price_limit = uint64_t{INT64_MAX} / plan.price_scale;
    if (f.kind == FieldKind::kSignedPrice4) plan.price_sign = uint64_t{1} << 63;
  }
  if (!map.qty.empty()) {
    const MessageField& f = field_of(m, map.qty);
    if (f.width > 4) throw "the field of the quantity is wider than the record's";
    plan.qty = place_of(m, f);
  }
  if (!map.side.empty()) {
    plan.side_at = static_cast<uint8_t>(field_of(m, map.side).offset);
    plan.side_mask = 0xff;
  }
  if (!map.flag_field.empty()) {
    plan.flag_at = static_cast<uint8_t>(field_of(m, map.flag_field).offset);
    plan.flag_bits = map.flag_bits;
    plan.flag = map.flag;
  }
  return plan;
}

/* 0: unknown; then one per message; then their second records. */
template <size_t kMessages>
consteval std::array<Plan, 2 * kMessages + 1> make_plans(const WireMessage (&table)[kMessages]) {
  std::array<Plan, 2 * kMessages + 1> plans{};
  for (size_t i = 0; i < kMessages; ++i) {
    plans[1 + i] = make_plan(table[i], table[i].record);
    if (table[i].second.action == WP_ACTION_OTHER) continue;
    plans[1 + i].second = static_cast<uint8_t>(1 + kMessages + i);
    plans[1 + kMessages + i] = make_plan(table[i], table[i].second);
  }
  return plans;
}

/* 'B' and 'S', all else 0; '8' and '5' are IEX's. */
inline constexpr std::array<uint8_t, 256> kSides = [] {
  std::array<uint8_t, 256> sides{};
  sides['B'] = sides['8'] = 'B';
  sides['S'] = sides['5'] = 'S';
  return sides;
}();

template <size_t kWord>
inline void store_word(wp_record* out, uint64_t value) {
  // Through the register; see itch50.h.
  asm("" : "+r"(value));
  std::memcpy(reinterpret_cast<uint8_t*>(out) + 8 * kWord, &value, sizeof value);
}

/* p: plan.length readable bytes, at least kPadded. */
inline void decode_known(const uint8_t* p, const Plan& plan, uint8_t type, wp_venue venue,
                         int64_t event_time, const MessageContext& ctx, uint64_t symbol,
                         uint32_t instrument, wp_record* out) {
  store_word<0>(out, ctx.seq);
  store_word<1>(out, static_cast<uint64_t>(event_time));
  store_word<2>(out, static_cast<uint64_t>(ctx.recv_time));
  store_word<3>(out, plan.order.load(p));
  store_word<4>(out, plan.aux.load(p) | (symbol & plan.aux_symbol));

  uint64_t flags = uint64_t{ctx.flags} | plan.fixed_flags;
  flags |= plan.flag & -uint64_t{(p[plan.flag_at] & plan.flag_bits) != 0};
  const uint64_t raw = plan.price.load(p);
  const uint64_t negative = -uint64_t{(raw & plan.price_sign) != 0};
  const uint64_t magnitude = (raw ^ negative) - negative;
  uint64_t price = raw * plan.price_scale;
  if (magnitude > plan.price_limit) [[unlikely]] {
    price = uint64_t{INT64_MAX} ^ negative;  // or the smallest
    flags |= WP_FLAG_SATURATED;
  }
  store_word<5>(out, price);
  store_word<6>(out, plan.qty.load(p) | uint64_t{instrument} << 32);
  const uint64_t side = kSides[p[plan.side_at] & plan.side_mask] | plan.fixed_side;
  store_word<7>(out, uint64_t{type} | uint64_t{plan.action} << 16 | side << 24 | flags << 32 |
                         uint64_t{venue} << 40 | uint64_t{ctx.channel} << 48);
}
static_assert(offsetof(wp_record, aux) == 32 && offsetof(wp_record, qty) == 48 &&
              offsetof(wp_record, instrument) == 52 && offsetof(wp_record, action) == 58 &&
              offsetof(wp_record, side) == 59 && offsetof(wp_record, flags) == 60 &&
              offsetof(wp_record, venue) == 61 && offsetof(wp_record, channel) == 62);

}  // namespace message_detail

/* The plans of a table, by type byte. */
template <const auto& kTable>
class MessagePlans {
 public:
  static const message_detail::Plan& of(uint8_t type) { return kPlans[kIndex[type]]; }
  static const message_detail::Plan& second(const message_detail::Plan& plan) {
    return kPlans[plan.second];
  }

 private:
  static constexpr size_t kMessages = std::size(kTable);
  static_assert(2 * kMessages < 256);

  static constexpr auto kPlans = message_detail::make_plans(kTable);
  static constexpr std::array<uint8_t, 256> kIndex = [] {
    std::array<uint8_t, 256> index{};
    for (size_t i = 0; i < kMessages; ++i) index[kTable[i].type] = static_cast<uint8_t>(1 + i);
    return index;
  }();
};

/* Every byte from `first` up to its length belongs to exactly one field, in order;
 * no type comes twice. */
consteval bool table_is_sound(std::span<const WireMessage> messages, size_t first,
                              std::span<const MessageField> header) {
  std::array<bool, 256> seen{};
  for (const WireMessage& m : messages) {
    if (seen[m.type]) return false;
    seen[m.type] = true;
    size_t at = first;
    std::array<bool, 128> taken{};
    for (std::span<const MessageField> part : {header, m.fields}) {
      for (const MessageField& f : part) {
        const uint16_t width = kind_width(f.kind);
        if (width != 0 && width != f.width) return false;
        for (size_t i = f.offset; i < size_t{f.offset} + f.width; ++i) {
          if (i < first || i >= taken.size() || taken[i]) return false;
          taken[i] = true;
          ++at;
        }
      }
    }
    const size_t end = m.long_length != 0 ? m.long_length : m.length;
    if (at != end || (m.long_length != 0 && m.long_length <= m.length)) return false;
    for (size_t i = first; i < end; ++i) {
      if (!taken[i]) return false;
    }
  }
  return true;
}

/* At most so many records come of one message. */
inline constexpr size_t kMaxRecords = 2;

/* What the decoders of all tables share: plans, numbers of instruments, counters. */
template <const auto& kTable, wp_venue kVenue, size_t kTypeAt>
class TableDecoder {
 public:
  explicit TableDecoder(SymbolTable& symbols) : symbols_(&symbols) {}

  const MessageCounters& counters() const { return counters_; }
  SymbolTable& symbols() { return *symbols_; }

 protected:
  /* The plan of a message whose length is right; nullptr: counted, to be skipped. */
  const message_detail::Plan* plan_of(const uint8_t* msg, size_t len) {
    if (len <= kTypeAt) [[unlikely]] {
      ++counters_.malformed;
      return nullptr;
    }
    const message_detail::Plan& plan = MessagePlans<kTable>::of(msg[kTypeAt]);
    if (plan.length != len && plan.long_length != len) [[unlikely]] {
      ++(plan.length == 0 ? counters_.unknown : counters_.malformed);
      return nullptr;
    }
    return &plan;
  }

  /* The records of such a message; out has room for kMaxRecords. */
  size_t make_records(const uint8_t* msg, const message_detail::Plan& plan, int64_t event_time,
                      const MessageContext& ctx, wp_record* out) {
    const uint8_t type = msg[kTypeAt];
    ++counters_.messages;
    ++counters_.by_type[type];
    uint64_t symbol = 0;
    uint32_t instrument = 0;
    if (plan.symbol.mask != 0) {
      symbol = plan.symbol.load(msg) | plan.symbol_pad;
      instrument = symbols_->intern(symbol);
    }
    message_detail::decode_known(msg, plan, type, kVenue, event_time, ctx, symbol, instrument, out);
    size_t made = 1;
    if (plan.second != 0) {
      message_detail::decode_known(msg, MessagePlans<kTable>::second(plan), type, kVenue,
                                   event_time, ctx, symbol, instrument, out + 1);
      made = 2;
    }
    counters_.records += made;
    return made;
  }

  MessageCounters counters_;

 private:
  SymbolTable* symbols_;
};

}  // namespace wp::feed
