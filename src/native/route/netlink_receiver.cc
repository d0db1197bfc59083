// SPDX-License-Identifier: Apache-2.0
#include "route/netlink_receiver.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace wp::route {

NetlinkReceiver::NetlinkReceiver() : room_(new uint8_t[kMessages * kRoom]) {}

NetlinkReading NetlinkReceiver::read(int fd, size_t most, std::vector<RouteEvent>& out,
                                     RtnetlinkCounters& counters) {
  NetlinkReading said;
  const size_t before = out.size();
  while (out.size() - before < most) {
    std::array<iovec, kMessages> at;
    std::array<mmsghdr, kMessages> messages{};
    for (size_t i = 0; i < kMessages; i++) {
      at[i] = {room_.get() + i * kRoom, kRoom};
      messages[i].msg_hdr.msg_iov = &at[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int n = recvmmsg(fd, messages.data(), kMessages, MSG_DONTWAIT, nullptr);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == ENOBUFS) {
        said.missed = true;
        continue;
      }
      if (errno != EAGAIN && errno != EWOULDBLOCK) said.error = errno;
      return said;
    }
    bool ended = true;  // a peer that hung up gives nothing, for ever
    for (int i = 0; i < n; i++) {
      if (messages[i].msg_len) ended = false;
      if (messages[i].msg_hdr.msg_flags & MSG_TRUNC)
        said.missed = true;
      else
        decode_rtnetlink(static_cast<uint8_t*>(at[i].iov_base), messages[i].msg_len, out, counters);
    }
    if (ended) return said;
  }
  said.more = true;
  return said;
}

}  // namespace wp::route
