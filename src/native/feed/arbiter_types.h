/* SPDX-License-Identifier: Apache-2.0
 *
 * What the arbiter is told, what it tells, and what it counts.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "feed/packet.h"

namespace wp::feed {

struct ArbiterOptions {
  // Lines are numbered: first those that carry the feed live, then those on which
  // retransmissions come, whose messages are flagged WP_FLAG_RECOVERED.
  uint32_t lines = 2;
  uint32_t recovery_lines = 0;
  uint32_t units = 1;  // independent sequences within the channel, adopted as they come

  // In order: messages beyond a gap are held until it is filled or abandoned. Otherwise all are
  // delivered as they come, those out of a gap flagged WP_FLAG_LATE.
  bool in_order = true;
  int64_t hold_ns = 10'000'000;  // in order: how long a gap is waited for
  size_t hold_messages = 65'536;
  size_t hold_bytes = size_t{8} << 20;
  size_t max_gaps = 1024;  // open at a time; one more abandons the oldest

  SessionName session{};       // all 0: the first packet's
  bool pin_session = false;    // packets of other sessions are dropped, not followed
  uint64_t next_sequence = 0;  // first message wanted, as in SequenceState; 0: the first that comes
  // First number of a session that follows another, and of a sequence that begins anew without a
  // word: what no line brought of its start is a gap. 0: they begin with the first that comes, and
  // so they do with one that is further than max_jump from here.
  uint64_t session_begin = 0;
  // next_sequence was written down by an earlier run: a line that begins far below it, with nobody
  // at that number, is in a sequence that began anew meanwhile. Otherwise what is below is skipped.
  bool resumed = false;
  // Units of an earlier run, and the next number of each as on the wire; with resumed. In the place
  // of next_sequence, which is of every unit.
  std::vector<std::pair<uint32_t, uint64_t>> next_of_units{};
  // Such a session or sequence begins one number before that, which nobody sends: in order, all of
  // it is held until skip_to, as long as a gap is.
  bool await_snapshot = false;

  // A sender that restarts without a word goes back to a low number. What else goes back: packets
  // that the network reordered. A heartbeat is believed when it goes back by more messages than
  // that, or after a longer silence than that; data when so many packets of one line follow each
  // other (0: never). Numbers that jump ahead by more than max_jump wait for the same proof.
  uint64_t reorder_messages = 4096;
  int64_t reorder_ns = 100'000'000;
  uint32_t restart_packets = 3;
  uint64_t max_jump = uint64_t{1} << 24;

  size_t skew_packets = 512;  // of the winning line, in which the other's are looked up; 0: no skew
};

/* Where a message came from. seq is 64 bits wide and never rolls over; unsequenced: 0. */
struct MessageInfo {
  uint64_t seq = 0;
  int64_t recv_time = 0;  // of the packet that brought it
  int64_t send_time = 0;  // venue's, of that packet; 0: not told
  uint32_t unit = 0;
  uint16_t line = 0;
  uint8_t flags = 0;  // WP_FLAG_LATE, WP_FLAG_RECOVERED
};

enum class AbandonReason : uint8_t {
  kTimeout,        // the hold timer ran out
  kBufferFull,     // no room to hold another message
  kTooManyGaps,    // max_gaps were open
  kSessionChange,  // of a session that is over
  kReset,          // of a sequence that is over
  kAttempts,       // recovery asked as often as it may
  kDeadline,       // recovery's time ran out
  kRefused,        // the server will not send it
  kSnapshot,       // a snapshot has it
};
inline constexpr const char* kAbandonReasons[] = {"timeout",        "buffer full", "too many gaps",
                                                  "session change", "reset",       "attempts",
                                                  "deadline",       "refused",     "snapshot"};

enum class ResetCause : uint8_t {
  kAnnounced,  // the venue said so
  kHeartbeat,  // a heartbeat went back
  kData,       // data went back, for several packets
};
inline constexpr const char* kResetCauses[] = {"announced", "heartbeat", "data"};

/* Of one line. packets = malformed + unknown_unit + ignored + wrong_session + stale + doubted +
 * heartbeats + end_of_session + resets + data + unsequenced packets;
 * messages = won + duplicates + too_late; after a restart of the whole arbiter nothing is lost
 * from these. expected = messages on the line seen once + missing. */
struct LineCounters {
  uint64_t packets = 0;
  uint64_t malformed = 0;
  uint64_t unknown_unit = 0;   // packets of more units than there is room for
  uint64_t ignored = 0;        // understood, nothing to deliver
  uint64_t wrong_session = 0;  // packets of another session than the pinned one
  uint64_t stale = 0;          // packets of a session or sequence that is over
  uint64_t doubted = 0;        // packets with a number out of reach, not believed
  uint64_t heartbeats = 0;
  uint64_t end_of_session = 0;
  uint64_t resets = 0;
  uint64_t data = 0;
  uint64_t unsequenced = 0;           // packets
  uint64_t unsequenced_messages = 0;  // delivered, from every line that carries them

  uint64_t messages = 0;    // sequence numbers in data packets and in resets
  uint64_t won = 0;         // of those: this line was first
  uint64_t duplicates = 0;  // another one was, or this one before
  uint64_t too_late = 0;    // abandoned before

  // The line by itself: what it carried from its first packet on.
  uint64_t expected = 0;   // sequence numbers that it has passed
  uint64_t missing = 0;    // of those: never came on this line
  uint64_t reordered = 0;  // came after a higher number
  uint64_t repeated = 0;   // came before on this line, or forgotten as missing
  int64_t last_time = 0;   // of its latest packet
};

/* Of one unit. Every number from the first expected to next - 1, over all sessions and resets, is
 * in exactly one of: delivered, empty, held, gap_open, abandoned.
 * gap_messages = gap_filled + gap_open + abandoned. */
struct UnitCounters {
  uint64_t delivered = 0;   // messages passed to the sink, unsequenced ones apart
  uint64_t late = 0;        // of those: flagged so
  uint64_t recovered = 0;   // of those: from a retransmission
  uint64_t empty = 0;       // a sequence number without a message
  uint64_t held = 0;        // in the buffer now
  uint64_t held_total = 0;  // ever
  uint64_t held_peak = 0;
  uint64_t superseded = 0;    // held, and dropped because a snapshot has them
  uint64_t gaps = 0;          // gap events
  uint64_t gap_messages = 0;  // sequence numbers in them
  uint64_t gap_filled = 0;
  uint64_t gap_open = 0;
  uint64_t abandoned = 0;       // sequence numbers given up
  uint64_t gaps_abandoned = 0;  // events
  uint64_t session_changes = 0;
  uint64_t resets = 0;
};

/* What to write down to go on after a restart. next: the first number not delivered yet, 64 bits
 * wide; options.session and options.next_sequence take it back. */
struct SequenceState {
  uint32_t unit = 0;
  SessionName session{};
  uint64_t next = 0;
};

/* A sink with nothing to say to anything: derive and hide what is wanted. No virtual functions;
 * the arbiter is a template over it. A sink must not call the arbiter. */
struct ArbiterSink {
  /* data is valid during the call. */
  void message(const MessageInfo&, const uint8_t*, size_t) {}
  /* first to last (inclusive) exist and have not come on any line; before what revealed it. */
  void gap(uint32_t /*unit*/, uint64_t /*first*/, uint64_t /*last*/) {}
  /* They will not be delivered any more. */
  void gap_abandoned(uint32_t /*unit*/, uint64_t /*first*/, uint64_t /*last*/, AbandonReason) {}
  void heartbeat(uint32_t /*unit*/, uint64_t /*next*/, uint16_t /*line*/) {}
  /* Once, by the first line that says so; what is missing may still come. */
  void end_of_session(uint32_t /*unit*/, uint64_t /*next*/) {}
  void session_change(uint32_t /*unit*/, const SessionName& /*from*/, const SessionName& /*to*/) {}
  /* The sequence began anew, the next number is `next`: books are void. */
  void reset(uint32_t /*unit*/, uint64_t /*next*/, ResetCause) {}
};

}  // namespace wp::feed
