// SPDX-License-Identifier: Apache-2.0
// Lays Ethernet, IPv4 or IPv6 and UDP headers in front of a payload.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"

namespace wp::net {

using Mac = std::array<uint8_t, 6>;
using Ip4 = std::array<uint8_t, 4>;
using Ip6 = std::array<uint8_t, 16>;

inline constexpr size_t kUdp4HeaderBytes = 14 + 20 + 8;
inline constexpr size_t kUdp6HeaderBytes = 14 + 40 + 8;

// RFC 1112 §6.4: 01:00:5e and the low 23 bits of the group, so 32 groups share one address.
inline Mac multicast_mac(const Ip4& group) noexcept {
  return {0x01, 0x00, 0x5e, static_cast<uint8_t>(group[1] & 0x7f), group[2], group[3]};
}
// RFC 2464 §7: 33:33 and the low 32 bits.
inline Mac multicast_mac(const Ip6& group) noexcept {
  return {0x33, 0x33, group[12], group[13], group[14], group[15]};
}

struct UdpFlow {
  Mac source_mac{}, destination_mac{};
  Ip4 source_ip{}, destination_ip{};
  uint16_t source_port = 0, destination_port = 0;  // host order
  uint8_t ttl = 64;
};

// Writes kUdp4HeaderBytes at `frame`. The UDP checksum is left 0 ("none", RFC 768), which
// IPv4 allows; call finish_udp4_checksum once the payload stands behind the headers.
inline void write_udp4_headers(uint8_t* frame, const UdpFlow& flow, uint16_t payload) noexcept {
  std::memcpy(frame, flow.destination_mac.data(), 6);
  std::memcpy(frame + 6, flow.source_mac.data(), 6);
  store_be16(frame + 12, 0x0800);
  uint8_t* ip = frame + 14;
  ip[0] = 0x45;
  ip[1] = 0;
  store_be16(ip + 2, static_cast<uint16_t>(28 + payload));
  store_be32(ip + 4, 0x00004000);  // identification 0, don't fragment
  ip[8] = flow.ttl;
  ip[9] = 17;
  store_be16(ip + 10, 0);
  std::memcpy(ip + 12, flow.source_ip.data(), 4);
  std::memcpy(ip + 16, flow.destination_ip.data(), 4);
  store_be16(ip + 10, checksum(ip, 20));
  uint8_t* udp = ip + 20;
  store_be16(udp, flow.source_port);
  store_be16(udp + 2, flow.destination_port);
  store_be16(udp + 4, static_cast<uint16_t>(8 + payload));
  store_be16(udp + 6, 0);
}

inline void finish_udp4_checksum(uint8_t* frame) noexcept {
  uint8_t* ip = frame + 14;
  uint8_t* udp = ip + 20;
  const uint16_t length = load_be16(udp + 4);
  store_be16(udp + 6, 0);
  const uint64_t pseudo = checksum_add(ip + 12, 8) + 17 + length;
  const uint16_t sum = checksum(udp, length, pseudo);
  store_be16(udp + 6, sum ? sum : 0xffff);
}

struct UdpFlow6 {
  Mac source_mac{}, destination_mac{};
  Ip6 source_ip{}, destination_ip{};
  uint16_t source_port = 0, destination_port = 0;
  uint8_t hop_limit = 64;
};

// Writes kUdp6HeaderBytes at `frame`; the UDP checksum is mandatory in IPv6 (RFC 8200 §8.1) and
// is written by finish_udp6_checksum.
inline void write_udp6_headers(uint8_t* frame, const UdpFlow6& flow, uint16_t payload) noexcept {
  std::memcpy(frame, flow.destination_mac.data(), 6);
  std::memcpy(frame + 6, flow.source_mac.data(), 6);
  store_be16(frame + 12, 0x86dd);
  uint8_t* ip = frame + 14;
  store_be32(ip, 0x60000000);
  store_be16(ip + 4, static_cast<uint16_t>(8 + payload));
  ip[6] = 17;
  ip[7] = flow.hop_limit;
  std::memcpy(ip + 8, flow.source_ip.data(), 16);
  std::memcpy(ip + 24, flow.destination_ip.data(), 16);
  uint8_t* udp = ip + 40;
  store_be16(udp, flow.source_port);
  store_be16(udp + 2, flow.destination_port);
  store_be16(udp + 4, static_cast<uint16_t>(8 + payload));
  store_be16(udp + 6, 0);
}

inline void finish_udp6_checksum(uint8_t* frame) noexcept {
  uint8_t* ip = frame + 14;
  uint8_t* udp = ip + 40;
  const uint16_t length = load_be16(udp + 4);
  store_be16(udp + 6, 0);
  const uint64_t pseudo = checksum_add(ip + 8, 32) + 17 + length;
  const uint16_t sum = checksum(udp, length, pseudo);
  store_be16(udp + 6, sum ? sum : 0xffff);
}

}  // namespace wp::net
