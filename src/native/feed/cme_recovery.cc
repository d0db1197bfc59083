// SPDX-License-Identifier: Apache-2.0
#include "feed/cme_recovery.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

// Templates of the records that say how a book stands when nothing of CME's says it.
constexpr uint16_t kLevelSnapshot = 52, kOrderSnapshot = 53;

bool of_orders(uint16_t type) {
  return type == 43 || type == 44 || type == 47 || type == 53;
}

bool changes_book(const wp_record& r) {
  return r.action == WP_ACTION_ADD || r.action == WP_ACTION_MODIFY || r.action == WP_ACTION_DELETE;
}

// What a message of a snapshot begins with: a CLEAR, or in the later chunks of a book of orders a
// record that changes nothing. Either says what the snapshot covers.
bool begins_message(const wp_record& r) {
  return r.action == WP_ACTION_CLEAR ||
         (r.action == WP_ACTION_OTHER && r.order_id == 0 && of_orders(r.type));
}

// Its LastMsgSeqNumProcessed.
uint32_t mark_of(const wp_record& r) {
  return static_cast<uint32_t>(r.aux >> 32);
}

size_t checked(const char* name, size_t value, size_t most) {
  if (value == 0 || value > most)
    throw config_error(name, std::to_string(value), "1 to " + std::to_string(most));
  return value;
}

}  // namespace

CmeRecovery::Kind CmeRecovery::kind_of(const wp_record& snapshot) {
  return of_orders(snapshot.type) ? Kind::kOrders : Kind::kLevels;
}

CmeRecovery::CmeRecovery(const CmeRecoveryOptions& options)
    : max_instruments_(checked("instruments", options.instruments, size_t{1} << 24)),
      table_(max_instruments_) {
  instruments_.reserve(max_instruments_);
  held_.reserve(checked("held_records", options.held_records, size_t{1} << 26));
  out_.reserve(most_out(kPacketRecords, std::max(max_instruments_, options.held_records)));
}

/* What a call can pass on: each record, and a CLEAR or an end of an event with it; then a CLEAR for
 * each book that a loss touched, or what was held back of one. */
size_t CmeRecovery::most_out(size_t records, size_t more) {
  return 2 * records + more;
}

const std::vector<wp_record>& CmeRecovery::on_packet(uint64_t seq, const wp_record* records,
                                                     size_t n) {
  out_.clear();
  out_.reserve(most_out(n, instruments_.size()));
  if (started_ && seq <= last_packet_) {  // out of order: what it says is too late
    counters_.records += n;
    counters_.superseded += n;
    return out_;
  }
  if (!started_ ? seq > 1 : seq != last_packet_ + 1) {
    if (started_) counters_.lost_packets += seq - last_packet_ - 1;
    lose(seq);
  }
  started_ = true;
  last_packet_ = seq;
  for (size_t i = 0; i < n; i++) one(records[i]);
  return out_;
}

const std::vector<wp_record>& CmeRecovery::on_gap(uint64_t next) {
  out_.clear();
  if (next == 0 || (started_ && next <= last_packet_ + 1)) return out_;
  if (started_) counters_.lost_packets += next - last_packet_ - 1;
  lose(next);
  started_ = true;
  last_packet_ = next - 1;
  return out_;
}

const std::vector<wp_record>& CmeRecovery::on_reset() {
  out_.clear();
  wp_record r{};
  r.action = WP_ACTION_CLEAR;
  r.type = 4;
  r.venue = WP_VENUE_CME;
  r.channel = channel_;
  r.price = WP_NO_PRICE;
  r.event_time = event_time_;
  r.recv_time = recv_time_;
  r.flags = WP_FLAG_END_OF_EVENT;
  out_.push_back(r);
  reset();
  reset_at_ = 0;
  started_ = false;
  last_packet_ = 0;
  return out_;
}

// Every book is empty, and every number begins anew.
void CmeRecovery::reset() {
  counters_.resets++;
  for (Instrument& instrument : instruments_) {
    for (Track& t : instrument.tracks) {
      let_go(t, UINT64_MAX, counters_.dropped);
      const uint32_t index = t.instrument;
      t = Track{};
      t.instrument = index;
    }
  }
  stale_now_ = 0;
  lost_until_ = 0;
  for (Loop& loop : loops_) loop = Loop{};
}

// Packets before `next` are missing. Levels show by their RptSeq whether that touches them, or in
// the next loop; orders do not.
void CmeRecovery::lose(uint64_t next) {
  lost_until_ = next - 1;
  for (Loop& loop : loops_) loop.whole = false;
  for (uint32_t i = 0; i < instruments_.size(); i++) {
    track(i, Kind::kLevels).confirmed = false;
    Track& orders = track(i, Kind::kOrders);
    if (orders.state == State::kStale) {
      let_go(orders, UINT64_MAX, counters_.dropped);
      orders.need = lost_until_;
    } else if (orders.state == State::kLive && orders.need < lost_until_) {
      make_stale(i, Kind::kOrders, lost_until_);
    }
  }
}

void CmeRecovery::one(const wp_record& r) {
  counters_.records++;
  event_time_ = r.event_time;
  recv_time_ = r.recv_time;
  channel_ = r.channel;
  const bool change = changes_book(r);
  const bool is_order = (change && r.order_id != 0) || of_orders(r.type);
  orders_told_ |= is_order;
  const bool whole_channel = r.action == WP_ACTION_CLEAR && r.instrument == 0;
  // What has no number of its instrument and is no order: status, definitions, ends of events.
  const bool numbered = r.order_id == 0 && r.action != WP_ACTION_STATUS && (r.aux & 0xffff'ffff);
  if (whole_channel) {
    reset();
    reset_at_ = last_packet_;
    pass(r);
  } else if (!is_order && !numbered) {
    pass(r);
  } else if (const uint32_t i = find_or_add(r.instrument); i == kNone) {
    counters_.untracked++;
    pass(r);
  } else if (r.action == WP_ACTION_CLEAR) {
    void_book(r, i);
  } else if (is_order) {
    order(r, track(i, Kind::kOrders));
  } else {
    level(r, track(i, Kind::kLevels), r.aux & 0xffff'ffff, change);
  }
  if (r.flags & WP_FLAG_END_OF_EVENT) event_++;
}

void CmeRecovery::pass(const wp_record& r) {
  counters_.passed++;
  out_.push_back(r);
}

void CmeRecovery::supersede(const wp_record& r) {
  counters_.superseded++;
  if (!(r.flags & WP_FLAG_END_OF_EVENT)) return;
  // The end is the channel's, not the record's alone.
  wp_record& end = out_.emplace_back(r);
  end.action = WP_ACTION_OTHER;
  end.order_id = end.aux = 0;
  end.price = WP_NO_PRICE;
  end.qty = end.instrument = 0;
  end.side = 0;
}

void CmeRecovery::level(const wp_record& r, Track& t, uint64_t rpt_seq, bool changes) {
  if (t.state == State::kUnseen) {
    if (rpt_seq == 1) {
      t.state = State::kLive;
      t.confirmed = true;
    } else {
      make_stale(t.instrument, Kind::kLevels, rpt_seq - 1);
    }
  }
  if (t.state == State::kLive && rpt_seq > t.position + 1)
    make_stale(t.instrument, Kind::kLevels, rpt_seq - 1);
  const uint64_t newest = t.state == State::kLive ? t.position : t.last;
  if (rpt_seq <= newest) return changes ? supersede(r) : pass(r);
  if (t.state == State::kLive) {
    t.position = rpt_seq;
    t.confirmed = true;
    return pass(r);
  }
  if (rpt_seq != t.last + 1) {
    let_go(t, UINT64_MAX, counters_.dropped);
    t.need = rpt_seq - 1;
  }
  t.last = rpt_seq;
  changes ? hold(t, r, rpt_seq) : pass(r);
}

void CmeRecovery::order(const wp_record& r, Track& t) {
  if (t.state == State::kUnseen) {
    if (lost_until_ == 0)
      t.state = State::kLive;
    else
      make_stale(t.instrument, Kind::kOrders, lost_until_);
  }
  if (t.state == State::kStale) {
    t.last = last_packet_;
    return hold(t, r, last_packet_);
  }
  if (last_packet_ <= t.need) return supersede(r);
  t.position = last_packet_;
  pass(r);
}

// An incremental CLEAR: whatever was missing, the book is empty now.
void CmeRecovery::void_book(const wp_record& r, uint32_t instrument) {
  const uint64_t rpt_seq = r.aux & 0xffff'ffff;
  Track& levels = track(instrument, Kind::kLevels);
  Track& orders = track(instrument, Kind::kOrders);
  const auto empty = [this](Track& t) {
    let_go(t, UINT64_MAX, counters_.covered);
    stale_now_ -= t.state == State::kStale;
    t.state = State::kLive;
    t.confirmed = true;
  };
  const bool orders_only = of_orders(r.type);
  if (!orders_only && levels.state == State::kLive && rpt_seq <= levels.position)
    return supersede(r);
  if (orders_only && orders.state == State::kLive && last_packet_ <= orders.need)
    return supersede(r);
  if (!orders_only) {
    empty(levels);
    levels.position = rpt_seq;
  }
  if (orders_only || orders.state != State::kUnseen) {
    empty(orders);
    orders.need = 0;
    orders.position = last_packet_;
  }
  pass(r);
}

// Whoever looks at the book is told that there is none.
void CmeRecovery::make_stale(uint32_t instrument, Kind kind, uint64_t need) {
  Track& t = track(instrument, kind);
  const bool had_book = t.state == State::kLive;
  t.state = State::kStale;
  t.need = t.last = need;
  stale_now_++;
  counters_.stale++;
  if (!had_book) return;
  wp_record& r = out_.emplace_back();
  r = {};
  r.seq = last_packet_;
  r.event_time = event_time_;
  r.recv_time = recv_time_;
  r.aux = kind == Kind::kLevels ? t.position & 0xffff'ffff : 0;
  r.price = WP_NO_PRICE;
  r.instrument = instruments_[instrument].id;
  r.type = kind == Kind::kLevels ? kLevelSnapshot : kOrderSnapshot;
  r.action = WP_ACTION_CLEAR;
  r.flags = WP_FLAG_RECOVERED | WP_FLAG_END_OF_EVENT;
  r.venue = WP_VENUE_CME;
  r.channel = channel_;
}

void CmeRecovery::hold(Track& t, const wp_record& r, uint64_t position) {
  const auto full = [this] { return free_held_ == kNone && held_.size() == held_.capacity(); };
  counters_.records--;  // as held, or as superseded below
  counters_.superseded--;
  supersede(r);  // its end of an event, if any
  counters_.records++;
  counters_.held++;
  if (full()) let_go(t, UINT64_MAX, counters_.dropped);
  if (full()) {
    counters_.dropped++;
    t.need = std::max(t.need, position);
    return;
  }
  uint32_t at = free_held_;
  if (at == kNone) {
    at = static_cast<uint32_t>(held_.size());
    held_.emplace_back();
  } else {
    free_held_ = held_[at].next;
  }
  held_[at] = {r, position, kNone};
  (t.tail == kNone ? t.head : held_[t.tail].next) = at;
  t.tail = at;
  t.event = event_;
  held_now_++;
}

// The oldest of what is held, through `upto`. What goes for want of room must be in the snapshot.
void CmeRecovery::let_go(Track& t, uint64_t upto, uint64_t& counter) {
  while (t.head != kNone && held_[t.head].position <= upto) {
    const uint32_t at = t.head;
    t.head = held_[at].next;
    t.need = std::max(t.need, held_[at].position);
    held_[at].next = free_held_;
    free_held_ = at;
    held_now_--;
    counter++;
  }
  if (t.head == kNone) t.tail = kNone;
}

uint64_t CmeRecovery::extended(uint32_t packet) const {
  if (!started_) return packet;
  const auto ahead = static_cast<int32_t>(packet - static_cast<uint32_t>(last_packet_));
  const int64_t value = static_cast<int64_t>(last_packet_) + ahead;
  return value < 0 ? 0 : static_cast<uint64_t>(value);
}

const std::vector<wp_record>& CmeRecovery::on_snapshot(const wp_record* records, size_t n) {
  out_.clear();
  if (n == 0) return out_;
  out_.reserve(most_out(n, held_now_));
  const Kind kind = kind_of(records[0]);
  Loop& loop = loops_[static_cast<size_t>(kind)];
  const uint64_t packet = records[0].seq;
  const bool begins = packet == 1;  // a copy of which begins once more, and does no harm
  // A packet with the number of the last one is a copy of it, or the next loop's after a loss.
  const bool another = begins_message(records[0]) && mark_of(records[0]) != loop.first_mark;
  if (packet == loop.packet && !begins && !another) return out_;
  if (begins || packet != loop.packet + 1) {
    if (loop.loading < kSkipped) counters_.snapshots_broken++;
    loop.loading = kNone;
    loop.seen = begins ? 0 : kBroken;
    loop.total = 0;
    loop.floor = UINT64_MAX;
  }
  loop.packet = packet;
  loop.first_mark = mark_of(records[0]);
  for (size_t i = 0; i < n; i++) {
    const wp_record& r = records[i];
    if (of_orders(r.type) != (kind == Kind::kOrders)) continue;  // no packet of CME's
    take_snapshot(r, kind, loop);
  }
  return out_;
}

void CmeRecovery::take_snapshot(const wp_record& r, Kind kind, Loop& loop) {
  if (r.action == WP_ACTION_OTHER && begins_message(r)) {
    if (mark_of(r) == loop.mark && loop.loading != kNone &&
        (loop.loading == kSkipped || instruments_[loop.loading].id == r.instrument)) {
      if (r.flags & WP_FLAG_END_OF_EVENT) finish(loop, kind);  // a chunk without orders
      return;
    }
    counters_.snapshots_broken += loop.loading < kSkipped;  // of another loop, after a loss
    loop.loading = kNone;
    loop.seen = kBroken;
    return;
  }
  if (r.action == WP_ACTION_CLEAR) {
    counters_.snapshots++;
    if (loop.loading != kNone) {  // the one before had no end
      counters_.snapshots_broken += loop.loading < kSkipped;
      loop.seen = kBroken;
    }
    loop.mark = mark_of(r);
    loop.covers = extended(loop.mark);
    const uint64_t rpt_seq = r.aux & 0xffff'ffff;
    if (loop.seen == 0) loop.total = r.qty;
    if (loop.seen != kBroken) loop.seen = r.qty == loop.total ? loop.seen + 1 : kBroken;
    loop.floor = std::min(loop.floor, loop.covers);
    orders_told_ |= kind == Kind::kOrders;
    const uint32_t at = r.instrument == 0 ? kNone : find_or_add(r.instrument);
    loop.loading = at != kNone && takes(at, kind, rpt_seq, loop.covers) ? at : kSkipped;
    loop.value = kind == Kind::kLevels ? rpt_seq : loop.covers;
  }
  if (loop.loading < kSkipped) {
    wp_record& out = out_.emplace_back(r);
    out.flags = static_cast<uint8_t>((r.flags & ~WP_FLAG_END_OF_EVENT) | WP_FLAG_RECOVERED);
  }
  if (loop.loading != kNone && (r.flags & WP_FLAG_END_OF_EVENT)) finish(loop, kind);
}

// Whether the snapshot that begins says more than is known, and enough.
bool CmeRecovery::takes(uint32_t instrument, Kind kind, uint64_t rpt_seq, uint64_t covers) {
  Track& t = track(instrument, kind);
  const auto too_old = [this] {
    counters_.snapshots_too_old++;
    return false;
  };
  const auto unused = [this] {
    counters_.snapshots_unused++;
    return false;
  };
  if (covers < reset_at_) return too_old();
  if (t.state == State::kStale) {
    const uint64_t value = kind == Kind::kLevels ? rpt_seq : covers;
    return value >= t.need || too_old();
  }
  if (t.state == State::kUnseen) {
    if (started_ && lost_until_ == 0) return unused();
    if (covers < lost_until_) return too_old();
    make_stale(instrument, kind, 0);
    return true;
  }
  if (t.confirmed || kind == Kind::kOrders) return unused();
  if (rpt_seq > t.position && covers <= last_packet_) {  // changed in what was lost
    t.state = State::kUnseen;                            // its CLEAR is the snapshot's
    make_stale(instrument, kind, t.position);
    return true;
  }
  t.confirmed = rpt_seq <= t.position && covers >= lost_until_;
  return unused();
}

// The last record of a snapshot is through: what was held and is newer follows.
void CmeRecovery::finish(Loop& loop, Kind kind) {
  const uint32_t instrument = loop.loading;
  loop.loading = kNone;
  if (loop.seen != kBroken && loop.seen == loop.total) {
    counters_.loops++;
    if (loop.floor >= lost_until_) loop.whole = true;
  }
  if (instrument >= kSkipped) return;
  Track& t = track(instrument, kind);
  if (t.state != State::kStale || loop.value < t.need) {  // more was lost meanwhile
    counters_.snapshots_too_old++;
    return;
  }
  let_go(t, loop.value, counters_.covered);
  bool ended = true;
  if (t.head != kNone) {
    ended = t.event < event_;
    for (uint32_t at = t.head; at != kNone; at = held_[at].next) {
      wp_record& out = out_.emplace_back(held_[at].record);
      out.flags = static_cast<uint8_t>((out.flags & ~WP_FLAG_END_OF_EVENT) | WP_FLAG_RECOVERED);
    }
    let_go(t, UINT64_MAX, counters_.replayed);
  }
  if (ended) out_.back().flags |= WP_FLAG_END_OF_EVENT;
  t.position = std::max(loop.value, t.last);
  t.need = kind == Kind::kOrders ? loop.covers : 0;
  t.confirmed = loop.covers >= lost_until_;
  t.state = State::kLive;
  stale_now_--;
  counters_.recovered++;
}

uint32_t CmeRecovery::find_or_add(uint32_t id) {
  const uint32_t found = table_.find(id);
  if (found != OrderTable::kNone) return found;
  if (instruments_.size() == max_instruments_) return kNone;
  const auto index = static_cast<uint32_t>(instruments_.size());
  table_.insert(id, index);
  Instrument& instrument = instruments_.emplace_back();
  instrument.id = id;
  for (Track& t : instrument.tracks) t.instrument = index;
  return index;
}

bool CmeRecovery::wanting() const {
  return stale_now_ != 0 || !loops_[0].whole || (orders_told_ && !loops_[1].whole);
}

CmeRecovery::State CmeRecovery::state(uint32_t instrument, Kind kind) const {
  const uint32_t at = table_.find(instrument);
  if (at == OrderTable::kNone) return State::kUnseen;
  return instruments_[at].tracks[static_cast<size_t>(kind)].state;
}

uint64_t CmeRecovery::position(uint32_t instrument, Kind kind) const {
  const uint32_t at = table_.find(instrument);
  if (at == OrderTable::kNone) return 0;
  return instruments_[at].tracks[static_cast<size_t>(kind)].position;
}

std::vector<uint32_t> CmeRecovery::stale() const {
  std::vector<uint32_t> out;
  stale(out, SIZE_MAX);
  return out;
}

void CmeRecovery::stale(std::vector<uint32_t>& out, size_t most) const {
  out.clear();
  size_t left = stale_now_;  // books; an instrument may have two of them
  for (const Instrument& instrument : instruments_) {
    if (left == 0 || out.size() == most) return;
    const auto books = static_cast<size_t>(std::ranges::count(
        instrument.tracks, State::kStale, [](const Track& t) { return t.state; }));
    if (books != 0) out.push_back(instrument.id);
    left -= books;
  }
}

}  // namespace wp::feed
