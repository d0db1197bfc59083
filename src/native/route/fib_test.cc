// SPDX-License-Identifier: Apache-2.0
#include "route/fib.h"

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "net/bytes.h"
#include "route/address.h"

namespace {

using wp::route::Address4;
using wp::route::Address6;
using wp::route::Fib;
using wp::route::PrefixTrie;

template <class A>
A random_address(std::mt19937_64& rng);
template <>
Address4 random_address(std::mt19937_64& rng) {
  // Few distinct bits, so that prefixes nest.
  return {static_cast<uint32_t>(rng() & rng()) & 0x0303'0fffu};
}
template <>
Address6 random_address(std::mt19937_64& rng) {
  return {rng() & rng() & 0x0300'0103'0000'0307u, rng() & rng() & 0x8000'0300'0000'0001u};
}

template <class A>
struct Less {
  bool operator()(const std::pair<A, uint32_t>& a, const std::pair<A, uint32_t>& b) const {
    if constexpr (sizeof(A) == 4)
      return std::pair(a.first.value, a.second) < std::pair(b.first.value, b.second);
    else
      return std::tuple(a.first.high, a.first.low, a.second) <
             std::tuple(b.first.high, b.first.low, b.second);
  }
};
template <class A>
using Naive = std::map<std::pair<A, uint32_t>, uint32_t, Less<A>>;

template <class A>
uint32_t naive_lookup(const Naive<A>& model, A address) {
  for (uint32_t l = A::kBits + 1; l-- > 0;) {
    const auto it = model.find({address.masked(l), l});
    if (it != model.end()) return it->second;
  }
  return 0;
}

void put(Address4 a, uint8_t* to) {
  wp::net::store_be32(to, a.value);
}
void put(Address6 a, uint8_t* to) {
  wp::net::store_be64(to, a.high);
  wp::net::store_be64(to + 8, a.low);
}

// So many that some go through vectors of addresses, and some are left over.
template <class A, class Entry>
void batch_against_naive(const PrefixTrie<A, Entry>& trie, const Naive<A>& model,
                         std::mt19937_64& rng) {
  const size_t n = 1 + rng() % 150;
  std::vector<A> addresses(n);
  std::vector<uint8_t> bytes(n * A::kBytes);
  std::vector<uint32_t> found(n + 1, 0xdeadbeef);
  for (size_t i = 0; i < n; i++) {
    addresses[i] = random_address<A>(rng);
    put(addresses[i], &bytes[i * A::kBytes]);
  }
  trie.lookup(bytes.data(), n, found.data());
  for (size_t i = 0; i < n; i++) REQUIRE(found[i] == naive_lookup(model, addresses[i]));
  CHECK(found[n] == 0xdeadbeef);
}

template <class A, class Entry>
void against_naive(uint32_t seed) {
  std::mt19937_64 rng(seed);
  PrefixTrie<A, Entry> trie(100'000, 4096, false);
  Naive<A> model;
  for (int step = 0; step < 6000; step++) {
    // Short prefixes cover much and cost much: rarely.
    uint32_t length = static_cast<uint32_t>(rng() % (A::kBits + 1));
    if (length < 8 && rng() % 64) length += 24;
    if (length < 16 && rng() % 8) length += 8;
    const A prefix = random_address<A>(rng).masked(length);
    if (rng() % 5 < 3 && model.size() < 300) {
      const auto hop = static_cast<uint32_t>(1 + rng() % 1000);
      const auto it = model.find({prefix, length});
      REQUIRE(trie.add(prefix, length, hop) == (it == model.end() ? 0 : it->second));
      model[{prefix, length}] = hop;
    } else if (!model.empty()) {
      auto it = model.begin();
      std::advance(it, rng() % model.size());
      REQUIRE(trie.remove(it->first.first, it->first.second) == it->second);
      model.erase(it);
    }
    REQUIRE(trie.prefixes().size() == model.size());
    for (int probe = 0; probe < 4; probe++) {
      const A a = random_address<A>(rng);
      REQUIRE(trie.lookup(a) == naive_lookup(model, a));
    }
    if (step % 50 == 0) batch_against_naive(trie, model, rng);
  }
  while (!model.empty()) {
    trie.remove(model.begin()->first.first, model.begin()->first.second);
    model.erase(model.begin());
  }
  CHECK(trie.memory().groups_used == 0);
  for (int probe = 0; probe < 1000; probe++) REQUIRE(trie.lookup(random_address<A>(rng)) == 0);
}

}  // namespace

TEST_CASE("fib: adds, replaces and removals against a map") {
  against_naive<Address4, uint32_t>(1);
  against_naive<Address4, uint16_t>(2);
  against_naive<Address6, uint32_t>(3);
  against_naive<Address6, uint16_t>(4);
}

TEST_CASE("fib: changes without an end take no more and more memory") {
  PrefixTrie<Address4, uint32_t> trie(8, 10'000, false);
  for (uint32_t i = 0; i < 5000; i++) {
    const Address4 block{0x0a000000 | i % 4 << 8};
    trie.add(block, 32, i + 1);
    CHECK(trie.lookup(block) == i + 1);
    trie.remove(block, 32);
  }
  // 256 groups rest, of 1 KiB each; all that were ever in use would be five thousand.
  CHECK(trie.memory().groups_resident < size_t{1} << 20);
}

TEST_CASE("fib: bounds are errors that change nothing") {
  PrefixTrie<Address4, uint32_t> trie(3, 1, false);
  trie.add({0x0a000000}, 8, 1);
  trie.add({0x0a000080}, 25, 2);
  CHECK_THROWS_WITH_AS(trie.add({0x0b000080}, 25, 3), doctest::Contains("max_groups = 1"),
                       wp::Error);
  CHECK(trie.lookup({0x0b000081}) == 0);
  trie.add({0x0b000000}, 8, 3);
  CHECK_THROWS_WITH_AS(trie.add({0x0c000000}, 8, 3), doctest::Contains("max_prefixes = 3"),
                       wp::Error);
  CHECK(trie.add({0x0b000000}, 8, 4) == 3);  // a replace needs no room
  CHECK(trie.lookup({0x0a000081}) == 2);
  CHECK(trie.lookup({0x0a000001}) == 1);

  CHECK_THROWS_WITH_AS(Fib::make({5, 4, 0, 0, false}), doctest::Contains("family = 5"), wp::Error);
  const auto fib = Fib::make({4, 2, 0, 0, false});
  const uint8_t prefix[4] = {10, 0, 0, 1}, length = 24;
  const uint32_t hop = 1, large = 40'000;
  CHECK_THROWS_WITH_AS(fib->add(prefix, &length, &hop, 1), doctest::Contains("prefix[0]"),
                       wp::Error);
  const uint8_t host = 32;
  CHECK_THROWS_WITH_AS(fib->add(prefix, &host, &large, 1), doctest::Contains("next_hop[0] = 40000"),
                       wp::Error);
  CHECK(fib->size() == 0);
}

TEST_CASE("fib: readers see only next hops that their address had, while groups change hands") {
  // Addresses of block i lead to i or to 1000 + i (its /24, its /26), never to another block's;
  // with few groups for many blocks each is reused at once.
  constexpr uint32_t kBlocks = 64;
  PrefixTrie<Address4, uint32_t> trie(1000, 4, false);
  for (uint32_t i = 0; i < kBlocks; i++) trie.add({i << 8}, 24, i + 1);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0}, seen{0}, long_ones{0};
  std::vector<std::thread> readers;
  for (uint32_t seed = 0; seed < 2; seed++)
    readers.emplace_back([&, seed] {
      std::mt19937 rng(seed);
      uint32_t address[64], hop[64];
      uint8_t bytes[64 * 4];
      while (!stop.load(std::memory_order_relaxed)) {
        const size_t n = seed ? 64 : 1;  // one reader reads one at a time, the other many
        for (size_t i = 0; i < n; i++) {
          address[i] = rng() % kBlocks << 8 | rng() % 256;
          put(Address4{address[i]}, bytes + i * 4);
        }
        if (n == 1)
          hop[0] = trie.lookup({address[0]});
        else
          trie.lookup(bytes, n, hop);
        for (size_t i = 0; i < n; i++) {
          const uint32_t block = address[i] >> 8, low = address[i] & 0xff;
          if (hop[i] != block + 1 && !(hop[i] == 1001 + block && low < 64)) wrong++;
          long_ones += hop[i] > 1000;
        }
        seen += n;
      }
    });
  std::mt19937 rng(7);
  std::set<uint32_t> in;
  uint64_t changes = 0;
  while (changes < 40'000 || ((seen < 10'000 || long_ones < 100) && changes < 10'000'000)) {
    const uint32_t block = rng() % kBlocks;
    if (in.contains(block)) {
      trie.remove({block << 8}, 26);
      in.erase(block);
    } else if (in.size() < 4) {
      trie.add({block << 8}, 26, 1001 + block);
      in.insert(block);
    } else {
      trie.remove({*in.begin() << 8}, 26);
      in.erase(in.begin());
    }
    changes++;
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(wrong == 0);
  CHECK(seen >= 10'000);
  CHECK(long_ones >= 100);
  CHECK(trie.state().reused > 10'000);
}
