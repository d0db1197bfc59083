/* SPDX-License-Identifier: Apache-2.0
 *
 * The hold buffer against a std::map, and its bounds.
 */
#include "feed/hold_buffer.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>

#include "core/error.h"
#include "feed/alloc_counter.h"

namespace wp::feed {
namespace {

bool put(HoldBuffer& buffer, uint64_t seq, const std::string& text) {
  HoldBuffer::Entry entry{};
  entry.seq = seq;
  entry.length = static_cast<uint32_t>(text.size());
  entry.recv_time = static_cast<int64_t>(seq) * 3;
  return buffer.put(entry, reinterpret_cast<const uint8_t*>(text.data()));
}

std::string get(const HoldBuffer& buffer, uint64_t seq) {
  const HoldBuffer::Entry* e = buffer.find(seq);
  if (e == nullptr) return "none";
  CHECK(e->recv_time == static_cast<int64_t>(seq) * 3);
  return std::string(reinterpret_cast<const char*>(buffer.data(*e)), e->length);
}

TEST_CASE("the hold buffer is bounded in messages and in bytes") {
  HoldBuffer few(2, 1024);
  CHECK(put(few, 5, "five"));
  CHECK(put(few, 9, ""));
  CHECK_FALSE(put(few, 10, "x"));
  CHECK(get(few, 5) == "five");
  CHECK(get(few, 9) == "");
  few.erase(few.find(5));
  CHECK(put(few, 10, "x"));

  HoldBuffer small(100, 1024);
  CHECK_FALSE(put(small, 1, std::string(1017, 'x')));
  CHECK(put(small, 1, std::string(1016, 'x')));
  CHECK_FALSE(put(small, 2, ""));
  small.erase(small.find(1));
  CHECK(small.bytes() == 0);
  CHECK(put(small, 2, ""));
  small.clear();
  CHECK(small.empty());
  CHECK(get(small, 2) == "none");
  CHECK_THROWS_WITH_AS(HoldBuffer(0, 1024), doctest::Contains("hold_messages"), Error);
  CHECK_THROWS_WITH_AS(HoldBuffer(1, 100), doctest::Contains("hold_bytes"), Error);
}

TEST_CASE("random use of the hold buffer agrees with a map, without allocation") {
  std::mt19937_64 random(7);
  for (int round = 0; round < 40; ++round) {
    HoldBuffer buffer(1 + random() % 60, 1024 + random() % 3000);
    std::map<uint64_t, std::string> model;
    uint64_t refused = 0;
    for (int i = 0; i < 3000; ++i) {
      const uint64_t seq = random() % 120 * 64;  // collides
      if (model.count(seq) == 0) {
        const std::string text(random() % 120, static_cast<char>('a' + random() % 26));
        const uint64_t before = wp::testing::allocations();
        const bool kept = put(buffer, seq, text);
        CHECK(wp::testing::allocations() == before);
        if (kept) model[seq] = text;
        refused += !kept;
      } else {
        CHECK(get(buffer, seq) == model[seq]);
        buffer.erase(buffer.find(seq));
        model.erase(seq);
      }
      REQUIRE(buffer.messages() == model.size());
      uint64_t lowest = 0;
      const auto it = model.lower_bound(1000);
      REQUIRE(buffer.lowest_from(1000, &lowest) == (it != model.end()));
      if (it != model.end()) REQUIRE(lowest == it->first);
    }
    for (const auto& [seq, text] : model) REQUIRE(get(buffer, seq) == text);
    for (const auto& [seq, text] : model) buffer.erase(buffer.find(seq));
    CHECK(buffer.bytes() == 0);
    CHECK(refused > 0);
  }
}

}  // namespace
}  // namespace wp::feed
