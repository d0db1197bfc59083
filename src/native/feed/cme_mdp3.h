/* SPDX-License-Identifier: Apache-2.0
 *
 * CME MDP 3.0 messages to wp_record: a record for every entry of a book, trade,
 * volume or statistics message and every order in it, one for every status and
 * definition. docs/sbe.md has the table of what goes where.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "core/record.h"
#include "feed/cme_map.h"
#include "feed/cme_packet.h"
#include "feed/sbe_columns.h"
#include "feed/sbe_plan.h"

namespace wp::feed {

/* What a unit does not carry itself. */
struct CmeContext {
  uint64_t seq = 0;       // of the packet
  int64_t recv_time = 0;  // ns since the Unix epoch
  uint16_t channel = 0;
  uint8_t flags = 0;  // or-ed into every record: WP_FLAG_LATE, WP_FLAG_RECOVERED
};

struct CmeCounters : SbeCounters {
  uint64_t framing = 0;       // units whose message sizes do not add up; the rest is skipped
  uint64_t records = 0;       // passed on
  uint64_t no_reference = 0;  // orders of an entry that is not there, skipped

  using SbeCounters::SbeCounters;
};

namespace cme_detail {

/* aux of a price level or statistic. */
inline uint64_t entry_aux(uint64_t rpt_seq, uint64_t level, uint64_t action, uint64_t type) {
  return (rpt_seq & 0xffff'ffff) | (level & 0xff) << 32 | (action & 0xff) << 40 |
         (type & 0xff) << 48;
}

/* By MDEntryType. Tables, because types and actions of entries follow no pattern
 * that a branch could learn. */
inline constexpr std::array<uint8_t, 256> kSides = [] {
  std::array<uint8_t, 256> sides{};
  sides['0'] = sides['E'] = sides['x'] = 'B';  // bid, implied bid, market best bid
  sides['1'] = sides['F'] = sides['w'] = 'S';  // offer, implied offer, market best offer
  return sides;
}();

/* By MDUpdateAction: 0 new, 1 change, 2 delete, 3 delete from the top through this
 * level, 4 delete from this level down, 5 overlay; the rest is not known. */
inline constexpr std::array<uint8_t, 8> kBookActions{
    WP_ACTION_ADD,    WP_ACTION_MODIFY, WP_ACTION_DELETE, WP_ACTION_DELETE,
    WP_ACTION_DELETE, WP_ACTION_MODIFY, WP_ACTION_OTHER,  WP_ACTION_OTHER};

inline uint8_t book_action(uint64_t update) {
  return kBookActions[std::min<uint64_t>(update, 7)];
}

inline uint8_t side_of(uint64_t type) {
  return kSides[type & 0xff];
}

inline void set_price(wp_record& r, CmeField::Value v, uint64_t scale) {
  int64_t price;
  if (__builtin_mul_overflow(static_cast<int64_t>(v.number), static_cast<int64_t>(scale), &price))
      [[unlikely]] {
    price = static_cast<int64_t>(v.number) < 0 ? INT64_MIN : INT64_MAX;
    if (!v.null) r.flags |= WP_FLAG_SATURATED;
  }
  r.price = v.null ? WP_NO_PRICE : price;
}

inline void set_qty(wp_record& r, CmeField::Value v) {
  const uint64_t qty = v.null ? 0 : v.number;
  r.qty = static_cast<uint32_t>(qty);
  if (qty <= UINT32_MAX) [[likely]]
    return;
  // No quantity of CME's comes near 2^63: a sign, then.
  r.qty = static_cast<int64_t>(qty) < 0 ? 0 : UINT32_MAX;
  r.flags |= WP_FLAG_SATURATED;
}

}  // namespace cme_detail

class CmeMdp3 {
 public:
  CmeMdp3(std::shared_ptr<const SbePlan> plan, CmeMap map)
      : plan_(std::move(plan)), map_(std::move(map)), counters_(*plan_) {}

  /* All messages of a packet (what CmeFramer::for_each gives). next() returns the
   * wp_record* that the next record is written to; it is complete when next() is
   * called again or this returns. */
  template <class Next>
  void on_unit(const uint8_t* p, size_t n, const CmeContext& ctx, Next&& next) {
    const bool whole = cme_for_each_message(
        p, n, [&](const uint8_t* msg, size_t len) { on_message(msg, len, ctx, next); });
    if (!whole) ++counters_.framing;
  }

  /* No unit of n bytes has more records: an entry without bytes says nothing. */
  static constexpr size_t most_records(size_t n) { return n; }

  /* One SBE message, beginning with its header. */
  template <class Next>
  SbeResult on_message(const uint8_t* p, size_t n, const CmeContext& ctx, Next&& next);

  const SbePlan& plan() const { return *plan_; }
  const CmeCounters& counters() const { return counters_; }

 private:
  template <class Next, bool kCurrent>
  class Visit;

  std::shared_ptr<const SbePlan> plan_;
  CmeMap map_;
  CmeCounters counters_;
};

/* One message on its way to records. kCurrent: its version has all fields that the
 * map names. Whether a record ends the event is known when
 * no other follows. */
template <class Next, bool kCurrent>
class CmeMdp3::Visit {
 public:
  Visit(CmeMdp3& self, const CmeTemplate& t, const SbeMessage& m, const CmeContext& ctx, Next& next)
      : self_(self), t_(t), version_(m.version), next_(next) {
    common_.seq = ctx.seq;
    common_.recv_time = ctx.recv_time;
    common_.event_time = static_cast<int64_t>(number(t.time, m.block));
    common_.price = WP_NO_PRICE;
    common_.type = static_cast<uint16_t>(m.template_id);
    common_.flags = ctx.flags;
    common_.venue = WP_VENUE_CME;
    common_.channel = ctx.channel;
  }

  uint64_t block(const SbeBlock& block, uint32_t index, const uint8_t* p, uint32_t length,
                 uint64_t entry, uint64_t) {
    if (block.root) {
      root(p);
    } else if (length == 0) {
      return 0;
    } else if (index == t_.entries) {
      if (entry == 0) {
        first_entry_ = p;
        entry_length_ = length;
      }
      entries_ = entry + 1;
      on_entry(p);
    } else if (index == t_.orders) {
      on_order(p);
    }
    return 0;
  }
  void data(const SbeBlock&, uint32_t, size_t, uint64_t, const uint8_t*, size_t) {}

  void finish() {
    if (!ends_event_) return;
    if (latest_ == nullptr) next();  // an end that no entry stands for
    latest_->flags |= WP_FLAG_END_OF_EVENT;
  }

 private:
  CmeField::Value read(const CmeField& f, const uint8_t* p) const {
    if constexpr (!kCurrent) {
      if (f.since > version_) return {0, true};
    }
    return f.read(p);
  }
  /* 0 where it is null. */
  uint64_t number(const CmeField& f, const uint8_t* p) const {
    const CmeField::Value v = read(f, p);
    return v.null ? 0 : v.number;
  }

  static constexpr uint64_t kEndOfEvent = 0x80;  // of MatchEventIndicator

  wp_record& next() {
    ++self_.counters_.records;
    latest_ = next_();
    *latest_ = common_;
    return *latest_;
  }

  void root(const uint8_t* p) {
    ends_event_ = (number(t_.indicator, p) & kEndOfEvent) != 0;
    common_.instrument = static_cast<uint32_t>(number(t_.instrument, p));
    if (t_.kind == CmeKind::kClear) {
      wp_record& r = next();
      r.action = WP_ACTION_CLEAR;
      r.instrument = 0;
    } else if (t_.kind == CmeKind::kSnapshot) {
      // A book in several chunks is void before the first of them only.
      const CmeField::Value chunk = read(t_.chunk, p);
      rpt_seq_ = number(t_.rpt_seq, p);
      // Without an indicator of its own, the book is whole with its last chunk.
      if (!t_.indicator.present) {
        ends_event_ = chunk.null || chunk.number >= number(t_.chunks, p);
      }
      // The others say only of which book, and of which moment, they are a part.
      wp_record& r = next();
      r.action = chunk.null || chunk.number <= 1 ? WP_ACTION_CLEAR : WP_ACTION_OTHER;
      r.aux = (rpt_seq_ & 0xffff'ffff) | number(t_.last_processed, p) << 32;
      cme_detail::set_qty(r, read(t_.reports, p));
    } else if (t_.kind == CmeKind::kStatus) {
      wp_record& r = next();
      r.action = WP_ACTION_STATUS;
      r.qty = static_cast<uint32_t>(number(t_.status, p));
      r.aux = number(t_.symbol, p) | number(t_.reason, p) << 48 | number(t_.event, p) << 56;
      cme_detail::set_price(r, read(t_.price, p), t_.price_scale);
    }
  }

  void on_entry(const uint8_t* p) {
    wp_record& r = next();
    const uint64_t type = number(t_.entry_type, p);
    const uint64_t update = number(t_.action, p);
    const CmeField::Value instrument = read(t_.entry_instrument, p);
    if (!instrument.null) r.instrument = static_cast<uint32_t>(instrument.number);
    cme_detail::set_price(r, read(t_.entry_price, p), t_.entry_price_scale);
    cme_detail::set_qty(r, read(t_.entry_qty, p));
    r.order_id = number(t_.order_id, p);
    const CmeField::Value rpt = read(t_.entry_rpt_seq, p);
    const uint64_t rpt_seq = rpt.null ? rpt_seq_ : rpt.number;
    const uint8_t side = cme_detail::side_of(type);
    r.side = side;
    if (t_.priority.present) {
      r.aux = number(t_.priority, p);
    } else if (type == '2' && t_.kind == CmeKind::kEntries) {
      r.aux = (rpt_seq & 0xffff'ffff) | number(t_.trade_id, p) << 32;
    } else {
      r.aux = cme_detail::entry_aux(rpt_seq, number(t_.level, p), update, type);
    }
    if (type == 'J') {
      r.action = WP_ACTION_CLEAR;
    } else if (side != 0) {
      r.action = cme_detail::book_action(update);
    } else if (type == '2' && t_.kind == CmeKind::kEntries) {
      r.action = update == 0 ? WP_ACTION_TRADE : update == 2 ? WP_ACTION_BREAK : WP_ACTION_OTHER;
      const uint64_t aggressor = number(t_.aggressor, p);
      r.side = aggressor == 1 ? 'B' : aggressor == 2 ? 'S' : 0;
    }
  }

  /* An order under one of the entries before, which has price, side and instrument. */
  void on_order(const uint8_t* p) {
    const uint64_t reference = number(t_.sub_reference, p);  // from 1
    if (reference == 0 || reference > entries_) {
      ++self_.counters_.no_reference;
      return;
    }
    const uint8_t* const entry = first_entry_ + (reference - 1) * entry_length_;
    wp_record& r = next();
    const CmeField::Value instrument = read(t_.entry_instrument, entry);
    if (!instrument.null) r.instrument = static_cast<uint32_t>(instrument.number);
    cme_detail::set_price(r, read(t_.entry_price, entry), t_.entry_price_scale);
    cme_detail::set_qty(r, read(t_.sub_qty, p));
    r.side = cme_detail::side_of(number(t_.entry_type, entry));
    r.order_id = number(t_.sub_order_id, p);
    r.aux = number(t_.sub_priority, p);
    const uint64_t action = number(t_.sub_action, p);
    r.action = action <= 2 ? cme_detail::book_action(action) : uint8_t{WP_ACTION_OTHER};
  }

  CmeMdp3& self_;
  const CmeTemplate& t_;
  const uint64_t version_;
  Next& next_;
  wp_record common_{};
  wp_record* latest_ = nullptr;
  bool ends_event_ = false;
  uint64_t rpt_seq_ = 0;  // of a snapshot
  const uint8_t* first_entry_ = nullptr;
  uint32_t entry_length_ = 0;
  uint64_t entries_ = 0;
};

template <class Next>
SbeResult CmeMdp3::on_message(const uint8_t* p, size_t n, const CmeContext& ctx, Next&& next) {
  SbeMessage m;
  const SbeResult result = plan_->open(p, n, m);
  counters_.count(result, m);
  if (result != SbeResult::kOk) [[unlikely]]
    return result;
  const CmeTemplate& t = map_[m.message];
  if (t.kind == CmeKind::kAdmin) return result;
  const auto run = [&]<bool kCurrent>(std::bool_constant<kCurrent>) {
    Visit<std::remove_reference_t<Next>, kCurrent> visit(*this, t, m, ctx, next);
    plan_->visit(m, visit);
    visit.finish();
  };
  if (m.version >= t.newest) [[likely]] {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
  return result;
}

}  // namespace wp::feed
