/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests only: a feed of numbered MoldUDP64 messages on two lines that pack
 * them differently and lose, delay, repeat and reorder packets, and a server of
 * retransmissions that does too. In memory, on a clock of its own.
 */
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <queue>
#include <vector>

#include "feed/mold_udp64_packet.h"
#include "feed/random.h"
#include "net/bytes.h"

namespace wp::feed::testing {

inline constexpr size_t kMessageBytes = 8;  // the number itself

/* Message `seq` is its number, times an odd constant. */
inline uint64_t message_of(uint64_t seq) {
  return seq * 0x9e3779b97f4a7c15;
}

/* Writes a packet of numbered messages; returns its length. */
inline size_t numbered_packet(uint8_t* out, uint64_t first, uint64_t count) {
  MoldSession session;
  std::memcpy(session.data(), "LOSSYLINES", kMoldSessionSize);
  mold_encode_header(out, session, first, static_cast<uint16_t>(count));
  uint8_t* at = out + kMoldHeaderSize;
  for (uint64_t i = 0; i < count; ++i) {
    net::store_be16(at, kMessageBytes);
    net::store_be64(at + 2, message_of(first + i));
    at += 2 + kMessageBytes;
  }
  return static_cast<size_t>(at - out);
}

struct LossOptions {
  uint64_t messages = 1'000'000;
  uint64_t seed = 1;
  // Of packets, in a million.
  uint64_t lost = 10'000;
  uint64_t bursts = 20;         // on one line
  uint64_t common_bursts = 10;  // on both at once
  uint64_t burst_packets = 50;
  uint64_t reordered = 1'000;
  uint64_t repeated = 1'000;
};

struct Arrival {
  int64_t time;
  uint32_t line;
  uint64_t first;
  uint64_t count;  // 0: heartbeat
  bool operator>(const Arrival& other) const {
    return time != other.time ? time > other.time : line > other.line;
  }
};

/* A message a microsecond; packets of 1 to 8. */
class LossyLines {
 public:
  static constexpr int64_t kMessageNs = 1000;

  explicit LossyLines(const LossOptions& options) : o_(options), random_(options.seed) {
    arrived_.resize(options.messages + 1);
    for (Line& line : lines_) line.at = 1;
  }

  /* The next packet on any line, in the order of time; false: nothing more. */
  bool next(Arrival* out) {
    // Nothing made later can arrive before what has been made already and is this old.
    while (made_until() <= (pending_.empty() ? INT64_MAX : pending_.top().time)) {
      if (!make()) break;
    }
    if (pending_.empty()) return false;
    *out = pending_.top();
    pending_.pop();
    for (uint64_t i = 0; i < out->count; ++i) arrived_[out->first + i] = true;
    return true;
  }

  void answer(const Arrival& arrival) { pending_.push(arrival); }
  Random& random() { return random_; }
  /* Whether any line has brought it so far. */
  bool arrived(uint64_t seq) const { return arrived_[seq]; }
  uint64_t lost_packets(uint32_t line) const { return lines_[line].lost; }

 private:
  struct Line {
    uint64_t at;
    uint64_t burst = 0;  // packets still to lose
    uint64_t lost = 0;
    bool ended = false;
  };

  bool hits(uint64_t in_a_million) { return random_.below(1'000'000) < in_a_million; }

  int64_t made_until() const {
    return static_cast<int64_t>(std::min(lines_[0].at, lines_[1].at)) * kMessageNs;
  }

  bool make() {
    const uint32_t index = lines_[0].at <= lines_[1].at ? 0 : 1;
    Line& line = lines_[index];
    if (line.ended) return false;
    if (line.at > o_.messages) {
      // Heartbeats for a while, so that what was lost at the tail shows.
      const auto end = static_cast<int64_t>(o_.messages) * kMessageNs;
      for (int i = 1; i <= 3; ++i) {
        pending_.push({end + i * 10'000'000, index, o_.messages + 1, 0});
      }
      line.ended = true;
      line.at = UINT64_MAX / 2 / static_cast<uint64_t>(kMessageNs);
      return true;
    }
    const uint64_t count = std::min(1 + random_.below(8), o_.messages + 1 - line.at);
    Arrival arrival{0, index, line.at, count};
    line.at += count;
    // Sent when its last message is there; line B has a longer way.
    arrival.time = static_cast<int64_t>(line.at) * kMessageNs + (index == 0 ? 500 : 900) +
                   static_cast<int64_t>(random_.below(200));
    if (line.burst == 0 && hits(o_.bursts)) line.burst = o_.burst_packets;
    if (hits(o_.common_bursts)) lines_[0].burst = lines_[1].burst = o_.burst_packets;
    if (line.burst != 0 || hits(o_.lost)) {
      line.burst -= line.burst != 0;
      ++line.lost;
      return true;
    }
    if (hits(o_.repeated)) {
      Arrival again = arrival;
      again.time += static_cast<int64_t>(random_.below(50'000));
      pending_.push(again);
    }
    if (hits(o_.reordered)) arrival.time += static_cast<int64_t>(random_.below(50'000));
    pending_.push(arrival);
    return true;
  }

  LossOptions o_;
  Random random_;
  Line lines_[2];
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> pending_;
  std::vector<bool> arrived_;
};

}  // namespace wp::feed::testing
