// SPDX-License-Identifier: Apache-2.0
#include "route/netlink_receiver.h"

#include <doctest/doctest.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

using namespace wp::route;

namespace {

// A pair of datagram sockets, one of which stands for the kernel.
struct Pair {
  int ours = -1, kernels = -1;
  Pair() {
    int fds[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) == 0);
    ours = fds[0];
    kernels = fds[1];
  }
  ~Pair() {
    close(ours);
    if (kernels >= 0) close(kernels);
  }
  // NLMSG_ERROR with this number, in a message of so many bytes.
  void tell(int number, size_t size = NLMSG_LENGTH(sizeof(int))) const {
    std::vector<uint8_t> bytes(size);
    nlmsghdr h{};
    h.nlmsg_len = static_cast<uint32_t>(size);
    h.nlmsg_type = NLMSG_ERROR;
    const int error = -number;
    std::memcpy(bytes.data(), &h, sizeof h);
    std::memcpy(bytes.data() + NLMSG_HDRLEN, &error, sizeof error);
    REQUIRE(send(kernels, bytes.data(), bytes.size(), MSG_DONTWAIT) ==
            static_cast<ssize_t>(bytes.size()));
  }
};

}  // namespace

TEST_CASE("netlink receiver: everything that waits, in its order, and no more than asked for") {
  Pair pair;
  NetlinkReceiver receiver;
  RtnetlinkCounters counters;
  std::vector<RouteEvent> out;
  NetlinkReading said = receiver.read(pair.ours, 100, out, counters);
  CHECK(out.empty());
  CHECK(!said.more);
  CHECK(!said.missed);
  CHECK(said.error == 0);

  int told = 0, wanted = 0;
  for (int round = 0; round < 40; round++) {
    for (int i = 0; i < 5; i++) pair.tell(++told);
    if (round % 2 == 0) continue;
    said = receiver.read(pair.ours, 100, out, counters);
    CHECK(!said.more);
    REQUIRE(out.size() == static_cast<size_t>(told - wanted));
    for (const RouteEvent& e : out) CHECK(e.error == ++wanted);
    out.clear();
  }
  for (int i = 0; i < 8; i++) pair.tell(1);
  said = receiver.read(pair.ours, 3, out, counters);
  CHECK(said.more);  // whole readings: never cut
  CHECK(out.size() == 8);
}

TEST_CASE("netlink receiver: a message without room is one that was missed") {
  Pair pair;
  NetlinkReceiver receiver;
  RtnetlinkCounters counters;
  std::vector<RouteEvent> out;
  pair.tell(1);
  pair.tell(2, (128 << 10) + 4);
  pair.tell(3);
  const NetlinkReading said = receiver.read(pair.ours, 100, out, counters);
  CHECK(said.missed);
  REQUIRE(out.size() == 2);
  CHECK(out[0].error == 1);
  CHECK(out[1].error == 3);
}

TEST_CASE("netlink receiver: what is no socket is an error") {
  NetlinkReceiver receiver;
  RtnetlinkCounters counters;
  std::vector<RouteEvent> out;
  CHECK(receiver.read(-1, 100, out, counters).error == EBADF);
}
