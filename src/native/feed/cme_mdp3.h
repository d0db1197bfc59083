/* SPDX-License-Identifier: Apache-2.0
 *
 * CME MDP 3.0 messages to wp_record: a record for every entry of a book, trade,
 * volume or statistics message and every order in it, one for every status and
 * definition. docs/sbe.md has the table of what goes where.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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

/* Price levels that a record may say in 8 bits; what is in aux of an entry. */
inline uint64_t entry_aux(uint64_t rpt_seq, uint64_t level, uint64_t action, uint64_t type) {
  return (rpt_seq & 0xffff'ffff) | (level & 0xff) << 32 | (action & 0xff) << 40 |
         (type & 0xff) << 48;
}

inline uint8_t side_of(uint64_t type) {
  switch (type) {
    case '0':  // bid
    case 'E':  // implied bid
    case 'x':  // market best bid
      return 'B';
    case '1':  // offer
    case 'F':  // implied offer
    case 'w':  // market best offer
      return 'S';
    default:
      return 0;
  }
}

/* MDUpdateAction: 0 new, 1 change, 2 delete, 3 delete from the top to this level,
 * 4 delete from this level down, 5 overlay. */
inline wp_action book_action(uint64_t update) {
  switch (update) {
    case 0:
      return WP_ACTION_ADD;
    case 1:
    case 5:
      return WP_ACTION_MODIFY;
    case 2:
    case 3:
    case 4:
      return WP_ACTION_DELETE;
    default:
      return WP_ACTION_OTHER;
  }
}

inline void set_price(wp_record& r, const CmeField& f, uint64_t scale, const uint8_t* p,
                      uint64_t version) {
  const CmeField::Value v = f.read(p, version);
  if (v.null) {
    r.price = WP_NO_PRICE;
    return;
  }
  if (__builtin_mul_overflow(static_cast<int64_t>(v.number), static_cast<int64_t>(scale), &r.price))
      [[unlikely]] {
    r.price = static_cast<int64_t>(v.number) < 0 ? INT64_MIN : INT64_MAX;
    r.flags |= WP_FLAG_SATURATED;
  }
}

inline void set_qty(wp_record& r, const CmeField& f, const uint8_t* p, uint64_t version) {
  const uint64_t qty = f.number(p, version);
  if (qty <= UINT32_MAX) [[likely]] {
    r.qty = static_cast<uint32_t>(qty);
    return;
  }
  r.qty = f.is_signed && static_cast<int64_t>(qty) < 0 ? 0 : UINT32_MAX;
  r.flags |= WP_FLAG_SATURATED;
}

}  // namespace cme_detail

class CmeMdp3 {
 public:
  CmeMdp3(std::shared_ptr<const SbePlan> plan, CmeMap map)
      : plan_(std::move(plan)), map_(std::move(map)), counters_(*plan_) {}

  /* All messages of a packet (what CmeFramer::for_each gives). Calls
   * emit(const wp_record&) for each record. */
  template <class Emit>
  void on_unit(const uint8_t* p, size_t n, const CmeContext& ctx, Emit&& emit) {
    const bool whole = cme_for_each_message(
        p, n, [&](const uint8_t* msg, size_t len) { on_message(msg, len, ctx, emit); });
    if (!whole) ++counters_.framing;
  }

  /* One SBE message, beginning with its header. */
  template <class Emit>
  SbeResult on_message(const uint8_t* p, size_t n, const CmeContext& ctx, Emit&& emit);

  const SbePlan& plan() const { return *plan_; }
  const CmeCounters& counters() const { return counters_; }

 private:
  template <class Emit>
  class Visit;

  std::shared_ptr<const SbePlan> plan_;
  CmeMap map_;
  CmeCounters counters_;
};

/* One message on its way to records. The latest is held back, because whether it
 * ends the event is known when no other follows. */
template <class Emit>
class CmeMdp3::Visit {
 public:
  Visit(CmeMdp3& self, const CmeTemplate& t, const SbeMessage& m, const CmeContext& ctx, Emit& emit)
      : self_(self), t_(t), version_(m.version), emit_(emit) {
    common_.seq = ctx.seq;
    common_.recv_time = ctx.recv_time;
    common_.event_time = static_cast<int64_t>(t.time.number(m.block, version_));
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
    if (ends_event_) {
      if (!held_) {  // an end that no entry stands for
        latest_ = common_;
        latest_.action = WP_ACTION_OTHER;
        held_ = true;
      }
      latest_.flags |= WP_FLAG_END_OF_EVENT;
    }
    if (held_) pass_on();
  }

 private:
  static constexpr uint64_t kEndOfEvent = 0x80;  // of MatchEventIndicator

  wp_record& next() {
    if (held_) pass_on();
    held_ = true;
    latest_ = common_;
    return latest_;
  }

  void pass_on() {
    ++self_.counters_.records;
    emit_(static_cast<const wp_record&>(latest_));
  }

  void root(const uint8_t* p) {
    ends_event_ = (t_.indicator.number(p, version_) & kEndOfEvent) != 0;
    common_.instrument = static_cast<uint32_t>(t_.instrument.number(p, version_));
    if (t_.kind == CmeKind::kClear) {
      wp_record& r = next();
      r.action = WP_ACTION_CLEAR;
      r.instrument = 0;
    } else if (t_.kind == CmeKind::kSnapshot) {
      // A book in several chunks is void before the first of them only.
      const CmeField::Value chunk = t_.chunk.read(p, version_);
      rpt_seq_ = t_.rpt_seq.number(p, version_);
      // Without an indicator of its own, the book is whole with its last chunk.
      if (!t_.indicator.present) {
        ends_event_ = chunk.null || chunk.number >= t_.chunks.number(p, version_);
      }
      if (!chunk.null && chunk.number > 1) return;
      wp_record& r = next();
      r.action = WP_ACTION_CLEAR;
      r.aux = (rpt_seq_ & 0xffff'ffff) | t_.last_processed.number(p, version_) << 32;
      cme_detail::set_qty(r, t_.reports, p, version_);
    } else if (t_.kind == CmeKind::kStatus) {
      wp_record& r = next();
      r.action = WP_ACTION_STATUS;
      r.qty = static_cast<uint32_t>(t_.status.number(p, version_));
      r.aux = t_.symbol.number(p, version_) | t_.reason.number(p, version_) << 48 |
              t_.event.number(p, version_) << 56;
      cme_detail::set_price(r, t_.price, t_.price_scale, p, version_);
    }
  }

  void on_entry(const uint8_t* p) {
    wp_record& r = next();
    const uint64_t type = t_.entry_type.number(p, version_);
    const uint64_t update = t_.action.number(p, version_);
    const CmeField::Value instrument = t_.entry_instrument.read(p, version_);
    if (!instrument.null) r.instrument = static_cast<uint32_t>(instrument.number);
    cme_detail::set_price(r, t_.entry_price, t_.entry_price_scale, p, version_);
    cme_detail::set_qty(r, t_.entry_qty, p, version_);
    r.order_id = t_.order_id.number(p, version_);
    const CmeField::Value rpt = t_.entry_rpt_seq.read(p, version_);
    const uint64_t rpt_seq = rpt.null ? rpt_seq_ : rpt.number;
    const uint8_t side = cme_detail::side_of(type);
    r.side = side;
    if (t_.priority.present) {
      r.aux = t_.priority.number(p, version_);
    } else if (type == '2' && t_.kind == CmeKind::kEntries) {
      r.aux = (rpt_seq & 0xffff'ffff) | t_.trade_id.number(p, version_) << 32;
    } else {
      r.aux = cme_detail::entry_aux(rpt_seq, t_.level.number(p, version_), update, type);
    }
    if (type == 'J') {
      r.action = WP_ACTION_CLEAR;
    } else if (side != 0) {
      r.action = cme_detail::book_action(update);
    } else if (type == '2' && t_.kind == CmeKind::kEntries) {
      r.action = update == 0 ? WP_ACTION_TRADE : update == 2 ? WP_ACTION_BREAK : WP_ACTION_OTHER;
      const uint64_t aggressor = t_.aggressor.number(p, version_);
      r.side = aggressor == 1 ? 'B' : aggressor == 2 ? 'S' : 0;
    }
  }

  /* An order under one of the entries before, which has price, side and instrument. */
  void on_order(const uint8_t* p) {
    const uint64_t reference = t_.sub_reference.number(p, version_);  // from 1
    if (reference == 0 || reference > entries_) {
      ++self_.counters_.no_reference;
      return;
    }
    const uint8_t* const entry = first_entry_ + (reference - 1) * entry_length_;
    wp_record& r = next();
    const CmeField::Value instrument = t_.entry_instrument.read(entry, version_);
    if (!instrument.null) r.instrument = static_cast<uint32_t>(instrument.number);
    cme_detail::set_price(r, t_.entry_price, t_.entry_price_scale, entry, version_);
    cme_detail::set_qty(r, t_.sub_qty, p, version_);
    r.side = cme_detail::side_of(t_.entry_type.number(entry, version_));
    r.order_id = t_.sub_order_id.number(p, version_);
    r.aux = t_.sub_priority.number(p, version_);
    const uint64_t action = t_.sub_action.number(p, version_);
    r.action = action <= 2 ? cme_detail::book_action(action) : WP_ACTION_OTHER;
  }

  CmeMdp3& self_;
  const CmeTemplate& t_;
  const uint64_t version_;
  Emit& emit_;
  wp_record common_{};
  wp_record latest_{};
  bool held_ = false;
  bool ends_event_ = false;
  uint64_t rpt_seq_ = 0;  // of a snapshot
  const uint8_t* first_entry_ = nullptr;
  uint32_t entry_length_ = 0;
  uint64_t entries_ = 0;
};

template <class Emit>
SbeResult CmeMdp3::on_message(const uint8_t* p, size_t n, const CmeContext& ctx, Emit&& emit) {
  SbeMessage m;
  const SbeResult result = plan_->open(p, n, m);
  counters_.count(result, m);
  if (result != SbeResult::kOk) [[unlikely]]
    return result;
  const CmeTemplate& t = map_[m.message];
  if (t.kind == CmeKind::kAdmin) return result;
  Visit<std::remove_reference_t<Emit>> visit(*this, t, m, ctx, emit);
  plan_->visit(m, visit);
  visit.finish();
  return result;
}

}  // namespace wp::feed
