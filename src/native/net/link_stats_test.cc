// SPDX-License-Identifier: Apache-2.0
#include "net/link_stats.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"

TEST_CASE("link stats: counts what passes loopback from construction on") {
  wp::net::LinkStats stats("lo");
  REQUIRE(stats.read());
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(fd >= 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto before = stats.counts();
  for (int i = 0; i < 10; i++) {
    const char payload[100] = {};
    CHECK(sendto(fd, payload, sizeof payload, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) ==
          sizeof payload);
  }
  close(fd);
  REQUIRE(stats.read());
  CHECK(stats.counts().tx_packets >= before.tx_packets + 10);
  CHECK(stats.counts().tx_bytes >= before.tx_bytes + 1000);
  CHECK(stats.counts().rx_packets >= before.rx_packets + 10);
}

TEST_CASE("link stats: an interface that does not exist") {
  CHECK_THROWS_AS(wp::net::LinkStats("no-such-if"), wp::Error);
  CHECK_THROWS_AS(wp::net::LinkStats(0x7ffffff0u), wp::Error);
}
