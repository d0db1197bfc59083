// SPDX-License-Identifier: Apache-2.0
// The control side of the socket backend: a UDP socket per steering rule, bound, joined to its
// group, sized, and what the kernel made of each request read back.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/steering.h"

namespace wp::socket {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd();
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

struct UdpSettings {
  std::string interface;  // empty = the kernel chooses
  unsigned ifindex = 0;
  int64_t rx_buffer_bytes = 0;
  int64_t tx_buffer_bytes = 0;
  int ttl = 1;        // multicast
  bool loop = true;   // multicast sent is also delivered on this host
  int busy_poll = 0;  // us
  bool kernel_stamps = true;
};

// One bound socket. An address of all zeroes stands for any address.
struct UdpSocket {
  UniqueFd fd;
  FlowRule rule;           // family is 4 or 6
  bool any = false;        // bound to any address: destinations come with each datagram
  int64_t rx_granted = 0;  // in the unit of rx_buffer_bytes
  int busy_poll = 0;       // as read back
};

// Resolves the interface; throws Error naming those that exist.
unsigned interface_index(const std::string& interface);

// The sockets that `steering` needs: UDP rules with a port, each once; a rule without a family
// becomes one socket of each. Throws Error saying which rule cannot be had and why.
std::vector<UdpSocket> open_receivers(const Steering& steering, const UdpSettings& settings);

// The kernel begins to stamp arriving packets some time after the first socket asked for it, and
// gives those before a stamp of when they were read. Waits, at most about 100 ms, until a datagram
// over loopback comes with the stamp of its arrival; false where that can't be seen.
bool await_kernel_stamps() noexcept;

// A socket to send from; `port` 0 = the kernel chooses. Without descriptor where the kernel has
// no such family.
UniqueFd open_sender(int family, uint16_t port, const UdpSettings& settings);

// What SO_SNDBUF granted, in the unit of tx_buffer_bytes.
int64_t tx_granted(int fd);

}  // namespace wp::socket
