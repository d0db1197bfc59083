// SPDX-License-Identifier: Apache-2.0
#include "backends/socket/socket_rx.h"

#include <linux/sock_diag.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace wp::socket {

SocketRx::SocketRx(std::vector<UdpSocket> sockets, uint32_t frames, uint32_t payload_bytes,
                   uint32_t batch_size, bool kernel_stamps, Clock& clock)
    : sockets_(std::move(sockets)),
      pool_(frames, payload_bytes),
      batch_size_(std::min(batch_size, frames)),
      kernel_stamps_(kernel_stamps),
      clock_(clock),
      messages_(std::make_unique<mmsghdr[]>(batch_size_)),
      vectors_(std::make_unique<iovec[]>(batch_size_)),
      names_(std::make_unique<sockaddr_in6[]>(batch_size_)),
      controls_(std::make_unique<Control[]>(batch_size_)),
      slot_(std::make_unique<uint32_t[]>(batch_size_)),
      last_drops_(sockets_.size()) {
  for (const UdpSocket& socket : sockets_) headers_.emplace_back(socket.rule);
  for (uint32_t i = 0; i < batch_size_; i++) {
    vectors_[i].iov_len = payload_bytes;
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = &vectors_[i];
    header.msg_iovlen = 1;
    header.msg_name = &names_[i];
    header.msg_namelen = sizeof names_[i];
    header.msg_control = &controls_[i];
    header.msg_controllen = sizeof controls_[i];
  }
  if (sockets_.size() < 2) return;
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) throw Error(ErrorKind::kIo, std::string("epoll_create1: ") + std::strerror(errno));
  for (uint32_t s = 0; s < sockets_.size(); s++) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = s;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, sockets_[s].fd.get(), &event) != 0)
      throw Error(ErrorKind::kIo, std::string("epoll_ctl: ") + std::strerror(errno));
  }
}

int SocketRx::fd() const noexcept {
  if (sockets_.empty()) return -1;
  return epoll_ ? epoll_.get() : sockets_[0].fd.get();
}

// Index of a socket that should have something, or sockets_.size().
uint32_t SocketRx::choose_socket() noexcept {
  if (sockets_.size() == 1) return 0;
  if (readable_count_ == 0) {
    epoll_event events[kMaxReady];
    const int n = ::epoll_wait(epoll_.get(), events, kMaxReady, 0);
    for (int i = 0; i < n; i++) readable_[i] = events[i].data.u32;
    readable_count_ = static_cast<uint32_t>(std::max(n, 0));
    cursor_ = 0;
    if (readable_count_ == 0) return static_cast<uint32_t>(sockets_.size());
  }
  if (cursor_ >= readable_count_) cursor_ = 0;
  return readable_[cursor_];
}

void SocketRx::after_burst(bool drained) noexcept {
  if (sockets_.size() == 1) return;
  if (drained)
    readable_[cursor_] = readable_[--readable_count_];
  else
    cursor_++;
}

// Gives a buffer to each of the first `want` messages; returns how many of them have one.
uint32_t SocketRx::fill(uint32_t want) noexcept {
  const auto put = [&](uint32_t i, uint32_t frame) {
    slot_[i] = frame;
    vectors_[i].iov_base = pool_.payload(frame);
  };
  for (uint32_t i = 0; i < consumed_; i++) {
    if (slot_[i] != FramePool::kNone) continue;
    uint32_t frame = pool_.take();
    // None is free: take one from the last message that has one.
    while (frame == FramePool::kNone && ready_ > i + 1)
      frame = std::exchange(slot_[--ready_], FramePool::kNone);
    if (frame == FramePool::kNone) {
      ready_ = i;
      break;
    }
    put(i, frame);
  }
  consumed_ = 0;
  while (ready_ < want) {
    const uint32_t frame = pool_.take();
    if (frame == FramePool::kNone) break;
    put(ready_++, frame);
  }
  return std::min(want, ready_);
}

// The kernel writes the timestamp first, then the packet information (net/socket.c,
// net/ipv4/ip_sockglue.c), so that the walk is one or two steps.
SocketRx::Ancillary SocketRx::parse(msghdr& header) const noexcept {
  Ancillary out{0, nullptr};
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
      timespec stamp;
      std::memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
      out.timestamp = stamp.tv_sec * 1'000'000'000LL + stamp.tv_nsec;
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      out.destination = CMSG_DATA(c) + offsetof(in_pktinfo, ipi_addr);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      out.destination = CMSG_DATA(c) + offsetof(in6_pktinfo, ipi6_addr);
    }
  }
  return out;
}

// nullptr where the sender's address is missing.
uint8_t* SocketRx::lay(uint32_t socket, uint32_t i, uint32_t length,
                       const void* destination) noexcept {
  uint8_t* payload = static_cast<uint8_t*>(vectors_[i].iov_base);
  const HeaderTemplate& header = headers_[socket];
  const socklen_t name = messages_[i].msg_hdr.msg_namelen;
  if (sockets_[socket].rule.family == 6) {
    if (name < sizeof(sockaddr_in6)) return nullptr;
    return header.lay6(payload, length, names_[i], static_cast<const in6_addr*>(destination));
  }
  if (name < sizeof(sockaddr_in)) return nullptr;
  const auto& source = reinterpret_cast<const sockaddr_in&>(names_[i]);
  if (!destination) return header.lay4(payload, length, source);
  return header.lay4(payload, length, source, *static_cast<const in_addr*>(destination));
}

uint32_t SocketRx::receive(wp_batch& batch) noexcept {
  batch.count = 0;
  if (sockets_.empty()) return 0;
  const uint32_t want = fill(std::min(batch.capacity, batch_size_));
  if (want == 0) {
    counts_.no_buffer++;
    return 0;
  }
  const uint32_t socket = choose_socket();
  if (socket == sockets_.size()) return 0;
  const int got =
      ::recvmmsg(sockets_[socket].fd.get(), messages_.get(), want, MSG_DONTWAIT, nullptr);
  if (got <= 0) {
    if (got < 0 && errno != EAGAIN && errno != EINTR) counts_.errors++;
    after_burst(true);
    return 0;
  }
  const auto count = static_cast<uint32_t>(got);
  after_burst(count < want);
  const bool any = sockets_[socket].any;
  const int64_t polled = kernel_stamps_ ? 0 : clock_.now();
  uint32_t n = 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < count; i++) {
    msghdr& header = messages_[i].msg_hdr;
    const uint32_t length = messages_[i].msg_len;
    Ancillary found{polled, nullptr};
    if (kernel_stamps_ || any) {
      found = parse(header);
      if (found.timestamp == 0) found.timestamp = kernel_stamps_ ? clock_.now() : polled;
    }
    const bool cut = header.msg_flags & MSG_TRUNC;
    uint8_t* frame = cut ? nullptr : lay(socket, i, length, found.destination);
    header.msg_namelen = sizeof names_[i];
    header.msg_controllen = sizeof controls_[i];
    if (!frame) [[unlikely]] {
      (cut ? counts_.truncated : counts_.malformed)++;
      continue;  // its buffer stays with the message
    }
    const auto whole =
        static_cast<uint32_t>(static_cast<uint8_t*>(vectors_[i].iov_base) - frame) + length;
    batch.data[n] = frame;
    batch.length[n] = whole;
    batch.timestamp[n] = found.timestamp;
    batch.hash[n] = 0;
    batch.verdict[n] = WP_DROP;
    batch.handle[n] = slot_[i];
    slot_[i] = FramePool::kNone;
    bytes += whole;
    n++;
  }
  consumed_ = count;
  outstanding_ += n;
  counts_.packets += n;
  counts_.bytes += bytes;
  return batch.count = n;
}

void SocketRx::release(wp_batch& batch) noexcept {
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.handle[i] == WP_NO_FRAME || batch.verdict[i] == WP_KEEP) continue;
    pool_.give(static_cast<uint32_t>(batch.handle[i]));
    batch.handle[i] = WP_NO_FRAME;
    outstanding_--;
  }
  batch.count = 0;
}

bool SocketRx::wait(int64_t timeout_us) noexcept {
  if (readable_count_ != 0) return true;
  // With every buffer held the socket stays readable; don't spin on it.
  if (outstanding_ == pool_.frames()) {
    const timespec nap{0, std::min<int64_t>(timeout_us, 50) * 1000};
    ::nanosleep(&nap, nullptr);
    return true;
  }
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  pollfd waited{fd(), POLLIN, 0};
  return ::ppoll(&waited, waited.fd >= 0 ? 1 : 0, &timeout, nullptr) > 0;
}

uint64_t SocketRx::kernel_drops() noexcept {
  for (size_t s = 0; s < sockets_.size(); s++) {
    uint32_t memory[SK_MEMINFO_VARS] = {};
    socklen_t size = sizeof memory;
    if (::getsockopt(sockets_[s].fd.get(), SOL_SOCKET, SO_MEMINFO, memory, &size) != 0) continue;
    drops_ += memory[SK_MEMINFO_DROPS] - last_drops_[s];  // 32 bits that wrap
    last_drops_[s] = memory[SK_MEMINFO_DROPS];
  }
  return drops_;
}

}  // namespace wp::socket
