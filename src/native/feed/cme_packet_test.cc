// SPDX-License-Identifier: Apache-2.0
#include "feed/cme_packet.h"

#include <doctest/doctest.h>

#include <vector>

#include "feed/cme_writer.h"

using namespace wp::feed;
using test::cme_header;
using test::cme_packet;
using test::CmeBytes;

TEST_CASE("cme: a packet is one unit of the sequence, with all its messages") {
  const std::vector<uint8_t> bytes =
      cme_packet(4'294'967'295u, 1'700'000'000'000'000'001u, {cme_header(0, 12), cme_header(0, 12)})
          .bytes;
  Packet packet;
  REQUIRE(CmeFramer::parse(bytes.data(), bytes.size(), packet));
  CHECK(packet.kind == PacketKind::kData);
  CHECK(packet.count == 1);
  CHECK(packet.first == CmeFramer::kNumbers.last);
  CHECK(packet.send_time == 1'700'000'000'000'000'001);
  CHECK(packet.session == SessionName{});
  size_t units = 0, messages = 0;
  CmeFramer::for_each(packet, [&](const uint8_t* p, size_t n) {
    ++units;
    CHECK(n == 20);
    CHECK(cme_for_each_message(p, n, [&](const uint8_t*, size_t size) {
      CHECK(size == 8);
      ++messages;
    }));
  });
  CHECK(units == 1);
  CHECK(messages == 2);
}

TEST_CASE("cme: a packet without messages still takes its number") {
  const std::vector<uint8_t> bytes = cme_packet(3, 4, {}).bytes;
  Packet packet;
  REQUIRE(CmeFramer::parse(bytes.data(), bytes.size(), packet));
  CHECK(packet.count == 1);
  CHECK(packet.messages == packet.end);
}

TEST_CASE("cme: sizes that do not add up are malformed") {
  const std::vector<uint8_t> good =
      cme_packet(1, 2, {cme_header(0, 12), CmeBytes(cme_header(0, 12)).put(uint32_t{5})}).bytes;
  Packet packet;
  CHECK(CmeFramer::parse(good.data(), good.size(), packet));
  for (size_t n = 0; n < good.size(); ++n) {
    // Whole messages only: after the header, and after the first of them.
    CHECK(CmeFramer::parse(good.data(), n, packet) == (n == 12 || n == 22));
  }
  for (const uint16_t size : {0, 1, 9, 11, 0xffff}) {
    std::vector<uint8_t> wrong = good;
    wrong[12] = static_cast<uint8_t>(size);
    wrong[13] = static_cast<uint8_t>(size >> 8);
    CHECK_FALSE(CmeFramer::parse(wrong.data(), wrong.size(), packet));
  }
}
