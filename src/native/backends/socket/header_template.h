// SPDX-License-Identifier: Apache-2.0
// Ethernet, IP and UDP headers for datagrams of one socket, prepared once. Laying them in front
// of a payload is one 64-byte copy, the fields that vary, and an IP checksum from partial sums.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <cstring>

#include "core/steering.h"
#include "net/frame_builder.h"

namespace wp::socket {

class HeaderTemplate {
 public:
  // Bytes that must stand free in front of a payload.
  static constexpr uint32_t kRoom = 64;

  // The destination's address and port; an address of all zeroes is filled in per datagram.
  explicit HeaderTemplate(const FlowRule& rule) noexcept {
    if (rule.family == 4) {
      net::UdpFlow flow;
      std::memcpy(flow.destination_ip.data(), rule.address.data(), 4);
      flow.destination_port = rule.port;
      if (rule.multicast()) flow.destination_mac = net::multicast_mac(flow.destination_ip);
      net::write_udp4_headers(ip4_start(), flow, 0);
      uint8_t* ip = ip4_start() + 14;
      net::store_be16(ip + 2, 28);
      net::store_be16(ip + 10, 0);
      sum_ = net::checksum_add(ip, 20);
    } else {
      net::UdpFlow6 flow;
      flow.destination_ip = rule.address;
      flow.destination_port = rule.port;
      if (rule.multicast()) flow.destination_mac = net::multicast_mac(flow.destination_ip);
      net::write_udp6_headers(ip6_start(), flow, 0);
    }
  }

  // Each returns the first byte of the frame. `n` is the payload's length.
  uint8_t* lay4(uint8_t* payload, uint32_t n, const sockaddr_in& source) const noexcept {
    std::memcpy(payload - kRoom, block_, kRoom);
    finish4(payload, n, source, sum_);
    return payload - net::kUdp4HeaderBytes;
  }
  uint8_t* lay4(uint8_t* payload, uint32_t n, const sockaddr_in& source,
                in_addr destination) const noexcept {
    std::memcpy(payload - kRoom, block_, kRoom);
    net::Ip4 address;
    std::memcpy(address.data(), &destination, 4);
    std::memcpy(payload - 12, &destination, 4);
    if (address[0] == 0xff) std::memset(payload - net::kUdp4HeaderBytes, 0xff, 6);  // broadcast
    finish4(payload, n, source, sum_ + net::load_be32(address.data()));
    return payload - net::kUdp4HeaderBytes;
  }
  uint8_t* lay6(uint8_t* payload, uint32_t n, const sockaddr_in6& source,
                const in6_addr* destination) const noexcept {
    std::memcpy(payload - kRoom, block_, kRoom);
    uint8_t* frame = payload - net::kUdp6HeaderBytes;
    uint8_t* ip = frame + 14;
    net::store_be16(ip + 4, static_cast<uint16_t>(8 + n));
    std::memcpy(ip + 8, &source.sin6_addr, 16);
    if (destination) std::memcpy(ip + 24, destination, 16);
    std::memcpy(ip + 40, &source.sin6_port, 2);
    net::store_be16(ip + 44, static_cast<uint16_t>(8 + n));
    net::finish_udp6_checksum(frame);  // not optional in IPv6
    return frame;
  }

 private:
  uint8_t* ip4_start() noexcept { return block_ + kRoom - net::kUdp4HeaderBytes; }
  uint8_t* ip6_start() noexcept { return block_ + kRoom - net::kUdp6HeaderBytes; }

  static void finish4(uint8_t* payload, uint32_t n, const sockaddr_in& source,
                      uint64_t sum) noexcept {
    uint8_t* udp = payload - 8;
    uint8_t* ip = udp - 20;
    const uint32_t address = __builtin_bswap32(source.sin_addr.s_addr);
    net::store_be16(ip + 2, static_cast<uint16_t>(28 + n));
    net::store_le(ip + 12, source.sin_addr.s_addr);
    net::store_be16(ip + 10, net::checksum_fold(sum + n + address));
    net::store_le(udp, source.sin_port);
    net::store_be16(udp + 4, static_cast<uint16_t>(8 + n));
  }

  alignas(64) uint8_t block_[kRoom] = {};
  uint64_t sum_ = 0;  // of the IPv4 header with lengths for an empty payload
};

}  // namespace wp::socket
