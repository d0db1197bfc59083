/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: runs an arbiter and the naive model over the same
 * packets and names the first thing in which they differ.
 */
#pragma once

#include <map>
#include <string>
#include <vector>

#include "feed/arbiter.h"
#include "feed/arbiter_naive.h"

namespace wp::feed::naive {

struct ArbiterRecorder {
  std::map<uint32_t, std::vector<ArbiterEvent>> events;  // by unit

  void message(const MessageInfo& i, const uint8_t* data, size_t length) {
    add(i.unit, {ArbiterEvent::kMessage, i.seq, i.seq, i.line * 256 + i.flags, i.recv_time,
                 std::string(reinterpret_cast<const char*>(data), length)});
  }
  void gap(uint32_t unit, uint64_t first, uint64_t last) {
    add(unit, {ArbiterEvent::kGap, first, last, 0, 0, ""});
  }
  void gap_abandoned(uint32_t unit, uint64_t first, uint64_t last, AbandonReason reason) {
    add(unit, {ArbiterEvent::kAbandoned, first, last, static_cast<int>(reason), 0, ""});
  }
  void heartbeat(uint32_t unit, uint64_t next, uint16_t line) {
    add(unit, {ArbiterEvent::kHeartbeat, next, 0, line, 0, ""});
  }
  void end_of_session(uint32_t unit, uint64_t next) {
    add(unit, {ArbiterEvent::kEnd, next, 0, 0, 0, ""});
  }
  void session_change(uint32_t unit, const SessionName& from, const SessionName& to) {
    add(unit,
        {ArbiterEvent::kSession, 0, 0, 0, 0, std::string(1, from[0]) + std::string(1, to[0])});
  }
  void reset(uint32_t unit, uint64_t next, ResetCause cause) {
    add(unit, {ArbiterEvent::kReset, next, 0, static_cast<int>(cause), 0, ""});
  }

 private:
  void add(uint32_t unit, ArbiterEvent event) { events[unit].push_back(std::move(event)); }
};

template <class Framer>
class ArbiterDifferential {
 public:
  explicit ArbiterDifferential(const ArbiterOptions& options)
      : options_(options), arbiter_(options), other_(options.lines + options.recovery_lines) {}

  /* The name of what differs after this packet, or null. */
  const char* on_packet(uint32_t line, const std::string& bytes, int64_t now) {
    recorder_.events.clear();
    for (auto& [unit, model] : models_) model.events.clear();
    // A heap copy of its exact size lets a sanitizer see a read past the end.
    const std::vector<uint8_t> copy(bytes.begin(), bytes.end());
    arbiter_.on_packet(line, copy.data(), copy.size(), now, recorder_);
    Other& other = other_[line];
    ++other.packets;
    ParsedPacket parsed;
    if (!Framer::parse(copy.data(), copy.size(), parsed.packet)) {
      ++other.malformed;
      return difference();
    }
    if (parsed.packet.count != 0) {
      Framer::for_each(parsed.packet, [&](const uint8_t* p, size_t n) {
        parsed.messages.emplace_back(reinterpret_cast<const char*>(p), n);
      });
    }
    const uint32_t unit = parsed.packet.unit;
    if (models_.count(unit) == 0) {
      if (models_.size() == options_.units) {
        ++other.unknown_unit;
        return difference();
      }
      models_.try_emplace(unit, options_, Framer::kNumbers).first->second.polled_until =
          polled_until_;
    }
    models_.at(unit).on_packet(line, parsed, now);
    return difference();
  }

  const char* on_time(int64_t now) {
    recorder_.events.clear();
    for (auto& [unit, model] : models_) {
      model.events.clear();
      model.on_time(now);
    }
    arbiter_.on_time(now, recorder_);
    return difference();
  }

  void polled_until(int64_t time) {
    polled_until_ = time;
    for (auto& [unit, model] : models_) model.polled_until = time;
    arbiter_.polled_until(time);
  }

  /* Of a unit that was heard of. */
  const char* skip_to(uint32_t unit, uint64_t next, int64_t now) {
    recorder_.events.clear();
    for (auto& [number, model] : models_) model.events.clear();
    if (models_.count(unit) == 0) return nullptr;
    models_.at(unit).skip_to(next, now);
    arbiter_.skip_to(unit, next, now, recorder_);
    return difference();
  }

  const Arbiter<Framer>& arbiter() const { return arbiter_; }
  const std::vector<ArbiterEvent>& events(uint32_t unit = 0) { return recorder_.events[unit]; }

 private:
  struct Other {
    uint64_t packets = 0, malformed = 0, unknown_unit = 0;
  };

  const char* difference() {
    LineCounters sums[128];
    for (size_t i = 0; i < arbiter_.units(); ++i) {
      const Sequencer& unit = arbiter_.unit(i);
      const ArbiterUnit& model = models_.at(unit.unit());
      if (recorder_.events[unit.unit()] != model.events) return "events";
      const Assembler& a = unit.assembler();
      std::vector<ArbiterUnit::Range> open;
      for (const SequenceRange& r : a.gaps()) open.push_back({r.first, r.last});
      if (open != model.gaps()) return "open gaps";
      if (a.next() != model.next) return "next sequence";
      if (unit.ended() != model.ended) return "ended";
      if (unit.has_session() && unit.session() != model.session) return "session";
      if (a.hold().messages() != model.held.size()) return "held";
      if (const char* name = unit_difference(a.counters(), model)) return name;
      for (size_t k = 0; k < other_.size(); ++k) add(sums[k], model.lines[k].c);
    }
    for (size_t k = 0; k < other_.size(); ++k) {
      sums[k].packets = other_[k].packets;
      sums[k].malformed += other_[k].malformed;
      sums[k].unknown_unit = other_[k].unknown_unit;
      if (const char* name = line_difference(arbiter_.lines()[k].counters, sums[k])) return name;
    }
    return nullptr;
  }

  static const char* unit_difference(const UnitCounters& c, const ArbiterUnit& model) {
    const UnitCounters& m = model.c;
    if (c.delivered != m.delivered) return "delivered";
    if (c.late != m.late) return "late";
    if (c.recovered != m.recovered) return "recovered";
    if (c.empty != m.empty) return "empty";
    if (c.held != model.held.size()) return "held now";
    if (c.held_total != m.held_total) return "held ever";
    if (c.superseded != m.superseded) return "superseded";
    if (c.gaps != m.gaps) return "gaps";
    if (c.gap_messages != m.gap_messages) return "gap messages";
    if (c.gap_filled != m.gap_filled) return "gap filled";
    if (c.gap_open != model.missing.size()) return "gap open";
    if (c.abandoned != m.abandoned) return "abandoned";
    if (c.gaps_abandoned != m.gaps_abandoned) return "gaps abandoned";
    if (c.session_changes != m.session_changes) return "session changes";
    if (c.resets != m.resets) return "resets";
    if (c.gap_messages != c.gap_filled + c.gap_open + c.abandoned) return "sum of gaps";
    return nullptr;
  }

  static const char* line_difference(const LineCounters& c, const LineCounters& m) {
    const struct {
      const char* name;
      uint64_t LineCounters::*field;
    } fields[] = {
        {"packets", &LineCounters::packets},
        {"malformed", &LineCounters::malformed},
        {"unknown_unit", &LineCounters::unknown_unit},
        {"ignored", &LineCounters::ignored},
        {"wrong_session", &LineCounters::wrong_session},
        {"stale", &LineCounters::stale},
        {"doubted", &LineCounters::doubted},
        {"heartbeats", &LineCounters::heartbeats},
        {"end_of_session", &LineCounters::end_of_session},
        {"line resets", &LineCounters::resets},
        {"data", &LineCounters::data},
        {"unsequenced", &LineCounters::unsequenced},
        {"unsequenced_messages", &LineCounters::unsequenced_messages},
        {"messages", &LineCounters::messages},
        {"won", &LineCounters::won},
        {"duplicates", &LineCounters::duplicates},
        {"too_late", &LineCounters::too_late},
        {"expected", &LineCounters::expected},
        {"missing", &LineCounters::missing},
        {"reordered", &LineCounters::reordered},
        {"repeated", &LineCounters::repeated},
    };
    for (const auto& f : fields) {
      if (c.*f.field != m.*f.field) return f.name;
    }
    if (c.packets != c.malformed + c.unknown_unit + c.ignored + c.wrong_session + c.stale +
                         c.doubted + c.heartbeats + c.end_of_session + c.resets + c.data +
                         c.unsequenced) {
      return "sum of packets";
    }
    if (c.messages != c.won + c.duplicates + c.too_late) return "sum of messages";
    return nullptr;
  }

  static void add(LineCounters& sum, const LineCounters& c) {
    sum.malformed += c.malformed;
    sum.ignored += c.ignored;
    sum.wrong_session += c.wrong_session;
    sum.stale += c.stale;
    sum.doubted += c.doubted;
    sum.heartbeats += c.heartbeats;
    sum.end_of_session += c.end_of_session;
    sum.resets += c.resets;
    sum.data += c.data;
    sum.unsequenced += c.unsequenced;
    sum.unsequenced_messages += c.unsequenced_messages;
    sum.messages += c.messages;
    sum.won += c.won;
    sum.duplicates += c.duplicates;
    sum.too_late += c.too_late;
    sum.expected += c.expected;
    sum.missing += c.missing;
    sum.reordered += c.reordered;
    sum.repeated += c.repeated;
  }

  ArbiterOptions options_;
  int64_t polled_until_ = INT64_MAX;
  Arbiter<Framer> arbiter_;
  std::map<uint32_t, ArbiterUnit> models_;
  ArbiterRecorder recorder_;
  std::vector<Other> other_;
};

}  // namespace wp::feed::naive
