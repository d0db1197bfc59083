/* SPDX-License-Identifier: Apache-2.0
 *
 * CME MDP 3.0 packets: header, framer, and the SBE messages inside.
 *
 * A UDP payload is a 12-byte header, sequence u32 and sending time u64 (ns since
 * the Unix epoch), then messages: size u16, which counts itself, and an SBE
 * message. Little-endian.
 *
 * CME numbers packets, not messages. To an arbiter a packet is therefore one
 * unit of the sequence, of which the messages together are the data: both lines
 * send the same packets, so nothing is lost by that. Heartbeats (template 12)
 * have a number of their own and are data as any other; a channel reset
 * (template 4) voids the books but not the sequence.
 * Source: CME Group, MDP 3.0 market data messaging specification.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

inline constexpr size_t kCmeHeaderSize = 12;
inline constexpr size_t kCmeMinMessage = 10;  // size, and the SBE header

/* Calls f(const uint8_t* message, size_t length) for every SBE message of a unit
 * (what follows the packet header). False: the sizes do not add up, and the
 * messages before that were passed on. */
template <class F>
bool cme_for_each_message(const uint8_t* p, size_t n, F&& f) {
  while (n != 0) {
    if (n < kCmeMinMessage) return false;
    const size_t size = net::load_le<uint16_t>(p);
    if (size < kCmeMinMessage || size > n) return false;
    f(p + 2, size - 2);
    p += size;
    n -= size;
  }
  return true;
}

struct CmeFramer {
  static constexpr SequenceNumbers kNumbers{.last = UINT32_MAX, .after_last = 0};

  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (n < kCmeHeaderSize) return false;
    // Checked to the end here: of two copies of a packet the arbiter should not
    // take the damaged one.
    if (!cme_for_each_message(p + kCmeHeaderSize, n - kCmeHeaderSize,
                              [](const uint8_t*, size_t) {})) {
      return false;
    }
    out = Packet{};
    out.kind = PacketKind::kData;
    out.count = 1;
    out.first = net::load_le<uint32_t>(p);
    out.send_time = net::load_le<int64_t>(p + 4);
    out.messages = p + kCmeHeaderSize;
    out.end = p + n;
    return true;
  }

  /* One call, with all messages of the packet. */
  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    f(packet.messages, static_cast<size_t>(packet.end - packet.messages));
  }
};

}  // namespace wp::feed
