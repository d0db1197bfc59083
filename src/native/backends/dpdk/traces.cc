// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/traces.h"

#include <fcntl.h>
#include <linux/if_xdp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "backends/dpdk/stats.h"

namespace wp::dpdk {
namespace {

constexpr const char* kOwnNamespace = "/proc/thread-self/ns/net";

ino_t inode(int fd) noexcept {
  struct stat s {};
  return fstat(fd, &s) == 0 ? s.st_ino : 0;
}

// In ascending order.
std::vector<std::pair<int, ino_t>> xdp_sockets() {
  std::vector<std::pair<int, ino_t>> out;
  for (const int fd : driver_sockets()) {
    int domain = 0;
    socklen_t n = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_XDP)
      out.emplace_back(fd, inode(fd));
  }
  return out;
}

}  // namespace

HomeNamespace::HomeNamespace() : fd_(open(kOwnNamespace, O_RDONLY | O_CLOEXEC)) {}
HomeNamespace::~HomeNamespace() {
  if (fd_ >= 0) close(fd_);
}

HomeNamespace::Visit::Visit(const HomeNamespace& home) noexcept
    : back_(open(kOwnNamespace, O_RDONLY | O_CLOEXEC)) {
  if (back_ < 0) return;
  if (inode(back_) != inode(home.fd_) && setns(home.fd_, CLONE_NEWNET) == 0) return;
  close(back_);
  back_ = -1;
}
HomeNamespace::Visit::~Visit() {
  if (back_ < 0) return;
  setns(back_, CLONE_NEWNET);
  close(back_);
}

void XdpSockets::begin() {
  before_ = xdp_sockets();
}
void XdpSockets::end() {
  const std::vector<Socket> now = xdp_sockets();
  std::ranges::set_difference(now, before_, std::back_inserter(ours_));
}
void XdpSockets::close_left() noexcept {
  for (const auto& [fd, number] : ours_)
    if (inode(fd) == number) close(fd);
  ours_.clear();
}

}  // namespace wp::dpdk
