// SPDX-License-Identifier: Apache-2.0
// Steering as filters of the NIC. What a filter cannot say is matched in software on frames that
// a wider filter brings, and that is declared.
#pragma once

#include <string>
#include <vector>

#include "backends/ef_vi/virtual_interface.h"
#include "core/steering.h"
#include "net/netdev.h"

namespace wp::ef_vi_backend {

struct Filters {
  std::vector<std::string> inserted;  // "udp 239.1.1.1:9001", "port sniff"
  bool recheck = false;               // frames have to be matched in software
  bool sniffing = false;              // the host receives all frames too
};

// Inserts the filters; they go with the virtual interface. Throws kUnsupported naming the rule
// and what could be said instead, kBusy where another application has the flow, kPermission.
Filters insert_filters(const Steering& steering, VirtualInterface& vi, const net::Netdev& netdev);

}  // namespace wp::ef_vi_backend
