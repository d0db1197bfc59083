/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: what FramedSession does, with a plain list of missing
 * ranges per unit and numbers of 128 bits.
 */
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "feed/framed_session.h"
#include "feed/venue_naive.h"

namespace wp::feed::naive {

struct Event {
  char kind;  // m message, g gap, h heartbeat, e end, r reset, s session
  uint32_t unit = 0;
  uint64_t a = 0, b = 0;
  Bytes data{};
  bool late = false;
  bool operator==(const Event&) const = default;
};

/* A sink that writes down what it is told. */
struct Recorder {
  std::vector<Event> events;
  void message(const Packet& p, uint64_t seq, const uint8_t* data, size_t len, bool late) {
    events.push_back({'m', p.unit, seq, p.retransmitted, Bytes(data, data + len), late});
  }
  void gap(uint32_t unit, uint64_t first, uint64_t last) {
    events.push_back({'g', unit, first, last});
  }
  void heartbeat(uint32_t unit, uint64_t next) { events.push_back({'h', unit, next}); }
  void end_of_session(uint32_t unit, uint64_t next) { events.push_back({'e', unit, next}); }
  void reset(uint32_t unit, uint64_t next, bool announced) {
    events.push_back({'r', unit, next, announced});
  }
  void session_change(const SessionName& from, const SessionName& to) {
    events.push_back({'s', 0, 0, 0, Bytes(from.begin(), from.end())});
    events.back().data.insert(events.back().data.end(), to.begin(), to.end());
  }
};

class NaiveSession {
 public:
  NaiveSession(SequenceNumbers numbers, uint64_t next_sequence, size_t max_gaps)
      : numbers_(numbers), wanted_(next_sequence), max_gaps_(max_gaps) {
    cycle_ = static_cast<Wide>(numbers.last) - numbers.after_last + 1;
  }

  std::vector<Event> on_packet(const std::optional<NaivePacket>& parsed) {
    events_.clear();
    ++c.packets;
    if (!parsed) {
      ++c.malformed;
    } else if (parsed->kind == PacketKind::kIgnored) {
      ++c.ignored;
    } else if (parsed->kind == PacketKind::kUnsequenced) {
      unsequenced(*parsed);
    } else {
      sequenced(*parsed);
    }
    return events_;
  }

  SessionCounters c;

 private:
  using Wide = __int128;
  struct Unit {
    Wide next = 0;
    std::vector<std::pair<Wide, Wide>> missing;
  };

  void unsequenced(const NaivePacket& p) {
    if (p.messages.empty()) {
      ++c.heartbeats;
      events_.push_back({'h', p.unit, 0});
      return;
    }
    ++c.unsequenced_packets;
    for (const Bytes& m : p.messages) {
      ++c.unsequenced;
      events_.push_back({'m', p.unit, 0, p.retransmitted, m});
    }
  }

  void sequenced(const NaivePacket& p) {
    Bytes session = p.session;
    session.resize(16);
    if (session != session_) {
      if (session_ != Bytes(16)) {
        ++c.session_changes;
        c.lost += c.gap_open;
        c.gap_open = 0;
        units_.clear();
        wanted_ = 0;
        events_.push_back({'s', 0, 0, 0, session_});
        events_.back().data.insert(events_.back().data.end(), session.begin(), session.end());
      }
      session_ = session;
    }
    if (units_.count(p.unit) == 0) units_[p.unit].next = wanted_ != 0 ? wanted_ : p.first;
    Unit& unit = units_[p.unit];
    const bool newest = p.send_time > newest_;
    newest_ = std::max(newest_, p.send_time);
    if (p.kind == PacketKind::kHeartbeat) {
      ++c.heartbeats;
      if (newest && nearest(unit, p.first) < unit.next) {
        ++c.restarts;
        anew(unit, p);
      }
      reveal(unit, p);
      events_.push_back({'h', p.unit, p.first});
      return;
    }
    ++(p.kind == PacketKind::kReset ? c.resets : c.data);
    if (p.kind == PacketKind::kReset) anew(unit, p);
    Wide at = nearest(unit, p.first);
    reveal(unit, p);
    for (const Bytes& m : p.messages) {
      take(unit, p, at, m);
      ++at;
    }
  }

  void anew(Unit& unit, const NaivePacket& p) {
    for (const auto& [first, last] : unit.missing) {
      c.gap_open -= static_cast<uint64_t>(last - first + 1);
      c.lost += static_cast<uint64_t>(last - first + 1);
    }
    unit.missing.clear();
    unit.next = p.first;
    events_.push_back({'r', p.unit, p.first, p.kind == PacketKind::kReset});
  }

  /* The number with this representation that is nearest to what is expected; half a
   * cycle away is behind. */
  Wide nearest(const Unit& unit, uint64_t wire) const {
    if (cycle_ >> 64 != 0) return wire;
    Wide at = wire;
    while (at < unit.next) at += cycle_;
    while (at - cycle_ >= unit.next) at -= cycle_;
    return at - unit.next < cycle_ / 2 ? at : at - cycle_;
  }

  uint64_t wire(Wide at) const {
    Wide w = (at - numbers_.after_last) % cycle_;
    if (w < 0) w += cycle_;
    return static_cast<uint64_t>(w + numbers_.after_last);
  }

  void reveal(Unit& unit, const NaivePacket& p) {
    const Wide at = nearest(unit, p.first);
    if (at <= unit.next) return;
    const std::pair<Wide, Wide> range{unit.next, at - 1};
    const uint64_t size = static_cast<uint64_t>(at - unit.next);
    ++c.gaps;
    c.gap_messages += size;
    c.gap_open += size;
    if (!unit.missing.empty() && unit.missing.back().second + 1 == range.first) {
      unit.missing.back().second = range.second;
    } else {
      make_room(unit);
      unit.missing.push_back(range);
    }
    events_.push_back({'g', p.unit, wire(range.first), wire(range.second)});
    unit.next = at;
  }

  void make_room(Unit& unit) {
    if (unit.missing.size() < max_gaps_) return;
    const auto [first, last] = unit.missing.front();
    unit.missing.erase(unit.missing.begin());
    ++c.gaps_forgotten;
    c.gap_open -= static_cast<uint64_t>(last - first + 1);
    c.lost += static_cast<uint64_t>(last - first + 1);
  }

  bool was_missing(Unit& unit, Wide at) {
    for (size_t i = 0; i < unit.missing.size(); ++i) {
      const auto [first, last] = unit.missing[i];
      if (at < first || at > last) continue;
      --c.gap_open;
      ++c.gap_filled;
      unit.missing.erase(unit.missing.begin() + static_cast<long>(i));
      std::vector<std::pair<Wide, Wide>> parts;
      if (first < at) parts.emplace_back(first, at - 1);
      if (at < last) parts.emplace_back(at + 1, last);
      unit.missing.insert(unit.missing.begin() + static_cast<long>(i), parts.begin(), parts.end());
      if (unit.missing.size() > max_gaps_) make_room(unit);
      return true;
    }
    return false;
  }

  void take(Unit& unit, const NaivePacket& p, Wide at, const Bytes& m) {
    bool late = false;
    if (at == unit.next) {
      ++unit.next;
    } else if (was_missing(unit, at)) {
      late = true;
    } else {
      ++c.duplicates;
      return;
    }
    if (m.empty()) {
      ++c.empty;
      return;
    }
    ++c.messages;
    c.late += late;
    c.retransmitted += p.retransmitted;
    events_.push_back({'m', p.unit, wire(at), p.retransmitted, m, late});
  }

  SequenceNumbers numbers_;
  Wide cycle_;
  uint64_t wanted_;
  size_t max_gaps_;
  Bytes session_ = Bytes(16);
  int64_t newest_ = 0;
  std::map<uint32_t, Unit> units_;
  std::vector<Event> events_;
};

inline bool same_counters(const SessionCounters& a, const SessionCounters& b) {
  static_assert(sizeof(SessionCounters) % sizeof(uint64_t) == 0);
  return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace wp::feed::naive
