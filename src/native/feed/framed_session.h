/* SPDX-License-Identifier: Apache-2.0
 *
 * One line of any venue as a sans-I/O session: a framer's packets in, messages and
 * sequence events out, per unit. It follows the sequence message by message, as
 * MoldUDP64 does; it holds nothing back and merges no lines.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "feed/packet.h"
#include "feed/sequence_gaps.h"

namespace wp::feed {

struct SessionOptions {
  uint64_t next_sequence = 0;  // first message wanted of each unit; 0: begin with its first packet
  size_t max_gaps = 64;        // open gaps remembered per unit
};

/* packets = data + heartbeats + end_of_session + resets + unsequenced_packets + ignored
 * + malformed. Every number from the first expected up to the next, over all units, is
 * in exactly one of: messages, empty, gap_open, lost. And gap_messages = gap_filled +
 * gap_open + lost. */
struct SessionCounters {
  uint64_t packets = 0;
  uint64_t data = 0;
  uint64_t heartbeats = 0;  // also those that say no number
  uint64_t end_of_session = 0;
  uint64_t resets = 0;               // packets that say so
  uint64_t unsequenced_packets = 0;  // with messages
  uint64_t ignored = 0;
  uint64_t malformed = 0;
  uint64_t messages = 0;       // sequenced, passed on
  uint64_t late = 0;           // of those: out of an open gap
  uint64_t retransmitted = 0;  // of those: in packets that say so
  uint64_t unsequenced = 0;    // messages outside the sequence, passed on
  uint64_t empty = 0;          // messages of length 0: a number without a message
  uint64_t duplicates = 0;     // messages whose number is settled already
  uint64_t session_changes = 0;
  uint64_t restarts = 0;  // the sequence went back without a word, see on_packet
  uint64_t gaps = 0;
  uint64_t gap_messages = 0;
  uint64_t gap_filled = 0;
  uint64_t gap_open = 0;
  uint64_t gaps_forgotten = 0;  // ranges given up because max_gaps were open
  uint64_t lost = 0;            // numbers given up: forgotten, or the sequence began anew
};

/* The sink is any object with
 *   message(const Packet&, uint64_t seq, const uint8_t* data, size_t len, bool late)
 *   gap(uint32_t unit, uint64_t first, uint64_t last)   before what revealed it
 *   heartbeat(uint32_t unit, uint64_t next)             next 0: not told
 *   end_of_session(uint32_t unit, uint64_t next)
 *   reset(uint32_t unit, uint64_t next, bool announced)   not announced: a restart
 *   session_change(const SessionName& from, const SessionName& to)
 * Numbers are as on the wire; seq 0 is an unsequenced message. */
template <class Framer>
class FramedSession {
 public:
  explicit FramedSession(const SessionOptions& options = {}, Framer framer = Framer())
      : framer_(std::move(framer)), numbers_(framer_.kNumbers) {
    cycle_ = numbers_.last - numbers_.after_last + 1;  // 0: all of 64 bits
    units_.reserve(Framer::kUnits);
    for (size_t i = 0; i < Framer::kUnits; ++i) units_.emplace_back(options.max_gaps);
    first_wanted_ = options.next_sequence;
  }
  FramedSession(FramedSession&&) = default;

  /* False: malformed, counted. A packet that is only looked at may be parsed again. */
  bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (framer_.parse(p, n, out)) [[likely]]
      return true;
    ++counters_.packets;
    ++counters_.malformed;
    return false;
  }

  /* One datagram. */
  template <class Sink>
  void on_datagram(const uint8_t* p, size_t n, Sink&& sink) {
    Packet packet;
    if (parse(p, n, packet)) on_packet(packet, sink);
  }

  /* A packet from parse. A heartbeat that the venue sent later than all before it and
   * that says a lower number is a restart: nothing older can carry a newer time. */
  template <class Sink>
  void on_packet(const Packet& packet, Sink&& sink);

  /* Of a unit; as on the wire, 0: not known. */
  uint64_t next_sequence(uint32_t unit = 0) const {
    return units_[unit].known ? to_wire(units_[unit].next) : 0;
  }
  /* Open gaps of a unit, both ends inclusive, as on the wire. Allocates. */
  std::vector<SequenceRange> gaps(uint32_t unit = 0) const {
    std::vector<SequenceRange> out;
    for (const SequenceRange& r : units_[unit].gaps.ranges())
      out.push_back({to_wire(r.first), to_wire(r.last)});
    return out;
  }
  const SessionName& session() const { return session_; }
  const SessionCounters& counters() const { return counters_; }
  const Framer& framer() const { return framer_; }
  uint64_t missing() const { return counters_.gap_open + counters_.lost; }

 private:
  /* Sequence numbers are counted on over a wrap: `next` is a position, never lower
   * than the number on the wire. */
  struct Unit {
    explicit Unit(size_t max_gaps) : gaps(max_gaps) {}
    SequenceGaps gaps;
    uint64_t next = 0;
    bool known = false;
  };

  uint64_t to_wire(uint64_t position) const {
    if (cycle_ == 0) return position;
    return numbers_.after_last + (position - numbers_.after_last) % cycle_;
  }

  /* The position of a number: the one nearest to what is expected. */
  uint64_t position(const Unit& unit, uint64_t wire) const {
    if (cycle_ == 0) return wire;
    if (!unit.known) return wire + cycle_;  // room for numbers below it
    const uint64_t ahead = (wire + cycle_ - to_wire(unit.next)) % cycle_;
    return ahead < cycle_ / 2 ? unit.next + ahead : unit.next - (cycle_ - ahead);
  }

  void begin(Unit& unit, uint64_t wire) {
    counters_.lost += open(unit);
    counters_.gap_open -= open(unit);
    unit.gaps.clear();
    unit.known = false;
    unit.next = position(unit, wire);
    unit.known = true;
  }

  static uint64_t open(const Unit& unit) {
    uint64_t sum = 0;
    for (const SequenceRange& r : unit.gaps.ranges()) sum += r.size();
    return sum;
  }

  template <class Sink>
  void advance_to(Unit& unit, uint32_t number, uint64_t next, Sink&& sink) {
    if (next <= unit.next) return;
    const SequenceRange range{unit.next, next - 1};
    unit.next = next;
    ++counters_.gaps;
    counters_.gap_messages += range.size();
    counters_.gap_open += range.size();
    forget(unit.gaps.append(range));
    sink.gap(number, to_wire(range.first), to_wire(range.last));
  }

  void forget(uint64_t dropped) {
    if (dropped == 0) [[likely]]
      return;
    ++counters_.gaps_forgotten;
    counters_.gap_open -= dropped;
    counters_.lost += dropped;
  }

  bool fill(Unit& unit, uint64_t at) {
    uint64_t dropped = 0;
    if (!unit.gaps.take(at, &dropped)) return false;
    --counters_.gap_open;
    ++counters_.gap_filled;
    forget(dropped);
    return true;
  }

  template <class Sink>
  void take_messages(const Packet& packet, Unit& unit, Sink&& sink);

  [[no_unique_address]] Framer framer_;
  SequenceNumbers numbers_;
  uint64_t cycle_ = 0;
  uint64_t first_wanted_ = 0;
  std::vector<Unit> units_;
  SessionName session_{};
  int64_t newest_ = 0;  // send time
  SessionCounters counters_;
};

template <class Framer>
template <class Sink>
void FramedSession<Framer>::on_packet(const Packet& packet, Sink&& sink) {
  ++counters_.packets;
  if (packet.kind == PacketKind::kIgnored) {
    ++counters_.ignored;
    return;
  }
  if (packet.kind == PacketKind::kUnsequenced) {
    if (packet.count == 0) {
      ++counters_.heartbeats;
      sink.heartbeat(packet.unit, 0);
      return;
    }
    ++counters_.unsequenced_packets;
    framer_.for_each(packet, [&](const uint8_t* data, size_t len) {
      ++counters_.unsequenced;
      sink.message(packet, 0, data, len, false);
    });
    return;
  }
  if (packet.session != session_) [[unlikely]] {
    const SessionName from = std::exchange(session_, packet.session);
    if (from != SessionName{}) {
      ++counters_.session_changes;
      counters_.lost += std::exchange(counters_.gap_open, 0);
      for (Unit& unit : units_) {
        unit.gaps.clear();
        unit.known = false;
      }
      first_wanted_ = 0;
      sink.session_change(from, session_);
    }
  }
  Unit& unit = units_[packet.unit];
  if (!unit.known) [[unlikely]]
    begin(unit, first_wanted_ != 0 ? first_wanted_ : packet.first);
  const uint64_t at = position(unit, packet.first);
  const bool newest = packet.send_time > newest_;
  if (newest) newest_ = packet.send_time;

  switch (packet.kind) {
    case PacketKind::kData:
      ++counters_.data;
      take_messages(packet, unit, sink);
      return;
    case PacketKind::kReset:
      ++counters_.resets;
      begin(unit, packet.first);
      sink.reset(packet.unit, packet.first, true);
      take_messages(packet, unit, sink);
      return;
    case PacketKind::kHeartbeat:
      ++counters_.heartbeats;
      if (at < unit.next && newest) {
        ++counters_.restarts;
        begin(unit, packet.first);
        sink.reset(packet.unit, packet.first, false);
      } else {
        advance_to(unit, packet.unit, at, sink);
      }
      sink.heartbeat(packet.unit, packet.first);
      return;
    default:
      ++counters_.end_of_session;
      advance_to(unit, packet.unit, at, sink);
      sink.end_of_session(packet.unit, packet.first);
  }
}

template <class Framer>
template <class Sink>
void FramedSession<Framer>::take_messages(const Packet& packet, Unit& unit, Sink&& sink) {
  uint64_t at = position(unit, packet.first);
  uint64_t seq = packet.first;
  advance_to(unit, packet.unit, at, sink);
  framer_.for_each(packet, [&](const uint8_t* data, size_t len) {
    const uint64_t here = at++;
    const uint64_t number = seq;
    seq = seq == numbers_.last ? numbers_.after_last : seq + 1;
    bool late = false;
    if (here == unit.next) [[likely]] {
      ++unit.next;
    } else if (fill(unit, here)) {
      late = true;
    } else {
      ++counters_.duplicates;
      return;
    }
    if (len == 0) [[unlikely]] {
      ++counters_.empty;
      return;
    }
    ++counters_.messages;
    counters_.late += late;
    counters_.retransmitted += packet.retransmitted;
    sink.message(packet, number, data, len, late);
  });
}

}  // namespace wp::feed
