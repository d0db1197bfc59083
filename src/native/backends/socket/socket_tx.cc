// SPDX-License-Identifier: Apache-2.0
#include "backends/socket/socket_tx.h"

#include <poll.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "net/headers.h"

namespace wp::socket {
namespace {

bool is_full(int error) noexcept {
  return error == EAGAIN || error == ENOBUFS || error == ENOMEM;
}

bool is_link_local(const uint8_t* address) noexcept {
  return (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) ||
         (address[0] == 0xff && (address[1] & 0x0f) <= 2);
}

}  // namespace

SocketTx::SocketTx(const UdpSettings& settings, uint16_t source_port,
                   const std::vector<UdpSocket>& receivers)
    : ifindex_(settings.ifindex),
      source_port_(source_port),
      messages_(std::make_unique<mmsghdr[]>(kBurst)),
      vectors_(std::make_unique<iovec[]>(kBurst)),
      names_(std::make_unique<sockaddr_in6[]>(kBurst)),
      lengths_(std::make_unique<uint32_t[]>(kBurst)) {
  for (const UdpSocket& r : receivers) {
    if (r.rule.multicast()) continue;  // a group is no address to send from
    receivers_.push_back({r.rule.family, r.rule.port, r.fd.get()});
    if (source_port != 0 && r.rule.port == source_port)
      (r.rule.family == 4 ? default4_ : default6_) = r.fd.get();
  }
  if (default4_ < 0) {
    own4_ = open_sender(AF_INET, source_port, settings);
    default4_ = own4_.get();
  }
  if (default6_ < 0) {
    own6_ = open_sender(AF_INET6, source_port, settings);
    default6_ = own6_.get();
  }
  for (uint32_t i = 0; i < kBurst; i++) {
    messages_[i].msg_hdr.msg_iov = &vectors_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
    messages_[i].msg_hdr.msg_name = &names_[i];
  }
}

int64_t SocketTx::granted() const noexcept {
  return tx_granted(default4_ >= 0 ? default4_ : default6_);
}

SocketTx::Route SocketTx::route(uint8_t family, uint16_t source_port) const noexcept {
  for (const Receiver& r : receivers_)
    if (r.port == source_port && r.family == family) return {r.fd, r.port};
  return {family == 4 ? default4_ : default6_, source_port_};
}

uint32_t SocketTx::send(wp_batch& batch) noexcept {
  int retries = kRetries;
  uint32_t sent = 0, n = 0;
  int fd = -1;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_TX) continue;
    net::Headers h;
    net::parse_headers(batch.data[i], batch.length[i], h);
    if (!(h.layers & net::kUdp) || (h.layers & net::kFragment)) {
      counts_.not_udp++;
      continue;
    }
    const Route via = route(h.ip_version, h.src_port);
    if (n == kBurst || (n != 0 && via.fd != fd)) {
      sent += flush(fd, n, retries);
      n = 0;
    }
    fd = via.fd;
    counts_.source_replaced += h.src_port != 0 && h.src_port != via.port;
    sockaddr_in6& name = names_[n];
    name = {};
    if (h.ip_version == 4) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(name);
      v4.sin_family = AF_INET;
      v4.sin_port = __builtin_bswap16(h.dst_port);
      std::memcpy(&v4.sin_addr, h.ip_dst, 4);
      messages_[n].msg_hdr.msg_namelen = sizeof v4;
    } else {
      name.sin6_family = AF_INET6;
      name.sin6_port = __builtin_bswap16(h.dst_port);
      std::memcpy(&name.sin6_addr, h.ip_dst, 16);
      if (is_link_local(h.ip_dst)) name.sin6_scope_id = ifindex_;
      messages_[n].msg_hdr.msg_namelen = sizeof name;
    }
    vectors_[n] = {batch.data[i] + h.payload_offset, h.payload_length};
    lengths_[n] = batch.length[i];
    n++;
  }
  if (n) sent += flush(fd, n, retries);
  return sent;
}

uint32_t SocketTx::flush(int fd, uint32_t n, int& retries) noexcept {
  uint32_t at = 0, sent = 0;
  while (at < n) {
    const int done = ::sendmmsg(fd, &messages_[at], n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done > 0) {
      for (int i = 0; i < done; i++) counts_.bytes += lengths_[at + static_cast<uint32_t>(i)];
      at += static_cast<uint32_t>(done);
      sent += static_cast<uint32_t>(done);
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    if (!is_full(error)) {  // this datagram cannot go; the next may
      errno_.store(error, std::memory_order_relaxed);
      counts_.error++;
      at++;
    } else if (retries-- > 0) {
      wait_for_room(fd, error);
    } else {
      retries = 0;
      counts_.buffer_full += n - at;
      break;
    }
  }
  counts_.packets += sent;
  return sent;
}

void SocketTx::wait_for_room(int fd, int error) noexcept {
  const timespec a_while{0, 250'000};
  if (error == EAGAIN) {
    pollfd full{fd, POLLOUT, 0};
    ::ppoll(&full, 1, &a_while, nullptr);
  } else {  // the device's queue: poll() knows nothing of it
    ::nanosleep(&a_while, nullptr);
  }
}

}  // namespace wp::socket
