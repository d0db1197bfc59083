/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: a MoldUDP64 session as a std::set of everything
 * seen. Slow, obvious, and sharing no code with the session but the options.
 */
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace wp::feed::naive {

struct MoldEvent {
  enum What { kMessage, kLate, kGap, kHeartbeat, kEnd, kSession } what;
  uint64_t first;  // sequence number, or first of the gap
  uint64_t last;
  std::string data;
  bool operator==(const MoldEvent&) const = default;
};

class Mold {
 public:
  using Range = std::pair<uint64_t, uint64_t>;

  Mold(std::string pinned, uint64_t next, size_t max_gaps)
      : session(pinned), next(next), pinned_(!pinned.empty()), max_gaps_(max_gaps) {
    known_ = next != 0;
    floor_ = next;
  }

  void on_packet(const std::string& p) {
    ++packets;
    if (p.size() < 20) {
      ++malformed;
      return;
    }
    const std::string name = p.substr(0, 10);
    const uint64_t first = number(p, 10, 8);
    const uint64_t count = number(p, 18, 2);
    const bool control = count == 0 || count == 0xFFFF;
    if (!control && first + count < first) {
      ++malformed;
      return;
    }
    std::vector<std::string> blocks;
    size_t at = 20;
    bool damaged = false;
    while (!control && blocks.size() < count && !damaged) {
      damaged = at + 2 > p.size() || at + 2 + number(p, at, 2) > p.size();
      if (damaged) break;
      blocks.push_back(p.substr(at + 2, number(p, at, 2)));
      at += 2 + blocks.back().size();
    }
    if (name != session && !change_session(name, damaged)) return;
    if (!known_) {
      known_ = true;
      next = floor_ = first;
    }
    reveal(first);
    if (control) {
      if (p.size() > 20) ++trailing;
      ++(count == 0 ? heartbeats : ends);
      events.push_back({count == 0 ? MoldEvent::kHeartbeat : MoldEvent::kEnd, first, first, ""});
      return;
    }
    for (size_t i = 0; i < blocks.size(); ++i) one(first + i, blocks[i]);
    if (damaged) {
      ++malformed;
      reveal(first + count);
    } else if (at != p.size()) {
      ++trailing;
    }
  }

  /* What is missing between floor and next. */
  std::vector<Range> open() const {
    std::vector<Range> ranges;
    uint64_t from = floor_;
    for (auto it = seen_.lower_bound(floor_); it != seen_.end(); ++it) {
      if (*it > from) ranges.push_back({from, *it - 1});
      from = *it + 1;
    }
    if (from < next) ranges.push_back({from, next - 1});
    return ranges;
  }
  uint64_t open_count() const {
    uint64_t sum = 0;
    for (const Range& r : open()) sum += r.second - r.first + 1;
    return sum;
  }

  std::string session;
  uint64_t next;
  std::vector<MoldEvent> events;
  uint64_t packets = 0, messages = 0, late = 0, empty = 0, duplicates = 0, heartbeats = 0, ends = 0,
           malformed = 0, trailing = 0, wrong_session = 0, session_changes = 0, gaps = 0,
           gap_messages = 0, gap_filled = 0, gaps_forgotten = 0, lost = 0;

 private:
  static uint64_t number(const std::string& p, size_t at, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) value = value << 8 | static_cast<uint8_t>(p[at + i]);
    return value;
  }

  bool change_session(const std::string& name, bool damaged) {
    if (pinned_) {
      ++wrong_session;
      return false;
    }
    if (damaged) {
      ++malformed;
      return false;
    }
    if (!session.empty()) {
      ++session_changes;
      lost += open_count();
      seen_.clear();
      known_ = false;
      events.push_back({MoldEvent::kSession, 0, 0, session + name});
    }
    session = name;
    return true;
  }

  void reveal(uint64_t to) {
    if (to <= next) return;
    ++gaps;
    gap_messages += to - next;
    events.push_back({MoldEvent::kGap, next, to - 1, ""});
    next = to;
    forget();
  }

  // The lowest ranges are the oldest: to forget one is to settle all up to its end.
  void forget() {
    for (auto ranges = open(); ranges.size() > max_gaps_; ranges = open()) {
      ++gaps_forgotten;
      lost += ranges[0].second - ranges[0].first + 1;
      floor_ = ranges[0].second + 1;
    }
  }

  void one(uint64_t seq, const std::string& data) {
    const bool is_late = seq < next;
    if (seq < floor_ || seen_.count(seq) != 0) {
      ++duplicates;
      return;
    }
    seen_.insert(seq);
    if (is_late) {
      ++gap_filled;
    } else {
      next = seq + 1;
    }
    forget();
    if (data.empty()) {
      ++empty;
      return;
    }
    ++messages;
    if (is_late) ++late;
    events.push_back({is_late ? MoldEvent::kLate : MoldEvent::kMessage, seq, seq, data});
  }

  bool pinned_;
  bool known_ = false;
  size_t max_gaps_;
  uint64_t floor_ = 0;
  std::set<uint64_t> seen_;
};

}  // namespace wp::feed::naive
