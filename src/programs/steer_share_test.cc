// SPDX-License-Identifier: Apache-2.0
// Which flow a frame is of, and how evenly flows fall on a share.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "net/frame_builder.h"
#include "programs/steer_native.h"
#include "programs/steer_share.h"

namespace {

using Frame = std::vector<uint8_t>;

Frame udp4(uint32_t source, uint16_t source_port, uint16_t port = 9001, size_t payload = 20) {
  wp::net::UdpFlow flow{.source_port = source_port};
  wp::net::store_be32(flow.source_ip.data(), source);
  flow.destination_ip = {239, 1, 1, 1};
  flow.destination_port = port;
  Frame frame(wp::net::kUdp4HeaderBytes + payload);
  wp::net::write_udp4_headers(frame.data(), flow, static_cast<uint16_t>(payload));
  return frame;
}
// Exactly sized on the heap, so that a sanitizer sees a read past the end.
steer_flow flow_of(const Frame& frame, size_t n) {
  const auto copy = std::make_unique<uint8_t[]>(n);
  std::copy_n(frame.begin(), n, copy.get());
  steer_flow out;
  steer_flow_of(copy.get(), copy.get() + n, &out);
  return out;
}
steer_flow flow_of(const Frame& frame) {
  return flow_of(frame, frame.size());
}

}  // namespace

TEST_CASE("share: a flow is its addresses, protocol and ports, and nothing else") {
  const Frame one = udp4(0x0a000001, 4000);
  CHECK(flow_of(one).hash == flow_of(udp4(0x0a000001, 4000, 9001, 900)).hash);
  CHECK(flow_of(one).hash != flow_of(udp4(0x0a000002, 4000)).hash);
  CHECK(flow_of(one).hash != flow_of(udp4(0x0a000001, 4001)).hash);
  CHECK(flow_of(one).hash != flow_of(udp4(0x0a000001, 4000, 9002)).hash);
  Frame tagged = one;
  const uint8_t tag[] = {0x81, 0x00, 0, 7};
  tagged.insert(tagged.begin() + 12, tag, tag + 4);
  CHECK(flow_of(tagged).hash == flow_of(one).hash);
  Frame tcp = one;
  tcp[14 + 9] = 6;
  CHECK(flow_of(tcp).hash != flow_of(one).hash);
}

TEST_CASE("share: the destination is the key of a rule that leaves nothing open") {
  wp::FlowRule rule{
      .protocol = wp::Protocol::kUdp, .family = 4, .address = {239, 1, 1, 1}, .port = 9001};
  const auto keys = wp::programs::steer_keys({.everything = false, .rules = {rule}});
  const steer_flow flow = flow_of(udp4(1, 2));
  CHECK(std::memcmp(&flow.to, keys.keys.data(), sizeof flow.to) == 0);
}

TEST_CASE("share: no truncation reads past the end; IPv6 and what is no IP have a flow too") {
  const Frame four = udp4(0x0a000001, 4000);
  for (size_t n = 0; n <= four.size(); n++) flow_of(four, n);
  CHECK(flow_of(four, 42).hash == flow_of(four).hash);
  wp::net::UdpFlow6 six{.source_port = 1};
  six.destination_ip[0] = 0xff;
  six.destination_port = 9001;
  Frame frame(wp::net::kUdp6HeaderBytes + 20);
  wp::net::write_udp6_headers(frame.data(), six, 20);
  for (size_t n = 0; n <= frame.size(); n++) flow_of(frame, n);
  const uint32_t before = flow_of(frame).hash;
  frame[14 + 23] ^= 1;  // the source's last byte
  CHECK(flow_of(frame).hash != before);
  CHECK(flow_of(Frame(60, 0xff)).hash == 0);
}

TEST_CASE("share: flows fall evenly on every share, also ones that differ in few bits") {
  constexpr int kFlows = 40'000;
  for (const double share : {0.01, 0.1, 0.3, 0.5, 0.9}) {
    int by_port = 0, by_address = 0;
    const auto limit = static_cast<uint32_t>(share * STEER_ALL_FLOWS);
    for (uint32_t i = 0; i < kFlows; i++) {
      const uint32_t low = STEER_ALL_FLOWS - 1;
      by_port += (flow_of(udp4(0x0a000001, static_cast<uint16_t>(i + 1024))).hash & low) < limit;
      by_address += (flow_of(udp4(0x0a000000 + i, 4000)).hash & low) < limit;
    }
    const double deviation = 5 * std::sqrt(kFlows * share * (1 - share));
    CAPTURE(share);
    CHECK(std::abs(by_port - kFlows * share) < deviation);
    CHECK(std::abs(by_address - kFlows * share) < deviation);
  }
}
