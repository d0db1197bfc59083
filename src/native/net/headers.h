// SPDX-License-Identifier: Apache-2.0
// One pass over the headers of an Ethernet frame: VLAN tags (802.1Q, 802.1ad), IPv4 with
// options and fragments, IPv6 with extension headers, UDP and TCP. Bounds are checked at each
// step; what does not parse is left zero and `layers` says how far it went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "net/bytes.h"

namespace wp::net {

enum Layer : uint8_t {
  kEthernet = 1 << 0,
  kVlan = 1 << 1,
  kIp4 = 1 << 2,
  kIp6 = 1 << 3,
  kUdp = 1 << 4,
  kTcp = 1 << 5,
  kFragment = 1 << 6,  // not the first fragment, or more to come
};

// The row of `batch.headers()`. Addresses are bytes in network order (IPv4 in the first four),
// numbers are in host order; offsets count from the first byte of the frame.
struct Headers {
  uint8_t ethernet_dst[6];
  uint8_t ethernet_src[6];
  uint16_t ethertype;  // of what stands behind the tags
  uint16_t vlan;       // TCI of the outer tag, 0 = none
  uint8_t ip_version;  // 4, 6, 0
  uint8_t protocol;    // behind IPv6 extension headers
  uint8_t ttl;
  uint8_t layers;  // enum Layer
  uint8_t ip_src[16];
  uint8_t ip_dst[16];
  uint16_t src_port;
  uint16_t dst_port;
  uint16_t l3_offset;
  uint16_t l4_offset;
  uint16_t payload_offset;  // behind UDP or TCP
  uint16_t payload_length;  // by the UDP or IP length, not the frame's: short frames are padded
};
static_assert(sizeof(Headers) == 64);

inline constexpr int kMaxVlanTags = 4;
inline constexpr int kMaxIp6Extensions = 8;

inline void parse_transport(const uint8_t* p, size_t at, size_t end, Headers& h) noexcept {
  h.l4_offset = static_cast<uint16_t>(at);
  if (h.protocol == 17 && end - at >= 8) {
    const size_t length = load_be16(p + at + 4);
    if (length < 8 || length > end - at) return;
    h.layers |= kUdp;
    h.src_port = load_be16(p + at);
    h.dst_port = load_be16(p + at + 2);
    h.payload_offset = static_cast<uint16_t>(at + 8);
    h.payload_length = static_cast<uint16_t>(length - 8);
  } else if (h.protocol == 6 && end - at >= 20) {
    const size_t header = static_cast<size_t>(p[at + 12] >> 4) * 4;
    if (header < 20 || header > end - at) return;
    h.layers |= kTcp;
    h.src_port = load_be16(p + at);
    h.dst_port = load_be16(p + at + 2);
    h.payload_offset = static_cast<uint16_t>(at + header);
    h.payload_length = static_cast<uint16_t>(end - at - header);
  }
}

inline void parse_ip4(const uint8_t* p, size_t at, size_t n, Headers& h) noexcept {
  if (n - at < 20 || p[at] >> 4 != 4) return;
  const size_t header = static_cast<size_t>(p[at] & 15) * 4;
  const size_t total = load_be16(p + at + 2);
  if (header < 20 || total < header || total > n - at) return;
  h.layers |= kIp4;
  h.ip_version = 4;
  h.protocol = p[at + 9];
  h.ttl = p[at + 8];
  std::memcpy(h.ip_src, p + at + 12, 4);
  std::memcpy(h.ip_dst, p + at + 16, 4);
  const uint16_t fragment = load_be16(p + at + 6);
  if (fragment & 0x3fff) h.layers |= kFragment;
  if (fragment & 0x1fff) return;  // ports stand in the first fragment only
  parse_transport(p, at + header, at + total, h);
}

inline void parse_ip6(const uint8_t* p, size_t at, size_t n, Headers& h) noexcept {
  if (n - at < 40 || p[at] >> 4 != 6) return;
  const size_t end = at + 40 + load_be16(p + at + 4);
  if (end > n) return;
  h.layers |= kIp6;
  h.ip_version = 6;
  h.ttl = p[at + 7];
  std::memcpy(h.ip_src, p + at + 8, 16);
  std::memcpy(h.ip_dst, p + at + 24, 16);
  uint8_t next = p[at + 6];
  at += 40;
  for (int i = 0; i < kMaxIp6Extensions; i++) {
    h.protocol = next;
    if (next == 0 || next == 43 || next == 60) {  // hop-by-hop, routing, destination options
      if (end - at < 8) return;
      const size_t length = (static_cast<size_t>(p[at + 1]) + 1) * 8;
      if (length > end - at) return;
      next = p[at];
      at += length;
    } else if (next == 44) {  // fragment
      if (end - at < 8) return;
      // Offset 0 and no more to come is an "atomic fragment" (RFC 6946): a whole packet.
      if (load_be16(p + at + 2) & 0xfff9) h.layers |= kFragment;
      next = p[at];
      if (load_be16(p + at + 2) & 0xfff8) {
        h.protocol = next;
        return;
      }
      at += 8;
    } else {
      parse_transport(p, at, end, h);
      return;
    }
  }
}

inline void parse_headers(const uint8_t* p, size_t n, Headers& h) noexcept {
  std::memset(&h, 0, sizeof h);
  if (n < 14) return;
  h.layers = kEthernet;
  std::memcpy(h.ethernet_dst, p, 6);
  std::memcpy(h.ethernet_src, p + 6, 6);
  size_t at = 12;
  uint16_t type = load_be16(p + at);
  for (int tags = 0; (type == 0x8100 || type == 0x88a8) && tags < kMaxVlanTags; tags++) {
    if (n < at + 6) break;
    if (!(h.layers & kVlan)) h.vlan = load_be16(p + at + 2);
    h.layers |= kVlan;
    at += 4;
    type = load_be16(p + at);
  }
  at += 2;
  h.ethertype = type;
  h.l3_offset = static_cast<uint16_t>(at);
  if (type == 0x0800)
    parse_ip4(p, at, n, h);
  else if (type == 0x86dd)
    parse_ip6(p, at, n, h);
}

}  // namespace wp::net
