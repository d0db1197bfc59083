// SPDX-License-Identifier: Apache-2.0
// The receiving half of a socket port: one recvmmsg per burst into buffers of the pool, headers
// laid in front of each datagram, kernel timestamps.
#pragma once

#include <sys/socket.h>
#include <time.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/socket/frame_pool.h"
#include "backends/socket/header_template.h"
#include "backends/socket/udp_socket.h"
#include "core/batch.h"
#include "core/clock.h"

namespace wp::socket {

struct RxCounts {
  uint64_t packets = 0, bytes = 0;
  uint64_t truncated = 0;  // longer than the buffer; not delivered
  uint64_t malformed = 0;  // without a sender's address
  uint64_t no_buffer = 0;  // polls for which every buffer was held
  uint64_t errors = 0;     // the kernel refused to receive
};

class SocketRx {
 public:
  SocketRx(std::vector<UdpSocket> sockets, uint32_t frames, uint32_t payload_bytes,
           uint32_t batch_size, bool kernel_stamps, Clock& clock);

  // Receives from the sockets that have something, by turns; never blocks. Fewer frames than there
  // is room for: every socket was found empty.
  uint32_t receive(wp_batch& batch) noexcept;
  void release(wp_batch& batch) noexcept;
  bool wait(int64_t timeout_us) noexcept;

  // Readable when any socket is.
  int fd() const noexcept;
  const std::vector<UdpSocket>& sockets() const noexcept { return sockets_; }
  const RxCounts& counts() const noexcept { return counts_; }
  // Frames handed out and not given back.
  uint32_t outstanding() const noexcept { return outstanding_; }
  // Datagrams that the sockets' buffers had no room for, or whose checksum was wrong, since the
  // sockets were opened. For the control thread.
  uint64_t kernel_drops() noexcept;

 private:
  // What the kernel writes beside the payload. The usual case, an IPv4 sender and a timestamp,
  // is one cache line; a destination takes a second.
  struct alignas(128) Beside {
    sockaddr_in6 name;
    alignas(32) uint8_t control[96];
  };
  static constexpr size_t kStampControl = CMSG_SPACE(sizeof(timespec));
  static_assert(offsetof(Beside, control) + kStampControl == 64);
  static_assert(sizeof(Beside::control) >= kStampControl + CMSG_SPACE(sizeof(in6_pktinfo)));

  uint32_t choose_socket(bool* asked) noexcept;
  void after_burst(bool drained) noexcept;
  uint32_t fill(uint32_t want) noexcept;
  template <int kFamily, bool kAny>
  void deliver(uint32_t socket, uint32_t begin, uint32_t end, wp_batch& batch) noexcept;

  std::vector<UdpSocket> sockets_;
  std::vector<HeaderTemplate> headers_;
  FramePool pool_;
  UniqueFd epoll_;
  uint32_t batch_size_;
  bool kernel_stamps_;
  Clock& clock_;

  // Message i receives into buffer slot_[i]. All of [consumed_, ready_) hold one; of those
  // before, the ones handed out by the last burst do not.
  std::unique_ptr<mmsghdr[]> messages_;
  std::unique_ptr<iovec[]> vectors_;
  std::unique_ptr<Beside[]> beside_;
  std::unique_ptr<uint32_t[]> slot_;
  uint32_t consumed_ = 0;
  uint32_t ready_ = 0;

  // Sockets that epoll named and that have not run dry since.
  static constexpr uint32_t kMaxReady = 64;
  uint32_t readable_[kMaxReady] = {};
  uint32_t readable_count_ = 0;
  uint32_t cursor_ = 0;

  uint32_t outstanding_ = 0;
  RxCounts counts_;
  std::vector<uint32_t> last_drops_;
  uint64_t drops_ = 0;
};

}  // namespace wp::socket
