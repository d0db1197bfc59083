// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/pcapng_blocks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "backends/pcap/capture_reader.h"
#include "net/bytes.h"

using namespace wp::pcap;

namespace {

// The option `code` of the block at `at`, whose options begin behind `fixed` bytes of body.
std::vector<uint8_t> option(std::span<const uint8_t> bytes, size_t at, size_t fixed,
                            uint16_t code) {
  for (size_t p = at + 8 + fixed;;) {
    const auto have = wp::net::load_le<uint16_t>(&bytes[p]);
    const auto length = wp::net::load_le<uint16_t>(&bytes[p + 2]);
    if (have == 0) return {};
    if (have == code) return {&bytes[p + 4], &bytes[p + 4] + length};
    p += 4 + (length + 3u) / 4 * 4;
  }
}

}  // namespace

TEST_CASE("pcapng: every frame comes back from the reader, whatever its options") {
  std::mt19937 random(3);
  PcapngBlocks blocks;
  blocks.section({"", "Linux", "wirepath", "why"});
  blocks.interface({.name = "af_xdp:eth0", .filter = "udp", .snap_length = 65535});
  blocks.interface({});
  struct Sent {
    std::vector<uint8_t> data;
    uint32_t original, interface;
    int64_t time;
  };
  std::vector<Sent> sent;
  const std::string comment = "some\nwords";
  for (int n = 0; n < 500; n++) {
    Sent s{{},
           0,
           static_cast<uint32_t>(random() % 2),
           1'700'000'000'000'000'000 + static_cast<int64_t>(random())};
    s.data.resize(random() % 2000);
    for (auto& byte : s.data) byte = static_cast<uint8_t>(random());
    s.original = static_cast<uint32_t>(s.data.size()) + random() % 2 * 100;
    PacketOptions options{.flags = static_cast<uint32_t>(random() % 3), .lost = random() % 2};
    if (random() % 2) options.id = static_cast<uint64_t>(n);
    if (random() % 2) options.queue = static_cast<uint32_t>(random() % 64);
    if (random() % 2) options.xdp_verdict = random() % 5;
    if (random() % 2) options.comment = std::string_view(comment).substr(random() % comment.size());
    blocks.packet(s.interface, s.data, s.original, s.time, options);
    sent.push_back(std::move(s));
  }
  blocks.statistics(0, 5, {.received = 500, .delivered = 500, .comment = "all"});
  CaptureReader reader(blocks.bytes());
  CHECK(reader.format() == CaptureFormat::kPcapng);
  CapturePacket packet;
  for (const Sent& s : sent) {
    REQUIRE(reader.next(packet));
    CHECK(packet.timestamp == s.time);
    CHECK(packet.interface == s.interface);
    CHECK(packet.original == s.original);
    REQUIRE(packet.length == s.data.size());
    CHECK(std::equal(s.data.begin(), s.data.end(), packet.data));
  }
  CHECK_FALSE(reader.next(packet));
  CHECK(reader.offset() == blocks.bytes().size());
  CHECK(reader.counts().malformed + reader.counts().malformed_blocks == 0);
  CHECK(reader.time_scale().name() == "nanosecond");
}

TEST_CASE("pcapng: options as the specification lays them out") {
  PcapngBlocks blocks;
  const uint8_t frame[3] = {1, 2, 3};
  blocks.packet(0, frame, 60, 0x1122334455667788,
                {.flags = 2, .lost = 5, .id = 9, .queue = 3, .xdp_verdict = 1, .comment = "c"});
  const auto bytes = blocks.bytes();
  CHECK(wp::net::load_le<uint32_t>(&bytes[4]) == bytes.size());
  CHECK(wp::net::load_le<uint32_t>(&bytes[bytes.size() - 4]) == bytes.size());
  CHECK(wp::net::load_le<uint32_t>(&bytes[12]) == 0x11223344);  // the upper half first
  CHECK(wp::net::load_le<uint32_t>(&bytes[16]) == 0x55667788);
  constexpr size_t kFixed = 20 + 4;  // with the padded frame
  CHECK(option(bytes, 0, kFixed, 1) == std::vector<uint8_t>{'c'});
  CHECK(option(bytes, 0, kFixed, 2) == std::vector<uint8_t>{2, 0, 0, 0});
  CHECK(option(bytes, 0, kFixed, 4) == std::vector<uint8_t>{5, 0, 0, 0, 0, 0, 0, 0});
  CHECK(option(bytes, 0, kFixed, 5) == std::vector<uint8_t>{9, 0, 0, 0, 0, 0, 0, 0});
  CHECK(option(bytes, 0, kFixed, 6) == std::vector<uint8_t>{3, 0, 0, 0});
  CHECK(option(bytes, 0, kFixed, 7) == std::vector<uint8_t>{2, 1, 0, 0, 0, 0, 0, 0, 0});

  blocks.drop(blocks.bytes().size());
  blocks.statistics(1, 0, {.start = 1ll << 32, .dropped = 7, .tap_dropped = 8});
  CHECK(option(blocks.bytes(), 0, 12, 2) == std::vector<uint8_t>{1, 0, 0, 0, 0, 0, 0, 0});
  CHECK(option(blocks.bytes(), 0, 12, 5) == std::vector<uint8_t>{7, 0, 0, 0, 0, 0, 0, 0});
  CHECK(option(blocks.bytes(), 0, 12, 7) == std::vector<uint8_t>{8, 0, 0, 0, 0, 0, 0, 0});
  CHECK(option(blocks.bytes(), 0, 12, 4).empty());

  blocks.drop(blocks.bytes().size());
  blocks.interface({.filter = "tcp"});
  CHECK(option(blocks.bytes(), 0, 8, 9) == std::vector<uint8_t>{9});
  CHECK(option(blocks.bytes(), 0, 8, 11) == std::vector<uint8_t>{0, 't', 'c', 'p'});
}

TEST_CASE("pcapng: a text longer than an option can be is cut") {
  PcapngBlocks blocks;
  blocks.section({.comment = std::string(70'000, 'x')});
  blocks.interface({});
  const uint8_t frame[1] = {};
  blocks.packet(0, frame, 1, 1, {});
  CaptureReader reader(blocks.bytes());
  CapturePacket packet;
  CHECK(reader.next(packet));
  CHECK(option(blocks.bytes(), 0, 16, 1).size() == 65535);
}
