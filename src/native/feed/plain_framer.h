/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: a venue that does everything that any venue does,
 * and rolls over soon. Layout, little-endian: kind u8, flags u8 (1: retransmitted),
 * unit u8, session u8 ('A' and up; 0: none), first u32, then for data, resets
 * and unsequenced packets blocks of u8 length and data.
 */
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "feed/packet.h"

namespace wp::feed::naive {

template <uint64_t Last, uint64_t AfterLast>
struct PlainFramer {
  static constexpr SequenceNumbers kNumbers{Last, AfterLast};
  static constexpr size_t kHeader = 8;

  static bool parse(const uint8_t* p, size_t n, Packet& out) {
    if (n < kHeader || p[0] > static_cast<uint8_t>(PacketKind::kIgnored)) return false;
    out = Packet{};
    out.kind = static_cast<PacketKind>(p[0]);
    out.retransmitted = (p[1] & 1) != 0;
    out.unit = p[2];
    out.session[0] = static_cast<char>(p[3]);
    uint32_t first;
    std::memcpy(&first, p + 4, 4);
    if (out.kind != PacketKind::kUnsequenced && (first < AfterLast || first > Last)) return false;
    out.first = first;
    out.messages = out.end = p + kHeader;
    if (out.kind != PacketKind::kData && out.kind != PacketKind::kUnsequenced &&
        out.kind != PacketKind::kReset) {
      return true;
    }
    for (const uint8_t* at = p + kHeader; at != p + n; at += 1 + *at) {
      if (*at > p + n - at - 1) return false;
      ++out.count;
    }
    out.end = p + n;
    return true;
  }

  template <class F>
  static void for_each(const Packet& packet, F&& f) {
    const uint8_t* at = packet.messages;
    for (uint32_t i = 0; i < packet.count; ++i, at += 1 + *at) f(at + 1, size_t{*at});
  }
};

inline std::string plain_packet(PacketKind kind, uint32_t first,
                                const std::vector<std::string>& blocks = {}, char session = 0,
                                uint8_t unit = 0, bool retransmitted = false) {
  std::string p;
  p += static_cast<char>(kind);
  p += static_cast<char>(retransmitted);
  p += static_cast<char>(unit);
  p += session;
  p.append(reinterpret_cast<const char*>(&first), 4);
  for (const std::string& block : blocks) {
    p += static_cast<char>(block.size());
    p += block;
  }
  return p;
}

}  // namespace wp::feed::naive
