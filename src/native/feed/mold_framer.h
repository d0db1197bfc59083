/* SPDX-License-Identifier: Apache-2.0
 *
 * MoldUDP64 as a framer for the arbiter (see packet.h): one datagram in, which
 * part of the sequence it carries out.
 *
 * Source: Nasdaq MoldUDP64 protocol specification 1.00.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "feed/mold_udp64_packet.h"
#include "feed/packet.h"
#include "net/bytes.h"

namespace wp::feed {

struct MoldFramer {
  static constexpr SequenceNumbers kNumbers{};

  /* A packet whose header counts more blocks than it holds is malformed as a whole: what is lost
   * with it is a gap that the other line or a request fills. */
  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (n < kMoldHeaderSize) return false;
    const uint64_t first = net::load_be64(p + 10);
    const uint16_t count = net::load_be16(p + 18);
    out = Packet{};
    // Two whole words, as they are compared: a store of ten bytes would stall the loads.
    const uint64_t session[2] = {net::load_le<uint64_t>(p), net::load_le<uint16_t>(p + 8)};
    static_assert(sizeof session == sizeof out.session);
    std::memcpy(out.session.data(), &session[0], 8);
    std::memcpy(out.session.data() + 8, &session[1], 8);
    out.first = first;
    out.messages = p + kMoldHeaderSize;
    out.end = out.messages;
    if (count == kMoldHeartbeat || count == kMoldEndOfSession) {
      out.kind = count == kMoldHeartbeat ? PacketKind::kHeartbeat : PacketKind::kEndOfSession;
      return true;
    }
    if (first > UINT64_MAX - count) return false;
    const uint8_t* at = out.messages;
    const uint8_t* const end = p + n;
    for (uint16_t i = 0; i < count; ++i) {
      const size_t left = static_cast<size_t>(end - at);
      if (left < 2) return false;
      const size_t length = net::load_be16(at);
      if (length > left - 2) return false;
      at += 2 + length;
    }
    out.kind = PacketKind::kData;
    out.count = count;
    out.end = at;
    return true;
  }

  /* The header alone of a packet with messages, whose blocks are still to be checked; false:
   * another packet, or none. */
  static bool open(const uint8_t* p, size_t n, Packet& out) {
    if (n < kMoldHeaderSize) return false;
    const uint16_t count = net::load_be16(p + 18);
    const uint64_t first = net::load_be64(p + 10);
    if (count == kMoldHeartbeat || count == kMoldEndOfSession || first > UINT64_MAX - count)
      return false;
    const uint64_t session[2] = {net::load_le<uint64_t>(p), net::load_le<uint16_t>(p + 8)};
    std::memcpy(out.session.data(), &session[0], 8);
    std::memcpy(out.session.data() + 8, &session[1], 8);
    out.kind = PacketKind::kData;
    out.first = first;
    out.count = count;
    out.messages = p + kMoldHeaderSize;
    out.end = p + n;
    return true;
  }

  /* Of an open packet: no block leaves it. */
  static bool whole(const Packet& packet) {
    return for_each_whole(packet, [](const uint8_t*, size_t) {}) == packet.count;
  }

  /* Of an open packet: as for_each, until a block leaves it. Returns how many did not. */
  template <class F>
  static uint64_t for_each_whole(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i) {
      const size_t left = static_cast<size_t>(packet.end - at);
      if (left < 2) return i;
      const size_t length = net::load_be16(at);
      if (length > left - 2) return i;
      f(at + 2, length);
      at += 2 + length;
    }
    return packet.count;
  }

  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i) {
      const size_t length = net::load_be16(at);
      f(at + 2, length);
      at += 2 + length;
    }
  }
};

}  // namespace wp::feed
