/* SPDX-License-Identifier: Apache-2.0
 *
 * MoldUDP64 as a sans-I/O session: datagrams in, messages and sequence events
 * out. Sequence logic is per message: a packet may repeat, fill or leave out any
 * part of the stream.
 *
 * Source: Nasdaq MoldUDP64 protocol specification 1.00.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "feed/mold_udp64_packet.h"
#include "feed/sequence_gaps.h"
#include "net/bytes.h"

namespace wp::feed {

struct MoldOptions {
  MoldSession session{};       // all zero: adopt the first packet's, and follow changes
  uint64_t next_sequence = 0;  // first message wanted; 0: begin with the first packet
  size_t max_gaps = 1024;      // open gaps remembered
};

/* Every sequence number from the first expected to next_sequence - 1, over all
 * sessions, is in exactly one of: messages, empty, gap_open, lost. And
 * gap_messages = gap_filled + gap_open + lost. */
struct MoldCounters {
  uint64_t packets = 0;         // all datagrams offered
  uint64_t messages = 0;        // passed to the sink, late ones included
  uint64_t late = 0;            // of those: out of an open gap
  uint64_t empty = 0;           // zero-length blocks: a sequence number without a message
  uint64_t duplicates = 0;      // blocks whose sequence number is settled already
  uint64_t heartbeats = 0;      // packets with count 0
  uint64_t end_of_session = 0;  // packets with count 0xFFFF
  uint64_t malformed = 0;       // packets: short, sequence wraps, or a block past the end
  uint64_t trailing = 0;        // packets with bytes after the last block
  uint64_t wrong_session = 0;   // packets of another session than the pinned one, dropped
  uint64_t session_changes = 0;
  uint64_t gaps = 0;            // gap events
  uint64_t gap_messages = 0;    // sequence numbers in them
  uint64_t gap_filled = 0;      // of those: came late
  uint64_t gap_open = 0;        // of those: missing now, may still come
  uint64_t gaps_forgotten = 0;  // ranges given up because max_gaps were open
  uint64_t lost = 0;            // sequence numbers given up: forgotten, or the session changed
};

/* The sink of on_packet is any object with
 *   message(uint64_t seq, const uint8_t* data, uint16_t len, int64_t recv_time, bool late)
 *   gap(uint64_t first, uint64_t last)      before the message that revealed it
 *   heartbeat(uint64_t next)
 *   end_of_session(uint64_t next)
 *   session_change(const MoldSession& from, const MoldSession& to)
 * It must not call on_packet of the same session. `data` is valid during the call. */
class MoldUDP64 {
 public:
  explicit MoldUDP64(const MoldOptions& options = {})
      : gaps_(options.max_gaps),
        session_(options.session),
        next_(options.next_sequence),
        pinned_(options.session != MoldSession{}),
        have_session_(pinned_),
        have_next_(options.next_sequence != 0) {}

  /* One UDP payload. recv_time is handed through to the sink. */
  template <class Sink>
  void on_packet(const uint8_t* p, size_t n, int64_t recv_time, Sink&& sink);

  /* Open gaps, ascending, both ends inclusive; valid until the next packet. */
  std::span<const SequenceRange> gaps() const { return gaps_.ranges(); }
  /* 0 until the first packet when not given by the options. */
  uint64_t next_sequence() const { return next_; }
  const MoldSession& session() const { return session_; }
  bool has_session() const { return have_session_; }
  /* The latest control packet of this session said end of session. */
  bool ended() const { return ended_; }
  const MoldCounters& counters() const { return counters_; }
  /* Sequence numbers known to exist and not received, at this moment. */
  uint64_t missing() const { return counters_.gap_open + counters_.lost; }

 private:
  bool is_this_session(const uint8_t* p) const {
    return std::memcmp(p, session_.data(), kMoldSessionSize) == 0;
  }

  template <class Sink>
  bool take_session(const uint8_t* p, size_t n, Sink&& sink);

  /* Everything before `next` that is not settled becomes a gap. */
  template <class Sink>
  void advance_to(uint64_t next, Sink&& sink) {
    if (next <= next_) return;
    const SequenceRange range{next_, next - 1};
    next_ = next;
    ++counters_.gaps;
    counters_.gap_messages += range.size();
    counters_.gap_open += range.size();
    forget(gaps_.append(range));
    sink.gap(range.first, range.last);
  }

  void forget(uint64_t dropped) {
    if (dropped == 0) [[likely]]
      return;
    ++counters_.gaps_forgotten;
    counters_.gap_open -= dropped;
    counters_.lost += dropped;
  }

  bool fill(uint64_t seq) {
    uint64_t dropped = 0;
    if (!gaps_.take(seq, &dropped)) return false;
    --counters_.gap_open;
    ++counters_.gap_filled;
    forget(dropped);
    return true;
  }

  SequenceGaps gaps_;
  MoldSession session_;
  uint64_t next_;
  MoldCounters counters_;
  bool pinned_;
  bool have_session_;
  bool have_next_;
  bool ended_ = false;
};

/* The session is none yet or another one. False: the packet is dropped, counted. */
template <class Sink>
bool MoldUDP64::take_session(const uint8_t* p, size_t n, Sink&& sink) {
  if (pinned_) {
    ++counters_.wrong_session;
    return false;
  }
  // A change throws the state away, so a damaged packet is not believed.
  if (!mold_blocks_complete(p, n)) {
    ++counters_.malformed;
    return false;
  }
  const MoldSession from = session_;
  std::memcpy(session_.data(), p, kMoldSessionSize);
  if (have_session_) {
    ++counters_.session_changes;
    counters_.lost += counters_.gap_open;
    counters_.gap_open = 0;
    gaps_.clear();
    have_next_ = false;
    ended_ = false;
    sink.session_change(from, session_);
  }
  have_session_ = true;
  return true;
}

template <class Sink>
void MoldUDP64::on_packet(const uint8_t* p, size_t n, int64_t recv_time, Sink&& sink) {
  ++counters_.packets;
  if (n < kMoldHeaderSize) [[unlikely]] {
    ++counters_.malformed;
    return;
  }
  uint64_t seq = net::load_be64(p + 10);
  const uint16_t count = net::load_be16(p + 18);
  const bool control = count == kMoldHeartbeat || count == kMoldEndOfSession;
  if (!control && seq > UINT64_MAX - count) [[unlikely]] {
    ++counters_.malformed;
    return;
  }
  if (!have_session_ || !is_this_session(p)) [[unlikely]] {
    if (!take_session(p, n, sink)) return;
  }
  if (!have_next_) [[unlikely]] {
    next_ = seq;
    have_next_ = true;
  }
  advance_to(seq, sink);

  if (control) [[unlikely]] {
    counters_.trailing += n > kMoldHeaderSize;
    ended_ = count == kMoldEndOfSession;
    if (ended_) {
      ++counters_.end_of_session;
      sink.end_of_session(seq);
    } else {
      ++counters_.heartbeats;
      sink.heartbeat(seq);
    }
    return;
  }

  const uint8_t* at = p + kMoldHeaderSize;
  const uint8_t* const end = p + n;
  const uint64_t after = seq + count;
  for (; seq != after; ++seq) {
    const size_t left = static_cast<size_t>(end - at);
    if (left < 2) [[unlikely]]
      break;
    const uint16_t len = net::load_be16(at);
    if (len > left - 2) [[unlikely]]
      break;
    const uint8_t* const data = at + 2;
    at = data + len;
    bool late = false;
    if (seq == next_) [[likely]] {
      ++next_;
    } else if (fill(seq)) {
      late = true;
    } else {
      ++counters_.duplicates;
      continue;
    }
    if (len == 0) [[unlikely]] {
      ++counters_.empty;
      continue;
    }
    ++counters_.messages;
    counters_.late += late;
    sink.message(seq, data, len, recv_time, late);
  }
  if (seq != after) [[unlikely]] {
    ++counters_.malformed;
    advance_to(after, sink);  // the header says that they exist
  } else if (at != end) [[unlikely]] {
    ++counters_.trailing;
  }
}

}  // namespace wp::feed
