// SPDX-License-Identifier: Apache-2.0
#include "balance/maglev.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "balance/murmur3.h"
#include "core/error.h"

namespace wp::balance {
namespace {

std::vector<MaglevServer> servers(uint32_t count) {
  std::vector<MaglevServer> out;
  for (uint32_t i = 0; i < count; i++) out.push_back({"server-" + std::to_string(i), 1});
  return out;
}

std::vector<uint32_t> shares(const std::vector<uint32_t>& table, size_t count) {
  std::vector<uint32_t> out(count, 0);
  for (const uint32_t server : table) out.at(server)++;
  return out;
}

// The paper's algorithm as it is printed there: every permutation in full.
std::vector<uint32_t> as_in_the_paper(std::vector<MaglevServer> by_name, uint32_t size) {
  std::vector<std::vector<uint32_t>> permutation(by_name.size());
  for (size_t i = 0; i < by_name.size(); i++) {
    const MaglevWalk walk = maglev_walk(by_name[i].name, size, MaglevAlgorithm::kWirepath);
    for (uint64_t j = 0; j < size; j++)
      permutation[i].push_back(static_cast<uint32_t>((walk.offset + j * walk.skip) % size));
  }
  std::vector<uint32_t> next(by_name.size(), 0), entry(size, kNoServer);
  for (uint32_t n = 0;;)
    for (size_t i = 0; i < by_name.size(); i++) {
      uint32_t c = permutation[i][next[i]];
      while (entry[c] != kNoServer) c = permutation[i][++next[i]];
      entry[c] = static_cast<uint32_t>(i);
      next[i]++;
      if (++n == size) return entry;
    }
}

TEST_CASE("MurmurHash3_x64_128 of published vectors") {
  CHECK(murmur3_128("", 0) == std::pair<uint64_t, uint64_t>{0, 0});
  CHECK(murmur3_128("hello", 0) ==
        std::pair<uint64_t, uint64_t>{0xcbd8a7b341bd9b02, 0x5b1e906a48ae1d19});
  CHECK(murmur3_128("The quick brown fox jumps over the lazy dog.", 0) ==
        std::pair<uint64_t, uint64_t>{0xcd99481f9ee902c9, 0x695da1a38987b6e7});
}

TEST_CASE("equal weights give the paper's table") {
  auto five = servers(5);  // their names are in order
  CHECK(maglev_table(five, 1021) == as_in_the_paper(five, 1021));
  for (auto& server : five) server.weight = 7;
  CHECK(maglev_table(five, 1021) == as_in_the_paper(five, 1021));
}

TEST_CASE("the order in which servers are named does not matter") {
  auto some = servers(20);
  some[3].weight = 5;
  const auto table = maglev_table(some, 4093);
  auto turned = some;
  std::ranges::reverse(turned);
  const auto other = maglev_table(turned, 4093);
  for (size_t i = 0; i < table.size(); i++) REQUIRE(some[table[i]].name == turned[other[i]].name);
}

TEST_CASE("shares differ by one slot at most, by weight too") {
  for (const uint32_t count : {100u, 1000u}) {
    const auto equal = shares(maglev_table(servers(count)), count);
    CHECK(*std::ranges::max_element(equal) - *std::ranges::min_element(equal) <= 1);
  }
  auto some = servers(40);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < some.size(); i++) sum += some[i].weight = 1 + i * i % 90;
  const auto counts = shares(maglev_table(some), some.size());
  for (size_t i = 0; i < some.size(); i++) {
    const double fair =
        static_cast<double>(kMaglevSize) * some[i].weight / static_cast<double>(sum);
    CHECK(std::abs(counts[i] - fair) <= 1.5);
  }
}

TEST_CASE("a server of weight 0 gets nothing, and neither does anybody where all have 0") {
  auto some = servers(3);
  some[1].weight = 0;
  CHECK(shares(maglev_table(some, 251), 3)[1] == 0);
  for (auto& server : some) server.weight = 0;
  CHECK(std::ranges::all_of(maglev_table(some, 251), [](uint32_t s) { return s == kNoServer; }));
  CHECK(maglev_table({}, 251).size() == 251);
}

TEST_CASE("what cannot be a table is refused with the field's name") {
  const auto what = [](std::vector<MaglevServer> some, uint32_t size) -> std::string {
    try {
      maglev_table(some, size);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(what(servers(2), 65536).find("table_size = 65536") != std::string::npos);
  CHECK(what(servers(2), 65536).find("take 65537") != std::string::npos);
  CHECK(what(servers(2), 0).find("take 2") != std::string::npos);
  CHECK(what(servers(2), 1).find("table_size = 1 ") != std::string::npos);
  CHECK(what(servers(2), 4'000'000'000).find("16777213") != std::string::npos);
  CHECK(what({{"a", 1}, {"a", 1}}, 251).find("a is named twice") != std::string::npos);
  CHECK(what({{"a", 1'000'001}}, 251).find("weight = 1000001 of a") != std::string::npos);
}

}  // namespace
}  // namespace wp::balance
