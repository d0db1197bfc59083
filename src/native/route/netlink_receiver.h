// SPDX-License-Identifier: Apache-2.0
// Netlink messages of a socket in bulk: the kernel tells each route in a message of its own, so a
// full table is a million of them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "route/route_event.h"
#include "route/rtnetlink.h"

namespace wp::route {

struct NetlinkReading {
  bool missed = false;  // messages were lost (ENOBUFS), or one did not fit
  bool more = false;    // there may be more: it ended for the number of events alone
  int error = 0;        // an errno that ended it; 0 = none
};

class NetlinkReceiver {
 public:
  NetlinkReceiver();

  // Appends what waits in the socket, without waiting for anything, until at least `most` events
  // were added. What was lost does not end it: what was told before and after is taken.
  NetlinkReading read(int fd, size_t most, std::vector<RouteEvent>& out,
                      RtnetlinkCounters& counters);

 private:
  static constexpr size_t kMessages = 64;
  static constexpr size_t kRoom = 128 << 10;  // a message of a dump has at most 32 KiB

  std::unique_ptr<uint8_t[]> room_;  // pages that nothing is written to cost nothing
};

}  // namespace wp::route
