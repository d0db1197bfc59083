/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: runs a MoldUDP64 session and the naive model over
 * the same packets and names the first thing in which they differ.
 */
#pragma once

#include <string>
#include <vector>

#include "feed/mold_udp64.h"
#include "feed/mold_udp64_naive.h"

namespace wp::feed::naive {

struct MoldRecorder {
  std::vector<MoldEvent> events;
  std::vector<int64_t> times;

  void message(uint64_t seq, const uint8_t* data, uint16_t len, int64_t recv_time, bool late) {
    events.push_back({late ? MoldEvent::kLate : MoldEvent::kMessage, seq, seq,
                      std::string(reinterpret_cast<const char*>(data), len)});
    times.push_back(recv_time);
  }
  void gap(uint64_t first, uint64_t last) { events.push_back({MoldEvent::kGap, first, last, ""}); }
  void heartbeat(uint64_t next) { events.push_back({MoldEvent::kHeartbeat, next, next, ""}); }
  void end_of_session(uint64_t next) { events.push_back({MoldEvent::kEnd, next, next, ""}); }
  void session_change(const MoldSession& from, const MoldSession& to) {
    events.push_back({MoldEvent::kSession, 0, 0,
                      std::string(from.begin(), from.end()) + std::string(to.begin(), to.end())});
  }
};

class MoldDifferential {
 public:
  /* pinned: 10 characters, or empty. */
  MoldDifferential(const std::string& pinned, uint64_t next, size_t max_gaps)
      : session_(options(pinned, next, max_gaps)), model_(pinned, next, max_gaps), first_(next) {}

  /* The name of what differs after this packet, or null. */
  const char* on_packet(const std::string& packet) {
    recorder_.events.clear();
    model_.events.clear();
    // A heap copy of its exact size lets a sanitizer see a read past the end.
    const std::vector<uint8_t> bytes(packet.begin(), packet.end());
    session_.on_packet(bytes.data(), bytes.size(), 7, recorder_);
    model_.on_packet(packet);
    return difference();
  }

  const MoldUDP64& session() const { return session_; }
  const Mold& model() const { return model_; }
  const std::vector<MoldEvent>& events() const { return recorder_.events; }

 private:
  static MoldOptions options(const std::string& pinned, uint64_t next, size_t max_gaps) {
    MoldOptions options;
    std::copy(pinned.begin(), pinned.end(), options.session.begin());
    options.next_sequence = next;
    options.max_gaps = max_gaps;
    return options;
  }

  const char* difference() const {
    const MoldCounters& c = session_.counters();
    const Mold& m = model_;
    if (recorder_.events != m.events) return "events";
    std::vector<Mold::Range> open;
    for (const SequenceRange& r : session_.gaps()) open.push_back({r.first, r.last});
    if (open != m.open()) return "open gaps";
    if (session_.next_sequence() != m.next) return "next sequence";
    const MoldSession& name = session_.session();
    if (session_.has_session() && std::string(name.begin(), name.end()) != m.session) {
      return "session";
    }
    const struct {
      const char* name;
      uint64_t ours, model;
    } counters[] = {
        {"packets", c.packets, m.packets},
        {"messages", c.messages, m.messages},
        {"late", c.late, m.late},
        {"empty", c.empty, m.empty},
        {"duplicates", c.duplicates, m.duplicates},
        {"heartbeats", c.heartbeats, m.heartbeats},
        {"end_of_session", c.end_of_session, m.ends},
        {"malformed", c.malformed, m.malformed},
        {"trailing", c.trailing, m.trailing},
        {"wrong_session", c.wrong_session, m.wrong_session},
        {"session_changes", c.session_changes, m.session_changes},
        {"gaps", c.gaps, m.gaps},
        {"gap_messages", c.gap_messages, m.gap_messages},
        {"gap_filled", c.gap_filled, m.gap_filled},
        {"gap_open", c.gap_open, m.open_count()},
        {"gaps_forgotten", c.gaps_forgotten, m.gaps_forgotten},
        {"lost", c.lost, m.lost},
    };
    for (const auto& counter : counters) {
      if (counter.ours != counter.model) return counter.name;
    }
    if (c.gap_messages != c.gap_filled + c.gap_open + c.lost) return "sum of gaps";
    // With a given start and one session the whole stream must add up.
    if (first_ != 0 && c.session_changes == 0 &&
        session_.next_sequence() - first_ != c.messages + c.empty + session_.missing()) {
      return "sum of messages";
    }
    return nullptr;
  }

  MoldUDP64 session_;
  Mold model_;
  MoldRecorder recorder_;
  uint64_t first_;
};

/* A downstream packet from its parts; count defaults to the number of blocks. */
inline std::string mold_packet(const std::string& session, uint64_t sequence,
                               const std::vector<std::string>& blocks, int count = -1) {
  std::string p = session;
  for (int shift = 56; shift >= 0; shift -= 8) p += static_cast<char>(sequence >> shift);
  const int n = count >= 0 ? count : static_cast<int>(blocks.size());
  p += static_cast<char>(n >> 8);
  p += static_cast<char>(n);
  for (const std::string& block : blocks) {
    p += static_cast<char>(block.size() >> 8);
    p += static_cast<char>(block.size());
    p += block;
  }
  return p;
}

}  // namespace wp::feed::naive
