// SPDX-License-Identifier: Apache-2.0
// Clients that are there and take nothing, or little.
#include "feed/soup_server.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "feed/itch_file.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

using namespace std::chrono_literals;

Descriptor connected(uint16_t port) {
  Descriptor fd(socket(AF_INET, SOCK_STREAM, 0));
  const int room = 4096;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  uint8_t login[kSoupLoginSize];
  const size_t n = soup_encode_login(login, "", "", "", 1);
  REQUIRE(send(fd.get(), login, n, 0) == static_cast<ssize_t>(n));
  return fd;
}

uint64_t stat(const SoupServer& server, const std::string& name) {
  for (const auto& [each, value] : server.stats())
    if (each == name) return value;
  return UINT64_MAX;
}

void wait_for(const SoupServer& server, const std::string& name, uint64_t value) {
  const auto begin = std::chrono::steady_clock::now();
  while (stat(server, name) != value && std::chrono::steady_clock::now() - begin < 30s)
    std::this_thread::sleep_for(1ms);
  REQUIRE(stat(server, name) == value);
}

// An order that rests.
void add_order(std::vector<uint8_t>& file, uint64_t reference) {
  uint8_t m[38] = {0, 36, 'A'};
  net::store_be64(m + 2 + 11, reference);
  m[2 + 19] = 'B';
  m[2 + 23] = 100;
  std::fill_n(m + 2 + 24, 8, 'X');
  m[2 + 35] = 1;
  file.insert(file.end(), m, m + sizeof m);
}

// Reads to the end; the number that a snapshot says to go on from.
std::string number_of(const Descriptor& fd, std::vector<uint8_t>& in) {
  std::string all;
  for (ssize_t n; (n = recv(fd.get(), in.data(), in.size(), 0)) > 0;)
    all.append(reinterpret_cast<const char*>(in.data()), static_cast<size_t>(n));
  REQUIRE(all.size() > 23 + 3);
  return all.substr(all.size() - 23, 20);  // before the end of the session
}

}  // namespace

TEST_CASE("soup server: however many read slowly, few snapshots are in memory") {
  constexpr uint64_t kOrders = 250'000;  // each snapshot is more than the sockets' buffers hold
  std::vector<uint8_t> file;
  for (uint64_t i = 1; i <= kOrders + 10; i++) add_order(file, i);
  auto log = std::make_shared<MessageLog>(
      std::make_shared<ItchFileSource>(std::span<const uint8_t>(file)), size_t{32} << 20);
  while (log->append()) {
  }
  uint64_t published = kOrders;
  log->publish(published);
  SoupServerOptions o;
  o.name = "slow";
  o.glimpse = true;
  o.timeout_ns = 60'000'000'000;
  SoupServer server(o, log, StreamNumbers(PublishScheduleOptions{}));
  server.start();
  std::vector<Descriptor> clients;
  for (uint64_t i = 1; i <= 6; i++) {
    clients.push_back(connected(server.port()));
    if (i <= SoupServer::kMostSnapshots) {
      wait_for(server, "snapshots", i);
    } else {
      wait_for(server, "waited", i - SoupServer::kMostSnapshots);
    }
    log->publish(++published);
  }
  CHECK(stat(server, "logins") == 6);
  CHECK(stat(server, "snapshots") == 3);
  std::vector<uint8_t> in(1 << 20);
  // The first that is read makes room for one that all who wait share.
  CHECK(number_of(clients[0], in) == "00000000000000250001");
  wait_for(server, "snapshots", 6);
  CHECK(number_of(clients[1], in) == "00000000000000250002");
  CHECK(number_of(clients[2], in) == "00000000000000250003");
  for (size_t i = 3; i < 6; i++) CHECK(number_of(clients[i], in) == "00000000000000250007");
  server.stop();
}

TEST_CASE("soup server: who takes nothing for the timeout is let go, heartbeats or not") {
  constexpr size_t kMessages = 8'000;  // more than the sockets' buffers hold
  std::vector<uint8_t> file;
  for (size_t i = 0; i < kMessages; i++) {
    file.push_back(1'000 >> 8);
    file.push_back(1'000 & 255);
    file.insert(file.end(), 1'000, 'x');
  }
  auto log = std::make_shared<MessageLog>(
      std::make_shared<ItchFileSource>(std::span<const uint8_t>(file)), size_t{16} << 20);
  while (log->append()) {
  }
  log->publish(log->end());
  SoupServerOptions o;
  o.name = "stalled";
  o.heartbeat_ns = 50'000'000;
  o.timeout_ns = 400'000'000;
  SoupServer server(o, log, StreamNumbers(PublishScheduleOptions{}));
  server.start();
  const Descriptor stalled = connected(server.port());
  const Descriptor reading = connected(server.port());
  std::vector<uint8_t> in(1 << 16);
  const uint8_t heartbeat[] = {0, 1, 'R'};
  const auto begin = std::chrono::steady_clock::now();
  while (stat(server, "slow") == 0 && std::chrono::steady_clock::now() - begin < 20s) {
    for (const Descriptor* fd : {&stalled, &reading})
      send(fd->get(), heartbeat, sizeof heartbeat, MSG_NOSIGNAL);
    recv(reading.get(), in.data(), 2'000, MSG_DONTWAIT);  // slowly, but it does
    std::this_thread::sleep_for(20ms);
  }
  CHECK(std::chrono::steady_clock::now() - begin >= 400ms);
  CHECK(stat(server, "slow") == 1);
  CHECK(stat(server, "silent") == 0);
  CHECK(server.clients() == 1);
  server.stop();
}

}  // namespace wp::feed
