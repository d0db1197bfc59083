// SPDX-License-Identifier: Apache-2.0
#include "net/group_report.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "net/bytes.h"
#include "net/headers.h"

namespace {

using wp::net::Membership;

constexpr wp::net::Mac kMac{0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

wp::FlowRule rule4(uint8_t last) {
  wp::FlowRule r{.protocol = wp::Protocol::kUdp, .family = 4, .address = {}, .port = 9001};
  const uint8_t group[4]{239, 129, 2, last};
  std::copy_n(group, 4, r.address.begin());
  return r;
}

wp::FlowRule rule6() {
  wp::FlowRule r{.protocol = wp::Protocol::kUdp, .family = 6, .address = {}, .port = 9001};
  r.address = {0xff, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34};
  return r;
}

}  // namespace

TEST_CASE("group report: IGMPv2, with checksums that add up") {
  const auto frame = wp::net::membership_frame(rule4(3), Membership::kReport, kMac, {192, 0, 2, 1});
  REQUIRE(frame.size() == 60);
  const uint8_t to[6]{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};  // the high bit of the group is lost
  CHECK(std::equal(to, to + 6, frame.begin()));
  CHECK(std::equal(kMac.begin(), kMac.end(), frame.begin() + 6));
  wp::net::Headers h;
  wp::net::parse_headers(frame.data(), frame.size(), h);
  CHECK(h.protocol == 2);
  CHECK(h.ttl == 1);
  CHECK(h.ip_dst[0] == 239);
  CHECK(wp::net::checksum(frame.data() + 14, 24) == 0);
  const uint8_t* message = frame.data() + 14 + 24;
  CHECK(message[0] == 0x16);
  CHECK(wp::net::checksum(message, 8) == 0);
  CHECK(wp::net::load_be32(message + 4) == 0xef810203);
}

TEST_CASE("group report: who leaves tells the routers, about the group") {
  const auto frame = wp::net::membership_frame(rule4(3), Membership::kLeave, kMac, {});
  CHECK(wp::net::load_be32(frame.data() + 14 + 16) == 0xe0000002);
  CHECK(frame[14 + 24] == 0x17);
  CHECK(wp::net::load_be32(frame.data() + 14 + 24 + 4) == 0xef810203);
}

TEST_CASE("group report: MLDv1 from the link-local address, behind a router alert") {
  const auto frame = wp::net::membership_frame(rule6(), Membership::kReport, kMac, {});
  const uint8_t to[6]{0x33, 0x33, 0, 0, 0x12, 0x34};
  CHECK(std::equal(to, to + 6, frame.begin()));
  const uint8_t* ip = frame.data() + 14;
  CHECK(ip[7] == 1);
  const uint8_t from[16]{0xfe, 0x80, 0,    0,    0,    0,    0,    0,
                         0x00, 0x11, 0x22, 0xff, 0xfe, 0x33, 0x44, 0x55};
  CHECK(std::equal(from, from + 16, ip + 8));
  CHECK(ip[40] == 58);
  const uint8_t* message = ip + 48;
  CHECK(message[0] == 131);
  const uint64_t pseudo = wp::net::checksum_add(ip + 8, 32) + 24 + 58;
  CHECK(wp::net::checksum(message, 24, pseudo) == 0);
  CHECK(frame.size() == 14 + 40 + 8 + 24);
}

TEST_CASE("group report: one for each group, none for other rules") {
  wp::FlowRule unicast = rule4(1);
  unicast.address[0] = 10;
  wp::FlowRule again = rule4(3);
  again.port = 1;
  const wp::Steering steering{.everything = false,
                              .rules = {rule4(3), unicast, again, rule4(4), rule6()}};
  CHECK(wp::net::membership_frames(steering, Membership::kReport, kMac, {}).size() == 3);
}
