// SPDX-License-Identifier: Apache-2.0
// What drivers on the kernel's interfaces would leave behind: they ask the kernel in the network
// namespace of whoever closes them, and net_af_xdp forgets to close its socket, which keeps the
// interface's queue from being bound again.
#pragma once

#include <sys/types.h>

#include <utility>
#include <vector>

namespace wp::dpdk {

// The network namespace of the thread that made it.
class HomeNamespace {
 public:
  HomeNamespace();
  ~HomeNamespace();
  HomeNamespace(const HomeNamespace&) = delete;
  HomeNamespace& operator=(const HomeNamespace&) = delete;

  // The calling thread is there while one of these lives. Where it may not, it stays.
  class Visit {
   public:
    explicit Visit(const HomeNamespace& home) noexcept;
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

   private:
    int back_ = -1;
  };

 private:
  int fd_ = -1;
};

// The AF_XDP sockets that came between begin() and end(). An af_xdp port that another thread
// opens in these milliseconds would be taken for one: there is no telling them apart.
class XdpSockets {
 public:
  void begin();
  void end();
  void close_left() noexcept;  // those that are open still

 private:
  using Socket = std::pair<int, ino_t>;
  std::vector<Socket> before_, ours_;
};

}  // namespace wp::dpdk
