/* SPDX-License-Identifier: Apache-2.0
 *
 * The packetizer against hand-made bytes and against the session.
 */
#include "feed/mold_udp64_packet.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "feed/alloc_counter.h"
#include "feed/mold_udp64_differential.h"

namespace wp::feed {
namespace {

std::string text(const std::vector<uint8_t>& bytes, size_t n) {
  return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
}

TEST_CASE("bytes of a packet, a heartbeat, an end of session and a request") {
  MoldPacketizer packetizer("ABC", 0x0102, 64);
  std::vector<uint8_t> buffer(64);
  packetizer.begin(buffer.data());
  CHECK(packetizer.finish() == 0);
  CHECK(packetizer.append("hello", 5));
  CHECK(packetizer.append("", 0));
  CHECK(packetizer.pending() == 2);
  const size_t n = packetizer.finish();
  CHECK(text(buffer, n) == std::string("ABC       \0\0\0\0\0\0\1\2\0\2\0\5hello\0\0", 29));
  CHECK(packetizer.next_sequence() == 0x0104);
  CHECK(packetizer.heartbeat(buffer.data()) == 20);
  CHECK(text(buffer, 20) == std::string("ABC       \0\0\0\0\0\0\1\4\0\0", 20));
  CHECK(packetizer.end_of_session(buffer.data()) == 20);
  CHECK(text(buffer, 20) == std::string("ABC       \0\0\0\0\0\0\1\4\xff\xff", 20));

  mold_encode_request({packetizer.session(), 0x0a0b, 300}, buffer.data());
  CHECK(text(buffer, 20) == std::string("ABC       \0\0\0\0\0\0\x0a\x0b\x01\x2c", 20));
  MoldRequest request;
  CHECK(mold_decode_request(buffer.data(), 20, &request));
  CHECK(request.session == packetizer.session());
  CHECK(request.sequence == 0x0a0b);
  CHECK(request.count == 300);
  CHECK_FALSE(mold_decode_request(buffer.data(), 19, &request));
  CHECK_FALSE(mold_decode_request(buffer.data(), 21, &request));
}

TEST_CASE("a packet is full at its payload or at its number of messages") {
  MoldPacketizer packetizer("S", 1, 20 + 3 * (2 + 10), 2);
  std::vector<uint8_t> buffer(packetizer.max_payload());
  const char message[64] = {};
  packetizer.begin(buffer.data());
  CHECK(packetizer.append(message, 10));
  CHECK(packetizer.append(message, 10));
  CHECK_FALSE(packetizer.append(message, 10));  // two messages
  CHECK(packetizer.finish() == 20 + 2 * 12);
  packetizer.begin(buffer.data());
  CHECK(packetizer.append(message, 34));  // exactly full
  CHECK_FALSE(packetizer.append(message, 0));
  CHECK(packetizer.finish() == packetizer.max_payload());
  packetizer.begin(buffer.data());
  CHECK_FALSE(packetizer.append(message, 35));
  CHECK(packetizer.fits(34));
  CHECK_FALSE(packetizer.fits(35));
  CHECK(packetizer.next_sequence() == 4);
}

TEST_CASE("options out of range are named") {
  CHECK_THROWS_WITH_AS(MoldPacketizer(""), doctest::Contains("session"), Error);
  CHECK_THROWS_WITH_AS(MoldPacketizer("12345678901"), doctest::Contains("1 to 10"), Error);
  CHECK_THROWS_WITH_AS(MoldPacketizer("A", 1, 21), doctest::Contains("max_payload = 21"), Error);
  CHECK_THROWS_WITH_AS(MoldPacketizer("A", 1, 65'508), doctest::Contains("22 to 65507"), Error);
  CHECK_THROWS_WITH_AS(MoldPacketizer("A", 1, 1472, 0), doctest::Contains("max_messages"), Error);
  CHECK_THROWS_WITH_AS(MoldPacketizer("A", 1, 1472, 65'535), doctest::Contains("65534"), Error);
}

TEST_CASE("what is packed is what the session delivers, without allocation") {
  std::mt19937 random(5);
  std::vector<std::string> messages(2000);
  for (size_t i = 0; i < messages.size(); ++i) {
    messages[i] = std::to_string(i) + std::string(random() % 50, 'x');
  }
  MoldPacketizer packetizer("DAY1", 7, 300);
  std::vector<std::vector<uint8_t>> packets(messages.size(), std::vector<uint8_t>(300));
  std::vector<size_t> sizes(messages.size());
  size_t used = 0;
  const uint64_t before = wp::testing::allocations();
  for (size_t i = 0; i < messages.size();) {
    packetizer.begin(packets[used].data());
    while (i < messages.size() &&
           packetizer.append(messages[i].data(), static_cast<uint16_t>(messages[i].size()))) {
      ++i;
    }
    sizes[used++] = packetizer.finish();
  }
  const uint64_t after = wp::testing::allocations();
  CHECK(after == before);
  CHECK(used > 100);

  MoldUDP64 session;
  naive::MoldRecorder recorder;
  for (size_t i = 0; i < used; ++i) session.on_packet(packets[i].data(), sizes[i], 11, recorder);
  REQUIRE(recorder.events.size() == messages.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    CHECK(recorder.events[i] ==
          naive::MoldEvent{naive::MoldEvent::kMessage, 7 + i, 7 + i, messages[i]});
    CHECK(recorder.times[i] == 11);
  }
  CHECK(session.counters().packets == used);
  CHECK(session.counters().malformed + session.counters().trailing == 0);
}

}  // namespace
}  // namespace wp::feed
