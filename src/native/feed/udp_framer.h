// SPDX-License-Identifier: Apache-2.0
// Ethernet, IP and UDP headers in front of a publisher's payloads, IPv4 or IPv6, multicast or
// unicast, from textual addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "net/frame_builder.h"

namespace wp::feed {

struct UdpFramerOptions {
  std::string destination_ip = "239.1.1.1";  // group or address, IPv4 or IPv6
  uint16_t destination_port = 9001;          // 1 to 65535
  std::string source_ip;                     // needed by ports that send whole frames
  uint16_t source_port = 9000;
  std::string destination_mac;  // "01:00:5e:01:01:01"; empty: derived from the group
  std::string source_mac;       // empty: 02:00:00:00:00:01, locally administered
  uint8_t ttl = 1;              // hop limit in IPv6; RFC 1112: 1 stays on the link
};

class UdpFramer {
 public:
  // whole_frames: the port sends the headers as they are, so they have to be complete; false: it
  // reads the addresses from them and drops them, and the checksum is left to the kernel.
  // Throws wp::Error naming the field.
  UdpFramer(const UdpFramerOptions& options, bool whole_frames);

  size_t header_bytes() const noexcept { return header_bytes_; }
  // Headers for the `payload` bytes that stand at frame + header_bytes().
  void finish(uint8_t* frame, uint16_t payload) const noexcept;

 private:
  std::variant<net::UdpFlow, net::UdpFlow6> flow_;
  size_t header_bytes_;
  bool whole_frames_;
};

}  // namespace wp::feed
