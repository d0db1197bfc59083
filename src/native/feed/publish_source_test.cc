// SPDX-License-Identifier: Apache-2.0
#include "feed/publish_source.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"

using namespace wp;
using namespace wp::feed;

TEST_CASE("a file of messages is mapped and read to its end") {
  char path[] = "/tmp/wirepath_source_XXXXXX";
  const int fd = mkstemp(path);
  REQUIRE(fd >= 0);
  const std::vector<uint8_t> bytes{0, 1, 'S', 0, 2, 'D', 'x', 0, 9, 'A'};
  const auto read_all = [&] {
    ItchFileSource source{std::string(path)};
    std::vector<std::string> out;
    std::span<const uint8_t> message;
    while (source.next(message)) out.emplace_back(message.begin(), message.end());
    return std::pair(out, source.end());
  };
  CHECK(read_all() == std::pair(std::vector<std::string>{}, ItchFileEnd::kClean));
  REQUIRE(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  close(fd);
  CHECK(read_all() == std::pair(std::vector<std::string>{"S", "Dx"}, ItchFileEnd::kTruncated));
  unlink(path);
  CHECK_THROWS_WITH_AS(ItchFileSource{std::string(path)}, doctest::Contains("cannot be opened"),
                       Error);
}

TEST_CASE("packets held in memory keep their bytes and stamps") {
  PacketListSource source;
  for (int i = 0; i < 100; i++) {
    const std::vector<uint8_t> payload(static_cast<size_t>(i), static_cast<uint8_t>(i));
    source.add(i * 10, payload);
  }
  CHECK(source.size() == 100);
  TimedPacket packet;
  for (int i = 0; i < 100; i++) {
    REQUIRE(source.next(packet));
    CHECK(packet.time == i * 10);
    CHECK(packet.payload.size() == static_cast<size_t>(i));
    for (const uint8_t byte : packet.payload) CHECK(byte == i);
  }
  CHECK_FALSE(source.next(packet));
}
