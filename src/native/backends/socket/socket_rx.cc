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
      beside_(std::make_unique<Beside[]>(batch_size_)),
      slot_(std::make_unique<uint32_t[]>(batch_size_)),
      last_drops_(sockets_.size()) {
  for (const UdpSocket& socket : sockets_) headers_.emplace_back(socket.rule);
  for (uint32_t i = 0; i < batch_size_; i++) {
    vectors_[i].iov_len = payload_bytes;
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = &vectors_[i];
    header.msg_iovlen = 1;
    header.msg_name = &beside_[i].name;
    header.msg_namelen = sizeof beside_[i].name;
    header.msg_control = beside_[i].control;
    header.msg_controllen = sizeof beside_[i].control;
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

// Index of a socket that should have something, or sockets_.size(). The kernel is asked again when
// each of those that it named had its turn: a socket that is always full keeps no other waiting.
uint32_t SocketRx::choose_socket(bool* asked) noexcept {
  const auto none = static_cast<uint32_t>(sockets_.size());
  if (sockets_.size() == 1) return std::exchange(*asked, true) ? none : 0;
  if (cursor_ >= readable_count_) {
    if (std::exchange(*asked, true)) return none;
    epoll_event events[kMaxReady];
    const int n = ::epoll_wait(epoll_.get(), events, kMaxReady, 0);
    for (int i = 0; i < n; i++) readable_[i] = events[i].data.u32;
    readable_count_ = static_cast<uint32_t>(std::max(n, 0));
    cursor_ = 0;
    if (readable_count_ == 0) return none;
  }
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

namespace {

// The control message at `at` of `header`, or nullptr where it is another one or missing.
template <class T>
const T* control_at(const msghdr& header, size_t at, int level, int type) noexcept {
  if (header.msg_controllen < at + CMSG_LEN(sizeof(T))) return nullptr;
  const auto* c = reinterpret_cast<const cmsghdr*>(static_cast<uint8_t*>(header.msg_control) + at);
  if (c->cmsg_level != level || c->cmsg_type != type) return nullptr;
  return reinterpret_cast<const T*>(CMSG_DATA(c));
}

}  // namespace

// Turns messages [begin, end) into further frames of the batch. The kernel writes the timestamp
// first and the packet information behind it (net/socket.c, net/ipv4/udp.c), so both stand at fixed
// places.
template <int kFamily, bool kAny>
void SocketRx::deliver(uint32_t socket, uint32_t begin, uint32_t end, wp_batch& batch) noexcept {
  constexpr size_t kName = kFamily == 4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  const HeaderTemplate& headers = headers_[socket];
  const size_t second = kernel_stamps_ ? kStampControl : 0;
  const int64_t polled = kernel_stamps_ ? 0 : clock_.now();
  uint32_t n = batch.count;
  uint64_t bytes = 0;
  for (uint32_t i = begin; i < end; i++) {
    msghdr& header = messages_[i].msg_hdr;
    const uint32_t length = messages_[i].msg_len;
    auto* payload = static_cast<uint8_t*>(vectors_[i].iov_base);
    int64_t timestamp = polled;
    if (kernel_stamps_) {
      const auto* stamp = control_at<timespec>(header, 0, SOL_SOCKET, SCM_TIMESTAMPNS);
      timestamp = stamp ? stamp->tv_sec * 1'000'000'000LL + stamp->tv_nsec : clock_.now();
    }
    uint8_t* frame = nullptr;
    const bool cut = header.msg_flags & MSG_TRUNC;
    if (!cut && header.msg_namelen >= kName) [[likely]] {
      if constexpr (kFamily == 4) {
        const auto& source = reinterpret_cast<const sockaddr_in&>(beside_[i].name);
        if constexpr (kAny) {
          if (const auto* info = control_at<in_pktinfo>(header, second, IPPROTO_IP, IP_PKTINFO))
            frame = headers.lay4(payload, length, source, info->ipi_addr);
        } else {
          frame = headers.lay4(payload, length, source);
        }
      } else {
        const in6_addr* destination = nullptr;
        if constexpr (kAny) {
          if (const auto* info =
                  control_at<in6_pktinfo>(header, second, IPPROTO_IPV6, IPV6_PKTINFO))
            destination = &info->ipi6_addr;
        }
        if (!kAny || destination)
          frame = headers.lay6(payload, length, beside_[i].name, destination);
      }
    }
    // Only what the kernel wrote has to be put back.
    header.msg_namelen = sizeof beside_[i].name;
    header.msg_controllen = sizeof beside_[i].control;
    if (!frame) [[unlikely]] {
      (cut ? counts_.truncated : counts_.malformed)++;
      continue;  // its buffer stays with the message
    }
    const uint32_t whole = static_cast<uint32_t>(payload - frame) + length;
    batch.data[n] = frame;
    batch.length[n] = whole;
    batch.timestamp[n] = timestamp;
    batch.hash[n] = 0;
    batch.verdict[n] = WP_DROP;
    batch.handle[n] = slot_[i];
    slot_[i] = FramePool::kNone;
    bytes += whole;
    n++;
  }
  consumed_ = end;
  outstanding_ += n - batch.count;
  counts_.packets += n - batch.count;
  counts_.bytes += bytes;
  batch.count = n;
}

uint32_t SocketRx::receive(wp_batch& batch) noexcept {
  batch.count = 0;
  if (sockets_.empty()) return 0;
  const uint32_t want = fill(std::min(batch.capacity, batch_size_));
  if (want == 0) {
    counts_.no_buffer++;
    return 0;
  }
  bool asked = false;
  for (uint32_t used = 0; used < want;) {
    const uint32_t socket = choose_socket(&asked);
    if (socket == sockets_.size()) break;
    const int got = ::recvmmsg(sockets_[socket].fd.get(), messages_.get() + used, want - used,
                               MSG_DONTWAIT, nullptr);
    if (got <= 0) {
      if (got < 0 && errno != EAGAIN && errno != EINTR) counts_.errors++;
      after_burst(true);
      continue;
    }
    const uint32_t end = used + static_cast<uint32_t>(got);
    after_burst(end < want);
    const bool any = sockets_[socket].any;
    if (sockets_[socket].rule.family == 4)
      any ? deliver<4, true>(socket, used, end, batch)
          : deliver<4, false>(socket, used, end, batch);
    else
      any ? deliver<6, true>(socket, used, end, batch)
          : deliver<6, false>(socket, used, end, batch);
    used = end;
  }
  return batch.count;
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
