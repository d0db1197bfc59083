// SPDX-License-Identifier: Apache-2.0
// Turns the link types that captures come in into Ethernet: the 14 bytes of an Ethernet header
// are laid over what stands in front of the packet in a private mapping of the file.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "net/bytes.h"

namespace wp::pcap {

// https://www.tcpdump.org/linktypes.html
enum LinkType : uint16_t {
  kLinkNull = 0,
  kLinkEthernet = 1,
  kLinkRawBsd = 12,  // raw IP under the numbers that platforms had before 101 was given out
  kLinkRawOpenBsd = 14,
  kLinkRaw = 101,
  kLinkLoop = 108,
  kLinkSll = 113,
  kLinkIpv4 = 228,
  kLinkIpv6 = 229,
  kLinkSll2 = 276,
};

inline constexpr uint32_t kEthernetHeader = 14;

inline std::string link_type_name(uint16_t type) {
  switch (type) {
    case kLinkEthernet:
      return "ethernet";
    case kLinkRawBsd:
    case kLinkRawOpenBsd:
    case kLinkRaw:
    case kLinkIpv4:
    case kLinkIpv6:
      return "raw_ip";
    case kLinkNull:
    case kLinkLoop:
      return "loopback";
    case kLinkSll:
      return "linux_sll";
    case kLinkSll2:
      return "linux_sll2";
    default:
      return "linktype " + std::to_string(type);
  }
}

enum class Laid : uint8_t { kEthernet, kUnsupported, kMalformed };

inline uint16_t ethertype_of_ip(const uint8_t* p, uint32_t n) noexcept {
  if (n == 0) return 0;
  return *p >> 4 == 4 ? 0x0800 : *p >> 4 == 6 ? 0x86dd : 0;
}

namespace internal {

inline void write_ethernet(uint8_t* frame, const uint8_t* source, bool broadcast,
                           uint16_t type) noexcept {
  std::memset(frame, broadcast ? 0xff : 0, 6);
  if (source)
    std::memcpy(frame + 6, source, 6);
  else
    std::memset(frame + 6, 0, 6);
  net::store_be16(frame + 12, type);
}

// Address families of LINKTYPE_NULL: 2 is IPv4 everywhere, IPv6 differs by system.
inline uint16_t ethertype_of_family(uint32_t family) noexcept {
  if (family == 2) return 0x0800;
  return family == 10 || family == 24 || family == 28 || family == 30 ? 0x86dd : 0;
}

// Whether "protocol" of a cooked capture is an Ethernet type: not below 0x600 (802.3 and LLC
// pseudo types), and not on device types that give the field another meaning.
inline bool is_ethertype(uint16_t protocol, uint16_t device_type) noexcept {
  const bool other_meaning = device_type == 824 || device_type == 778 ||
                             (device_type >= 801 && device_type <= 803);  // netlink, GRE, 802.11
  return protocol >= 0x0600 && !other_meaning;
}

}  // namespace internal

// `packet` is read, `frame` is a writable copy of the same bytes elsewhere. `frame` and
// `length` become the Ethernet frame. At least 14 bytes must stand in front of `frame`: record and
// block headers always leave them. An Ethernet packet is left as it is.
inline Laid lay_ethernet(uint16_t link_type, bool big_endian, const uint8_t* packet,
                         uint8_t*& frame, uint32_t& length) noexcept {
  const uint8_t* source = nullptr;
  bool broadcast = false;
  uint16_t type = 0;
  uint32_t skip = 0;  // bytes of the old link header
  switch (link_type) {
    case kLinkEthernet:
      return Laid::kEthernet;
    case kLinkRawBsd:
    case kLinkRawOpenBsd:
    case kLinkRaw:
    case kLinkIpv4:
    case kLinkIpv6:
      type = ethertype_of_ip(packet, length);
      if (!type) return Laid::kMalformed;
      break;
    case kLinkNull:
    case kLinkLoop: {
      if (length < 4) return Laid::kMalformed;
      skip = 4;
      const bool swap = link_type == kLinkLoop || big_endian;
      const uint32_t family = swap ? net::load_be32(packet) : net::load_le<uint32_t>(packet);
      type = internal::ethertype_of_family(family);
      if (!type) return Laid::kUnsupported;
      break;
    }
    case kLinkSll:
      if (length < 16) return Laid::kMalformed;
      skip = 16;
      broadcast = net::load_be16(packet) == 1;
      if (net::load_be16(packet + 4) == 6) source = packet + 6;
      type = net::load_be16(packet + 14);
      if (!internal::is_ethertype(type, net::load_be16(packet + 2))) return Laid::kUnsupported;
      break;
    case kLinkSll2:
      if (length < 20) return Laid::kMalformed;
      skip = 20;
      broadcast = packet[10] == 1;
      if (packet[11] == 6) source = packet + 12;
      type = net::load_be16(packet);
      if (!internal::is_ethertype(type, net::load_be16(packet + 8))) return Laid::kUnsupported;
      break;
    default:
      return Laid::kUnsupported;
  }
  frame = frame + skip - kEthernetHeader;
  length = length - skip + kEthernetHeader;
  internal::write_ethernet(frame, source, broadcast, type);
  return Laid::kEthernet;
}

}  // namespace wp::pcap
