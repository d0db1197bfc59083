// SPDX-License-Identifier: Apache-2.0
// Over loopback, without privileges.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/builtin.h"
#include "backends/socket/header_template.h"
#include "core/batch_storage.h"
#include "core/error.h"
#include "net/headers.h"

using namespace wp;

namespace {

using Bytes = std::vector<uint8_t>;

FlowRule udp(const char* address, uint16_t port) {
  FlowRule r;
  r.protocol = Protocol::kUdp;
  r.port = port;
  if (!address) return r;
  r.family = std::string(address).find(':') == std::string::npos ? 4 : 6;
  REQUIRE(inet_pton(r.family == 4 ? AF_INET : AF_INET6, address, r.address.data()) == 1);
  return r;
}

Steering steer(std::vector<FlowRule> rules) {
  Steering s;
  s.rules = std::move(rules);
  return s;
}

std::unique_ptr<Port> open(const std::string& device, const Steering& steering,
                           std::map<std::string, std::string> options = {}, uint32_t batch = 16) {
  register_backend(kSocketBackend);
  return open_port("socket:" + device, steering, std::move(options), batch);
}

// A port that nobody has at the moment.
uint16_t free_port(int family = AF_INET) {
  const int fd = ::socket(family, SOCK_DGRAM, 0);
  sockaddr_in6 a{};
  a.sin6_family = static_cast<sa_family_t>(family);
  socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof a;
  REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0);
  REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0);
  ::close(fd);
  return ntohs(a.sin6_port);  // stands where sin_port does
}

// A plain socket on loopback, as the other side.
struct Peer {
  int fd;
  int family;
  uint16_t port = 0;
  explicit Peer(int family_ = AF_INET) : fd(::socket(family_, SOCK_DGRAM, 0)), family(family_) {
    sockaddr_in6 a{};
    a.sin6_family = static_cast<sa_family_t>(family);
    if (family == AF_INET)
      reinterpret_cast<sockaddr_in&>(a).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
      a.sin6_addr = in6addr_loopback;
    socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof a;
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0);
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0);
    port = ntohs(a.sin6_port);
    const int lo = static_cast<int>(if_nametoindex("lo"));
    ip_mreqn out{};
    out.imr_ifindex = lo;
    if (family == AF_INET)
      ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out);
    else
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &lo, sizeof lo);
    const timeval patience{2, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Peer() { ::close(fd); }
  bool send(const char* to, uint16_t to_port, const Bytes& data) const {
    const FlowRule rule = udp(to, to_port);
    sockaddr_in6 a{};
    a.sin6_family = static_cast<sa_family_t>(family);
    a.sin6_port = htons(to_port);
    if (family == AF_INET)
      std::memcpy(&reinterpret_cast<sockaddr_in&>(a).sin_addr, rule.address.data(), 4);
    else
      std::memcpy(&a.sin6_addr, rule.address.data(), 16);
    const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof a;
    return ::sendto(fd, data.data(), data.size(), 0, reinterpret_cast<sockaddr*>(&a), size) ==
           static_cast<ssize_t>(data.size());
  }
  Bytes receive(uint16_t* from = nullptr) const {
    Bytes out(70000);
    sockaddr_in6 a{};
    socklen_t size = sizeof a;
    const ssize_t n =
        ::recvfrom(fd, out.data(), out.size(), 0, reinterpret_cast<sockaddr*>(&a), &size);
    if (from) *from = ntohs(a.sin6_port);
    out.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return out;
  }
};

Bytes numbered(size_t n, uint32_t number) {
  Bytes out(n, 0x5a);
  for (size_t i = 0; i < 4 && i < n; i++) out[i] = static_cast<uint8_t>(number >> 8 * i);
  return out;
}

struct Frame {
  Bytes bytes;
  int64_t timestamp;
  net::Headers headers() const {
    net::Headers h;
    net::parse_headers(bytes.data(), bytes.size(), h);
    return h;
  }
  Bytes payload() const {
    const net::Headers h = headers();
    return Bytes(bytes.begin() + h.payload_offset,
                 bytes.begin() + h.payload_offset + h.payload_length);
  }
};

// Until `want` frames came or nothing did for a while.
std::vector<Frame> drain(Port& port, size_t want = SIZE_MAX, uint32_t batch = 16) {
  BatchStorage storage(batch);
  std::vector<Frame> out;
  for (int idle = 0; out.size() < want && idle < 3;) {
    if (port.rx(0, *storage) == 0) {
      idle += !port.wait(0, want == SIZE_MAX ? 20'000 : 500'000);
      continue;
    }
    for (uint32_t i = 0; i < storage->count; i++)
      out.push_back(
          {Bytes(storage->data[i], storage->data[i] + storage->length[i]), storage->timestamp[i]});
    port.release(0, *storage);
  }
  return out;
}

std::map<std::string, uint64_t> stats(Port& port) {
  std::map<std::string, uint64_t> out;
  for (const auto& [name, value] : port.stats()) out[name] = value;
  return out;
}

const Value& field(const Info& info, const std::string& name) {
  for (const auto& [key, value] : info)
    if (key == name) return value;
  FAIL("no field " << name);
  static const Value none;
  return none;
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool ip4_checksum_good(const Bytes& frame) {
  return net::checksum(frame.data() + 14, 20) == 0;
}

bool udp6_checksum_good(const Bytes& frame) {
  const uint16_t length = net::load_be16(frame.data() + 58);
  const uint64_t pseudo = net::checksum_add(frame.data() + 22, 32) + 17 + length;
  return net::checksum(frame.data() + 54, length, pseudo) == 0;
}

}  // namespace

TEST_CASE("header template: the same bytes as the frame builder, for every length") {
  FlowRule rule = udp("239.255.7.9", 30001);
  const socket::HeaderTemplate prepared(rule);
  sockaddr_in source{};
  source.sin_port = htons(4321);
  alignas(64) uint8_t buffer[64 + 65507] = {};
  for (uint32_t n = 0; n <= 65507; n += 37) {
    source.sin_addr.s_addr = htonl(0x0a000000u + n * 2654435761u % 0xffffff);
    const uint8_t* frame = prepared.lay4(buffer + 64, n, source);
    net::UdpFlow flow;
    flow.destination_mac = {1, 0, 0x5e, 0x7f, 7, 9};
    std::memcpy(flow.source_ip.data(), &source.sin_addr, 4);
    flow.destination_ip = {239, 255, 7, 9};
    flow.source_port = 4321;
    flow.destination_port = 30001;
    uint8_t expected[net::kUdp4HeaderBytes];
    net::write_udp4_headers(expected, flow, static_cast<uint16_t>(n));
    REQUIRE(Bytes(frame, frame + sizeof expected) == Bytes(expected, expected + sizeof expected));
  }
}

TEST_CASE("socket port: unicast, with and without an address, and kernel timestamps") {
  const uint16_t port = free_port();
  const Peer peer;
  for (const char* address : {"127.0.0.1", "0.0.0.0", static_cast<const char*>(nullptr)}) {
    const auto rx = open("lo", steer({udp(address, port)}));
    const int64_t before = Clock::realtime();
    for (uint32_t i = 0; i < 40; i++) REQUIRE(peer.send("127.0.0.1", port, numbered(i * 30, i)));
    const int64_t sent = Clock::realtime();
    usleep(20'000);  // so that a stamp taken when we look would show
    const auto frames = drain(*rx, 40);
    REQUIRE(frames.size() == 40);
    for (uint32_t i = 0; i < 40; i++) {
      const net::Headers h = frames[i].headers();
      CHECK((h.layers & net::kUdp));
      CHECK(h.dst_port == port);
      CHECK(h.src_port == peer.port);
      CHECK(Bytes(h.ip_dst, h.ip_dst + 4) == Bytes{127, 0, 0, 1});
      CHECK(Bytes(h.ip_src, h.ip_src + 4) == Bytes{127, 0, 0, 1});
      CHECK(ip4_checksum_good(frames[i].bytes));
      CHECK(frames[i].payload() == numbered(i * 30, i));
      CHECK(frames[i].timestamp >= before);
      CHECK(frames[i].timestamp <= sent + 5'000'000);
    }
    auto s = stats(*rx);
    CHECK(s["rx_packets"] == 40);
    CHECK(s["drop.socket_buffer"] == 0);
    CHECK(s.contains("nic.rx_packets"));
    CHECK(s["held"] == 0);
  }
}

TEST_CASE("socket port: two multicast groups on one UDP port keep apart") {
  const uint16_t port = free_port();
  const Peer peer;
  const auto both = open("lo", steer({udp("239.77.1.1", port), udp("239.77.1.2", port),
                                      udp("239.77.1.1", port)}));  // twice the same is once
  const auto one = open("lo", steer({udp("239.77.1.2", port)}));
  CHECK(std::get<int64_t>(field(both->info(), "sockets")) == 2);
  CHECK(std::get<std::vector<std::string>>(field(both->info(), "groups")).size() == 2);
  for (uint32_t i = 0; i < 30; i++) {
    REQUIRE(peer.send(i % 3 ? "239.77.1.1" : "239.77.1.2", port, numbered(20, i)));
    REQUIRE(peer.send("239.77.1.3", port, numbered(20, 1000)));  // joined by nobody
  }
  auto frames = drain(*both, 30);
  REQUIRE(frames.size() == 30);
  CHECK(drain(*both).empty());
  CHECK(drain(*one).size() == 10);
  std::vector<Bytes> seen;
  for (const Frame& f : frames) {
    const net::Headers h = f.headers();
    CHECK(Bytes(h.ethernet_dst, h.ethernet_dst + 6) == Bytes{1, 0, 0x5e, 77, 1, h.ip_dst[3]});
    CHECK(ip4_checksum_good(f.bytes));
    const Bytes payload = f.payload();
    CHECK(h.ip_dst[3] == (payload[0] % 3 ? 1 : 2));
    seen.push_back(payload);
  }
  std::sort(seen.begin(), seen.end());
  CHECK(std::unique(seen.begin(), seen.end()) == seen.end());
}

TEST_CASE("socket port: a socket that is always full keeps no other waiting") {
  const uint16_t busy = free_port();
  const auto rx = open("lo", steer({udp("127.0.0.1", busy), udp("127.0.0.2", busy)}));
  const Peer peer;
  for (uint32_t i = 0; i < 40; i++) REQUIRE(peer.send("127.0.0.1", busy, numbered(20, i)));
  BatchStorage batch(16);
  CHECK(rx->rx(0, *batch) == 16);
  rx->release(0, *batch);
  REQUIRE(peer.send("127.0.0.2", busy, numbered(20, 1000)));
  // It still has more than a burst, and the other one its turn.
  uint32_t bursts = 0;
  bool other = false;
  while (!other && bursts < 2) {
    rx->rx(0, *batch);
    bursts++;
    for (uint32_t i = 0; i < batch->count; i++)
      other |= batch->data[i][net::kUdp4HeaderBytes] == (1000 & 255) &&
               batch->data[i][net::kUdp4HeaderBytes + 1] == 1000 >> 8;
    rx->release(0, *batch);
  }
  CHECK(other);
}

TEST_CASE("socket port: fewer frames than asked for means that every socket was empty") {
  const uint16_t port = free_port();
  const auto rx =
      open("lo", steer({udp("127.0.0.1", port), udp("127.0.0.2", port), udp("127.0.0.3", port)}));
  const Peer peer;
  const char* const to[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
  BatchStorage batch(16);
  for (uint32_t round = 1; round < 40; round++) {
    for (uint32_t i = 0; i < round; i++) REQUIRE(peer.send(to[i * i % 3], port, numbered(20, i)));
    uint32_t got = 0, n = 0;
    do {
      n = rx->rx(0, *batch);
      got += n;
      rx->release(0, *batch);
    } while (n == 16);
    CHECK(got == round);
  }
  auto s = stats(*rx);
  CHECK(s["rx_packets"] == 39 * 40 / 2);
  CHECK(s["held"] == 0);
}

TEST_CASE("socket port: IPv6 with its UDP checksum") {
  if (::access("/proc/net/if_inet6", R_OK) != 0) return;  // built without IPv6
  const uint16_t port = free_port(AF_INET6);
  const Peer peer(AF_INET6);
  for (const char* address : {"::1", static_cast<const char*>(nullptr)}) {
    const auto rx = open("", steer({udp(address, port)}));
    for (uint32_t i = 0; i < 10; i++) REQUIRE(peer.send("::1", port, numbered(i * 77, i)));
    const auto frames = drain(*rx, 10);
    REQUIRE(frames.size() == 10);
    for (uint32_t i = 0; i < 10; i++) {
      const net::Headers h = frames[i].headers();
      CHECK(h.ip_version == 6);
      CHECK(h.src_port == peer.port);
      CHECK(h.ip_dst[15] == 1);
      CHECK(udp6_checksum_good(frames[i].bytes));
      CHECK(frames[i].payload() == numbered(i * 77, i));
    }
  }
}

TEST_CASE("socket port: sent = received + drops, exactly, when the buffer overflows") {
  const uint16_t port = free_port();
  const Peer peer;
  const auto rx = open("lo", steer({udp("127.0.0.1", port)}), {{"rx_buffer_bytes", "16384"}});
  uint64_t sent = 0;
  for (uint32_t i = 0; i < 2000; i++) sent += peer.send("127.0.0.1", port, numbered(200, i));
  const auto frames = drain(*rx);
  auto s = stats(*rx);
  CHECK(s["drop.socket_buffer"] > 0);
  CHECK(frames.size() == s["rx_packets"]);
  CHECK(sent == s["rx_packets"] + s["drop.socket_buffer"]);
  for (size_t i = 0; i < frames.size(); i++)
    CHECK(frames[i].payload() == numbered(200, static_cast<uint32_t>(i)));
}

TEST_CASE("socket port: datagrams longer than the buffer are counted, the others unharmed") {
  const uint16_t port = free_port();
  const Peer peer;
  const auto rx = open("lo", steer({udp("127.0.0.1", port)}), {{"frame_size", "100"}});
  for (uint32_t i = 0; i < 60; i++)
    REQUIRE(peer.send("127.0.0.1", port, numbered(i % 3 ? 100 : 101 + i, i)));
  const auto frames = drain(*rx, 40);
  REQUIRE(frames.size() == 40);
  for (uint32_t i = 0, k = 0; i < 60; i++)
    if (i % 3) CHECK(frames[k++].payload() == numbered(100, i));
  drain(*rx);
  auto s = stats(*rx);
  CHECK(s["drop.truncated"] == 20);
  CHECK(s["rx_packets"] == 40);
}

TEST_CASE("socket port: held frames are bounded by the ring and stay untouched") {
  const uint16_t port = free_port();
  const Peer peer;
  const auto rx = open("lo", steer({udp("127.0.0.1", port)}), {{"rx_ring_size", "64"}}, 10);
  for (uint32_t i = 0; i < 200; i++) REQUIRE(peer.send("127.0.0.1", port, numbered(20, i)));
  BatchStorage batch(10), held(64);
  uint32_t next = 0;
  for (int round = 0; round < 100 && held->count < 64; round++) {
    rx->rx(0, *batch);
    for (uint32_t i = 0; i < batch->count; i++, next++) {
      CHECK(batch->data[i][42] == next % 256);
      if (next % 2) continue;  // every other one
      batch->verdict[i] = WP_KEEP;
      held->data[held->count] = batch->data[i];
      held->length[held->count] = next;
      held->handle[held->count++] = batch->handle[i];
    }
    rx->release(0, *batch);
  }
  REQUIRE(held->count == 64);
  CHECK(rx->rx(0, *batch) == 0);
  auto s = stats(*rx);
  CHECK(s["held"] == 64);
  CHECK(s["rx_no_buffer"] >= 1);
  for (uint32_t i = 0; i < 64; i++) {
    CHECK(held->data[i][42] == held->length[i] % 256);
    held->verdict[i] = WP_DROP;
  }
  rx->release(0, *held);
  CHECK(stats(*rx)["held"] == 0);
  CHECK(drain(*rx).size() == 200 - next);
}

TEST_CASE("socket port: transmits to what the frames name, counts what it cannot") {
  const uint16_t port = free_port();
  const Peer peer;
  const auto p = open("lo", steer({udp("127.0.0.1", port)}));
  REQUIRE(peer.send("127.0.0.1", port, numbered(33, 7)));
  BatchStorage batch(16);
  for (int i = 0; i < 100 && p->rx(0, *batch) == 0; i++) p->wait(0, 20'000);
  REQUIRE(batch->count == 1);
  // An echo: addresses and ports swapped, so it leaves from the port it came to.
  uint8_t* frame = batch->data[0];
  std::swap_ranges(frame + 26, frame + 30, frame + 30);
  std::swap_ranges(frame + 34, frame + 36, frame + 36);
  batch->verdict[0] = WP_TX;
  CHECK(p->tx(0, *batch) == 1);
  p->release(0, *batch);
  uint16_t from = 0;
  CHECK(peer.receive(&from) == numbered(33, 7));
  CHECK(from == port);

  Bytes good(net::kUdp4HeaderBytes + 5, 1), arp(60, 0), cut(20, 0);
  net::UdpFlow flow;
  flow.destination_ip = {127, 0, 0, 1};
  flow.destination_port = peer.port;
  flow.source_port = 9;  // not ours: replaced
  net::write_udp4_headers(good.data(), flow, 5);
  Bytes fragment = good, refused = good;
  fragment[20] = 0x20;
  net::store_be16(refused.data() + 36, 0);  // port 0: EINVAL
  batch->count = 6;
  std::vector<Bytes*> all{&good, &arp, &refused, &cut, &fragment, &good};
  for (uint32_t i = 0; i < 6; i++) {
    batch->data[i] = all[i]->data();
    batch->length[i] = static_cast<uint32_t>(all[i]->size());
    batch->verdict[i] = WP_TX;
    batch->handle[i] = WP_NO_FRAME;
  }
  CHECK(p->tx(0, *batch) == 2);
  CHECK(peer.receive() == Bytes(5, 1));
  CHECK(peer.receive() == Bytes(5, 1));
  auto s = stats(*p);
  CHECK(s["tx_packets"] == 3);
  CHECK(s["drop.tx_not_udp"] == 3);
  CHECK(s["drop.tx_error"] == 1);
  CHECK(s["tx_source_replaced"] >= 2);
  CHECK(std::get<std::string>(field(p->info(), "last_tx_error")) == "Invalid argument");
}

TEST_CASE("socket port: from port to port by multicast, in bursts above the kernel's limit") {
  const uint16_t port = free_port(), source = free_port();
  const auto rx = open("lo", steer({udp("239.77.2.1", port)}), {{"rx_ring_size", "4096"}}, 2000);
  const auto tx = open("lo", steer({udp("239.77.2.1", port)}),
                       {{"tx_only", "true"}, {"source_port", std::to_string(source)}});
  CHECK(tx->fd(0) == -1);
  CHECK(!tx->capabilities().rx);
  BatchStorage batch(2000);
  std::vector<Bytes> frames(1500, Bytes(net::kUdp4HeaderBytes + 8));
  net::UdpFlow flow;
  flow.destination_ip = {239, 77, 2, 1};
  flow.destination_port = port;
  flow.source_port = source;
  for (uint32_t i = 0; i < 1500; i++) {
    net::write_udp4_headers(frames[i].data(), flow, 8);
    net::store_le(frames[i].data() + 42, uint64_t{i});
    batch->data[i] = frames[i].data();
    batch->length[i] = static_cast<uint32_t>(frames[i].size());
    batch->verdict[i] = WP_TX;
    batch->handle[i] = WP_NO_FRAME;
  }
  batch->count = 1500;
  CHECK(tx->tx(0, *batch) == 1500);
  CHECK(stats(*tx)["tx_source_replaced"] == 0);
  CHECK(tx->rx(0, *batch) == 0);
  const auto got = drain(*rx, 1500, 2000);
  auto s = stats(*rx);
  CHECK(got.size() + s["drop.socket_buffer"] == 1500);
  REQUIRE(got.size() == 1500);
  for (uint64_t i = 0; i < 1500; i++) {
    CHECK(net::load_le<uint64_t>(got[i].bytes.data() + 42) == i);
    CHECK(got[i].headers().src_port == source);
  }
}

TEST_CASE("socket port: the descriptor becomes readable, wait returns in time") {
  const uint16_t port = free_port();
  const Peer peer;
  for (const bool several : {false, true}) {
    std::vector<FlowRule> rules{udp("127.0.0.1", port)};
    if (several) rules.push_back(udp("239.77.3.1", port));
    const auto rx = open("lo", steer(rules));
    pollfd watched{rx->fd(0), POLLIN, 0};
    CHECK(::poll(&watched, 1, 0) == 0);
    const int64_t before = Clock::realtime();
    CHECK(!rx->wait(0, 30'000));
    CHECK(Clock::realtime() - before >= 29'000'000);
    REQUIRE(peer.send("127.0.0.1", port, numbered(4, 1)));
    CHECK(::poll(&watched, 1, 1000) == 1);
    CHECK(rx->wait(0, 1'000'000));
    CHECK(drain(*rx, 1).size() == 1);
    CHECK(::poll(&watched, 1, 0) == 0);
  }
}

TEST_CASE("socket port: buffers are read back, not assumed") {
  const auto p = open("lo", steer({udp("127.0.0.1", free_port())}),
                      {{"rx_buffer_bytes", "1073741824"}, {"timestamps", "poll"}});
  const Info info = p->info();
  const int64_t granted = std::get<int64_t>(field(info, "rx_buffer_granted"));
  const auto& advice = std::get<std::vector<std::string>>(field(info, "advice"));
  CHECK(granted > 0);
  CHECK((granted < 1073741824) == (!advice.empty() && advice[0].find("rmem_max") != SIZE_MAX));
  CHECK(std::get<std::string>(field(info, "timestamp_source")) == "poll loop");
  CHECK(std::get<std::string>(field(info, "frame_headers")) == "laid on by wirepath");
  CHECK(!p->capabilities().ethernet_headers);
}

TEST_CASE("socket port: mistakes are explained") {
  const uint16_t port = free_port();
  Steering all;
  all.everything = true;
  CHECK(error_of([&] { open("lo", all); }).find("af_xdp") != std::string::npos);
  FlowRule tcp = udp("127.0.0.1", port);
  tcp.protocol = Protocol::kTcp;
  CHECK(error_of([&] { open("lo", steer({tcp})); }).find("UDP only") != std::string::npos);
  CHECK(error_of([&] { open("lo", steer({udp("127.0.0.1", 0)})); }).find("needs a port") !=
        std::string::npos);
  const auto rule = steer({udp("127.0.0.1", port)});
  const std::string unknown = error_of([&] { open("nosuch0", rule); });
  CHECK(unknown.find("nosuch0") != std::string::npos);
  CHECK(unknown.find("lo") != std::string::npos);
  CHECK(error_of([&] { open("lo", steer({udp("192.0.2.1", port)})); }).find("ip addr") !=
        std::string::npos);
  CHECK(error_of([&] {
          open("lo", rule, {{"rx_ring_size", "100"}});
        }).find("power of two") != std::string::npos);
  CHECK(error_of([&] {
          open("lo", rule, {{"rx_ring_size", "64"}}, 65);
        }).find("batch_size") != std::string::npos);
  CHECK(error_of([&] {
          open("lo", rule, {{"queues", "2"}});
        }).find("queues = 2") != std::string::npos);
  CHECK(error_of([&] {
          open("lo", rule, {{"frame_size", "9"}});
        }).find("frame_size = 9") != std::string::npos);
  const auto first = open("lo", rule);  // unicast isn't shared: the second would take it away
  CHECK(error_of([&] { open("lo", rule); }).find("ss -ulnp") != std::string::npos);
}
