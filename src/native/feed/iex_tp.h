/* SPDX-License-Identifier: Apache-2.0
 *
 * IEX-TP segments: what one datagram says. 40 bytes of header (version u8 @0 = 1,
 * protocol u16 @2, channel u32 @4, session u32 @8, payload length u16 @12, message
 * count u16 @14, stream offset i64 @16, sequence of the first message i64 @24, send
 * time i64 @32), then blocks of u16 length and data; little-endian. Count 0 is a
 * heartbeat, its sequence and offset are the next ones.
 *
 * Two lines carry the same messages but may cut them into segments differently. A
 * sequence that returns to 1 in the same session, stream offset back as well, has
 * been seen: to tell it from a late duplicate is for whoever keeps the sequence.
 *
 * Source: IEX Transport Specification 1.26.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

enum class IexProtocol : uint16_t { kTops = 0x8003, kDeep = 0x8004, kDeepPlus = 0x8005 };

struct IexTpHeader {
  uint16_t protocol = 0;  // IexProtocol, or one to come
  uint32_t channel = 0;
  uint32_t session = 0;
  uint16_t payload_length = 0;
  uint16_t count = 0;
  int64_t stream_offset = 0;  // of the first byte of the payload
  int64_t first = 0;
  int64_t send_time = 0;  // ns since the Unix epoch
};

class IexTpFramer {
 public:
  static constexpr size_t kHeaderSize = 40;
  static constexpr uint8_t kVersion = 1;
  static constexpr SequenceNumbers kNumbers = {};  // never comes to an end
  static constexpr size_t kUnits = 1;

  /* False: too short, or another version. */
  static bool header(const uint8_t* p, size_t n, IexTpHeader& out) {
    if (n < kHeaderSize || p[0] != kVersion) return false;
    out.protocol = net::load_le<uint16_t>(p + 2);
    out.channel = net::load_le<uint32_t>(p + 4);
    out.session = net::load_le<uint32_t>(p + 8);
    out.payload_length = net::load_le<uint16_t>(p + 12);
    out.count = net::load_le<uint16_t>(p + 14);
    out.stream_offset = net::load_le<int64_t>(p + 16);
    out.first = net::load_le<int64_t>(p + 24);
    out.send_time = net::load_le<int64_t>(p + 32);
    return true;
  }

  /* The session's name is protocol, channel and session as they stand in the header.
   * The blocks must fill the payload, and the payload lie within the datagram; what
   * is behind it is of no concern. */
  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    IexTpHeader h;
    if (!header(p, n, h)) return false;
    if (h.payload_length > n - kHeaderSize || h.first < 0 || h.first > INT64_MAX - h.count)
      return false;
    const uint8_t* const begin = p + kHeaderSize;
    const uint8_t* const end = begin + h.payload_length;
    const uint8_t* at = begin;
    for (uint16_t i = 0; i < h.count; ++i) {
      const size_t left = static_cast<size_t>(end - at);
      if (left < 2) return false;
      const size_t length = net::load_le<uint16_t>(at);
      if (length > left - 2) return false;
      at += 2 + length;
    }
    if (at != end) return false;
    out = {};
    out.kind = h.count == 0 ? PacketKind::kHeartbeat : PacketKind::kData;
    out.count = h.count;
    out.first = static_cast<uint64_t>(h.first);
    std::memcpy(out.session.data(), p + 2, 10);
    out.send_time = h.send_time;
    out.messages = begin;
    out.end = end;
    return true;
  }

  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i) {
      const size_t length = net::load_le<uint16_t>(at);
      f(at + 2, length);
      at += 2 + length;
    }
  }
};

}  // namespace wp::feed
