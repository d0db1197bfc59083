// SPDX-License-Identifier: Apache-2.0
// Multicast membership for a data path that goes around the kernel: the kernel still has to
// send the IGMP and MLD reports and to program the NIC's filter, so companion sockets join the
// groups and are held open. They are bound to no port and never receive.
#pragma once

#include <string>
#include <vector>

#include "core/steering.h"

namespace wp::net {

class Multicast {
 public:
  // Joins the group of every multicast rule on the interface. Throws kIo.
  Multicast(const Steering& steering, unsigned ifindex, const std::string& interface);
  ~Multicast();
  Multicast(const Multicast&) = delete;
  Multicast& operator=(const Multicast&) = delete;

  const std::vector<std::string>& groups() const noexcept { return groups_; }

 private:
  void join(const FlowRule& rule, unsigned ifindex, const std::string& interface);
  int& open(int family);

  std::vector<int> fds_;
  int last_[2] = {-1, -1};  // of IPv4, of IPv6: the one that takes the next group
  std::vector<std::string> groups_;
};

}  // namespace wp::net
