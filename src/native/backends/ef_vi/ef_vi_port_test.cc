// SPDX-License-Identifier: Apache-2.0
// The backend over the simulator, on the loopback of a network namespace of its own: what the
// sanitizers are to see. The tests of behaviour are in tests/lab/test_ef_vi.py.
#include "backends/ef_vi/ef_vi_port.h"

#include <doctest/doctest.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "core/batch_storage.h"
#include "core/error.h"
#include "net/frame_builder.h"

namespace {

using namespace wp;

constexpr uint16_t kPort = 9001;

// Loopback up, with an MTU like Ethernet's. False without the privilege.
bool enter_network() {
  if (unshare(CLONE_NEWNET) != 0) return false;
  const int s = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_mtu = 1500;
  bool done = ioctl(s, SIOCSIFMTU, &request) == 0;
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
  done = done && ioctl(s, SIOCSIFFLAGS, &request) == 0;
  close(s);
  return done;
}

// The namespace is a thread's, and goes with it.
template <class Body>
void in_network(Body body) {
  bool privileged = true;
  std::thread([&] {
    privileged = enter_network();
    if (privileged) body();
  }).join();
  if (!privileged) MESSAGE("skipped: needs CAP_SYS_ADMIN for a network namespace");
}

std::unique_ptr<Port> open(std::map<std::string, std::string> options) {
  Steering steering;
  FlowRule rule{.protocol = Protocol::kUdp, .family = 4, .port = kPort};
  rule.address = {239, 1, 1, 1};
  steering.rules.push_back(rule);
  static Telemetry telemetry{""};
  PortConfig config{.spec = "ef_vi_sim:lo",
                    .device = "lo",
                    .options = Options(std::move(options), kEfViBackend.options, "ef_vi_sim"),
                    .steering = steering,
                    .batch_size = 32,
                    .clock = &Clock::process(),
                    .telemetry = &telemetry};
  return kEfViBackend.open(config);
}

struct Sender {
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  Sender() {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
    REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  }
  ~Sender() { close(fd); }
  void operator()(uint32_t number, uint16_t port = kPort) const {
    uint8_t frame[net::kUdp4HeaderBytes + 20] = {};
    net::UdpFlow flow;
    flow.destination_mac = {0x01, 0x00, 0x5e, 1, 1, 1};
    flow.destination_ip = {239, 1, 1, 1};
    flow.destination_port = port;
    net::write_udp4_headers(frame, flow, 20);
    net::store_be32(frame + net::kUdp4HeaderBytes, number);
    REQUIRE(send(fd, frame, sizeof frame, 0) == sizeof frame);
  }
};

uint32_t number_of(const wp_batch& batch, uint32_t i) {
  return net::load_be32(batch.data[i] + net::kUdp4HeaderBytes);
}

uint64_t stat(Port& port, const std::string& name) {
  for (const auto& [have, value] : port.stats())
    if (have == name) return value;
  FAIL(name);
  return 0;
}

const std::map<std::string, std::map<std::string, std::string>> kModels{
    {"x2", {{"rx_ring_size", "64"}}},
    {"x2 merged", {{"rx_ring_size", "64"}, {"event_merge", "true"}}},
    {"x3", {{"rx_ring_size", "64"}, {"nic", "x3"}}},
    // Every frame held keeps a whole buffer: of these the simulated NIC has 32.
    {"x3 shared", {{"rx_ring_size", "2048"}, {"nic", "x3"}, {"zero_copy", "require"}}}};

}  // namespace

TEST_CASE("ef_vi: frames are received, held, released late and sent, in both receive models") {
  for (const auto& model : kModels) {
    const auto& options = model.second;
    CAPTURE(model.first);
    in_network([&] {
      const auto port = open(options);
      const Sender out;
      BatchStorage storage(32);
      wp_batch& batch = *storage;
      std::multiset<uint64_t> held;
      uint32_t next = 0;
      for (uint32_t sent = 0; sent < 1000;) {
        for (int i = 0; i < 20; i++) {
          out(sent++);
          out(7, 7);  // of another flow
        }
        while (port->rx(0, batch) != 0) {
          for (uint32_t i = 0; i < batch.count; i++) {
            CHECK(number_of(batch, i) == next++);
            CHECK(batch.timestamp[i] > 0);
            // The tenth part is kept for a while.
            if (next % 10 == 0) {
              batch.verdict[i] = WP_KEEP;
              held.insert(batch.handle[i]);
            }
          }
          port->release(0, batch);
        }
        if (held.size() > 50)
          while (!held.empty()) {
            batch.count = 1;
            batch.verdict[0] = WP_DROP;
            batch.handle[0] = *held.begin();
            held.erase(held.begin());
            port->release(0, batch);
          }
      }
      CHECK(next == 1000);
      CHECK(stat(*port, "rx_packets") == 1000);
      CHECK(stat(*port, "held") == held.size());
      CHECK(stat(*port, "drop.rx_no_desc") == 0);
      CHECK(stat(*port, "drop.rx_no_buffer") == 0);
    });
  }
}

TEST_CASE("ef_vi: what a port sends comes back over loopback, without a copy where it may") {
  for (const auto& model : kModels) {
    const auto& options = model.second;
    CAPTURE(model.first);
    in_network([&] {
      const auto port = open(options);
      const Sender out;
      BatchStorage storage(32);
      wp_batch& batch = *storage;
      for (uint32_t n = 0; n < 20; n++) out(n);
      // Twenty frames go round a hundred times.
      uint32_t turned = 0;
      for (int polls = 0; turned < 2000 && polls < 100'000; polls++) {
        const uint32_t n = port->rx(0, batch);
        for (uint32_t i = 0; i < n; i++) batch.verdict[i] = WP_TX;
        turned += port->tx(0, batch);
        port->release(0, batch);
      }
      CHECK(turned == 2000);
      CHECK(stat(*port, "tx_packets") == 2000);
      CHECK(stat(*port, "drop.tx_ring_full") == 0);
      // A short frame is none.
      batch.count = 1;
      batch.length[0] = 13;
      batch.verdict[0] = WP_TX;
      batch.handle[0] = WP_NO_FRAME;
      CHECK(port->tx(0, batch) == 0);
      CHECK(stat(*port, "drop.tx_invalid") == 1);
    });
  }
}

TEST_CASE("ef_vi: counters may be read by another thread while frames arrive") {
  in_network([&] {
    const auto port = open({});
    const Sender out;
    std::atomic<bool> stop{false};
    uint64_t seen = 0;
    std::thread reader([&] {
      while (!stop.load()) seen = std::max(seen, stat(*port, "rx_packets"));
    });
    BatchStorage storage(32);
    uint32_t received = 0;
    for (uint32_t n = 0; n < 500; n++) {
      out(n);
      received += port->rx(0, *storage);
      port->release(0, *storage);
    }
    stop = true;
    reader.join();
    CHECK(received == 500);
    CHECK(seen <= 500);
    CHECK_FALSE(port->info().empty());
  });
}
