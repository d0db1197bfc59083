// SPDX-License-Identifier: Apache-2.0
#include "backends/socket/udp_socket.h"

#include <net/if.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/clock.h"
#include "core/error.h"

namespace wp::socket {
namespace {

#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29
#endif

std::string describe(const FlowRule& rule) {
  Steering one;
  one.rules.push_back(rule);
  return one.describe();
}

Error os_error(const std::string& what, int error, const std::string& mend = {}) {
  const ErrorKind kind = error == EADDRINUSE                 ? ErrorKind::kBusy
                         : error == EACCES || error == EPERM ? ErrorKind::kPermission
                                                             : ErrorKind::kIo;
  return Error(kind, what + ": " + std::strerror(error), mend);
}

void set_int(int fd, int level, int option, int value, const char* name) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0)
    throw os_error("setting " + std::string(name) + " = " + std::to_string(value), errno);
}

int get_int(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  ::getsockopt(fd, SOL_SOCKET, option, &value, &size);
  return value;
}

// The kernel doubles what it is given, for its own bookkeeping, and reads back the double.
int64_t size_buffer(int fd, int force, int plain, int64_t bytes) {
  const int value = static_cast<int>(bytes);
  if (::setsockopt(fd, SOL_SOCKET, force, &value, sizeof value) != 0)
    ::setsockopt(fd, SOL_SOCKET, plain, &value, sizeof value);
  return get_int(fd, plain) / 2;
}

bool is_any(const FlowRule& rule) {
  return std::all_of(rule.address.begin(), rule.address.end(), [](uint8_t b) { return b == 0; });
}

UniqueFd open_udp(int family) {
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && errno != EAFNOSUPPORT) throw os_error("opening a UDP socket", errno);
  if (fd && family == AF_INET6) set_int(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
  return fd;
}

void bind_to_device(int fd, const UdpSettings& settings) {
  if (settings.interface.empty()) return;
  if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, settings.interface.c_str(),
                   static_cast<socklen_t>(settings.interface.size())) != 0)
    throw os_error("binding to interface " + settings.interface, errno,
                   "before Linux 5.7 this takes CAP_NET_RAW");
}

// TTL, loop and interface of multicast that is sent.
void set_outgoing(int fd, int family, const UdpSettings& settings) {
  const int index = static_cast<int>(settings.ifindex);
  if (family == AF_INET) {
    set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, settings.ttl, "IP_MULTICAST_TTL");
    set_int(fd, IPPROTO_IP, IP_MULTICAST_LOOP, settings.loop, "IP_MULTICAST_LOOP");
    ip_mreqn out{};
    out.imr_ifindex = index;
    if (index && ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) != 0)
      throw os_error("sending multicast on " + settings.interface, errno);
  } else {
    set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, settings.ttl, "IPV6_MULTICAST_HOPS");
    set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, settings.loop, "IPV6_MULTICAST_LOOP");
    if (index) set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index, "IPV6_MULTICAST_IF");
  }
  set_int(fd, SOL_SOCKET, SO_BROADCAST, 1, "SO_BROADCAST");
}

void bind_to(int fd, const FlowRule& rule, const UdpSettings& settings) {
  sockaddr_in6 address{};
  socklen_t size = sizeof address;
  if (rule.family == 4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(rule.port);
    std::memcpy(&v4.sin_addr, rule.address.data(), 4);
    size = sizeof v4;
  } else {
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(rule.port);
    std::memcpy(&address.sin6_addr, rule.address.data(), 16);
    address.sin6_scope_id = settings.ifindex;
  }
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) return;
  const std::string port = std::to_string(rule.port);
  std::string mend;
  if (errno == EADDRINUSE)
    mend = "see who has the port with: ss -ulnp 'sport = :" + port + "'";
  else if (errno == EADDRNOTAVAIL)
    mend = "give the interface that address first, or steer by one that it has: ip addr show";
  else if (errno == EACCES)
    mend = "ports below net.ipv4.ip_unprivileged_port_start take CAP_NET_BIND_SERVICE";
  throw os_error("binding " + describe(rule), errno, mend);
}

void join(int fd, const FlowRule& rule, const UdpSettings& settings) {
  int result = 0;
  if (rule.family == 4) {
    ip_mreqn group{};
    std::memcpy(&group.imr_multiaddr, rule.address.data(), 4);
    group.imr_ifindex = static_cast<int>(settings.ifindex);
    result = ::setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group);
  } else {
    ipv6_mreq group{};
    std::memcpy(&group.ipv6mr_multiaddr, rule.address.data(), 16);
    group.ipv6mr_interface = settings.ifindex;
    result = ::setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group);
  }
  if (result == 0) return;
  const int error = errno;
  const std::string on = settings.interface.empty() ? "" : " on " + settings.interface;
  throw os_error(
      "joining " + format_address(rule) + on, error,
      error == ENODEV && settings.interface.empty()
          ? "no route leads to the group: name the interface, e.g. socket:eth0"
      : error == ENODEV  ? "bring the interface up: ip link set " + settings.interface + " up"
      : error == ENOBUFS ? "raise the limit: sysctl -w net.ipv4.igmp_max_memberships=1024"
                         : "");
}

UdpSocket open_receiver(const FlowRule& rule, const UdpSettings& settings) {
  UdpSocket out;
  const int family = rule.family == 4 ? AF_INET : AF_INET6;
  out.fd = open_udp(family);
  if (!out.fd) return out;
  const int fd = out.fd.get();
  out.rule = rule;
  out.any = is_any(rule);
  out.rx_granted = size_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, settings.rx_buffer_bytes);
  size_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, settings.tx_buffer_bytes);
  if (settings.kernel_stamps) set_int(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS");
  if (settings.busy_poll) {
    if (::setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &settings.busy_poll, sizeof(int)) != 0)
      throw os_error("setting busy_poll = " + std::to_string(settings.busy_poll), errno,
                     "it takes CAP_NET_ADMIN");
    out.busy_poll = get_int(fd, SO_BUSY_POLL);
  }
  const bool group = rule.multicast();
  // A socket takes multicast only of the groups that it joined itself.
  if (family == AF_INET)
    set_int(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0, "IP_MULTICAST_ALL");
  else
    set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0, "IPV6_MULTICAST_ALL");
  if (out.any) {
    if (family == AF_INET)
      set_int(fd, IPPROTO_IP, IP_PKTINFO, 1, "IP_PKTINFO");
    else
      set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO");
  }
  // An IPv4 membership holds for its interface alone, which is all the filter it needs.
  if (!group || family == AF_INET6) bind_to_device(fd, settings);
  // Groups are shared between receivers. Unicast is not: a second socket would silently take the
  // datagrams away, so its bind has to fail.
  if (group) set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
  bind_to(fd, rule, settings);
  if (group)
    join(fd, rule, settings);
  else
    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");  // for groups of the same port
  set_outgoing(fd, family, settings);
  return out;
}

}  // namespace

UniqueFd::~UniqueFd() {
  if (fd_ >= 0) ::close(fd_);
}

unsigned interface_index(const std::string& interface) {
  if (interface.empty()) return 0;
  if (const unsigned index = ::if_nametoindex(interface.c_str())) return index;
  std::string list;
  if (struct if_nameindex* all = ::if_nameindex()) {
    for (auto* one = all; one->if_index != 0; one++)
      list += (list.empty() ? "" : ", ") + std::string(one->if_name);
    ::if_freenameindex(all);
  }
  throw Error(ErrorKind::kConfig, "there is no network interface \"" + interface + "\"",
              "the interfaces here are: " + list);
}

std::vector<UdpSocket> open_receivers(const Steering& steering, const UdpSettings& settings) {
  if (steering.everything)
    throw Error(ErrorKind::kUnsupported, "the socket backend cannot take everything",
                "a UDP socket receives one address and port: steer with wp.udp(address, port), or "
                "use af_xdp:INTERFACE or pcap:FILE");
  std::vector<FlowRule> rules;
  for (const FlowRule& given : steering.rules) {
    if (given.protocol != Protocol::kUdp)
      throw Error(ErrorKind::kUnsupported,
                  "the socket backend receives UDP only, not " + describe(given),
                  "steer with wp.udp(address, port), or use af_xdp:INTERFACE");
    if (given.port == 0)
      throw Error(ErrorKind::kUnsupported,
                  "the socket backend needs a port to bind, which " + describe(given) + " lacks",
                  "name the port, or use af_xdp:INTERFACE");
    for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
      if (given.family != 0 && given.family != family) continue;
      FlowRule rule = given;
      rule.family = family;
      const auto same = [&](const FlowRule& r) {
        return r.family == rule.family && r.address == rule.address && r.port == rule.port;
      };
      if (std::none_of(rules.begin(), rules.end(), same)) rules.push_back(rule);
    }
  }
  // Unicast first: see SO_REUSEADDR above.
  std::stable_partition(rules.begin(), rules.end(),
                        [](const FlowRule& r) { return !r.multicast(); });
  std::vector<UdpSocket> out;
  for (const FlowRule& rule : rules) {
    UdpSocket opened = open_receiver(rule, settings);
    if (opened.fd) {
      out.push_back(std::move(opened));
    } else if (rule.family == 4 || std::none_of(steering.rules.begin(), steering.rules.end(),
                                                [](const FlowRule& r) { return r.family == 0; })) {
      throw Error(ErrorKind::kUnavailable, "this kernel has no IPv" + std::to_string(rule.family) +
                                               " for " + describe(rule));
    }
  }
  return out;
}

bool await_kernel_stamps() noexcept {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in self{};
  self.sin_family = AF_INET;
  self.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* address = reinterpret_cast<sockaddr*>(&self);
  socklen_t size = sizeof self;
  const int on = 1;
  if (::bind(fd.get(), address, size) != 0 || ::getsockname(fd.get(), address, &size) != 0 ||
      ::setsockopt(fd.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0)
    return false;
  for (int attempt = 0; attempt < 100; attempt++) {
    uint8_t byte = 0;
    if (::sendto(fd.get(), &byte, 1, 0, address, size) != 1) return false;  // loopback is down
    const timespec between{0, 1'000'000};
    ::nanosleep(&between, nullptr);
    const int64_t read_at = Clock::realtime();
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(timespec))];
    iovec data{&byte, 1};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(fd.get(), &message, 0) != 1) continue;
    const cmsghdr* c = CMSG_FIRSTHDR(&message);
    if (!c || c->cmsg_type != SCM_TIMESTAMPNS) return false;
    timespec stamp;
    std::memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
    if (stamp.tv_sec * 1'000'000'000LL + stamp.tv_nsec < read_at) return true;
  }
  return false;
}

UniqueFd open_sender(int family, uint16_t port, const UdpSettings& settings) {
  UniqueFd fd = open_udp(family);
  if (!fd) return fd;
  size_buffer(fd.get(), SO_SNDBUFFORCE, SO_SNDBUF, settings.tx_buffer_bytes);
  bind_to_device(fd.get(), settings);
  set_outgoing(fd.get(), family, settings);
  if (family == AF_INET)
    set_int(fd.get(), IPPROTO_IP, IP_MULTICAST_ALL, 0, "IP_MULTICAST_ALL");
  else
    set_int(fd.get(), IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0, "IPV6_MULTICAST_ALL");
  if (port != 0) {
    set_int(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
    FlowRule any;
    any.protocol = Protocol::kUdp;
    any.family = family == AF_INET ? 4 : 6;
    any.port = port;
    bind_to(fd.get(), any, UdpSettings{});
  }
  return fd;
}

int64_t tx_granted(int fd) {
  return get_int(fd, SO_SNDBUF) / 2;
}

}  // namespace wp::socket
