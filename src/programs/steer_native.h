// SPDX-License-Identifier: Apache-2.0
// Steering compiled to native code, for backends whose frames no XDP program has seen (pcap,
// raw sockets), and the keys that the XDP program's map is filled with: both from one place, so
// that a rule means the same everywhere.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/steering.h"

#define STEER_LOOKUP(table, key) wp::programs::steer_contains(table, key)
namespace wp::programs {
inline int steer_contains(const void* table, const void* key) noexcept;
}
#include "programs/steer_match.h"

namespace wp::programs {

static_assert(sizeof(steer_key) == 24);

struct SteerKeys {
  std::vector<steer_key> keys;
  uint32_t features = 0;
};

// The keys of `steering`. Family 0 stands for any address of either family, and an address of
// all zeroes for any address of its own.
inline SteerKeys steer_keys(const Steering& steering) {
  SteerKeys out;
  if (steering.everything) {
    out.features = STEER_EVERYTHING;
    return out;
  }
  for (const FlowRule& rule : steering.rules) {
    for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
      if (rule.family != 0 && rule.family != family) continue;
      steer_key key{};
      const ptrdiff_t bytes = rule.family == 0 ? 0 : rule.family == 4 ? 4 : 16;
      std::copy_n(rule.address.begin(), bytes, key.address);
      if (std::all_of(key.address, key.address + 16, [](uint8_t b) { return b == 0; }))
        key.kind |= STEER_ANY_ADDRESS;
      key.family = family;
      key.protocol = static_cast<uint8_t>(rule.protocol);
      if (rule.protocol == Protocol::kAny) key.kind |= STEER_ANY_PROTOCOL;
      key.port = static_cast<uint16_t>(rule.port << 8 | rule.port >> 8);
      if (rule.port == 0) key.kind |= STEER_ANY_PORT;
      out.features |= STEER_FEATURE(family, key.kind);
      const auto same = [&](const steer_key& k) { return !std::memcmp(&k, &key, sizeof key); };
      if (std::none_of(out.keys.begin(), out.keys.end(), same)) out.keys.push_back(key);
    }
  }
  return out;
}

// Immutable once built; any number of threads may match.
class SteerTable {
 public:
  explicit SteerTable(const Steering& steering) {
    const SteerKeys rules = steer_keys(steering);
    features_ = rules.features;
    slots_.resize(std::bit_ceil(rules.keys.size() * 2 + 2));
    mask_ = slots_.size() - 1;
    for (const steer_key& key : rules.keys) {
      size_t at = hash(key) & mask_;
      while (slots_[at].family != 0) at = (at + 1) & mask_;
      slots_[at] = key;
    }
  }

  // STEER_MATCH, STEER_PASS, or STEER_FRAGMENT: passed because it is a piece of a datagram.
  steer_result classify(const uint8_t* frame, size_t n) const noexcept {
    return static_cast<steer_result>(steer_match(frame, frame + n, this, features_));
  }
  bool match(const uint8_t* frame, size_t n) const noexcept {
    return classify(frame, n) == STEER_MATCH;
  }

  bool contains(const steer_key& key) const noexcept {
    // Half of the slots are empty, so that the walk ends.
    for (size_t at = hash(key) & mask_; slots_[at].family != 0; at = (at + 1) & mask_)
      if (!std::memcmp(&slots_[at], &key, sizeof key)) return true;
    return false;
  }

 private:
  static size_t hash(const steer_key& key) noexcept {
    uint64_t word[3];
    std::memcpy(word, &key, sizeof key);
    uint64_t h = (word[0] ^ 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
    h = (std::rotl(h, 29) ^ word[1]) * 0xc4ceb9fe1a85ec53;
    h = (std::rotl(h, 29) ^ word[2]) * 0xff51afd7ed558ccd;
    return h ^ h >> 32;
  }

  std::vector<steer_key> slots_;
  size_t mask_ = 0;
  uint32_t features_ = 0;
};

inline int steer_contains(const void* table, const void* key) noexcept {
  return static_cast<const SteerTable*>(table)->contains(*static_cast<const steer_key*>(key));
}

}  // namespace wp::programs
