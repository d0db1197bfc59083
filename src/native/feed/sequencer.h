/* SPDX-License-Identifier: Apache-2.0
 *
 * One sequence as several lines carry it: which session and which run of the
 * numbering each line is in, restarts told apart from late duplicates, and what
 * is believed passed to the assembler.
 *
 * A restart begins a new epoch. The line that told of it is in the new one; the
 * others are in the old one until their own numbers are nearer to the new than
 * to their old ones, and what they still bring of the old is dropped as stale.
 */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/histogram.h"
#include "core/record.h"
#include "feed/arbiter_types.h"
#include "feed/arrivals.h"
#include "feed/assembler.h"
#include "feed/line_track.h"
#include "feed/wire_sequence.h"

namespace wp::feed {

/* A line over all units. */
struct ArbiterLine {
  LineCounters counters;
  Histogram behind;  // ns by which this line's packets came after another line's
};

class Sequencer {
 public:
  explicit Sequencer(const ArbiterOptions& options)
      : options_(options),
        session_(options.session),
        have_session_(options.session != SessionName{}),
        assembler_(options),
        arrivals_(options.skew_packets),
        cursors_(options.lines),
        tracks_() {
    tracks_.reserve(options.lines);
    for (uint32_t i = 0; i < options.lines; ++i) tracks_.emplace_back(options.max_gaps);
    if (options.next_sequence != 0) assembler_.start(options.next_sequence);
  }

  void set_unit(uint32_t unit) { assembler_.set_unit(unit); }
  uint32_t unit() const { return assembler_.unit(); }
  const Assembler& assembler() const { return assembler_; }
  Assembler& assembler() { return assembler_; }
  const SessionName& session() const { return session_; }
  bool has_session() const { return have_session_; }
  bool ended() const { return ended_; }
  SequenceState state() const { return {unit(), session_, assembler_.undelivered()}; }

  /* See Arbiter::polled_until. */
  void polled_until(int64_t time) { polled_until_ = time; }

  /* Abandons what was waited for long enough. Not for the time alone: what is missing may wait in
   * the queue of a line, unless that was empty since or the line has gone on without it. */
  template <class Sink>
  void expire(int64_t now, Sink&& sink) {
    while (assembler_.overdue(now) &&
           (polled_until_ >= assembler_.deadline() || passed_by_all_lines())) {
      assembler_.expire(sink);
    }
  }

  /* A line that comes alone, a packet that continues it, nothing missing: walked once, messages
   * delivered as they are checked. False: something else, and nothing was done. There is no other
   * copy to wait for, so a packet that is damaged gives what stands before the damage; the rest is
   * a gap when the next comes. */
  template <class Framer, class Sink>
  [[gnu::always_inline]] bool continues(const uint8_t* p, size_t n, int64_t recv_time,
                                        LineCounters& c, Sink&& sink) {
    static_assert(sequence_period(Framer::kNumbers) == 0);
    Packet packet;
    if (!Framer::open(p, n, packet)) return false;
    LineTrack& track = tracks_[0];
    if (packet.first != track.next() || track.epoch() != epoch_ ||
        !assembler_.continues_at(packet.first) || !have_session_ ||
        !same(packet.session, session_) || recv_time >= assembler_.deadline()) [[unlikely]] {
      return false;
    }
    heard_ = true;
    const uint64_t taken = assembler_.template take_whole<Framer>(
        packet, {0, recv_time, packet.send_time, unit(), 0, 0}, c, sink);
    if (taken != 0) track.passed(packet.first, taken, recv_time, c);
    c.messages += taken;
    ++(taken == packet.count ? c.data : c.malformed);
    return true;
  }

  /* The same of lines that are several: an opened packet that continues its line, and all of it
   * is either next or known already. What is damaged is left to on_packet, which drops it. */
  template <class Framer, class Sink>
  [[gnu::always_inline]] bool continues_line(uint32_t line, const Packet& packet, int64_t recv_time,
                                             std::vector<ArbiterLine>& lines, Sink&& sink) {
    static_assert(sequence_period(Framer::kNumbers) == 0);
    LineTrack& track = tracks_[line];
    const uint64_t first = packet.first, after = first + packet.count;
    const bool next = assembler_.continues_at(first);
    if (first != track.next() || track.epoch() != epoch_ || !have_session_ ||
        !same(packet.session, session_) || recv_time >= assembler_.deadline() ||
        packet.count == 0 || (!next && !assembler_.settled(first, after)) || !Framer::whole(packet))
        [[unlikely]] {
      return false;
    }
    LineCounters& c = lines[line].counters;
    heard_ = true;
    track.passed(first, packet.count, recv_time, c);
    ++c.data;
    c.messages += packet.count;
    if (next) {
      assembler_.template take_checked<Framer>(
          packet, {0, recv_time, packet.send_time, unit(), static_cast<uint16_t>(line), 0}, c,
          sink);
      if (tracks_.size() != 1) arrivals_.add({first, after, recv_time, line});
    } else {
      c.duplicates += packet.count;
      measure_skew(line, first, recv_time, lines);
    }
    return true;
  }

  template <class Framer, class Sink>
  void on_packet(uint32_t line, const Packet& packet, int64_t recv_time,
                 std::vector<ArbiterLine>& lines, Sink&& sink) {
    LineCounters& c = lines[line].counters;
    if (recv_time >= assembler_.deadline()) [[unlikely]]
      expire(recv_time, sink);
    const bool repeat = line >= tracks_.size() || packet.retransmitted;
    if (!have_session_ || !same(packet.session, session_)) [[unlikely]] {
      if (!take_session(packet, repeat, line, c, sink)) return;
    }
    uint64_t first = extend_sequence(Framer::kNumbers, packet.first, assembler_.next());
    if (packet.kind == PacketKind::kData) [[likely]] {
      if (packet.count == 0 || first > UINT64_MAX - packet.count) [[unlikely]] {
        ++c.malformed;
        return;
      }
      if (!repeat) [[likely]] {
        LineTrack& track = tracks_[line];
        if (track.epoch() != epoch_ || first != track.next()) [[unlikely]] {
          if (!believe<Framer>(track, packet, recv_time, &first, c, sink)) return;
        }
        heard_ = true;
        track.passed(first, packet.count, recv_time, c);
      } else if (!reachable(first)) [[unlikely]] {
        ++c.stale;
        return;
      }
      ++c.data;
      messages<Framer>(line, repeat, packet, first, recv_time, lines, sink);
    } else if (packet.kind == PacketKind::kReset) {
      reset<Framer>(line, repeat, packet, first, recv_time, lines, sink);
    } else {
      control<Framer>(line, repeat, packet, first, recv_time, c, sink);
    }
  }

 private:
  /* now is more than `by` after then; by >= 0. */
  static bool long_after(int64_t now, int64_t then, int64_t by) {
    int64_t passed = 0;
    if (__builtin_sub_overflow(now, then, &passed)) return now > then;
    return passed > by;
  }
  /* By words: a framer stores them so, and a wider load would have to wait for both stores. */
  static bool same(const SessionName& a, const SessionName& b) {
    uint64_t x[2], y[2];
    std::memcpy(x, a.data(), sizeof x);
    std::memcpy(y, b.data(), sizeof y);
    return x[0] == y[0] && x[1] == y[1];
  }
  static constexpr uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

  template <class Framer, class Sink>
  void messages(uint32_t line, bool repeat, const Packet& packet, uint64_t first, int64_t recv_time,
                std::vector<ArbiterLine>& lines, Sink&& sink) {
    LineCounters& c = lines[line].counters;
    c.messages += packet.count;
    const MessageInfo info{0,
                           recv_time,
                           packet.send_time,
                           unit(),
                           static_cast<uint16_t>(line),
                           static_cast<uint8_t>(repeat ? WP_FLAG_RECOVERED : 0)};
    const uint64_t before = assembler_.next();
    assembler_.take<Framer>(packet, first, info, c, sink);
    if (repeat || tracks_.size() == 1) return;
    if (first + packet.count > before) {
      arrivals_.add({std::max(first, before), first + packet.count, recv_time, line});
    }
    if (first < before) measure_skew(line, first, recv_time, lines);
  }

  /* A line brought a message that another may have brought before. */
  void measure_skew(uint32_t line, uint64_t seq, int64_t recv_time,
                    std::vector<ArbiterLine>& lines) {
    const Arrivals::Packet* const won = arrivals_.find(seq, &cursors_[line]);
    if (won == nullptr || won->line == line) return;
    // Stamps of two queues may be out of order: then the winner was the one behind.
    const int64_t behind =
        static_cast<int64_t>(static_cast<uint64_t>(recv_time) - static_cast<uint64_t>(won->time));
    if (behind >= 0) {
      lines[line].behind.record(behind);
    } else if (behind != INT64_MIN) {
      lines[won->line].behind.record(-behind);
    }
  }

  template <class Framer, class Sink>
  void control(uint32_t line, bool repeat, const Packet& packet, uint64_t first, int64_t recv_time,
               LineCounters& c, Sink&& sink) {
    switch (packet.kind) {
      case PacketKind::kData:
      case PacketKind::kReset:
        return;
      case PacketKind::kIgnored:
        ++c.ignored;
        return;
      case PacketKind::kUnsequenced:
        unsequenced<Framer>(line, repeat, packet, recv_time, c, sink);
        return;
      case PacketKind::kHeartbeat:
      case PacketKind::kEndOfSession:
        break;
    }
    const bool end = packet.kind == PacketKind::kEndOfSession;
    // A retransmission server's idea of the next number is not the feed's.
    if (!repeat) {
      LineTrack& track = tracks_[line];
      if (track.epoch() != epoch_ || first != track.next()) {
        if (!believe<Framer>(track, packet, recv_time, &first, c, sink)) return;
      }
      heard_ = true;
      track.told(first, recv_time, c);
      assembler_.advance_to(first, recv_time, sink);
    }
    ++(end ? c.end_of_session : c.heartbeats);
    if (repeat) return;
    if (!end) {
      sink.heartbeat(unit(), first, static_cast<uint16_t>(line));
    } else if (!ended_) {
      ended_ = true;
      sink.end_of_session(unit(), first);
    }
  }

  template <class Framer, class Sink>
  void unsequenced(uint32_t line, bool repeat, const Packet& packet, int64_t recv_time,
                   LineCounters& c, Sink&& sink) {
    ++c.unsequenced;
    c.unsequenced_messages += packet.count;
    const MessageInfo info{0,
                           recv_time,
                           packet.send_time,
                           unit(),
                           static_cast<uint16_t>(line),
                           static_cast<uint8_t>(repeat ? WP_FLAG_RECOVERED : 0)};
    Framer::for_each(packet,
                     [&](const uint8_t* p, size_t length) { sink.message(info, p, length); });
  }

  /* No session yet, or the packet is of another one. False: the packet is dropped, counted. */
  template <class Sink>
  bool take_session(const Packet& packet, bool repeat, uint32_t line, LineCounters& c,
                    Sink&& sink) {
    if (have_session_ && options_.pin_session) {
      ++c.wrong_session;
      return false;
    }
    const bool behind = !repeat && have_session_ && tracks_[line].epoch() != epoch_ &&
                        have_previous_ && packet.session == previous_session_;
    // What repeats the past neither begins a session nor ends one.
    if (repeat || behind) {
      ++c.stale;
      return false;
    }
    if (have_session_) {
      assembler_.stop(AbandonReason::kSessionChange, sink);
      previous_session_ = session_;
      have_previous_ = true;
      session_ = packet.session;
      session_epoch_ = begin_epoch();
      ++assembler_.counters().session_changes;
      sink.session_change(unit(), previous_session_, session_);
    }
    session_ = packet.session;
    have_session_ = true;
    return true;
  }

  /* Whether a live packet whose number is not the line's next one is what it seems. True: *first
   * is its number. May begin a new epoch. False: dropped, counted. */
  template <class Framer, class Sink>
  bool believe(LineTrack& track, const Packet& packet, int64_t recv_time, uint64_t* first,
               LineCounters& c, Sink&& sink) {
    if (!assembler_.started()) [[unlikely]]
      assembler_.start(epoch_ == session_epoch_ ? begin_of(*first) : *first);
    const bool fresh = !track.known() || track.epoch() < session_epoch_;
    if (!fresh && track.epoch() != epoch_) {
      const uint64_t old = extend_sequence(Framer::kNumbers, packet.first, track.next());
      if (distance(*first, assembler_.next()) > distance(old, track.next())) {
        ++c.stale;
        return false;
      }
    } else if (!fresh) {
      // Nearest over a roll and yet far away: the number is a low one again.
      const bool rolled = *first > track.next() && *first - track.next() > options_.max_jump &&
                          packet.first < wire_sequence(Framer::kNumbers, track.next());
      if (rolled || *first < track.next()) {
        return went_back(track, packet, recv_time, rolled, first, c, sink);
      }
    } else if (options_.resumed && !heard_ && *first < assembler_.next() &&
               assembler_.next() - *first > options_.reorder_messages) {
      return began_anew(track, packet, first, c, sink);
    }
    uint64_t begin = 0;
    if (heard_ && options_.restart_packets != 0 && !reachable(*first) &&
        !track.proves(packet.first, packet.count, options_.restart_packets, &begin)) {
      ++c.doubted;
      return false;
    }
    if (fresh || track.epoch() != epoch_) track.join(epoch_, *first);
    return true;
  }

  template <class Sink>
  bool went_back(LineTrack& track, const Packet& packet, int64_t recv_time, bool rolled,
                 uint64_t* first, LineCounters& c, Sink&& sink) {
    const bool far = rolled || track.next() - *first > options_.reorder_messages;
    if (packet.kind == PacketKind::kEndOfSession) {
      c.doubted += rolled;
      return !rolled;
    }
    if (packet.kind == PacketKind::kHeartbeat) {
      // Sent when the line is idle: hardly anything can have overtaken it.
      if (!far && !long_after(recv_time, track.last_time(), options_.reorder_ns)) return true;
      restart(track, begin_of(packet.first), packet.first, ResetCause::kHeartbeat, sink);
      *first = packet.first;
      return true;
    }
    if (!far) return true;
    if (!rolled) {
      // What fills a gap is a retransmission, whatever line it comes on.
      if (assembler_.misses(*first, *first + packet.count - 1)) return true;
      if (options_.restart_packets == 0) return true;
    }
    return restart_if_proved(track, packet, first, c, sink);
  }

  /* The first packet of a line, far below where an earlier run ended. */
  template <class Sink>
  bool began_anew(LineTrack& track, const Packet& packet, uint64_t* first, LineCounters& c,
                  Sink&& sink) {
    if (packet.kind == PacketKind::kHeartbeat) {
      restart(track, begin_of(packet.first), packet.first, ResetCause::kHeartbeat, sink);
      *first = packet.first;
      return true;
    }
    if (packet.kind == PacketKind::kEndOfSession || options_.restart_packets == 0) {
      track.join(epoch_, *first);
      return true;
    }
    return restart_if_proved(track, packet, first, c, sink);
  }

  template <class Sink>
  bool restart_if_proved(LineTrack& track, const Packet& packet, uint64_t* first, LineCounters& c,
                         Sink&& sink) {
    uint64_t begin = 0;
    if (!track.proves(packet.first, packet.count, options_.restart_packets, &begin)) {
      ++c.doubted;
      return false;
    }
    // The packets that proved it were dropped: they are a gap now.
    restart(track, begin_of(begin), packet.first, ResetCause::kData, sink);
    *first = packet.first;
    return true;
  }

  /* Its own messages are the first of the new sequence (NYSE). A retransmission is no news of a
   * reset, but what it carries may be missing. */
  template <class Framer, class Sink>
  void reset(uint32_t line, bool repeat, const Packet& packet, uint64_t first, int64_t recv_time,
             std::vector<ArbiterLine>& lines, Sink&& sink) {
    LineCounters& c = lines[line].counters;
    if (packet.first > UINT64_MAX - packet.count) [[unlikely]] {
      ++c.malformed;
      return;
    }
    if (repeat && packet.count != 0 && !reachable(first)) {
      ++c.stale;
      return;
    }
    ++c.resets;
    if (!repeat) {
      announced(line, packet.first, packet.first + packet.count, recv_time, sink);
      first = packet.first;
    }
    if (packet.count == 0) return;
    if (!repeat) {
      heard_ = true;
      tracks_[line].passed(first, packet.count, recv_time, c);
    }
    messages<Framer>(line, repeat, packet, first, recv_time, lines, sink);
  }

  /* A reset that the venue announces comes on every line, and may be repeated on each. `after`: one
   * past its own messages. */
  template <class Sink>
  void announced(uint32_t line, uint64_t next, uint64_t after, int64_t recv_time, Sink&& sink) {
    LineTrack& track = tracks_[line];
    const bool behind = track.known() && track.epoch() >= session_epoch_ && track.epoch() != epoch_;
    const bool again =
        reset_heard_ && reset_next_ == next &&
        (assembler_.next() == reset_after_ ||
         (reset_line_ != line && !long_after(recv_time, reset_time_, options_.reorder_ns)));
    if (assembler_.started() && (behind || again)) {
      if (track.epoch() != epoch_) track.join(epoch_, next);
      return;
    }
    reset_heard_ = true;
    reset_next_ = next;
    reset_after_ = after;
    reset_line_ = line;
    reset_time_ = recv_time;
    restart(track, next, next, ResetCause::kAnnounced, sink);
  }

  template <class Sink>
  void restart(LineTrack& track, uint64_t next, uint64_t line_next, ResetCause cause, Sink&& sink) {
    assembler_.stop(AbandonReason::kReset, sink);
    assembler_.start(next);
    track.join(begin_epoch(), line_next);
    ++assembler_.counters().resets;
    sink.reset(unit(), next, cause);
  }

  uint32_t begin_epoch() {
    arrivals_.clear();
    std::fill(cursors_.begin(), cursors_.end(), 0);
    heard_ = false;
    ended_ = false;
    return ++epoch_;
  }

  /* Where a sequence begins of which `first` is the lowest number heard. */
  uint64_t begin_of(uint64_t first) const {
    const uint64_t begin = options_.session_begin;
    if (begin == 0 || first < begin || first - begin > options_.max_jump) return first;
    return begin - options_.await_snapshot;
  }

  /* Every line has gone past the oldest gap, and brought something since that is overdue. */
  bool passed_by_all_lines() const {
    const uint64_t last = assembler_.gaps().front().last;
    return std::ranges::all_of(tracks_, [&](const LineTrack& track) {
      return track.known() && track.epoch() == epoch_ && track.next() > last &&
             track.last_time() >= assembler_.deadline();
    });
  }

  /* Not so far ahead that it needs proof. */
  bool reachable(uint64_t first) const {
    return assembler_.started() &&
           (first <= assembler_.next() || first - assembler_.next() <= options_.max_jump);
  }

  const ArbiterOptions options_;
  SessionName session_;
  bool have_session_;
  bool heard_ = false;  // a line, in this epoch
  bool ended_ = false;
  bool have_previous_ = false;
  bool reset_heard_ = false;
  uint32_t epoch_ = 1;
  uint32_t session_epoch_ = 0;  // the epoch in which the session began
  Assembler assembler_;
  Arrivals arrivals_;
  std::vector<uint64_t> cursors_;  // of each line in arrivals_
  std::vector<LineTrack> tracks_;
  SessionName previous_session_{};
  uint64_t reset_next_ = 0;
  uint64_t reset_after_ = 0;
  int64_t reset_time_ = 0;
  int64_t polled_until_ = INT64_MAX;
  uint32_t reset_line_ = 0;
};

}  // namespace wp::feed
