/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/flow_table.h"

#include <doctest/doctest.h>

#include "core/error.h"

namespace wp::feed {
namespace {

FlowRule rule(std::initializer_list<uint8_t> address, uint16_t port) {
  FlowRule out;
  out.protocol = Protocol::kUdp;
  out.family = address.size() == 4 ? 4 : address.size() == 16 ? 6 : 0;
  size_t i = 0;
  for (uint8_t b : address) out.address[i++] = b;
  out.port = port;
  return out;
}

net::Headers to(std::initializer_list<uint8_t> address, uint16_t port) {
  net::Headers h{};
  h.ip_version = address.size() == 4 ? 4 : 6;
  size_t i = 0;
  for (uint8_t b : address) h.ip_dst[i++] = b;
  h.dst_port = port;
  return h;
}

TEST_CASE("frames find their line by address and port, whatever came before") {
  FlowTable table;
  for (uint32_t i = 0; i < 200; ++i) {
    table.add(rule({239, 1, 1, static_cast<uint8_t>(i / 2)}, static_cast<uint16_t>(9000 + i)),
              {nullptr, i}, "line");
  }
  for (int round = 0; round < 2; ++round) {
    for (uint32_t i = 0; i < 200; ++i) {
      const FlowTarget* const found =
          table.find(to({239, 1, 1, static_cast<uint8_t>(i / 2)}, static_cast<uint16_t>(9000 + i)));
      REQUIRE(found != nullptr);
      CHECK(found->line == i);
      // The same port in another group is nobody's.
      CHECK(table.find(to({239, 1, 2, static_cast<uint8_t>(i / 2)},
                          static_cast<uint16_t>(9000 + i))) == nullptr);
    }
  }
}

TEST_CASE("an exact rule comes before one that leaves the address or the port open") {
  FlowTable table;
  table.add(rule({}, 9001), {nullptr, 1}, "any address");
  table.add(rule({10, 0, 0, 1}, 0), {nullptr, 2}, "any port");
  table.add(rule({10, 0, 0, 1}, 9001), {nullptr, 3}, "exact");
  CHECK(table.find(to({10, 0, 0, 9}, 9001))->line == 1);
  CHECK(table.find(to({10, 0, 0, 1}, 9001))->line == 3);
  CHECK(table.find(to({10, 0, 0, 1}, 9002))->line == 2);
  CHECK(table.find(to({10, 0, 0, 9}, 9001))->line == 1);
  CHECK(table.find(to({10, 0, 0, 9}, 9002)) == nullptr);
}

TEST_CASE("the families are told apart, and everything is everything") {
  FlowTable table;
  table.add(rule({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 9001), {nullptr, 6}, "six");
  CHECK(table.find(to({0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 9001))->line == 6);
  CHECK(table.find(to({0xff, 2, 0, 0}, 9001)) == nullptr);
  FlowTable all;
  all.add(FlowRule{}, {nullptr, 7}, "everything");
  CHECK(all.find(to({1, 2, 3, 4}, 5))->line == 7);
  CHECK(all.find(to({4, 3, 2, 1}, 9))->line == 7);
}

TEST_CASE("a flow that somebody has, and one that is not UDP, are refused by name") {
  FlowTable table;
  table.add(rule({239, 1, 1, 1}, 9001), {nullptr, 0}, "line 0 of channel A");
  CHECK_THROWS_WITH_AS(table.add(rule({239, 1, 1, 1}, 9001), {nullptr, 1}, "line 1 of channel B"),
                       doctest::Contains("line 0 of channel A"), Error);
  FlowRule tcp = rule({239, 1, 1, 1}, 9002);
  tcp.protocol = Protocol::kTcp;
  CHECK_THROWS_WITH_AS(table.add(tcp, {nullptr, 1}, "line 1"), doctest::Contains("UDP"), Error);
}

}  // namespace
}  // namespace wp::feed
