// SPDX-License-Identifier: Apache-2.0
// The control plane's side of the maps of natively built programs (programs/native_map.h): making
// them, reading and writing entries, in bulk too, while programs run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "programs/native_map.h"

namespace wp::programs {

// What an entry looks like from outside, whichever implementation holds it.
struct MapShape {
  std::string name;
  std::string kind;  // "ARRAY", "HASH", … as WP_MAP spells it; "PORTS", "RING"
  uint32_t key_size = 0;
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
  uint32_t slots = 1;         // values an entry
  uint32_t value_stride = 0;  // bytes from a slot's value to the next, a multiple of 8
  // Bytes that an entry's values take together.
  size_t value_bytes() const noexcept {
    return slots == 1 ? value_size : size_t{value_stride} * slots;
  }
};

class NativeMap {
 public:
  // Throws kConfig for entries out of range.
  NativeMap(const wp_map_decl& decl, uint32_t max_entries, uint32_t slots, wp_epochs* epochs);
  ~NativeMap();
  NativeMap(const NativeMap&) = delete;
  NativeMap& operator=(const NativeMap&) = delete;

  const MapShape& shape() const noexcept { return shape_; }
  wp_map* raw() noexcept { return &map_; }

  // All slots' values; false = no such entry. LPM: of the longest prefix that covers the key.
  bool get(const uint8_t* key, uint8_t* values) const noexcept;
  // 0 or -errno, as the kernel's. Waits a little where spares are still in sight.
  int put(const uint8_t* key, const uint8_t* values, uint64_t how) noexcept;
  int remove(const uint8_t* key) noexcept;
  // Entries beside each other in `keys` and `values`; returns how many went in before one failed,
  // whose error is in `error`.
  size_t load(std::span<const uint8_t> keys, std::span<const uint8_t> values, uint64_t how,
              int& error) noexcept;
  void dump(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const;
  size_t size() const noexcept;  // entries
  void clear() noexcept;
  size_t memory() const noexcept;  // bytes reserved

  // RING: records that were written since. Throws kConfig for another kind.
  std::vector<std::string> read_ring(size_t most);
  uint64_t ring_dropped() noexcept;

 private:
  MapShape shape_;
  mutable wp_map map_{};
  mutable std::vector<wp_shard> shards_;
  std::vector<std::vector<uint32_t>> heads_;
  size_t mapped_ = 0;
};

const char* kind_name(uint32_t kind) noexcept;

}  // namespace wp::programs
