/* SPDX-License-Identifier: Apache-2.0
 *
 * What a session layer says of one datagram, the same for every venue: which
 * part of which sequence it carries, and where its messages are. Framers fill
 * it in, the arbiter puts the sequence together.
 *
 * A framer is a type with
 *   static constexpr SequenceNumbers kNumbers;
 *   static constexpr size_t kUnits;  // Packet::unit is below it
 *   // False: malformed; `out` then says nothing. Bounds of every message are
 *   // checked here, so that walking them cannot leave the datagram.
 *   static bool parse(const uint8_t* p, size_t n, Packet& out);
 *   // Calls f(const uint8_t* data, size_t length) for packet.count messages in
 *   // order. A message of length 0 takes a sequence number as any other.
 *   template <class F> static void for_each(const Packet& packet, F&& f);
 * and may have, where checking all bounds first would cost a second walk (MoldFramer):
 *   static bool open(const uint8_t* p, size_t n, Packet& out);
 *   static bool whole(const Packet& packet);
 *   template <class F> static uint64_t for_each_whole(const Packet& packet, F&& f);
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace wp::feed {

enum class PacketKind : uint8_t {
  kData,          // count messages, the first has number `first`
  kHeartbeat,     // no message; `first` is the next number that the sender will use
  kEndOfSession,  // as a heartbeat, and nothing new will follow
  kReset,         // the sequence begins anew: `first` is the next number, that of the first of
                  // the packet's own messages where it has any (NYSE)
  kUnsequenced,   // messages outside any sequence: delivered as they come, never missed; without
                  // messages a sign of life that says no number (Cboe's heartbeat of sequence 0)
  kIgnored,       // understood, carries nothing for a receiver
};

/* The range that sequence numbers have on the wire. */
struct SequenceNumbers {
  uint64_t last = UINT64_MAX;  // the largest; after it comes `after_last`
  uint64_t after_last = 0;
};

/* Left as sent; unused bytes are 0. Venues that number their sessions put the number in. */
using SessionName = std::array<char, 16>;

struct Packet {
  PacketKind kind = PacketKind::kIgnored;
  bool retransmitted = false;         // says of itself that it repeats what was sent before
  uint32_t unit = 0;                  // an independent sequence within the channel (PITCH), else 0
  uint32_t count = 0;                 // messages, and sequence numbers, that it carries
  uint64_t first = 0;                 // as on the wire
  SessionName session{};              // all 0: the venue names none
  int64_t send_time = 0;              // venue's, ns since the Unix epoch; 0: not told
  const uint8_t* messages = nullptr;  // where the first begins
  const uint8_t* end = nullptr;       // behind the last
};

}  // namespace wp::feed
