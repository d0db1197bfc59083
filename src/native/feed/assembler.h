/* SPDX-License-Identifier: Apache-2.0
 *
 * One sequence put together from packets that repeat, fill or leave out any part
 * of it: what is delivered, held, missing or given up. Knows nothing of lines,
 * sessions and restarts; see sequencer.h.
 */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/record.h"
#include "feed/arbiter_types.h"
#include "feed/hold_buffer.h"
#include "feed/sequence_gaps.h"

namespace wp::feed {

class Assembler {
 public:
  explicit Assembler(const ArbiterOptions& options)
      : in_order_(options.in_order),
        hold_ns_(options.hold_ns),
        max_gaps_(options.max_gaps),
        // A number taken from the middle of a range makes one more before the oldest goes.
        gaps_(options.max_gaps + 1),
        abandoned_(options.max_gaps),
        hold_(options.in_order ? options.hold_messages : 1,
              options.in_order ? options.hold_bytes : 1024) {}

  void set_unit(uint32_t unit) { unit_ = unit; }
  uint32_t unit() const { return unit_; }

  bool started() const { return started_; }
  void start(uint64_t next) {
    started_ = true;
    next_ = next;
    abandoned_.clear();
    refresh();
  }
  /* Everything open is abandoned, everything held delivered; then as before start. */
  template <class Sink>
  void stop(AbandonReason reason, Sink&& sink) {
    while (!gaps_.empty()) abandon_front(reason, UINT64_MAX, sink);
    started_ = false;
    next_ = 0;
    refresh();
  }

  /* One past the highest number known. */
  uint64_t next() const { return next_; }
  /* In order: the first number not delivered; else as next(). */
  uint64_t undelivered() const { return blocked_ ? gaps_.front().first : next_; }
  std::span<const SequenceRange> gaps() const { return gaps_.ranges(); }
  bool misses(uint64_t first, uint64_t last) const {
    SequenceRange range;
    return gaps_.find(first, last, &range);
  }
  /* When the oldest gap has been waited for long enough; INT64_MAX: never. */
  int64_t deadline() const { return deadline_; }
  bool overdue(int64_t now) const { return blocked_ && now >= deadline_; }
  const UnitCounters& counters() const { return counters_; }
  UnitCounters& counters() { return counters_; }
  const HoldBuffer& hold() const { return hold_; }

  /* The messages of a data packet, the first of which is number `first`. */
  template <class Framer, class Sink>
  void take(const Packet& packet, uint64_t first, const MessageInfo& info, LineCounters& line,
            Sink&& sink) {
    const uint64_t after = first + packet.count;
    if (first == next_ && !blocked_) [[likely]] {
      take_next<Framer, false>(packet, info, line, sink);
    } else if (settled(first, after)) [[likely]] {
      line.duplicates += packet.count;
    } else {
      reveal(first, info.recv_time, sink);
      uint64_t seq = first;
      Framer::for_each(packet, [&](const uint8_t* data, size_t length) {
        one(seq++, data, length, info, line, sink);
      });
      refresh();
    }
  }

  /* Whether a packet that begins with this number is delivered as it is. */
  bool continues_at(uint64_t first) const { return started_ && first == next_ && !blocked_; }
  /* Such a packet, opened and not checked: what stands before any damage. Returns how many. */
  template <class Framer, class Sink>
  uint64_t take_whole(const Packet& packet, const MessageInfo& info, LineCounters& line,
                      Sink&& sink) {
    return take_next<Framer, true>(packet, info, line, sink);
  }

  /* The same, checked before. */
  template <class Framer, class Sink>
  void take_checked(const Packet& packet, const MessageInfo& info, LineCounters& line,
                    Sink&& sink) {
    take_next<Framer, false>(packet, info, line, sink);
  }

  /* Whether every number of [first, after) was delivered or is held. */
  bool settled(uint64_t first, uint64_t after) const {
    return after <= next_ && first >= settled_from_;
  }

  /* Everything before next exists. */
  template <class Sink>
  void advance_to(uint64_t next, int64_t now, Sink&& sink) {
    if (next <= next_) return;
    reveal(next, now, sink);
    refresh();
  }

  /* Abandons the oldest gap, which is overdue. */
  template <class Sink>
  void expire(Sink&& sink) {
    abandon_front(AbandonReason::kTimeout, UINT64_MAX, sink);
    refresh();
  }

  /* A snapshot has everything before `next`: what is missing of that is given up, what is held of
   * it dropped. Sequence numbers from `next` on go on as they were. */
  template <class Sink>
  void skip_to(uint64_t next, int64_t now, Sink&& sink) {
    if (!started_) {
      start(next);
      return;
    }
    if (next == 0) return;
    discard(next);
    reveal(next, now, sink);
    abandon(0, next - 1, AbandonReason::kSnapshot, sink);
  }

  /* Gives up what is missing of [first, last]. */
  template <class Sink>
  void abandon(uint64_t first, uint64_t last, AbandonReason reason, Sink&& sink) {
    SequenceRange part;
    while (gaps_.find(first, last, &part)) {
      if (part == gaps_.front()) {
        abandon_front(reason, UINT64_MAX, sink);
        continue;
      }
      const bool head = part.first == gaps_.front().first;
      gaps_.erase(part);
      give_up(part, reason, sink);
      if (head) release(part.last + 1, undelivered_now(), sink);
      if (gaps_.size() > max_gaps_) abandon_front(AbandonReason::kTooManyGaps, UINT64_MAX, sink);
    }
    refresh();
  }

 private:
  template <class Framer, bool kCheck, class Sink>
  uint64_t take_next(const Packet& packet, const MessageInfo& packet_info, LineCounters& line,
                     Sink&& sink) {
    MessageInfo info = packet_info;
    info.seq = next_;
    uint64_t empty = 0;
    const auto each = [&](const uint8_t* data, size_t length) {
      if (length != 0) [[likely]] {
        sink.message(info, data, length);
      } else {
        ++empty;
      }
      ++info.seq;
    };
    uint64_t taken = packet.count;
    if constexpr (kCheck) {
      taken = Framer::for_each_whole(packet, each);
    } else {
      Framer::for_each(packet, each);
    }
    next_ += taken;
    line.won += taken;
    counters_.empty += empty;
    counters_.delivered += taken - empty;
    if (info.flags & WP_FLAG_RECOVERED) [[unlikely]]
      counters_.recovered += taken - empty;
    return taken;
  }

  template <class Sink>
  void one(uint64_t seq, const uint8_t* data, size_t length, const MessageInfo& packet_info,
           LineCounters& line, Sink&& sink) {
    MessageInfo info = packet_info;
    info.seq = seq;
    if (seq == next_) {
      ++next_;
      ++line.won;
      if (in_order_ && !gaps_.empty()) {
        keep(info, data, length, sink);
      } else {
        deliver(info, data, length, sink);
      }
      return;
    }
    const bool head = !gaps_.empty() && gaps_.front().first == seq;
    uint64_t dropped = 0;  // never: there is room for one more
    if (!gaps_.take(seq, &dropped)) {
      SequenceRange range;
      ++(abandoned_.find(seq, seq, &range) ? line.too_late : line.duplicates);
      return;
    }
    --counters_.gap_open;
    ++counters_.gap_filled;
    ++line.won;
    if (!in_order_) {
      info.flags |= WP_FLAG_LATE;
      deliver(info, data, length, sink);
    } else if (head) {
      deliver(info, data, length, sink);
      release(seq + 1, undelivered_now(), sink);
    } else {
      keep(info, data, length, sink);
    }
    if (gaps_.size() > max_gaps_) abandon_front(AbandonReason::kTooManyGaps, UINT64_MAX, sink);
  }

  template <class Sink>
  void deliver(const MessageInfo& info, const uint8_t* data, size_t length, Sink&& sink) {
    if (length == 0) {
      ++counters_.empty;
      return;
    }
    ++counters_.delivered;
    counters_.late += (info.flags & WP_FLAG_LATE) != 0;
    counters_.recovered += (info.flags & WP_FLAG_RECOVERED) != 0;
    sink.message(info, data, length);
  }

  /* Holds a message; where there is no room, the oldest gaps are given up until there is, or
   * until it is this message's turn. */
  template <class Sink>
  void keep(const MessageInfo& info, const uint8_t* data, size_t length, Sink&& sink) {
    const HoldBuffer::Entry entry{
        info.seq,  info.recv_time, info.send_time, static_cast<uint32_t>(length),
        info.line, info.flags,     true,           0};
    while (!hold_.put(entry, data)) {
      abandon_front(AbandonReason::kBufferFull, info.seq, sink);
      if (gaps_.empty() || gaps_.front().first > info.seq) {
        deliver(info, data, length, sink);
        release(info.seq + 1, undelivered_now(), sink);
        return;
      }
    }
    ++counters_.held;
    ++counters_.held_total;
    counters_.held_peak = std::max(counters_.held_peak, counters_.held);
  }

  /* Delivers what is held of [from, to). */
  template <class Sink>
  void release(uint64_t from, uint64_t to, Sink&& sink) {
    for (uint64_t seq = from; seq < to && !hold_.empty();) {
      const HoldBuffer::Entry* const e = hold_.find(seq);
      if (e == nullptr) {
        if (!behind_hole(&seq)) return;
        continue;
      }
      deliver({seq, e->recv_time, e->send_time, unit_, e->line, e->flags}, hold_.data(*e),
              e->length, sink);
      hold_.erase(e);
      --counters_.held;
      ++seq;
    }
  }

  /* *seq, below the next gap, was given up out of turn: the next that may be held. Looking for it
   * in the whole buffer takes long, and is for what is not remembered as given up. */
  bool behind_hole(uint64_t* seq) const {
    SequenceRange hole;
    if (!abandoned_.find(*seq, *seq, &hole)) return hold_.lowest_from(*seq, seq);
    abandoned_.find(*seq, UINT64_MAX, &hole);
    *seq = hole.last + 1;
    return true;
  }

  /* Forgets what is held below `to`. It lies between gaps and behind the last. */
  void discard(uint64_t to) {
    const std::span<const SequenceRange> gaps = gaps_.ranges();
    for (size_t i = 0; i < gaps.size() && gaps[i].last < to; ++i) {
      const uint64_t end = std::min(to, i + 1 < gaps.size() ? gaps[i + 1].first : next_);
      for (uint64_t seq = gaps[i].last + 1; seq < end && !hold_.empty();) {
        const HoldBuffer::Entry* const e = hold_.find(seq);
        if (e == nullptr) {
          if (!behind_hole(&seq)) return;
          continue;
        }
        hold_.erase(e);
        --counters_.held;
        ++counters_.superseded;
        ++seq;
      }
    }
  }

  template <class Sink>
  void reveal(uint64_t to, int64_t now, Sink&& sink) {
    if (to <= next_) return;
    const SequenceRange range{next_, to - 1, now};
    next_ = to;
    ++counters_.gaps;
    counters_.gap_messages += range.size();
    counters_.gap_open += range.size();
    gaps_.append(range);
    sink.gap(unit_, range.first, range.last);
    if (gaps_.size() > max_gaps_) abandon_front(AbandonReason::kTooManyGaps, UINT64_MAX, sink);
  }

  template <class Sink>
  void give_up(const SequenceRange& range, AbandonReason reason, Sink&& sink) {
    counters_.gap_open -= range.size();
    counters_.abandoned += range.size();
    ++counters_.gaps_abandoned;
    abandoned_.insert(range);
    sink.gap_abandoned(unit_, range.first, range.last, reason);
  }

  /* The oldest gap; then what was held behind it, up to the next gap or `limit`. */
  template <class Sink>
  void abandon_front(AbandonReason reason, uint64_t limit, Sink&& sink) {
    const SequenceRange range = gaps_.pop_front();
    give_up(range, reason, sink);
    if (in_order_) release(range.last + 1, std::min(limit, undelivered_now()), sink);
  }

  uint64_t undelivered_now() const { return gaps_.empty() ? next_ : gaps_.front().first; }

  void refresh() {
    blocked_ = in_order_ && !gaps_.empty();
    deadline_ = INT64_MAX;
    if (blocked_ && __builtin_add_overflow(gaps_.front().since, hold_ns_, &deadline_)) {
      deadline_ = INT64_MAX;
    }
    settled_from_ = 0;
    if (!gaps_.empty()) settled_from_ = gaps_.back().last + 1;
    if (!abandoned_.empty()) {
      settled_from_ = std::max(settled_from_, abandoned_.back().last + 1);
    }
  }

  uint64_t next_ = 0;
  // Every number from here to next_ - 1 was delivered or is held.
  uint64_t settled_from_ = 0;
  int64_t deadline_ = INT64_MAX;
  bool blocked_ = false;  // by a gap: messages are held
  bool in_order_;
  bool started_ = false;
  uint32_t unit_ = 0;
  int64_t hold_ns_;
  size_t max_gaps_;
  UnitCounters counters_;
  SequenceGaps gaps_;
  SequenceGaps abandoned_;  // as many as there is room for, to tell what comes too late
  HoldBuffer hold_;
};

}  // namespace wp::feed
