/* SPDX-License-Identifier: Apache-2.0
 *
 * Cboe sequenced units: what one datagram says. 8 bytes of header (length u16 @0 of
 * all of it, message count u8 @2, unit u8 @3, sequence of the first message u32 @4),
 * then messages that begin with their length u8, itself included, and type u8;
 * little-endian. Each unit is a sequence of its own, from 1 to 4,294,967,295 and then
 * 1 again; sequence 0 says that the messages are in no sequence. Count 0 is a
 * heartbeat, its sequence is the next one.
 *
 * Source: Cboe US Equities/Options Multicast Depth of Book (PITCH) 2.41.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

class PitchFramer {
 public:
  static constexpr size_t kHeaderSize = 8;
  static constexpr size_t kMinMessage = 2;
  static constexpr SequenceNumbers kNumbers = {UINT32_MAX, 1};
  static constexpr size_t kUnits = 256;

  /* Messages must fill the length that the header gives, and that lie within the
   * datagram. A heartbeat of sequence 0 comes from a line that has not sent a
   * sequenced message: kUnsequenced without messages, for no number is next. */
  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (n < kHeaderSize) return false;
    const size_t length = net::load_le<uint16_t>(p);
    const uint8_t count = p[2];
    if (length < kHeaderSize || length > n) return false;
    const uint8_t* const end = p + length;
    const uint8_t* at = p + kHeaderSize;
    for (uint8_t i = 0; i < count; ++i) {
      if (at == end || *at < kMinMessage || *at > end - at) return false;
      at += *at;
    }
    if (at != end) return false;
    out = {};
    out.unit = p[3];
    out.count = count;
    out.first = net::load_le<uint32_t>(p + 4);
    out.kind = out.first == 0 ? PacketKind::kUnsequenced
               : count == 0   ? PacketKind::kHeartbeat
                              : PacketKind::kData;
    out.messages = p + kHeaderSize;
    out.end = end;
    return true;
  }

  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i) {
      const size_t length = *at;
      f(at, length);
      at += length;
    }
  }
};

}  // namespace wp::feed
