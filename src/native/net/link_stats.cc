// SPDX-License-Identifier: Apache-2.0
#include "net/link_stats.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::net {
namespace {

LinkCounts since(const LinkCounts& now, const LinkCounts& base) noexcept {
  // A driver that is reset starts again from zero: then everything counted since is what it says.
  const auto diff = [](uint64_t a, uint64_t b) { return a >= b ? a - b : a; };
  return {.rx_packets = diff(now.rx_packets, base.rx_packets),
          .rx_bytes = diff(now.rx_bytes, base.rx_bytes),
          .rx_errors = diff(now.rx_errors, base.rx_errors),
          .rx_dropped = diff(now.rx_dropped, base.rx_dropped),
          .rx_missed = diff(now.rx_missed, base.rx_missed),
          .rx_overruns = diff(now.rx_overruns, base.rx_overruns),
          .rx_nohandler = diff(now.rx_nohandler, base.rx_nohandler),
          .tx_packets = diff(now.tx_packets, base.tx_packets),
          .tx_bytes = diff(now.tx_bytes, base.tx_bytes),
          .tx_errors = diff(now.tx_errors, base.tx_errors),
          .tx_dropped = diff(now.tx_dropped, base.tx_dropped)};
}

}  // namespace

LinkStats::LinkStats(const std::string& interface) : ifindex_(if_nametoindex(interface.c_str())) {
  if (ifindex_ == 0)
    throw Error(ErrorKind::kConfig, "there is no interface \"" + interface + "\"",
                "ip link shows those of this network namespace");
  open();
}

LinkStats::LinkStats(unsigned ifindex) : ifindex_(ifindex) {
  open();
}

LinkStats::~LinkStats() {
  if (fd_ >= 0) close(fd_);
}

void LinkStats::open() {
  fd_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd_ < 0)
    throw Error(ErrorKind::kIo, std::string("cannot open a netlink socket: ") + strerror(errno));
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (!query(base_)) {
    close(fd_);
    fd_ = -1;
    throw Error(ErrorKind::kIo,
                "the kernel gives no counters for interface " + std::to_string(ifindex_));
  }
}

bool LinkStats::read() noexcept {
  LinkCounts now;
  if (!query(now)) return false;
  counts_ = since(now, base_);
  return true;
}

// Asked through the netlink socket, which stands in the interface's namespace.
LinkState LinkStats::state() const noexcept {
  ifreq request{};
  request.ifr_ifindex = static_cast<int>(ifindex_);
  if (ioctl(fd_, SIOCGIFNAME, &request) != 0 || ioctl(fd_, SIOCGIFFLAGS, &request) != 0)
    return errno == ENODEV || errno == ENXIO ? LinkState::kGone : LinkState::kDown;
  return request.ifr_flags & IFF_RUNNING ? LinkState::kUp : LinkState::kDown;
}

bool LinkStats::query(LinkCounts& out) noexcept {
  struct {
    nlmsghdr header;
    if_stats_msg body;
  } request{};
  request.header = {.nlmsg_len = sizeof request,
                    .nlmsg_type = RTM_GETSTATS,
                    .nlmsg_flags = NLM_F_REQUEST,
                    .nlmsg_seq = ++sequence_,
                    .nlmsg_pid = 0};
  request.body.ifindex = ifindex_;
  request.body.filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
  if (send(fd_, &request, sizeof request, 0) != sizeof request) return false;
  alignas(nlmsghdr) char buffer[4096];
  for (;;) {
    const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr))) return false;
    const auto* header = reinterpret_cast<const nlmsghdr*>(buffer);
    if (!NLMSG_OK(header, static_cast<size_t>(got))) return false;
    if (header->nlmsg_seq != sequence_) continue;  // an answer that came too late
    if (header->nlmsg_type != RTM_NEWSTATS) return false;
    const auto* body = static_cast<const if_stats_msg*>(NLMSG_DATA(header));
    auto left = static_cast<int>(NLMSG_PAYLOAD(header, sizeof(if_stats_msg)));
    const auto* attribute = reinterpret_cast<const rtattr*>(body + 1);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
      if (attribute->rta_type != IFLA_STATS_LINK_64) continue;
      rtnl_link_stats64 s{};
      std::memcpy(&s, RTA_DATA(attribute), std::min<size_t>(sizeof s, RTA_PAYLOAD(attribute)));
      out = {.rx_packets = s.rx_packets,
             .rx_bytes = s.rx_bytes,
             .rx_errors = s.rx_errors,
             .rx_dropped = s.rx_dropped,
             .rx_missed = s.rx_missed_errors,
             .rx_overruns = s.rx_fifo_errors + s.rx_over_errors,
             .rx_nohandler = s.rx_nohandler,
             .tx_packets = s.tx_packets,
             .tx_bytes = s.tx_bytes,
             .tx_errors = s.tx_errors,
             .tx_dropped = s.tx_dropped};
      return true;
    }
    return false;
  }
}

}  // namespace wp::net
