// SPDX-License-Identifier: Apache-2.0
#include "net/prefix_table.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "core/error.h"

namespace {

using wp::PrefixOwners;

uint32_t find4(const wp::Prefix4Table& table, uint32_t address) {
  uint32_t entry = table.root[address >> (32 - table.root_bits)];
  for (uint32_t bits = table.root_bits; entry & wp::Prefix4Table::kNode; bits += 4)
    entry =
        table.nodes[size_t{entry & ~wp::Prefix4Table::kNode} * 16 + (address >> (28 - bits) & 15)];
  return entry;
}

bool covers(const wp::Prefix4& p, uint32_t address) {
  return p.length == 0 || (p.address ^ address) >> (32 - p.length) == 0;
}

std::vector<uint32_t> naive4(const std::vector<wp::Prefix4>& prefixes, uint32_t address,
                             PrefixOwners which) {
  std::set<uint32_t> owners;
  int longest = -1;
  for (const wp::Prefix4& p : prefixes) {
    if (!covers(p, address)) continue;
    if (which == PrefixOwners::kLongest && p.length < longest) continue;
    if (which == PrefixOwners::kLongest) owners.clear();
    owners.insert(p.owner);
    longest = p.length;
  }
  return {owners.begin(), owners.end()};
}

// Near each other, so that they nest.
std::vector<wp::Prefix4> random4(std::mt19937& rng, size_t n) {
  std::vector<wp::Prefix4> out;
  for (size_t i = 0; i < n; i++) {
    const auto length = static_cast<uint8_t>(rng() % 33);
    uint32_t address = rng() & 0x8101'0f3f;
    if (length == 0) address = 0;
    if (length > 0 && length < 32) address &= ~uint32_t{0} << (32 - length);
    out.push_back({address, static_cast<uint32_t>(rng() % 5), length});
  }
  return out;
}

}  // namespace

TEST_CASE("IPv4: classes are those of a linear search") {
  std::mt19937 rng(7);
  for (const uint32_t root_bits : {16u, 24u}) {
    for (const PrefixOwners which : {PrefixOwners::kAll, PrefixOwners::kLongest}) {
      for (int round = 0; round < 3; round++) {
        auto prefixes = random4(rng, 60);
        if (which == PrefixOwners::kLongest)
          for (size_t i = 0; i < prefixes.size(); i++)  // one owner for one prefix
            prefixes[i].owner = prefixes[i].address ^ prefixes[i].length;
        const auto table = wp::build_prefix4(prefixes, root_bits, which);
        for (int i = 0; i < 4000; i++) {
          uint32_t address = rng() & 0x8101'0f3f;
          if (i % 4 == 0) address = prefixes[rng() % prefixes.size()].address + (i % 3 - 1);
          CHECK(table.classes[find4(table, address)] == naive4(prefixes, address, which));
        }
      }
    }
  }
}

TEST_CASE("IPv4: the root is chosen by size, and what is none is refused") {
  CHECK(wp::build_prefix4({}, 0, PrefixOwners::kAll).root.size() == 1u << 16);
  std::vector<wp::Prefix4> many;
  for (uint32_t i = 0; i < 5000; i++) many.push_back({i << 8, 0, 24});
  const auto table = wp::build_prefix4(many, 0, PrefixOwners::kAll);
  CHECK(table.root_bits == 24);
  CHECK(table.nodes.empty());
  CHECK(table.classes.size() == 2);
  const wp::Prefix4 long_one[] = {{0, 0, 33}}, bits_behind[] = {{1, 0, 31}};
  CHECK_THROWS_AS(wp::build_prefix4(long_one, 0, PrefixOwners::kAll), wp::Error);
  CHECK_THROWS_AS(wp::build_prefix4(bits_behind, 0, PrefixOwners::kAll), wp::Error);
  CHECK_THROWS_AS(wp::build_prefix4({}, 20, PrefixOwners::kAll), wp::Error);
}

TEST_CASE("IPv6: halving the lengths finds what a linear search finds") {
  std::mt19937_64 rng(11);
  const auto near = [&] {
    return std::pair{(uint64_t{0x20010db8} << 32) | (rng() & 0x8000'0003'0000'0001u),
                     rng() & 0x8000'0000'0000'0003u};
  };
  const auto cut = [](uint64_t& high, uint64_t& low, unsigned length) {
    if (length <= 64) low = 0;
    if (length == 0) high = 0;
    if (length > 0 && length < 64) high &= ~uint64_t{0} << (64 - length);
    if (length > 64 && length < 128) low &= ~uint64_t{0} << (128 - length);
  };
  for (int round = 0; round < 6; round++) {
    std::vector<wp::Prefix6> prefixes;
    for (int i = 0; i < 40; i++) {
      const unsigned lengths[] = {0, 1, 32, 33, 48, 62, 63, 64, 65, 127, 128, 20 + i % 9u};
      const unsigned length = lengths[rng() % (round + 7)];
      auto [high, low] = near();
      cut(high, low, length);
      prefixes.push_back(
          {high, low, static_cast<uint32_t>(rng() % 4), static_cast<uint8_t>(length)});
    }
    const auto table = wp::build_prefix6(prefixes, PrefixOwners::kAll);
    std::map<wp::Prefix6Table::Key, uint32_t> map;
    for (size_t i = 0; i < table.keys.size(); i++) map[table.keys[i]] = table.values[i];
    CHECK(map.size() == table.keys.size());
    for (int i = 0; i < 3000; i++) {
      const auto [high, low] = near();
      size_t from = 0, to = table.lengths.size();
      uint32_t found = 0;
      while (from < to) {
        const size_t middle = (from + to) / 2;
        uint64_t h = high, l = low;
        cut(h, l, table.lengths[middle]);
        const auto hit = map.find({h, l, table.lengths[middle]});
        if (hit == map.end()) {
          to = middle;
        } else {
          found = hit->second;
          from = middle + 1;
        }
      }
      std::set<uint32_t> owners;
      for (const auto& p : prefixes) {
        uint64_t h = high, l = low;
        cut(h, l, p.length);
        if (h == p.high && l == p.low) owners.insert(p.owner);
      }
      CHECK(table.classes[found] == std::vector<uint32_t>(owners.begin(), owners.end()));
    }
  }
}
