/* SPDX-License-Identifier: Apache-2.0 */
#include "feed/declared_messages.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <thread>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr size_t kBytes = DeclaredMessages::kLeastBytes;

template <class T>
T at(const std::vector<uint8_t>& row, size_t offset) {
  T value;
  std::memcpy(&value, row.data() + offset, sizeof value);
  return value;
}

TEST_CASE("rows come by type, packed, in order, with as many bytes as were declared") {
  DeclaredMessages messages({{100, 5, -1}, {7, 0, -1}}, kBytes);
  REQUIRE(messages.find(100) != nullptr);
  CHECK(messages.find(8) == nullptr);
  MessageInfo info;
  info.seq = 41;
  info.recv_time = -2;
  info.send_time = 3;
  info.flags = 8;
  const std::string body = "abcdefgh";
  const auto* p = reinterpret_cast<const uint8_t*>(body.data());
  messages.put(*messages.find(100), info, p);
  info.seq = 42;
  messages.put(*messages.find(7), info, p);
  messages.put(*messages.find(100), info, p + 1);
  std::vector<std::vector<uint8_t>> rows;
  messages.take(rows);
  REQUIRE(rows.size() == 2);
  REQUIRE(rows[0].size() == 2 * 30);
  REQUIRE(rows[1].size() == 25);
  CHECK(at<uint64_t>(rows[0], 0) == 41);
  CHECK(at<int64_t>(rows[0], 8) == -2);
  CHECK(at<int64_t>(rows[0], 16) == 3);
  CHECK(at<uint8_t>(rows[0], 24) == 8);
  CHECK(std::string(rows[0].begin() + 25, rows[0].begin() + 30) == "abcde");
  CHECK(std::string(rows[0].begin() + 55, rows[0].end()) == "bcdef");
  CHECK(at<uint64_t>(rows[1], 0) == 42);
  rows.clear();
  messages.take(rows);
  CHECK(rows[0].empty());
  CHECK(messages.stored() == 3);
  CHECK(messages.lost() == 0);
}

TEST_CASE("what finds no room is counted, and room comes back") {
  DeclaredMessages messages({{1, 1000, -1}}, kBytes);
  const std::vector<uint8_t> body(1000, 9);
  MessageInfo info;
  for (uint64_t round = 0; round < 3; ++round) {
    const uint64_t stored = messages.stored();
    for (int i = 0; i < 1000; ++i) {
      ++info.seq;
      messages.put(*messages.find(1), info, body.data());
    }
    CHECK(messages.stored() + messages.lost() == info.seq);
    CHECK(messages.stored() < info.seq);
    std::vector<std::vector<uint8_t>> rows;
    messages.take(rows);
    CHECK(rows[0].size() == (messages.stored() - stored) * 1025);
    CHECK(at<uint64_t>(rows[0], 0) == 1000 * round + 1);
  }
}

TEST_CASE("between two threads rows are whole and in order") {
  constexpr uint64_t kMessages = 100'000;
  DeclaredMessages messages({{1, 8, 4}}, kBytes);
  std::thread producer([&] {
    MessageInfo info;
    for (info.seq = 1; info.seq <= kMessages; ++info.seq) {
      uint8_t body[8];
      std::memcpy(body, &info.seq, 8);
      messages.put(*messages.find(1), info, body);
    }
  });
  uint64_t last = 0, taken = 0;
  while (last < kMessages && messages.stored() + messages.lost() < kMessages) {
    std::vector<std::vector<uint8_t>> rows;
    messages.take(rows);
    for (size_t i = 0; i < rows[0].size(); i += 33) {
      const auto seq = at<uint64_t>(rows[0], i);
      CHECK(seq > last);
      CHECK(at<uint64_t>(rows[0], i + 25) == seq);
      last = seq;
      ++taken;
    }
  }
  producer.join();
  std::vector<std::vector<uint8_t>> rows;
  messages.take(rows);
  CHECK(taken + rows[0].size() / 33 == messages.stored());
  CHECK(messages.stored() + messages.lost() == kMessages);
}

TEST_CASE("declarations that are not usable are refused by name") {
  CHECK_THROWS_WITH_AS(DeclaredMessages({{5, 1, -1}, {5, 2, -1}}, kBytes),
                       doctest::Contains("message type 5"), Error);
  CHECK_THROWS_WITH_AS(DeclaredMessages({{5, 7, 4}}, kBytes), doctest::Contains("at 4"), Error);
  CHECK_THROWS_WITH_AS(DeclaredMessages({{5, 7, -1}}, 100), doctest::Contains("message_bytes"),
                       Error);
}

}  // namespace
}  // namespace wp::feed
