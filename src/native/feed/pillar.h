/* SPDX-License-Identifier: Apache-2.0
 *
 * NYSE XDP / Pillar packets: what one datagram says. 16 bytes of header (size u16
 * @0 with the header, delivery flag u8 @2, message count u8 @3, sequence of the first
 * message u32 @4, send time s u32 @8 and ns u32 @12), then messages that begin with
 * their size u16, itself included, and type u16; little-endian. Sequence 0 is no
 * number: what carries it is in no sequence.
 *
 * Source: NYSE XDP / Pillar common client specification 2.4.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

enum class PillarDelivery : uint8_t {
  kHeartbeat = 1,
  kFailover = 10,
  kOriginal = 11,
  kSequenceReset = 12,
  kRetransmissionOnly = 13,
  kRetransmissionPart = 15,
  kRefreshOnly = 17,
  kRefreshStart = 18,
  kRefreshPart = 19,
  kRefreshEnd = 20,
  kUnavailable = 21,
};

class PillarFramer {
 public:
  static constexpr size_t kHeaderSize = 16;
  static constexpr size_t kMessageHeaderSize = 4;
  static constexpr SequenceNumbers kNumbers = {UINT32_MAX, 1};
  static constexpr size_t kUnits = 1;

  static PillarDelivery delivery(const uint8_t* p) { return PillarDelivery{p[2]}; }
  static uint16_t message_type(const uint8_t* message) {
    return net::load_le<uint16_t>(message + 2);
  }

  /* Messages must fill the size that the header gives, and that lie within the
   * datagram. */
  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (n < kHeaderSize) return false;
    const size_t size = net::load_le<uint16_t>(p);
    const uint8_t count = p[3];
    if (size < kHeaderSize || size > n) return false;
    const uint8_t* const end = p + size;
    const uint8_t* at = p + kHeaderSize;
    for (uint8_t i = 0; i < count; ++i) {
      const size_t left = static_cast<size_t>(end - at);
      if (left < kMessageHeaderSize) return false;
      const size_t length = net::load_le<uint16_t>(at);
      if (length < kMessageHeaderSize || length > left) return false;
      at += length;
    }
    if (at != end) return false;
    out = {};
    out.count = count;
    out.first = net::load_le<uint32_t>(p + 4);
    out.send_time =
        int64_t{net::load_le<uint32_t>(p + 8)} * 1'000'000'000 + net::load_le<uint32_t>(p + 12);
    out.messages = p + kHeaderSize;
    out.end = end;
    classify(delivery(p), out);
    if (out.first == 0 && out.kind != PacketKind::kIgnored) out.kind = PacketKind::kUnsequenced;
    return true;
  }

  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i) {
      const size_t length = net::load_le<uint16_t>(at);
      f(at, length);
      at += length;
    }
  }

 private:
  static void classify(PillarDelivery flag, Packet& out) {
    switch (flag) {
      case PillarDelivery::kHeartbeat:
        out.kind = out.count == 0 ? PacketKind::kHeartbeat : PacketKind::kIgnored;
        return;
      case PillarDelivery::kFailover:
      case PillarDelivery::kOriginal:
        out.kind = out.count == 0 ? PacketKind::kHeartbeat : PacketKind::kData;
        return;
      case PillarDelivery::kSequenceReset:
        // The reset message is itself the first of the new sequence.
        out.kind = PacketKind::kReset;
        return;
      case PillarDelivery::kRetransmissionOnly:
      case PillarDelivery::kRetransmissionPart:
        out.kind = out.count == 0 ? PacketKind::kIgnored : PacketKind::kData;
        out.retransmitted = true;
        return;
      case PillarDelivery::kRefreshOnly:
      case PillarDelivery::kRefreshStart:
      case PillarDelivery::kRefreshPart:
      case PillarDelivery::kRefreshEnd:
        // State as of now, numbered within the refresh: outside of the sequence.
        out.kind = PacketKind::kUnsequenced;
        out.retransmitted = true;
        return;
      case PillarDelivery::kUnavailable:
        break;
    }
    out.kind = PacketKind::kIgnored;
  }
};

}  // namespace wp::feed
