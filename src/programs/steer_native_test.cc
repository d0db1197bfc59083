// SPDX-License-Identifier: Apache-2.0
// The match as native code: every kind of rule, tags, extension headers, fragments, and every
// truncation of a frame that matches.
#include "programs/steer_native.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "net/frame_builder.h"

using wp::FlowRule;
using wp::Protocol;
using wp::Steering;
using wp::programs::SteerTable;

namespace {

using Frame = std::vector<uint8_t>;

FlowRule rule(Protocol protocol, const char* address, uint16_t port) {
  FlowRule r{.protocol = protocol, .port = port};
  if (!address) return r;
  r.family = std::string(address).find(':') == std::string::npos ? 4 : 6;
  REQUIRE(inet_pton(r.family == 4 ? AF_INET : AF_INET6, address, r.address.data()) == 1);
  return r;
}
FlowRule udp(const char* address, uint16_t port) {
  return rule(Protocol::kUdp, address, port);
}
FlowRule tcp(const char* address, uint16_t port) {
  return rule(Protocol::kTcp, address, port);
}
FlowRule any(const char* address, uint16_t port) {
  return rule(Protocol::kAny, address, port);
}

Frame udp4(const char* to, uint16_t port, size_t payload = 20) {
  wp::net::UdpFlow flow{.source_ip = {192, 0, 2, 1}, .source_port = 4000};
  REQUIRE(inet_pton(AF_INET, to, flow.destination_ip.data()) == 1);
  flow.destination_port = port;
  Frame frame(wp::net::kUdp4HeaderBytes + payload);
  wp::net::write_udp4_headers(frame.data(), flow, static_cast<uint16_t>(payload));
  return frame;
}
Frame udp6(const char* to, uint16_t port, size_t payload = 20) {
  wp::net::UdpFlow6 flow{.source_port = 4000};
  REQUIRE(inet_pton(AF_INET6, to, flow.destination_ip.data()) == 1);
  flow.destination_port = port;
  Frame frame(wp::net::kUdp6HeaderBytes + payload);
  wp::net::write_udp6_headers(frame.data(), flow, static_cast<uint16_t>(payload));
  return frame;
}
Frame as_tcp(Frame frame, size_t ip) {  // 20 bytes behind the IP header are there already
  frame[frame[ip] >> 4 == 4 ? ip + 9 : ip + 6] = 6;
  frame[ip + (frame[ip] >> 4 == 4 ? 20 : 40) + 12] = 0x50;
  return frame;
}
Frame tagged(Frame frame, std::initializer_list<uint16_t> tpids) {
  for (const uint16_t tpid : tpids) {
    const uint8_t tag[] = {static_cast<uint8_t>(tpid >> 8), static_cast<uint8_t>(tpid), 0, 141};
    frame.insert(frame.begin() + 12, tag, tag + 4);
  }
  return frame;
}
using Extensions = std::vector<std::pair<uint8_t, Frame>>;
// Puts extension headers (first byte of each overwritten with what comes next) behind an IPv6
// header. `chain` = numbers and bodies, in order.
Frame extended(Frame frame, const Extensions& chain) {
  size_t at = 14 + 40;
  uint8_t* next = &frame[14 + 6];
  const uint8_t last = *next;
  size_t next_at = 14 + 6;
  for (const auto& [number, body] : chain) {
    frame[next_at] = number;
    frame.insert(frame.begin() + static_cast<ptrdiff_t>(at), body.begin(), body.end());
    next_at = at;
    at += body.size();
  }
  frame[next_at] = last;
  wp::net::store_be16(&frame[14 + 4], static_cast<uint16_t>(frame.size() - 14 - 40));
  return frame;
}

// Exactly sized on the heap, so that a sanitizer sees a read past the end. Not inlined: GCC 12,
// knowing the length, takes reads behind a check of the bound for reads past the end.
[[gnu::noinline]] bool matches(const SteerTable& table, const Frame& frame, size_t n) {
  const auto copy = std::make_unique<uint8_t[]>(n);
  std::copy_n(frame.begin(), n, copy.get());
  return table.match(copy.get(), n);
}
bool matches(const SteerTable& table, const Frame& frame) {
  return matches(table, frame, frame.size());
}
SteerTable table(std::vector<FlowRule> rules) {
  return SteerTable(Steering{.everything = false, .rules = std::move(rules)});
}

}  // namespace

TEST_CASE("steer: address and port, both exact") {
  const SteerTable t = table({udp("239.1.1.1", 9001), udp("ff05::1:3", 9002)});
  CHECK(matches(t, udp4("239.1.1.1", 9001)));
  CHECK_FALSE(matches(t, udp4("239.1.1.1", 9002)));
  CHECK_FALSE(matches(t, udp4("239.1.1.2", 9001)));
  CHECK_FALSE(matches(t, as_tcp(udp4("239.1.1.1", 9001), 14)));
  CHECK(matches(t, udp6("ff05::1:3", 9002)));
  CHECK_FALSE(matches(t, udp6("ff05::1:3", 9001)));
  CHECK_FALSE(matches(t, udp6("ff05::1:4", 9002)));
  // 239.129.1.1 has the same Ethernet address as 239.1.1.1
  CHECK_FALSE(matches(t, udp4("239.129.1.1", 9001)));
}

TEST_CASE("steer: each wildcard and their combinations") {
  struct Case {
    FlowRule rule;
    bool udp, udp_port, udp_address, tcp, icmp;
  };
  const auto icmp = [] {
    Frame f = udp4("10.0.0.1", 7);
    f[14 + 9] = 1;
    return f;
  }();
  for (const Case& c : {
           Case{udp("10.0.0.1", 7), true, false, false, false, false},
           Case{udp(nullptr, 7), true, false, true, false, false},
           Case{udp("0.0.0.0", 7), true, false, true, false, false},
           Case{udp("10.0.0.1", 0), true, true, false, false, false},
           Case{udp(nullptr, 0), true, true, true, false, false},
           Case{any("10.0.0.1", 7), true, false, false, true, false},
           Case{any(nullptr, 7), true, false, true, true, false},
           Case{any("10.0.0.1", 0), true, true, false, true, true},
           Case{any(nullptr, 0), true, true, true, true, true},
           Case{tcp("10.0.0.1", 7), false, false, false, true, false},
       }) {
    const SteerTable t = table({c.rule});
    const std::string described = Steering{.everything = false, .rules = {c.rule}}.describe();
    CAPTURE(described);
    CHECK(matches(t, udp4("10.0.0.1", 7)) == c.udp);
    CHECK(matches(t, udp4("10.0.0.1", 8)) == c.udp_port);
    CHECK(matches(t, udp4("10.0.0.2", 7)) == c.udp_address);
    CHECK(matches(t, as_tcp(udp4("10.0.0.1", 7), 14)) == c.tcp);
    CHECK(matches(t, icmp) == c.icmp);
    CHECK(matches(t, udp6("2001:db8::1", 7)) == (c.rule.family == 0 && c.udp));
  }
  // An address of zeroes leaves the address open within its family only.
  CHECK_FALSE(matches(table({udp("::", 7)}), udp4("10.0.0.1", 7)));
  CHECK(matches(table({udp("::", 7)}), udp6("2001:db8::1", 7)));
}

TEST_CASE("steer: everything is everything, nothing is nothing") {
  const SteerTable all(Steering{.everything = true, .rules = {}});
  CHECK(matches(all, Frame{}));
  CHECK(matches(all, Frame(60, 0xff)));
  CHECK_FALSE(matches(table({}), udp4("10.0.0.1", 7)));
}

TEST_CASE("steer: VLAN tags") {
  const SteerTable t = table({udp("239.1.1.1", 9001), udp("ff05::1:3", 9002)});
  for (const Frame& f : {udp4("239.1.1.1", 9001), udp6("ff05::1:3", 9002)}) {
    CHECK(matches(t, tagged(f, {0x8100})));
    CHECK(matches(t, tagged(f, {0x8100, 0x88a8})));
    CHECK(matches(t, tagged(f, {0x8100, 0x8100, 0x88a8, 0x88a8})));
    CHECK_FALSE(matches(t, tagged(f, {0x8100, 0x8100, 0x8100, 0x8100, 0x8100})));
    CHECK_FALSE(matches(t, tagged(f, {0x9100})));
  }
}

TEST_CASE("steer: IPv4 options, fragments, padding") {
  const SteerTable t = table({udp("10.0.0.1", 7)});
  Frame options = udp4("10.0.0.1", 7);
  options.insert(options.begin() + 34, 40, 1);
  options[14] = 0x4f;
  wp::net::store_be16(&options[16], static_cast<uint16_t>(options.size() - 14));
  CHECK(matches(t, options));
  for (size_t n = 0; n < 14 + 60 + 8; n++) CHECK_FALSE(matches(t, options, n));

  Frame f = udp4("10.0.0.1", 7);
  for (const auto& c : {std::pair<uint16_t, bool>{0x0000, false},
                        {0x4000, false},  // don't fragment
                        {0x2000, true},   // the first of several
                        {0x2001, true},
                        {0x0001, true}}) {
    wp::net::store_be16(&f[20], c.first);
    CAPTURE(c.first);
    CHECK(t.classify(f.data(), f.size()) == (c.second ? STEER_FRAGMENT : STEER_MATCH));
    CHECK(t.match(f.data(), f.size()) == !c.second);
  }
  wp::net::store_be16(&f[20], 0);
  wp::net::store_be16(&f[16], 20);  // the IP packet ends before UDP: what follows is padding
  CHECK_FALSE(matches(t, f));
  wp::net::store_be16(&f[16], 28);
  CHECK(matches(t, f));
  f[14] = 0x44;  // a header of 16 bytes
  CHECK_FALSE(matches(t, f));
  f[14] = 0x65;
  CHECK_FALSE(matches(t, f));
}

TEST_CASE("steer: IPv6 extension headers") {
  const SteerTable t = table({udp("2001:db8::1", 7)});
  const Frame f = udp6("2001:db8::1", 7);
  const Frame eight(8, 0);
  Frame sixteen(16, 0);
  sixteen[1] = 1;
  Frame fragment(8, 0);
  CHECK(matches(t, extended(f, {{0, eight}})));
  CHECK(matches(t, extended(f, {{0, eight}, {43, sixteen}, {60, eight}})));
  CHECK(matches(t, extended(f, {{44, fragment}})));  // whole
  CHECK(matches(t, as_tcp(extended(f, {{0, eight}}), 14)) == false);
  CHECK_FALSE(matches(t, extended(f, {{51, eight}})));  // not walked
  CHECK(matches(t, extended(f, Extensions(7, {60, eight}))));
  CHECK_FALSE(matches(t, extended(f, Extensions(8, {60, eight}))));  // the walk is bounded
  CHECK(matches(table({any("2001:db8::1", 0)}), extended(f, Extensions(8, {60, eight}))));

  wp::net::store_be16(&fragment[2], 1);  // more to come
  Frame first = extended(f, {{0, eight}, {44, fragment}});
  CHECK(t.classify(first.data(), first.size()) == STEER_FRAGMENT);
  wp::net::store_be16(&fragment[2], 8);  // the second
  Frame second = extended(f, {{44, fragment}});
  CHECK(t.classify(second.data(), second.size()) == STEER_FRAGMENT);

  Frame long_extension = extended(f, {{0, eight}});
  long_extension[14 + 40 + 1] = 255;  // says 2048 bytes
  CHECK_FALSE(matches(t, long_extension));
}

TEST_CASE("steer: no truncation of a frame matches before its ports, none reads past the end") {
  const SteerTable t = table({udp("10.0.0.1", 7), tcp("10.0.0.1", 7), udp("2001:db8::1", 7)});
  const Frame four = udp4("10.0.0.1", 7), six = udp6("2001:db8::1", 7);
  for (size_t n = 0; n <= four.size(); n++) {
    CAPTURE(n);
    CHECK(matches(t, four, n) == (n >= 14 + 20 + 8));
    CHECK(matches(t, as_tcp(four, 14), n) == (n >= 14 + 20 + 20));
    CHECK(matches(t, tagged(four, {0x8100}), n) == (n >= 18 + 20 + 8));
  }
  for (size_t n = 0; n <= six.size(); n++) CHECK(matches(t, six, n) == (n >= 14 + 40 + 8));
}

TEST_CASE("steer: many rules, each found, repeated ones kept once") {
  std::vector<FlowRule> rules;
  for (uint16_t i = 0; i < 2000; i++)
    rules.push_back(udp("239.1.1.1", static_cast<uint16_t>(i + 1)));
  const size_t n = rules.size();
  rules.insert(rules.end(), rules.begin(), rules.begin() + 100);
  const Steering steering{.everything = false, .rules = rules};
  CHECK(wp::programs::steer_keys(steering).keys.size() == n);
  const SteerTable t(steering);
  for (uint16_t port = 1; port <= 2000; port++) CHECK(matches(t, udp4("239.1.1.1", port)));
  CHECK_FALSE(matches(t, udp4("239.1.1.1", 2001)));
}
