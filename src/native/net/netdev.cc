// SPDX-License-Identifier: Apache-2.0
#include "net/netdev.h"

#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/error.h"

namespace wp::net {
namespace {

struct Fd {
  int fd;
  explicit Fd(int f) : fd(f) {}
  ~Fd() {
    if (fd >= 0) close(fd);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
};

bool ethtool(int fd, const std::string& name, void* command) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(command);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

// Queues as allocated; more than are in use on some virtual devices, so the second choice.
bool queues_by_netlink(unsigned ifindex, uint32_t& rx, uint32_t& tx) {
  const Fd s(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  struct {
    nlmsghdr header;
    ifinfomsg body;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.body.ifi_index = static_cast<int>(ifindex);
  if (s.fd < 0 || send(s.fd, &request, sizeof request, 0) < 0) return false;
  alignas(nlmsghdr) char buffer[32768];
  const ssize_t got = recv(s.fd, buffer, sizeof buffer, 0);
  const auto* header = reinterpret_cast<const nlmsghdr*>(buffer);
  if (got <= 0 || !NLMSG_OK(header, static_cast<size_t>(got)) || header->nlmsg_type != RTM_NEWLINK)
    return false;
  const auto* body = static_cast<const ifinfomsg*>(NLMSG_DATA(header));
  auto left = static_cast<int>(NLMSG_PAYLOAD(header, sizeof(ifinfomsg)));
  const auto* attribute = reinterpret_cast<const rtattr*>(body + 1);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == IFLA_NUM_RX_QUEUES) std::memcpy(&rx, RTA_DATA(attribute), 4);
    if (attribute->rta_type == IFLA_NUM_TX_QUEUES) std::memcpy(&tx, RTA_DATA(attribute), 4);
  }
  return true;
}

int numa_node(const std::string& bus) {
  // By bus address: /sys/class/net may be mounted for another network namespace.
  std::ifstream file("/sys/bus/pci/devices/" + bus + "/numa_node");
  int node = -1;
  return !bus.empty() && file >> node ? node : -1;
}

}  // namespace

Netdev query_netdev(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    throw config_error("device", "\"" + name + "\"",
                       "the name of a network interface, for example eth0");
  Netdev out;
  out.name = name;
  out.ifindex = if_nametoindex(name.c_str());
  if (out.ifindex == 0)
    throw Error(ErrorKind::kConfig, "there is no interface \"" + name + "\"",
                "ip link shows those of this network namespace");
  const Fd s(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (s.fd < 0)
    throw Error(ErrorKind::kIo, std::string("cannot open a socket: ") + strerror(errno));
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(s.fd, SIOCGIFMTU, &request) == 0) out.mtu = static_cast<uint32_t>(request.ifr_mtu);
  if (ioctl(s.fd, SIOCGIFFLAGS, &request) == 0) {
    out.up = request.ifr_flags & IFF_UP;
    out.carrier = request.ifr_flags & IFF_RUNNING;
    out.loopback = request.ifr_flags & IFF_LOOPBACK;
  }
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (ethtool(s.fd, name, &driver)) {
    out.driver = driver.driver;
    if (std::strchr(driver.bus_info, ':')) out.bus = driver.bus_info;
  } else if (out.loopback) {
    out.driver = "loopback";
  }
  out.numa_node = numa_node(out.bus);
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (ethtool(s.fd, name, &channels)) {
    out.rx_queues = channels.rx_count + channels.combined_count;
    out.tx_queues = channels.tx_count + channels.combined_count;
  } else {
    queues_by_netlink(out.ifindex, out.rx_queues, out.tx_queues);
  }
  out.rx_queues = std::max(out.rx_queues, 1u);
  out.tx_queues = std::max(out.tx_queues, 1u);
  return out;
}

}  // namespace wp::net
