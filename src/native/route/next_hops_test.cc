// SPDX-License-Identifier: Apache-2.0
#include "route/next_hops.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/error.h"

namespace {

using wp::route::Member;
using wp::route::NextHop;
using wp::route::NextHopKind;
using wp::route::NextHops;
using wp::route::Reach;

long count(const std::vector<uint16_t>& buckets, uint16_t hop) {
  return std::count(buckets.begin(), buckets.end(), hop);
}

}  // namespace

TEST_CASE("next hops: buckets by weight; a lost member moves only its own") {
  NextHops table(100, 10, 128);
  table.set_group(1, {{1, 1}, {2, 1}, {3, 2}});
  const auto before = table.buckets(1);
  CHECK(count(before, 1) == 32);
  CHECK(count(before, 2) == 32);
  CHECK(count(before, 3) == 64);
  CHECK(table.set_group(1, {{1, 1}, {3, 2}}) == 32);
  const auto after = table.buckets(1);
  for (size_t b = 0; b < before.size(); b++) {
    if (before[b] != 2) {
      CHECK(after[b] == before[b]);
    } else {
      CHECK(after[b] != 2);
    }
  }
  CHECK(count(after, 1) + count(after, 3) == 128);
  // A new member takes its share and no more.
  const uint32_t moved = table.set_group(1, {{1, 1}, {3, 2}, {4, 1}});
  CHECK(moved == 32);
  CHECK(count(table.buckets(1), 4) == 32);
  CHECK(table.set_group(1, {{1, 1}, {3, 2}, {4, 1}}) == 0);
  CHECK(table.set_group(1, {}) == 128);
  CHECK(table.select(1, 77) == 0);
}

TEST_CASE("next hops: what is not usable is named") {
  NextHops table(100, 10, 8);
  CHECK_THROWS_WITH_AS(NextHops(100, 10, 3), doctest::Contains("buckets = 3"), wp::Error);
  CHECK_THROWS_WITH_AS(table.set_group(11, {}), doctest::Contains("group = 11"), wp::Error);
  CHECK_THROWS_WITH_AS(table.set_group(1, {{1, 1}, {1, 1}}), doctest::Contains("twice"), wp::Error);
  CHECK_THROWS_WITH_AS(table.set_group(1, {{1, 0}}), doctest::Contains("weight = 0"), wp::Error);
  CHECK_THROWS_AS(table.set_group(1, std::vector<Member>(9, Member{1, 1})), wp::Error);
  CHECK_THROWS_AS(table.set(0, {}), wp::Error);
}

TEST_CASE("reach says which interfaces a group leads out of") {
  NextHops hops(15, 7, 128);
  NextHop forward{};
  forward.kind = static_cast<uint8_t>(NextHopKind::kForward);
  forward.interface = 200;
  hops.set(1, forward);
  NextHop other = forward;  // out of what is none of the router's
  other.interface = 0;
  hops.set(2, other);
  NextHop on_link{};  // a neighbour that is not resolved
  on_link.kind = static_cast<uint8_t>(NextHopKind::kHost);
  on_link.interface_index = 7;
  on_link.interface = 3;
  hops.set(3, on_link);
  NextHop own{};  // an address of the host's
  own.kind = static_cast<uint8_t>(NextHopKind::kHost);
  hops.set(4, own);
  hops.set_group(1, {{1, 1}, {3, 1}});
  CHECK(hops.reach(1) == Reach{{uint64_t{1} << 3, 0, 0, uint64_t{1} << (200 - 192)}});
  hops.set_group(2, {{2, 1}, {4, 1}});
  CHECK(hops.reach(2) == Reach{{1, 0, 0, 0}});
  // A next hop that moves to another interface takes its groups along.
  forward.interface = 64;
  hops.set(1, forward);
  CHECK(hops.reach(1) == Reach{{uint64_t{1} << 3, 1, 0, 0}});
  CHECK(hops.reach(2) == Reach{{1, 0, 0, 0}});
  hops.set_group(1, {});
  CHECK(hops.reach(1) == Reach{});
}

TEST_CASE("next hops: a reader sees a whole rewrite, never half of one") {
  NextHops table(4, 4, 1);
  const auto value = [](uint8_t n) {
    NextHop hop{};
    std::memset(hop.destination, n, 6);
    std::memset(hop.source, n, 6);
    hop.mtu = n;
    hop.kind = 1;
    return hop;
  };
  table.set(1, value(0));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0}, reads{0};
  std::thread reader([&] {
    while (!stop) {
      const NextHop hop = table.get(1);
      bool whole = hop.mtu == hop.source[5];
      for (int i = 0; i < 6; i++)
        whole = whole && hop.destination[i] == hop.source[0] && hop.source[i] == hop.source[0];
      torn += !whole;
      reads++;
    }
  });
  for (uint32_t i = 0; i < 200'000 || (reads < 1000 && i < 50'000'000); i++)
    table.set(1, value(static_cast<uint8_t>(i)));
  stop = true;
  reader.join();
  CHECK(torn == 0);
  CHECK(reads >= 1000);
}
