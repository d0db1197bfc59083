// SPDX-License-Identifier: Apache-2.0
#include "feed/udp_framer.h"

#include <arpa/inet.h>

#include <cstdio>

#include "core/error.h"

namespace wp::feed {
namespace {

net::Mac parse_mac(const char* field, const std::string& text) {
  unsigned byte[6];
  char rest;
  if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%c", &byte[0], &byte[1], &byte[2], &byte[3],
                  &byte[4], &byte[5], &rest) != 6)
    throw config_error(field, "\"" + text + "\"", "six hexadecimal bytes like 02:00:00:00:00:01");
  net::Mac mac;
  for (size_t i = 0; i < 6; i++) mac[i] = static_cast<uint8_t>(byte[i]);
  return mac;
}

bool is_multicast(const net::Ip4& ip) {
  return (ip[0] & 0xf0) == 0xe0;
}
bool is_multicast(const net::Ip6& ip) {
  return ip[0] == 0xff;
}

template <class Ip>
bool parse_ip(const std::string& text, Ip& ip) {
  return inet_pton(ip.size() == 4 ? AF_INET : AF_INET6, text.c_str(), ip.data()) == 1;
}

// Everything but the hop limit, which the two families name differently.
template <class Flow, class Ip>
Flow make_flow(const UdpFramerOptions& options, const Ip& destination, bool whole_frames) {
  Flow flow;
  flow.destination_ip = destination;
  flow.destination_port = options.destination_port;
  flow.source_port = options.source_port;
  if (!options.source_ip.empty()) {
    if (!parse_ip(options.source_ip, flow.source_ip))
      throw config_error("source_ip", "\"" + options.source_ip + "\"",
                         destination.size() == 4 ? "an IPv4 address, as destination_ip is one"
                                                 : "an IPv6 address, as destination_ip is one");
  } else if (whole_frames) {
    throw config_error("source_ip", "\"\"", "given: this port sends whole Ethernet frames");
  }
  flow.source_mac = options.source_mac.empty() ? net::Mac{2, 0, 0, 0, 0, 1}
                                               : parse_mac("source_mac", options.source_mac);
  if (!options.destination_mac.empty()) {
    flow.destination_mac = parse_mac("destination_mac", options.destination_mac);
  } else if (is_multicast(destination)) {
    flow.destination_mac = net::multicast_mac(destination);
  } else if (whole_frames) {
    throw config_error("destination_mac", "\"\"",
                       "given for a unicast destination: this port sends whole Ethernet frames");
  }
  return flow;
}

}  // namespace

UdpFramer::UdpFramer(const UdpFramerOptions& options, bool whole_frames)
    : whole_frames_(whole_frames) {
  if (options.destination_port == 0) throw config_error("destination_port", "0", "1 to 65535");
  if (options.ttl == 0) throw config_error("ttl", "0", "1 to 255");
  net::Ip4 ip4;
  net::Ip6 ip6;
  if (parse_ip(options.destination_ip, ip4)) {
    auto flow = make_flow<net::UdpFlow>(options, ip4, whole_frames);
    flow.ttl = options.ttl;
    flow_ = flow;
    header_bytes_ = net::kUdp4HeaderBytes;
  } else if (parse_ip(options.destination_ip, ip6)) {
    auto flow = make_flow<net::UdpFlow6>(options, ip6, whole_frames);
    flow.hop_limit = options.ttl;
    flow_ = flow;
    header_bytes_ = net::kUdp6HeaderBytes;
  } else {
    throw config_error("destination_ip", "\"" + options.destination_ip + "\"",
                       "an IPv4 or IPv6 address or group");
  }
}

void UdpFramer::finish(uint8_t* frame, uint16_t payload) const noexcept {
  if (const auto* flow = std::get_if<net::UdpFlow>(&flow_)) {
    net::write_udp4_headers(frame, *flow, payload);
    if (whole_frames_) net::finish_udp4_checksum(frame);
  } else if (const auto* flow6 = std::get_if<net::UdpFlow6>(&flow_)) {
    net::write_udp6_headers(frame, *flow6, payload);
    if (whole_frames_) net::finish_udp6_checksum(frame);
  }
}

}  // namespace wp::feed
