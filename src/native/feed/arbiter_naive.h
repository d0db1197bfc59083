/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: one unit of the arbiter as dictionaries of
 * everything seen. Slow, obvious, and sharing no code with the arbiter but the
 * options and what a framer says of a packet.
 */
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "feed/arbiter_types.h"

namespace wp::feed::naive {

struct ArbiterEvent {
  enum What { kMessage, kGap, kAbandoned, kHeartbeat, kEnd, kSession, kReset } what;
  uint64_t first;
  uint64_t last;
  int detail;  // line * 256 + flags of a message; line; reason; cause
  int64_t time;
  std::string data;
  bool operator==(const ArbiterEvent&) const = default;
};

struct ParsedPacket {
  Packet packet;
  std::vector<std::string> messages;
};

class ArbiterUnit {
 public:
  using Range = std::pair<uint64_t, uint64_t>;

  ArbiterUnit(const ArbiterOptions& options, SequenceNumbers numbers)
      : o(options), numbers_(numbers), lines(options.lines + options.recovery_lines) {
    session = o.session;
    have_session_ = session != SessionName{};
    started_ = o.next_sequence != 0;
    next = o.next_sequence;
  }

  void on_time(int64_t now) {
    while (o.in_order && !missing.empty() && now - missing.begin()->second >= o.hold_ns &&
           (polled_until - missing.begin()->second >= o.hold_ns || passed_by_all())) {
      abandon_lowest(AbandonReason::kTimeout, UINT64_MAX);
    }
  }

  int64_t polled_until = INT64_MAX;

  bool passed_by_all() const {
    const uint64_t last = gaps().front().second;
    const int64_t deadline = missing.begin()->second + o.hold_ns;
    return std::all_of(lines.begin(), lines.begin() + o.lines, [&](const Line& line) {
      return line.known && line.epoch == epoch_ && line.next > last && line.last_time >= deadline;
    });
  }

  void skip_to(uint64_t wire, int64_t now) {
    const uint64_t to = near(wire, next);
    if (!started_) {
      started_ = true;
      next = to;
      given_up_.clear();
      return;
    }
    while (!held.empty() && held.begin()->first < to) {
      held.erase(held.begin());
      ++c.superseded;
    }
    reveal(to, now);
    while (!missing.empty() && missing.begin()->first < to) {
      abandon(missing_below(to), AbandonReason::kSnapshot, UINT64_MAX);
    }
  }

  void on_packet(uint32_t index, const ParsedPacket& parsed, int64_t now) {
    const Packet& p = parsed.packet;
    Line& line = lines[index];
    on_time(now);
    const bool repeat = index >= o.lines || p.retransmitted;
    if (!have_session_ || p.session != session) {
      if (!change_session(p, repeat, line)) return;
    }
    uint64_t first = near(p.first, next);
    if (p.kind == PacketKind::kIgnored) {
      ++line.c.ignored;
    } else if (p.kind == PacketKind::kUnsequenced) {
      ++line.c.unsequenced;
      for (const std::string& data : parsed.messages) {
        ++line.c.unsequenced_messages;
        emit(ArbiterEvent::kMessage, 0, 0, static_cast<int>(index) * 256 + (repeat ? 8 : 0), now,
             data);
      }
    } else if (p.kind == PacketKind::kReset) {
      reset(index, parsed, repeat, first, now);
    } else if (p.kind == PacketKind::kData && parsed.messages.empty()) {
      ++line.c.malformed;
    } else if (repeat) {
      repeated(index, parsed, first, now);
    } else if (believe(line, p, first, now)) {
      heard_ = true;
      line.last_time = now;
      line.proof.clear();
      if (p.kind == PacketKind::kData) {
        for (size_t i = 0; i < parsed.messages.size(); ++i) line.passes(first + i, o.max_gaps);
        ++line.c.data;
        data(index, parsed.messages, first, now, 0);
      } else {
        line.told(first, o.max_gaps);
        reveal(first, now);
        const bool end = p.kind == PacketKind::kEndOfSession;
        ++(end ? line.c.end_of_session : line.c.heartbeats);
        if (!end) emit(ArbiterEvent::kHeartbeat, first, 0, static_cast<int>(index), 0, "");
        if (end && !ended) emit(ArbiterEvent::kEnd, first, 0, 0, 0, "");
        ended = ended || end;
      }
    }
  }

  struct Line {
    LineCounters c;
    bool known = false;
    uint32_t epoch = 0;
    uint64_t next = 0;
    int64_t last_time = 0;
    std::vector<std::pair<uint64_t, uint64_t>> proof;  // first and after of packets in doubt
    std::set<uint64_t> open;                           // missing and remembered

    void told(uint64_t to, size_t max_gaps) {
      for (; next < to; ++next) {
        open.insert(next);
        ++c.expected;
        ++c.missing;
      }
      forget(max_gaps);
    }
    void passes(uint64_t seq, size_t max_gaps) {
      told(seq, max_gaps);
      if (seq == next) {
        ++next;
        ++c.expected;
      } else if (open.erase(seq) != 0) {
        --c.missing;
        ++c.reordered;
        forget(max_gaps);
      } else {
        ++c.repeated;
      }
    }
    void forget(size_t max_gaps) {
      auto runs = [&] {
        size_t n = 0;
        for (uint64_t seq : open) n += open.count(seq - 1) == 0;
        return n;
      };
      while (runs() > max_gaps) {
        uint64_t seq = *open.begin();
        while (open.erase(seq) != 0) ++seq;
      }
    }
    void join(uint32_t to, uint64_t at) {
      known = true;
      epoch = to;
      next = at;
      open.clear();
      proof.clear();
    }
  };

  // Maximal runs of missing numbers that were found missing at the same time.
  std::vector<Range> gaps() const {
    std::vector<Range> runs;
    int64_t since = 0;
    for (const auto& [seq, time] : missing) {
      if (!runs.empty() && runs.back().second + 1 == seq && since == time) {
        runs.back().second = seq;
      } else {
        runs.push_back({seq, seq});
      }
      since = time;
    }
    return runs;
  }

  ArbiterOptions o;
  SequenceNumbers numbers_;
  std::vector<Line> lines;
  std::vector<ArbiterEvent> events;
  SessionName session{};
  uint64_t next = 0;
  bool ended = false;
  std::map<uint64_t, int64_t> missing;  // number -> when it was found so
  struct Held {
    std::string data;
    int64_t time;
    int detail;
  };
  std::map<uint64_t, Held> held;
  UnitCounters c;

 private:
  void emit(ArbiterEvent::What what, uint64_t first, uint64_t last, int detail, int64_t time,
            const std::string& data) {
    events.push_back({what, first, last, detail, time, data});
  }

  uint64_t near(uint64_t wire, uint64_t to) const {
    const uint64_t period = numbers_.last - numbers_.after_last + 1;
    uint64_t best = wire;
    for (uint64_t seq = wire; seq <= to + 2 * period; seq += period) {
      if (gap_between(seq, to) < gap_between(best, to)) best = seq;
    }
    return best;
  }
  static uint64_t gap_between(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }
  uint64_t on_wire(uint64_t seq) const {
    while (seq > numbers_.last) seq -= numbers_.last - numbers_.after_last + 1;
    return seq;
  }

  bool change_session(const Packet& p, bool repeat, Line& line) {
    if (have_session_ && o.pin_session) {
      ++line.c.wrong_session;
      return false;
    }
    if (repeat || (have_session_ && line.epoch != epoch_ && previous_.count(p.session) != 0)) {
      ++line.c.stale;
      return false;
    }
    if (have_session_) {
      give_up_all(AbandonReason::kSessionChange);
      started_ = false;
      next = 0;
      ++c.session_changes;
      new_epoch();
      session_epoch_ = epoch_;
      previous_ = {session};
      events.push_back({ArbiterEvent::kSession, 0, 0, 0, 0,
                        std::string(1, session[0]) + std::string(1, p.session[0])});
    }
    session = p.session;
    have_session_ = true;
    return true;
  }

  void new_epoch() {
    ++epoch_;
    heard_ = ended = false;
  }

  void restart(Line& line, uint64_t from, uint64_t line_from, ResetCause cause) {
    give_up_all(AbandonReason::kReset);
    next = from;
    started_ = true;
    given_up_.clear();
    new_epoch();
    line.join(epoch_, line_from);
    ++c.resets;
    emit(ArbiterEvent::kReset, from, 0, static_cast<int>(cause), 0, "");
  }

  void reset(uint32_t index, const ParsedPacket& parsed, bool repeat, uint64_t first, int64_t now) {
    Line& line = lines[index];
    const size_t own = parsed.messages.size();
    if (repeat && own != 0 && (!started_ || too_far(first))) {
      ++line.c.stale;
      return;
    }
    ++line.c.resets;
    if (!repeat) {
      first = parsed.packet.first;
      announced(index, first, own, now);
      if (own != 0) heard_ = true;
      if (own != 0) line.last_time = now;
      for (size_t i = 0; i < own; ++i) line.passes(first + i, o.max_gaps);
    }
    if (own != 0) data(index, parsed.messages, first, now, repeat ? 8 : 0);
  }

  void announced(uint32_t index, uint64_t wire, uint64_t own, int64_t now) {
    Line& line = lines[index];
    const bool behind = line.known && line.epoch >= session_epoch_ && line.epoch != epoch_;
    const bool again = reset_line_ >= 0 && reset_next_ == wire &&
                       (next == reset_after_ || (reset_line_ != static_cast<int>(index) &&
                                                 now - reset_time_ <= o.reorder_ns));
    if (started_ && (behind || again)) {
      if (line.epoch != epoch_) line.join(epoch_, wire);
      return;
    }
    reset_line_ = static_cast<int>(index);
    reset_next_ = wire;
    reset_after_ = wire + own;
    reset_time_ = now;
    restart(line, wire, wire, ResetCause::kAnnounced);
  }

  // The packets in doubt, this one included, continue each other and are enough.
  bool proven(Line& line, const Packet& p) {
    if (!line.proof.empty() && line.proof.back().second != p.first) line.proof.clear();
    line.proof.push_back({p.first, p.first + p.count});
    return line.proof.size() >= o.restart_packets && o.restart_packets != 0;
  }

  bool too_far(uint64_t first) const { return first > next && first - next > o.max_jump; }

  // Where what has just begun began: the number heard, or the known one not too far below it.
  uint64_t begin_of(uint64_t heard) const {
    if (o.session_begin == 0 || heard < o.session_begin) return heard;
    if (heard - o.session_begin > o.max_jump) return heard;
    return o.await_snapshot ? o.session_begin - 1 : o.session_begin;
  }

  bool believe(Line& line, const Packet& p, uint64_t& first, int64_t now) {
    if (!started_) {
      started_ = true;
      next = c.session_changes != 0 ? begin_of(first) : first;
      given_up_.clear();
    }
    const bool fresh = !line.known || line.epoch < session_epoch_;
    const bool old_run = !fresh && line.epoch != epoch_;
    if (old_run) {
      if (gap_between(first, next) > gap_between(near(p.first, line.next), line.next)) {
        ++line.c.stale;
        return false;
      }
    } else if (!fresh) {
      const bool rolled =
          first > line.next && first - line.next > o.max_jump && p.first < on_wire(line.next);
      if (rolled || first < line.next) {
        const bool far = rolled || line.next - first > o.reorder_messages;
        if (p.kind == PacketKind::kEndOfSession) {
          if (rolled) ++line.c.doubted;
          return !rolled;
        }
        if (p.kind == PacketKind::kHeartbeat) {
          if (!far && now - line.last_time <= o.reorder_ns) return true;
          restart(line, begin_of(p.first), p.first, ResetCause::kHeartbeat);
          first = p.first;
          return true;
        }
        if (!far) return true;
        if (!rolled) {
          const auto hit = missing.lower_bound(first);
          if (hit != missing.end() && hit->first < first + p.count) return true;
          if (o.restart_packets == 0) return true;
        }
        if (!proven(line, p)) {
          ++line.c.doubted;
          return false;
        }
        restart(line, begin_of(line.proof.front().first), p.first, ResetCause::kData);
        first = p.first;
        return true;
      }
    } else if (o.resumed && !heard_ && first < next && next - first > o.reorder_messages) {
      const bool heartbeat = p.kind == PacketKind::kHeartbeat;
      if (heartbeat || (p.kind == PacketKind::kData && o.restart_packets != 0)) {
        if (!heartbeat && !proven(line, p)) {
          ++line.c.doubted;
          return false;
        }
        const uint64_t heard = heartbeat ? p.first : line.proof.front().first;
        restart(line, begin_of(heard), p.first,
                heartbeat ? ResetCause::kHeartbeat : ResetCause::kData);
        first = p.first;
        return true;
      }
    }
    if (heard_ && o.restart_packets != 0 && too_far(first) && !proven(line, p)) {
      ++line.c.doubted;
      return false;
    }
    if (fresh || old_run) line.join(epoch_, first);
    return true;
  }

  void repeated(uint32_t index, const ParsedPacket& parsed, uint64_t first, int64_t now) {
    Line& line = lines[index];
    if (parsed.packet.kind == PacketKind::kHeartbeat) {
      ++line.c.heartbeats;
    } else if (parsed.packet.kind == PacketKind::kEndOfSession) {
      ++line.c.end_of_session;
    } else if (!started_ || too_far(first)) {
      ++line.c.stale;
    } else {
      ++line.c.data;
      data(index, parsed.messages, first, now, 8);
    }
  }

  void data(uint32_t index, const std::vector<std::string>& messages, uint64_t first, int64_t now,
            int flags) {
    Line& line = lines[index];
    reveal(first, now);
    for (size_t i = 0; i < messages.size(); ++i) {
      const uint64_t seq = first + i;
      ++line.c.messages;
      const Held message{messages[i], now, static_cast<int>(index) * 256 + flags};
      if (seq == next) {
        ++line.c.won;
        ++next;
        if (o.in_order && !missing.empty()) {
          hold(seq, message);
        } else {
          deliver(seq, message);
        }
      } else if (missing.count(seq) != 0) {
        ++line.c.won;
        const bool turn = missing.begin()->first == seq;
        missing.erase(seq);
        ++c.gap_filled;
        if (!o.in_order) {
          deliver(seq, {messages[i], now, message.detail | 1});
        } else if (turn) {
          deliver(seq, message);
          flush(UINT64_MAX);
        } else {
          hold(seq, message);
        }
        bound();
      } else if (was_given_up(seq)) {
        ++line.c.too_late;
      } else {
        ++line.c.duplicates;
      }
    }
  }

  void deliver(uint64_t seq, const Held& m) {
    if (m.data.empty()) {
      ++c.empty;
      return;
    }
    ++c.delivered;
    c.late += m.detail & 1;
    c.recovered += (m.detail & 8) != 0;
    emit(ArbiterEvent::kMessage, seq, seq, m.detail, m.time, m.data);
  }

  void hold(uint64_t seq, const Held& m) {
    while (held.size() >= o.hold_messages) {
      abandon_lowest(AbandonReason::kBufferFull, seq);
      if (missing.empty() || missing.begin()->first > seq) {
        deliver(seq, m);
        flush(UINT64_MAX);
        return;
      }
    }
    held[seq] = m;
    ++c.held_total;
  }

  // Delivers what is held below the lowest missing number and below `limit`.
  void flush(uint64_t limit) {
    while (!held.empty() && held.begin()->first < limit &&
           (missing.empty() || held.begin()->first < missing.begin()->first)) {
      deliver(held.begin()->first, held.begin()->second);
      held.erase(held.begin());
    }
  }

  void reveal(uint64_t to, int64_t now) {
    if (to <= next) return;
    ++c.gaps;
    c.gap_messages += to - next;
    emit(ArbiterEvent::kGap, next, to - 1, 0, 0, "");
    for (; next < to; ++next) missing[next] = now;
    bound();
  }

  void bound() {
    while (gaps().size() > o.max_gaps) abandon_lowest(AbandonReason::kTooManyGaps, UINT64_MAX);
  }

  void abandon_lowest(AbandonReason reason, uint64_t limit) {
    abandon(gaps().front(), reason, limit);
  }

  // The lowest gap, as far as it is below `to`.
  Range missing_below(uint64_t to) const {
    const Range run = gaps().front();
    return {run.first, std::min(run.second, to - 1)};
  }

  void abandon(const Range& run, AbandonReason reason, uint64_t limit) {
    for (uint64_t seq = run.first; seq <= run.second; ++seq) missing.erase(seq);
    c.abandoned += run.second - run.first + 1;
    ++c.gaps_abandoned;
    remember(run);
    emit(ArbiterEvent::kAbandoned, run.first, run.second, static_cast<int>(reason), 0, "");
    if (o.in_order) flush(limit);
  }

  void give_up_all(AbandonReason reason) {
    while (!missing.empty()) abandon_lowest(reason, UINT64_MAX);
  }

  void remember(const Range& run) {
    if (given_up_.size() == o.max_gaps) {
      if (run < *given_up_.begin()) return;
      given_up_.erase(given_up_.begin());
    }
    given_up_.insert(run);
  }
  bool was_given_up(uint64_t seq) const {
    for (const Range& run : given_up_) {
      if (seq >= run.first && seq <= run.second) return true;
    }
    return false;
  }

  bool started_ = false, have_session_ = false, heard_ = false;
  uint32_t epoch_ = 1, session_epoch_ = 0;
  std::set<SessionName> previous_;
  std::set<Range> given_up_;
  int reset_line_ = -1;
  uint64_t reset_next_ = 0, reset_after_ = 0;
  int64_t reset_time_ = 0;
};

}  // namespace wp::feed::naive
