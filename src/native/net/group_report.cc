// SPDX-License-Identifier: Apache-2.0
#include "net/group_report.h"

#include <algorithm>
#include <cstring>

#include "net/bytes.h"
#include "net/checksum.h"

namespace wp::net {
namespace {

constexpr Ip4 kAllRouters4{224, 0, 0, 2};
constexpr Ip6 kAllRouters6{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};

void ethernet(uint8_t* frame, const Mac& destination, const Mac& source, uint16_t type) {
  std::memcpy(frame, destination.data(), 6);
  std::memcpy(frame + 6, source.data(), 6);
  store_be16(frame + 12, type);
}

std::vector<uint8_t> igmp(const Ip4& group, Membership what, const Mac& mac, const Ip4& source) {
  // Padded to the least frame: some drivers do not.
  std::vector<uint8_t> frame(60, 0);
  const Ip4 to = what == Membership::kLeave ? kAllRouters4 : group;  // RFC 2236 §9
  ethernet(frame.data(), multicast_mac(to), mac, 0x0800);
  uint8_t* ip = frame.data() + 14;
  ip[0] = 0x46;  // with the Router Alert option (RFC 2113)
  ip[1] = 0xc0;
  store_be16(ip + 2, 24 + 8);
  ip[8] = 1;
  ip[9] = 2;
  std::memcpy(ip + 12, source.data(), 4);
  std::memcpy(ip + 16, to.data(), 4);
  store_be32(ip + 20, 0x94040000);
  store_be16(ip + 10, checksum(ip, 24));
  uint8_t* message = ip + 24;
  message[0] = what == Membership::kLeave ? 0x17 : 0x16;
  std::memcpy(message + 4, group.data(), 4);
  store_be16(message + 2, checksum(message, 8));
  return frame;
}

std::vector<uint8_t> mld(const Ip6& group, Membership what, const Mac& mac) {
  std::vector<uint8_t> frame(14 + 40 + 8 + 24, 0);
  const Ip6 to = what == Membership::kLeave ? kAllRouters6 : group;  // RFC 2710 §3.8
  ethernet(frame.data(), multicast_mac(to), mac, 0x86dd);
  uint8_t* ip = frame.data() + 14;
  ip[0] = 0x60;
  store_be16(ip + 4, 8 + 24);
  ip[6] = 0;  // hop-by-hop options follow
  ip[7] = 1;
  // Link-local address out of the Ethernet address (RFC 4291 appendix A).
  const Ip6 from{
      0xfe,   0x80,   0,    0,    0,      0,      0,     0, static_cast<uint8_t>(mac[0] ^ 2),
      mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  std::memcpy(ip + 8, from.data(), 16);
  std::memcpy(ip + 24, to.data(), 16);
  uint8_t* options = ip + 40;
  options[0] = 58;  // ICMPv6 follows
  options[2] = 5;   // Router Alert (RFC 2711): MLD
  options[3] = 2;
  options[6] = 1;  // PadN, so that the header is 8 bytes
  uint8_t* message = options + 8;
  message[0] = what == Membership::kLeave ? 132 : 131;
  std::memcpy(message + 8, group.data(), 16);
  const uint64_t pseudo = checksum_add(ip + 8, 32) + 24 + 58;
  store_be16(message + 2, checksum(message, 24, pseudo));
  return frame;
}

}  // namespace

std::vector<uint8_t> membership_frame(const FlowRule& group, Membership what, const Mac& mac,
                                      const Ip4& source) {
  if (group.family == 6) return mld(group.address, what, mac);
  Ip4 address;
  std::copy_n(group.address.begin(), 4, address.begin());
  return igmp(address, what, mac, source);
}

std::vector<std::vector<uint8_t>> membership_frames(const Steering& steering, Membership what,
                                                    const Mac& mac, const Ip4& source) {
  std::vector<std::vector<uint8_t>> out;
  for (const FlowRule& rule : steering.rules) {
    if (!rule.multicast()) continue;
    std::vector<uint8_t> frame = membership_frame(rule, what, mac, source);
    if (std::ranges::find(out, frame) == out.end()) out.push_back(std::move(frame));
  }
  return out;
}

}  // namespace wp::net
