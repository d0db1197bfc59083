// SPDX-License-Identifier: Apache-2.0
// The sending half of a socket port: takes the headers off UDP frames and sends the payloads to
// the destinations they name, one sendmmsg per run of frames.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/socket/udp_socket.h"
#include "core/batch.h"

namespace wp::socket {

struct TxCounts {
  uint64_t packets = 0, bytes = 0;
  uint64_t not_udp = 0;          // no whole UDP datagram over IPv4 or IPv6
  uint64_t buffer_full = 0;      // the socket or the device stayed full through every retry
  uint64_t error = 0;            // refused for another reason: last_error()
  uint64_t source_replaced = 0;  // sent, but from another port than the frame named
};

class SocketTx {
 public:
  // Frames whose source port is that of a unicast receiver leave through it, so that a reply
  // comes from where the request went; the others through a socket bound to `source_port`.
  SocketTx(const UdpSettings& settings, uint16_t source_port,
           const std::vector<UdpSocket>& receivers);

  uint32_t send(wp_batch& batch) noexcept;

  const TxCounts& counts() const noexcept { return counts_; }
  int last_error() const noexcept { return errno_.load(std::memory_order_relaxed); }
  int64_t granted() const noexcept;

 private:
  static constexpr uint32_t kBurst = 1024;  // UIO_MAXIOV: the kernel's limit for one call
  static constexpr int kRetries = 32;       // of a full buffer, in one call of send()

  struct Route {
    int fd = -1;
    uint16_t port = 0;  // what it sends from, 0 = the kernel's choice
  };
  struct Receiver {
    uint8_t family;
    uint16_t port;
    int fd;
  };

  Route route(uint8_t family, uint16_t source_port) const noexcept;
  uint32_t flush(int fd, uint32_t n, int& retries) noexcept;
  static void wait_for_room(int fd, int error) noexcept;

  unsigned ifindex_;
  uint16_t source_port_;
  UniqueFd own4_, own6_;
  int default4_ = -1, default6_ = -1;
  std::vector<Receiver> receivers_;
  std::unique_ptr<mmsghdr[]> messages_;
  std::unique_ptr<iovec[]> vectors_;
  std::unique_ptr<sockaddr_in6[]> names_;
  std::unique_ptr<uint32_t[]> lengths_;
  TxCounts counts_;
  std::atomic<int> errno_{0};
};

}  // namespace wp::socket
