// SPDX-License-Identifier: Apache-2.0
// Membership reports for a port that no kernel interface stands behind: IGMPv2 (RFC 2236) and
// MLDv1 (RFC 2710), which routers and snooping switches of the later versions understand too.
// Sent unasked and repeated, they stand in for answers to queries.
#pragma once

#include <cstdint>
#include <vector>

#include "core/steering.h"
#include "net/frame_builder.h"

namespace wp::net {

enum class Membership { kReport, kLeave };

// A whole Ethernet frame about the group of a multicast rule. `source` is the IPv4 source, which
// may be 0.0.0.0; IPv6 reports come from the link-local address of `mac`.
std::vector<uint8_t> membership_frame(const FlowRule& group, Membership what, const Mac& mac,
                                      const Ip4& source);

// One for each group of the rules, in their order, each group once.
std::vector<std::vector<uint8_t>> membership_frames(const Steering& steering, Membership what,
                                                    const Mac& mac, const Ip4& source);

}  // namespace wp::net
