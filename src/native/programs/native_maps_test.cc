// SPDX-License-Identifier: Apache-2.0
#include "programs/native_maps.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "core/error.h"

namespace wp::programs {
namespace {

struct Both {  // two words that are written together
  uint64_t a, b;
};

wp_map_decl decl(uint32_t kind, uint32_t key, uint32_t value, uint32_t max) {
  return {"test", kind, key, value, max};
}

std::unique_ptr<wp_epochs> epochs(uint32_t slots) {
  auto out = std::make_unique<wp_epochs>();
  *out = {};
  out->now = 1;
  out->slots = slots;
  return out;
}

const uint8_t* bytes(const void* p) {
  return static_cast<const uint8_t*>(p);
}

TEST_CASE("a hash does what a std::map does, and takes as many as it says") {
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_HASH, 4, 16, 500), 0, 1, e.get());
  std::map<uint32_t, Both> model;
  std::mt19937 random(1);
  for (int i = 0; i < 200'000; i++) {
    const uint32_t key = random() % 700;
    const Both value{random(), random()};
    const uint64_t how = random() % 3;
    if (random() % 3) {
      int want = 0;
      if (how == 1 && model.contains(key))
        want = -EEXIST;
      else if (how == 2 && !model.contains(key))
        want = -ENOENT;
      else if (!model.contains(key) && model.size() == 500)
        want = -E2BIG;
      CHECK(map.put(bytes(&key), bytes(&value), how) == want);
      if (!want) model[key] = value;
    } else {
      CHECK(map.remove(bytes(&key)) == (model.erase(key) ? 0 : -ENOENT));
    }
    const uint32_t asked = random() % 700;
    Both found{};
    const bool there = map.get(bytes(&asked), reinterpret_cast<uint8_t*>(&found));
    REQUIRE(there == model.contains(asked));
    if (there) {
      const bool same = found.a == model[asked].a && found.b == model[asked].b;
      REQUIRE(same);
    }
  }
  CHECK(map.size() == model.size());
  std::vector<uint8_t> keys, values;
  map.dump(keys, values);
  CHECK(keys.size() == model.size() * 4);
  map.clear();
  CHECK(map.size() == 0);
}

struct Prefix {
  uint32_t length;
  uint8_t address[4];
};

bool covers(const Prefix& p, const Prefix& address) {
  for (uint32_t i = 0; i < p.length; i++)
    if ((p.address[i / 8] ^ address.address[i / 8]) >> (7 - i % 8) & 1) return false;
  return true;
}

TEST_CASE("an LPM map finds the longest prefix, as a search over all of them does") {
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_LPM, sizeof(Prefix), 4, 2000), 0, 1, e.get());
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> model;  // length, masked address
  std::mt19937 random(2);
  const auto any = [&](uint32_t length) {
    Prefix p{length,
             {10, static_cast<uint8_t>(random() % 3), static_cast<uint8_t>(random() % 8),
              static_cast<uint8_t>(random())}};
    return p;
  };
  const auto key_of = [](const Prefix& p) {
    uint32_t address = 0;
    for (const uint8_t b : p.address) address = address << 8 | b;
    return std::pair{p.length, p.length ? address & (~0u << (32 - p.length)) : 0};
  };
  for (int i = 0; i < 20'000; i++) {
    const Prefix p = any(random() % 33);
    const uint32_t value = random();
    if (random() % 2) {
      if (model.size() < 2000 || model.contains(key_of(p))) {
        REQUIRE(map.put(bytes(&p), bytes(&value), 0) == 0);
        model[key_of(p)] = value;
      }
    } else {
      REQUIRE(map.remove(bytes(&p)) == (model.erase(key_of(p)) ? 0 : -ENOENT));
    }
    if (i % 10) continue;
    const Prefix asked = any(32);
    uint32_t found = 0, want = 0;
    int longest = -1;
    for (const auto& [key, v] : model) {
      Prefix each{key.first,
                  {static_cast<uint8_t>(key.second >> 24), static_cast<uint8_t>(key.second >> 16),
                   static_cast<uint8_t>(key.second >> 8), static_cast<uint8_t>(key.second)}};
      if (covers(each, asked) && static_cast<int>(key.first) > longest) {
        longest = static_cast<int>(key.first);
        want = v;
      }
    }
    REQUIRE(map.get(bytes(&asked), reinterpret_cast<uint8_t*>(&found)) == (longest >= 0));
    if (longest >= 0) REQUIRE(found == want);
  }
  const Prefix wrong{33, {}};
  const uint32_t value = 0;
  CHECK(map.put(bytes(&wrong), bytes(&value), 0) == -EINVAL);
}

TEST_CASE("an LRU map stays within its bound and keeps what is used") {
  for (const uint32_t max : {64u, 5000u}) {
    const auto e = epochs(1);
    NativeMap map(decl(WP_KIND_LRU_HASH, 8, 8, max), 0, 1, e.get());
    const uint64_t kept = 1'000'000'007;
    REQUIRE(map.put(bytes(&kept), bytes(&kept), 0) == 0);
    for (uint64_t i = 0; i < 20 * uint64_t{max}; i++) {
      REQUIRE(map.put(bytes(&i), bytes(&i), 0) == 0);
      wp_epoch_enter(e.get(), 0);
      const void* value = wp_map_lookup(map.raw(), WP_KIND_LRU_HASH, 8, 8, &kept, 0);
      wp_epoch_leave(e.get(), 0);
      REQUIRE(value != nullptr);
      REQUIRE(map.size() <= max);
    }
    CHECK(map.size() >= max / 2);
  }
}

TEST_CASE("an LRU map in which all is in use walks a little, and takes the next") {
  constexpr uint32_t kMax = 4000;  // one shard
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_LRU_HASH, 4, 4, kMax), 0, 1, e.get());
  const auto use = [&](uint32_t key) {
    return wp_map_lookup(map.raw(), WP_KIND_LRU_HASH, 4, 4, &key, 0) != nullptr;
  };
  for (uint32_t key = 0; key < kMax; key++) REQUIRE(map.put(bytes(&key), bytes(&key), 0) == 0);
  for (uint32_t key = 0; key < kMax; key++) REQUIRE(use(key));
  wp_shard& shard = map.raw()->shard[0];
  const uint32_t before = shard.hand;
  REQUIRE(map.put(bytes(&kMax), bytes(&kMax), 0) == 0);
  CHECK(shard.hand - before == WP_EVICT_TRIES + 1);
  CHECK(map.size() == kMax);
  CHECK(use(kMax));
  // Of those it passed each has had its chance: not used since, they are the next to go.
  uint32_t gone = 0;
  for (uint32_t key = 0; key < kMax; key++) gone += !use(key);
  CHECK(gone == 1);
}

TEST_CASE("per-CPU values: each slot has its own, a new entry is zero for the others") {
  const auto e = epochs(3);
  const auto check = [&]<uint32_t kind>() {
    NativeMap map(decl(kind, 4, 4, 10), 0, 3, e.get());
    const uint32_t key = 3, one = 11;
    REQUIRE(wp_map_update(map.raw(), kind, &key, &one, 0, 1) == 0);
    for (uint32_t slot = 0; slot < 3; slot++) {
      const auto* v = static_cast<uint32_t*>(wp_map_lookup(map.raw(), kind, 4, 4, &key, slot));
      REQUIRE(v != nullptr);
      CHECK(*v == (slot == 1 ? 11 : 0));
    }
    uint64_t all[3] = {};
    REQUIRE(map.get(bytes(&key), reinterpret_cast<uint8_t*>(all)));
    CHECK(all[1] == 11);
  };
  check.operator()<WP_KIND_PERCPU_HASH>();
  check.operator()<WP_KIND_PERCPU_ARRAY>();
}

TEST_CASE("an array is bounded and keeps its entries") {
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_ARRAY, 4, 8, 5), 0, 1, e.get());
  const uint32_t last = 4, past = 5;
  const uint64_t value = 9;
  CHECK(map.put(bytes(&last), bytes(&value), 0) == 0);
  CHECK(map.put(bytes(&past), bytes(&value), 0) == -E2BIG);
  CHECK(map.put(bytes(&last), bytes(&value), 1) == -EEXIST);
  CHECK(map.remove(bytes(&last)) == -EINVAL);
  CHECK(wp_map_lookup(map.raw(), WP_KIND_ARRAY, 4, 8, &past, 0) == nullptr);
  CHECK_THROWS_AS(NativeMap(decl(WP_KIND_ARRAY, 4, 8, 0), 0, 1, e.get()), Error);
}

TEST_CASE("a ring gives back whole records in order and counts what finds it full") {
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_RING, 0, 0, 4096), 0, 1, e.get());
  std::mt19937 random(3);
  uint64_t sent = 0, seen = 0;
  for (int round = 0; round < 2000; round++) {
    for (uint32_t k = random() % 60; k > 0; k--) {
      const std::string record(8 + random() % 100, static_cast<char>(sent));
      if (wp_ring_write(map.raw(), record.data(), 8, record.data(), record.size() - 8,
                        record.size() - 8) == 0)
        sent++;
    }
    for (const std::string& record : map.read_ring(1000)) {
      REQUIRE(record == std::string(record.size(), static_cast<char>(seen)));
      seen++;
    }
  }
  CHECK(sent == seen);
  CHECK(sent > 1000);
  CHECK(map.ring_dropped() > 0);
}

// Values whose words differ, or a key that is not the one asked for, would be a node used again
// under a reader's eyes. Run under ThreadSanitizer too.
TEST_CASE("readers see whole entries while others write, replace and delete") {
  constexpr uint32_t kKeys = 64, kReaders = 2;
  const auto e = epochs(kReaders);
  NativeMap map(decl(WP_KIND_HASH, 4, sizeof(Both), 48), 0, 1, e.get());
  std::atomic<bool> stop{false};
  std::atomic<uint32_t> started{0};
  std::atomic<uint64_t> torn{0}, hits{0};
  std::vector<std::thread> threads;
  for (uint32_t slot = 0; slot < kReaders; slot++)
    threads.emplace_back([&, slot] {
      started++;
      for (uint32_t i = 0; !stop.load(std::memory_order_relaxed); i++) {
        if (i % 64 == 0) wp_epoch_enter(e.get(), slot);
        const uint32_t key = i * 7 % kKeys;
        const auto* v = static_cast<const Both*>(
            wp_map_lookup(map.raw(), WP_KIND_HASH, 4, sizeof(Both), &key, slot));
        if (!v) continue;
        if (i % 1024 < 64) hits++;
        if (v->a != v->b || v->a % kKeys != key) torn++;
      }
      wp_epoch_leave(e.get(), slot);
    });
  std::mt19937 random(4);
  while (started < kReaders) std::this_thread::yield();
  for (uint64_t i = 0; i < 100'000 || hits == 0; i++) {
    const uint32_t key = random() % kKeys;
    const Both value{i * kKeys + key, i * kKeys + key};
    if (random() % 4)
      map.put(bytes(&key), bytes(&value), 0);
    else
      map.remove(bytes(&key));
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(torn == 0);
  CHECK(hits > 0);
}

TEST_CASE("a word of an array value is never torn while it is written") {
  const auto e = epochs(1);
  NativeMap map(decl(WP_KIND_ARRAY, 4, 12, 4), 0, 1, e.get());
  const uint32_t key = 2;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> torn{0}, seen{0};
  std::thread reader([&] {
    const auto* value =
        static_cast<const uint64_t*>(wp_map_lookup(map.raw(), WP_KIND_ARRAY, 4, 12, &key, 0));
    uint64_t last = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t word = __atomic_load_n(value, __ATOMIC_RELAXED);
      if (word >> 32 != (word & 0xffffffff)) torn++;
      if (word != last) seen++;
      last = word;
    }
  });
  for (uint32_t i = 1; i < 200'000 || seen == 0; i++) {
    const uint32_t value[3] = {i, i, i};
    REQUIRE(map.put(bytes(&key), bytes(value), 0) == 0);
    uint32_t back[3] = {};
    REQUIRE(map.get(bytes(&key), reinterpret_cast<uint8_t*>(back)));
    REQUIRE(back[2] == i);
  }
  stop = true;
  reader.join();
  CHECK(torn == 0);
  CHECK(seen > 0);
}

TEST_CASE("several workers write into one LRU map at a time") {
  constexpr uint32_t kWorkers = 3;
  const auto e = epochs(kWorkers);
  NativeMap map(decl(WP_KIND_LRU_HASH, 4, 8, 256), 0, 1, e.get());
  std::atomic<uint64_t> refused{0}, wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t slot = 0; slot < kWorkers; slot++)
    threads.emplace_back([&, slot] {
      std::mt19937 random(slot);
      for (uint32_t i = 0; i < 50'000; i++) {
        if (i % 64 == 0) wp_epoch_enter(e.get(), slot);
        const uint32_t key = random() % 2000;
        const uint64_t value = key * 3ull;
        if (wp_map_update(map.raw(), WP_KIND_LRU_HASH, &key, &value, 0, static_cast<int>(slot)))
          refused++;
        const auto* v = static_cast<const uint64_t*>(
            wp_map_lookup(map.raw(), WP_KIND_LRU_HASH, 4, 8, &key, slot));
        if (v && *v != value) wrong++;
      }
      wp_epoch_leave(e.get(), slot);
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(map.size() <= 256);
  CHECK(map.size() > 128);
  // A worker that lost its core holds up the nodes of the others: they are refused, not blocked.
  CHECK(refused < uint64_t{kWorkers} * 50'000);
}

}  // namespace
}  // namespace wp::programs
