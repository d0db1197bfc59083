// SPDX-License-Identifier: Apache-2.0
#include "wire.h"

#include <linux/errqueue.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "net/bytes.h"
#include "net/checksum.h"
#include "net/headers.h"

namespace sim {
namespace {

using wp::net::Headers;

constexpr uint32_t kTagRoom = 4;  // in front of every frame, for the tag that the kernel took off
constexpr int kSocketBuffer = 64 << 20;

// Sum over the pseudo header of UDP and TCP.
uint64_t pseudo_sum(const Headers& h, uint32_t bytes) {
  const size_t n = h.ip_version == 4 ? 4 : 16;
  uint64_t sum = wp::net::checksum_add(h.ip_src, n);
  sum = wp::net::checksum_add(h.ip_dst, n, sum);
  return sum + h.protocol + bytes;
}

// Bytes of UDP or TCP from its header on; 0 = the frame has none that can be checked.
uint32_t transport_bytes(const Headers& h) {
  if (!(h.layers & (wp::net::kUdp | wp::net::kTcp)) || (h.layers & wp::net::kFragment)) return 0;
  return h.payload_offset - h.l4_offset + h.payload_length;
}

void fill_in_checksum(Frame& frame) {
  Headers h;
  wp::net::parse_headers(frame.data, frame.kept, h);
  const uint32_t bytes = transport_bytes(h);
  if (bytes == 0) return;
  uint8_t* field = frame.data + h.l4_offset + (h.protocol == 17 ? 6 : 16);
  wp::net::store_be16(field, 0);
  const uint16_t sum = wp::net::checksum(frame.data + h.l4_offset, bytes, pseudo_sum(h, bytes));
  wp::net::store_be16(field, sum == 0 && h.protocol == 17 ? 0xffff : sum);
}

}  // namespace

struct Wire::Slots {
  std::vector<uint8_t> memory = std::vector<uint8_t>(size_t{kBurst} * kRoom);
  std::array<mmsghdr, kBurst> messages{};
  std::array<iovec, kBurst> vectors{};
  std::array<std::array<char, 256>, kBurst> control{};
};

Wire::Wire(int ifindex)
    : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      ifindex_(ifindex),
      slots_(std::make_unique<Slots>()) {
  if (fd_ < 0) throw errno;
  const int on = 1;
  setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
  setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  setsockopt(fd_, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  if (setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer))
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof kSocketBuffer);
  // Bound to no protocol, so that the socket sends and does not receive.
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = ifindex;
  if (bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address)) {
    const int error = errno;
    close(fd_);
    throw error;
  }
}

Wire::~Wire() {
  close(fd_);
}

int Wire::listen() {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = ifindex_;
  address.sll_protocol = __builtin_bswap16(ETH_P_ALL);
  return bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) ? -errno : 0;
}

bool Wire::interface_exists() const {
  ifreq request{};
  request.ifr_ifindex = ifindex_;
  return ioctl(fd_, SIOCGIFNAME, &request) == 0;
}

int Wire::receive(std::array<Frame, kBurst>& out) {
  Slots& s = *slots_;
  for (uint32_t i = 0; i < kBurst; i++) {
    s.vectors[i] = {s.memory.data() + size_t{i} * kRoom + kTagRoom, kRoom - kTagRoom};
    s.messages[i] = {};
    s.messages[i].msg_hdr.msg_iov = &s.vectors[i];
    s.messages[i].msg_hdr.msg_iovlen = 1;
    s.messages[i].msg_hdr.msg_control = s.control[i].data();
    s.messages[i].msg_hdr.msg_controllen = s.control[i].size();
  }
  const int n = recvmmsg(fd_, s.messages.data(), kBurst, MSG_DONTWAIT | MSG_TRUNC, nullptr);
  if (n < 0) return (errno == ENETDOWN || errno == ENXIO) && !interface_exists() ? -ENODEV : 0;
  for (int i = 0; i < n; i++) {
    msghdr& header = s.messages[i].msg_hdr;
    const uint32_t length = s.messages[i].msg_len;
    Frame frame{static_cast<uint8_t*>(s.vectors[i].iov_base), length,
                std::min(length, kRoom - kTagRoom), 0};
    bool unfinished = false;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
        tpacket_auxdata aux;
        std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
        unfinished = aux.tp_status & TP_STATUS_CSUMNOTREADY;
        if ((aux.tp_status & TP_STATUS_VLAN_VALID) && length >= 12) {
          const uint16_t type =
              aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q;
          std::memmove(frame.data - kTagRoom, frame.data, 12);
          frame.data -= kTagRoom;
          wp::net::store_be16(frame.data + 12, type);
          wp::net::store_be16(frame.data + 14, aux.tp_vlan_tci);
          frame.length += kTagRoom;
          frame.kept += kTagRoom;
        }
      } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
        timespec t;
        std::memcpy(&t, CMSG_DATA(c), sizeof t);
        frame.timestamp = t.tv_sec * 1'000'000'000LL + t.tv_nsec;
      }
    }
    if (unfinished) fill_in_checksum(frame);
    out[static_cast<size_t>(i)] = frame;
  }
  return n;
}

int Wire::send(const void* frame, uint32_t length) {
  return ::send(fd_, frame, length, MSG_DONTWAIT) < 0 ? -errno : 0;
}

uint64_t Wire::overruns() {
  tpacket_stats counts{};  // since the last time it was asked
  socklen_t length = sizeof counts;
  if (getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &counts, &length) == 0)
    overruns_.fetch_add(counts.tp_drops);
  return overruns_.load();
}

Checksums check(const Frame& frame) {
  Headers h;
  wp::net::parse_headers(frame.data, frame.kept, h);
  Checksums out;
  if (h.ip_version == 4) {
    const uint8_t* ip = frame.data + h.l3_offset;
    out.l3_bad = wp::net::checksum(ip, size_t{ip[0] & 15u} * 4) != 0;
  }
  const uint32_t bytes = transport_bytes(h);
  if (bytes == 0) return out;
  const uint8_t* l4 = frame.data + h.l4_offset;
  const bool none = h.ip_version == 4 && h.protocol == 17 && wp::net::load_be16(l4 + 6) == 0;
  out.l4_bad = !none && wp::net::checksum(l4, bytes, pseudo_sum(h, bytes)) != 0;
  return out;
}

}  // namespace sim
