// SPDX-License-Identifier: Apache-2.0
// What the kernel says about a network interface: queues, MTU, driver, NUMA node.
#pragma once

#include <cstdint>
#include <string>

namespace wp::net {

struct Netdev {
  std::string name;
  unsigned ifindex = 0;
  uint32_t mtu = 0;
  bool up = false;
  bool carrier = false;
  bool loopback = false;
  std::string driver;  // as ethtool names it; "" where there is none
  std::string bus;     // PCI address, "" for virtual devices
  int numa_node = -1;  // -1 = none, or the machine has one
  uint32_t rx_queues = 1;
  uint32_t tx_queues = 1;
};

// Asks in the calling thread's network namespace. Throws kConfig when there is no such interface.
Netdev query_netdev(const std::string& name);

}  // namespace wp::net
