/* SPDX-License-Identifier: Apache-2.0
 *
 * The arbiter: any number of lines that carry the same channel, and lines on
 * which retransmissions come, become one sequence of messages. Per message:
 * lines may pack them differently. The first arrival wins.
 *
 * Sans-I/O: packets and times in, events out. Memory is allocated by the
 * constructor only. Framer: see packet.h. Sink: see ArbiterSink.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "feed/arbiter_types.h"
#include "feed/sequencer.h"

namespace wp::feed {

/* Throws wp::Error naming the field. */
void check_arbiter_options(const ArbiterOptions& options);
UnitCounters& operator+=(UnitCounters& sum, const UnitCounters& c);
/* How far b's packets came behind a's, ns, at quantile q; negative: b was ahead. Of two lines. */
int64_t line_skew(const Histogram& a_behind, const Histogram& b_behind, double q);

template <class Framer>
class Arbiter {
 public:
  explicit Arbiter(const ArbiterOptions& options = {})
      : lines_((check_arbiter_options(options), options.lines + options.recovery_lines)),
        live_(options.lines) {
    units_.reserve(options.units);
    for (uint32_t i = 0; i < options.units; ++i) {
      units_.push_back(std::make_unique<Sequencer>(options));
    }
    for (const auto& [unit, next] : options.next_of_units)
      unit_of(unit)->assembler().start(extend_sequence(Framer::kNumbers, next, 0));
  }

  /* One datagram's payload; damaged, it is dropped as a whole, for another line may have it whole
   * (MoldUDP64 on a line alone: see Sequencer::continues). line < options.lines: live; the next
   * recovery_lines: retransmissions. recv_time: ns on the clock that on_time has too. */
  template <class Sink>
  void on_packet(uint32_t line, const uint8_t* p, size_t n, int64_t recv_time, Sink&& sink) {
    LineCounters& c = lines_[line].counters;
    ++c.packets;
    c.last_time = recv_time;
    if constexpr (requires(Packet & out) { Framer::open(p, n, out); }) {
      if (used_ == 1 && line < live_) [[likely]] {
        Sequencer& unit = *units_[0];
        if (lines_.size() == 1) {
          if (unit.template continues<Framer>(p, n, recv_time, c, sink)) [[likely]]
            return;
        } else if (Packet packet;
                   Framer::open(p, n, packet) &&
                   unit.template continues_line<Framer>(line, packet, recv_time, lines_, sink)) {
          return;
        }
      }
    }
    Packet packet;
    if (!Framer::parse(p, n, packet)) [[unlikely]] {
      ++c.malformed;
      return;
    }
    Sequencer* const unit = unit_of(packet.unit);
    if (unit == nullptr) [[unlikely]] {
      ++c.unknown_unit;
      return;
    }
    unit->template on_packet<Framer>(line, packet, recv_time, lines_, sink);
  }

  /* Lets the hold timers run when no packet comes. */
  template <class Sink>
  void on_time(int64_t now, Sink&& sink) {
    for (size_t i = 0; i < used_; ++i) units_[i]->expire(now, sink);
  }

  /* Whatever reached this machine on one of the lines before that time has been here, by the clock
   * of on_packet: packets wait in the queues of a machine that is busy, and a gap that they may
   * fill is not given up for its age. Unless this is told, packets are taken to come as soon as
   * they are stamped. */
  void polled_until(int64_t time) {
    polled_until_ = time;
    for (size_t i = 0; i < used_; ++i) units_[i]->polled_until(time);
  }

  /* When on_time has something to do; INT64_MAX: never. */
  int64_t deadline() const {
    int64_t deadline = INT64_MAX;
    for (size_t i = 0; i < used_; ++i) {
      deadline = std::min(deadline, units_[i]->assembler().deadline());
    }
    return deadline;
  }

  /* Gives up what is missing of [first, last] of a unit: recovery does not expect it any more. */
  template <class Sink>
  void abandon(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason, Sink&& sink) {
    for (size_t i = 0; i < used_; ++i) {
      if (units_[i]->unit() == unit) units_[i]->assembler().abandon(first, last, reason, sink);
    }
  }

  /* A snapshot has everything of a unit before `next`, which is as on the wire: goes on from there,
   * see Assembler::skip_to. False: more units than there is room for. */
  template <class Sink>
  bool skip_to(uint32_t unit, uint64_t next, int64_t now, Sink&& sink) {
    Sequencer* const sequencer = unit_of(unit);
    if (sequencer == nullptr) return false;
    Assembler& assembler = sequencer->assembler();
    assembler.skip_to(extend_sequence(Framer::kNumbers, next, assembler.next()), now, sink);
    return true;
  }

  /* Units heard of so far, in the order of their first packets. */
  size_t units() const { return used_; }
  const Sequencer& unit(size_t i) const { return *units_[i]; }
  /* Live lines, then those for recovery. */
  std::span<const ArbiterLine> lines() const { return lines_; }
  uint32_t live_lines() const { return live_; }
  UnitCounters counters() const {
    UnitCounters sum;
    for (size_t i = 0; i < used_; ++i) sum += units_[i]->assembler().counters();
    return sum;
  }
  int64_t skew(uint32_t a, uint32_t b, double q) const {
    return line_skew(lines_[a].behind, lines_[b].behind, q);
  }

 private:
  Sequencer* unit_of(uint32_t unit) {
    if (latest_ < used_ && units_[latest_]->unit() == unit) [[likely]]
      return units_[latest_].get();
    for (size_t i = 0; i < used_; ++i) {
      if (units_[i]->unit() != unit) continue;
      latest_ = i;
      return units_[i].get();
    }
    if (used_ == units_.size()) return nullptr;
    latest_ = used_++;
    units_[latest_]->set_unit(unit);
    units_[latest_]->polled_until(polled_until_);
    return units_[latest_].get();
  }

  std::vector<ArbiterLine> lines_;
  std::vector<std::unique_ptr<Sequencer>> units_;
  size_t used_ = 0;
  size_t latest_ = 0;
  uint32_t live_;
  int64_t polled_until_ = INT64_MAX;
};

}  // namespace wp::feed
