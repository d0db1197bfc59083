// SPDX-License-Identifier: Apache-2.0
#include "net/multicast.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::net {

Multicast::Multicast(const Steering& steering, unsigned ifindex, const std::string& interface) {
  try {
    for (const FlowRule& rule : steering.rules)
      if (rule.multicast()) join(rule, ifindex, interface);
  } catch (...) {
    for (const int fd : fds_) close(fd);
    throw;
  }
}

Multicast::~Multicast() {
  for (const int fd : fds_) close(fd);
}

int& Multicast::open(int family) {
  const int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    throw Error(ErrorKind::kIo,
                std::string("cannot open a socket for multicast: ") + strerror(errno));
  fds_.push_back(fd);
  return last_[family == AF_INET6] = fd;
}

void Multicast::join(const FlowRule& rule, unsigned ifindex, const std::string& interface) {
  const std::string group = format_address(rule);
  if (std::ranges::find(groups_, group) != groups_.end()) return;
  const bool six = rule.family == 6;
  int fd = last_[six];
  // A socket takes a bounded number of groups (igmp_max_memberships, optmem_max): then another.
  for (bool fresh = fd < 0;; fresh = true) {
    if (fresh) fd = open(six ? AF_INET6 : AF_INET);
    int failed = 0;
    if (six) {
      ipv6_mreq request{};
      std::memcpy(&request.ipv6mr_multiaddr, rule.address.data(), 16);
      request.ipv6mr_interface = ifindex;
      failed = setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request);
    } else {
      ip_mreqn request{};
      std::memcpy(&request.imr_multiaddr, rule.address.data(), 4);
      request.imr_ifindex = static_cast<int>(ifindex);
      failed = setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request);
    }
    if (!failed) break;
    if (!fresh && (errno == ENOBUFS || errno == ENOMEM)) continue;
    const int error = errno;
    throw Error(
        ErrorKind::kIo, "cannot join " + group + " on " + interface + ": " + strerror(error),
        error == ENODEV ? "is the interface up and MULTICAST? ip link show " + interface : "");
  }
  groups_.push_back(group);
}

}  // namespace wp::net
