// SPDX-License-Identifier: Apache-2.0
// Steering: which flows leave the kernel for us. A port without it does not open; taking
// everything has to be said.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace wp {

enum class Protocol : uint8_t { kAny = 0, kTcp = 6, kUdp = 17 };

// One flow by destination. `address` is in network order, IPv4 in the first four bytes.
struct FlowRule {
  Protocol protocol = Protocol::kAny;
  uint8_t family = 0;  // 4, 6, or 0: any address of either family
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;  // host order; 0 = any port

  bool multicast() const noexcept {
    return family == 4 ? (address[0] & 0xf0) == 0xe0 : family == 6 && address[0] == 0xff;
  }
};

struct Steering {
  bool everything = false;
  std::vector<FlowRule> rules;

  bool empty() const noexcept { return !everything && rules.empty(); }
  std::string describe() const;  // "udp 239.1.1.1:9001, tcp [::1]:*"
};

std::string format_address(const FlowRule& rule);  // "239.1.1.1", "2001:db8::1", "*"

}  // namespace wp
