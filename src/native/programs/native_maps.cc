// SPDX-License-Identifier: Apache-2.0
#include "programs/native_maps.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace wp::programs {
namespace {

constexpr std::array<const char*, 10> kKindNames{
    "",      "ARRAY", "HASH", "LRU_HASH", "LPM", "PERCPU_ARRAY", "PERCPU_HASH", "LRU_PERCPU_HASH",
    "PORTS", "RING"};
// From here on an LRU is divided, so that several workers seldom meet at one lock.
constexpr uint32_t kDividedFrom = 4096;
constexpr uint32_t kMostEntries = 1u << 30;
constexpr int kTries = 2000;  // of 50 µs each

uint64_t random_seed() {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = 0x243f6a8885a308d3;
  return seed;
}

class Locked {
 public:
  explicit Locked(uint32_t& lock) noexcept : lock_(lock) { wp_lock(&lock_); }
  ~Locked() { wp_unlock(&lock_); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  uint32_t& lock_;
};

void nap() noexcept {
  const timespec t{0, 50'000};
  nanosleep(&t, nullptr);
}

}  // namespace

const char* kind_name(uint32_t kind) noexcept {
  return kind < kKindNames.size() ? kKindNames[kind] : "";
}

NativeMap::NativeMap(const wp_map_decl& decl, uint32_t max_entries, uint32_t slots,
                     wp_epochs* epochs) {
  const uint32_t max = max_entries ? max_entries : decl.max_entries;
  const bool ring = decl.kind == WP_KIND_RING;
  if (max < 1 || max > kMostEntries)
    throw config_error(std::string("entries of map ") + decl.name, std::to_string(max),
                       "from 1 to " + std::to_string(kMostEntries));
  if (ring && (max < 4096 || !std::has_single_bit(max)))
    throw config_error(std::string("bytes of ring ") + decl.name, std::to_string(max),
                       "a power of two of at least 4096");
  map_.kind = decl.kind;
  map_.key_size = decl.key_size;
  map_.value_size = decl.value_size;
  map_.max_entries = max;
  map_.slots = wp_kind_is_percpu(decl.kind) ? slots : 1;
  map_.value_stride = wp_round8(decl.value_size);
  map_.node_stride = wp_node_stride(decl.key_size, decl.value_size, map_.slots);
  map_.value_at = static_cast<uint32_t>(sizeof(wp_node)) + wp_round8(decl.key_size);
  map_.epochs = epochs;
  map_.seed = random_seed();
  shape_ = {decl.name, kind_name(decl.kind), decl.key_size,    decl.value_size,
            max,       map_.slots,           map_.value_stride};
  if (ring) {
    map_.memory_bytes = max;
  } else if (wp_kind_is_array(decl.kind)) {
    map_.memory_bytes = uint64_t{map_.value_stride} * map_.slots * max;
  } else {
    const uint32_t n =
        wp_kind_is_lru(decl.kind) && max >= kDividedFrom ? uint32_t{WP_MAX_SHARDS} : 1;
    map_.shards = n;
    map_.shard_shift = n == 1 ? 0 : 64 - std::bit_width(n - 1);
    const uint32_t each = max / n;  // never more than asked for
    const uint32_t buckets = std::bit_ceil(std::max(each, 2u));
    shards_.resize(n);
    heads_.resize(n);
    uint64_t first = 0;
    for (uint32_t i = 0; i < n; i++) {
      heads_[i].resize(buckets);
      shards_[i].max = std::min<uint32_t>(each, max);
      shards_[i].nodes = each + WP_SPARE_NODES;
      shards_[i].first = static_cast<uint32_t>(first);
      shards_[i].mask = buckets - 1;
      shards_[i].heads = heads_[i].data();
      first += shards_[i].nodes;
    }
    map_.shard = shards_.data();
    map_.memory_bytes = first * map_.node_stride;
  }
  mapped_ = map_.memory_bytes;
  // Untouched pages cost nothing.
  void* memory = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorKind::kIo,
                "no memory for map " + shape_.name + ": " + std::to_string(mapped_) + " bytes",
                "give it fewer entries");
  map_.memory = static_cast<uint8_t*>(memory);
}

NativeMap::~NativeMap() {
  ::munmap(map_.memory, mapped_);
}

size_t NativeMap::memory() const noexcept {
  size_t total = mapped_;
  for (const auto& heads : heads_) total += heads.size() * sizeof(uint32_t);
  return total;
}

bool NativeMap::get(const uint8_t* key, uint8_t* values) const noexcept {
  if (wp_kind_is_array(map_.kind)) {
    uint32_t index;
    std::memcpy(&index, key, 4);
    if (index >= map_.max_entries) return false;
    for (uint32_t i = 0; i < map_.slots; i++)
      wp_words_read(values + size_t{i} * map_.value_stride,
                    map_.memory + (size_t{i} * map_.max_entries + index) * map_.value_stride,
                    map_.value_size);
    return true;
  }
  if (map_.kind == WP_KIND_RING) return false;
  const bool lpm = map_.kind == WP_KIND_LPM;
  const uint64_t hash = wp_hash(key, map_.key_size, map_.seed);
  wp_shard* shard = lpm ? &map_.shard[0] : wp_shard_of(&map_, hash);
  const Locked locked(shard->lock);
  wp_node* n = lpm ? wp_lpm_find(&map_, key, map_.key_size, map_.node_stride)
                   : wp_find(&map_, key, map_.key_size, map_.node_stride, hash);
  if (!n) return false;
  wp_words_read(values, reinterpret_cast<uint8_t*>(n) + map_.value_at,
                static_cast<uint32_t>(shape_.value_bytes()));
  return true;
}

int NativeMap::put(const uint8_t* key, const uint8_t* values, uint64_t how) noexcept {
  if (map_.kind == WP_KIND_RING) return -EINVAL;
  int failed = 0;
  for (int i = 0; i < kTries; i++) {
    failed = wp_map_update(&map_, map_.kind, key, values, how, -1);
    if (failed != -ENOMEM) break;
    nap();  // workers let go of what was replaced within microseconds
  }
  return failed;
}

int NativeMap::remove(const uint8_t* key) noexcept {
  return map_.kind == WP_KIND_RING ? -EINVAL : wp_map_delete(&map_, map_.kind, key);
}

size_t NativeMap::load(std::span<const uint8_t> keys, std::span<const uint8_t> values, uint64_t how,
                       int& error) noexcept {
  const size_t n = map_.key_size ? keys.size() / map_.key_size : 0, each = shape_.value_bytes();
  error = 0;
  for (size_t i = 0; i < n; i++) {
    error = put(keys.data() + i * map_.key_size, values.data() + i * each, how);
    if (error) return i;
  }
  return n;
}

void NativeMap::dump(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const {
  const size_t each = shape_.value_bytes();
  if (wp_kind_is_array(map_.kind)) {
    keys.resize(size_t{map_.max_entries} * 4);
    values.resize(map_.max_entries * each);
    for (uint32_t i = 0; i < map_.max_entries; i++) {
      std::memcpy(&keys[size_t{i} * 4], &i, 4);
      get(&keys[size_t{i} * 4], &values[i * each]);
    }
    return;
  }
  for (wp_shard& shard : shards_) {
    const Locked locked(shard.lock);
    for (uint32_t i = 0; i < shard.fresh; i++) {
      wp_node* n = wp_node_at(&map_, shard.first + i + 1, map_.node_stride);
      if (n->state != WP_NODE_LIVE) continue;
      const uint8_t* key = wp_node_key(n);
      const uint8_t* value = reinterpret_cast<uint8_t*>(n) + map_.value_at;
      keys.insert(keys.end(), key, key + map_.key_size);
      values.resize(values.size() + each);
      wp_words_read(&values[values.size() - each], value, static_cast<uint32_t>(each));
    }
  }
}

size_t NativeMap::size() const noexcept {
  if (wp_kind_is_array(map_.kind)) return map_.max_entries;
  size_t total = 0;
  for (wp_shard& shard : shards_) {
    const Locked locked(shard.lock);
    total += shard.live;
  }
  return total;
}

void NativeMap::clear() noexcept {
  if (wp_kind_is_array(map_.kind)) {
    for (uint64_t at = 0; at < map_.memory_bytes; at += 8)  // workers may read or count meanwhile
      __atomic_store_n(reinterpret_cast<uint64_t*>(map_.memory + at), 0, __ATOMIC_RELAXED);
    return;
  }
  for (wp_shard& shard : shards_) {
    const Locked locked(shard.lock);
    for (uint32_t i = 0; i < shard.fresh; i++) {
      wp_node* n = wp_node_at(&map_, shard.first + i + 1, map_.node_stride);
      if (n->state != WP_NODE_LIVE) continue;
      wp_shard_unlink(&map_, &shard, n, shard.first + i + 1, n->next);
      shard.live--;
      if (map_.kind == WP_KIND_LPM) wp_lpm_count(&map_, wp_node_key(n), -1);
    }
  }
}

std::vector<std::string> NativeMap::read_ring(size_t most) {
  if (map_.kind != WP_KIND_RING)
    throw Error(ErrorKind::kConfig, "map " + shape_.name + " is no ring but " + shape_.kind);
  std::vector<std::string> out;
  const auto take = [&](uint64_t at, void* to, uint64_t n) {
    const uint64_t start = at & (map_.memory_bytes - 1);
    const uint64_t first = std::min<uint64_t>(n, map_.memory_bytes - start);
    std::memcpy(to, map_.memory + start, first);
    std::memcpy(static_cast<uint8_t*>(to) + first, map_.memory, n - first);
  };
  uint64_t tail = map_.ring_tail;
  const uint64_t head = __atomic_load_n(&map_.ring_head, __ATOMIC_ACQUIRE);
  while (tail != head && out.size() < most) {
    uint64_t length = 0;
    take(tail, &length, 8);
    std::string record(length, '\0');
    take(tail + 8, record.data(), length);
    out.push_back(std::move(record));
    tail += 8 + ((length + 7) & ~uint64_t{7});
    __atomic_store_n(&map_.ring_tail, tail, __ATOMIC_RELEASE);
  }
  return out;
}

uint64_t NativeMap::ring_dropped() noexcept {
  const Locked locked(map_.ring_lock);
  return map_.ring_dropped;
}

}  // namespace wp::programs
