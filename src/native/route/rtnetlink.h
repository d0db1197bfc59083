// SPDX-License-Identifier: Apache-2.0
// rtnetlink messages (man 7 rtnetlink, linux/rtnetlink.h, linux/nexthop.h) to events: from the
// kernel's socket, or from FRR, which speaks them to its FPM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "route/route_event.h"

namespace wp::route {

struct RtnetlinkCounters {
  uint64_t messages = 0;     // all that were well framed
  uint64_t events = 0;       // messages that became events
  uint64_t unknown = 0;      // of types, or families, that mean nothing here
  uint64_t malformed = 0;    // lengths that do not fit
  uint64_t encap = 0;        // routes, members and next hops with an encapsulation
  uint64_t interrupted = 0;  // messages of dumps that changed under way (NLM_F_DUMP_INTR)
};

// Appends the events of whole messages, one after the other. Malformed ones are counted and left
// out; what follows a length that cannot be right is left out with it.
void decode_rtnetlink(const uint8_t* data, size_t length, std::vector<RouteEvent>& out,
                      RtnetlinkCounters& counters);

}  // namespace wp::route
