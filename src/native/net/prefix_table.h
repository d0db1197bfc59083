// SPDX-License-Identifier: Apache-2.0
// Tables of address prefixes whose look-up costs the same with one prefix and with a million,
// laid out for the packet programs (src/programs/prefix.h reads them).
//
// IPv4: a root over the first 16 or 24 bits, then nodes of 16 entries, a nibble each (a cache
// line). With 24 bits an address is found in at most three loads, 64 MiB for the root; with 16 in
// at most five, 256 KiB. IPv6: one hash of (prefix, length) pairs, searched by halving the lengths
// in use (Waldvogel et al., "Scalable High Speed IP Routing Lookups", SIGCOMM 1997): n lengths take
// log2(n + 1) look-ups.
//
// Entries are classes. Each prefix has an owner; a class stands for a set of owners, that of every
// prefix around an address (kAll), or only that of the longest one (kLongest).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace wp {

enum class PrefixOwners { kAll, kLongest };

// Class 0 has no owner. Owners are sorted and each is there once.
class PrefixClasses {
 public:
  explicit PrefixClasses(PrefixOwners which) : which_(which), owners_(1) {}
  // The class of what was in `of` and is in a prefix of `owner` as well.
  uint32_t add(uint32_t of, uint32_t owner);
  const std::vector<std::vector<uint32_t>>& owners() const noexcept { return owners_; }

 private:
  PrefixOwners which_;
  std::vector<std::vector<uint32_t>> owners_;
  std::map<std::vector<uint32_t>, uint32_t> known_;
  std::map<uint64_t, uint32_t> added_;  // (class, owner) -> class
};

struct Prefix4 {
  uint32_t address;  // host order, no bit behind the length
  uint32_t owner;
  uint8_t length;
};

struct Prefix4Table {
  static constexpr uint32_t kNode = 1u << 31;  // an entry that is the number of a node
  uint32_t root_bits;
  std::vector<uint32_t> root;
  std::vector<uint32_t> nodes;  // 16 entries each
  std::vector<std::vector<uint32_t>> classes;
};

// `root_bits` is 16 or 24; 0 chooses by size. Throws Error where a prefix is none.
Prefix4Table build_prefix4(std::span<const Prefix4> prefixes, uint32_t root_bits,
                           PrefixOwners which);

struct Prefix6 {
  uint64_t high, low;  // host order, no bit behind the length
  uint32_t owner;
  uint8_t length;
};

struct Prefix6Table {
  struct Key {
    uint64_t high, low;
    uint64_t length;
    auto operator<=>(const Key&) const = default;
  };
  std::vector<uint8_t> lengths;  // in use, ascending
  std::vector<Key> keys;
  std::vector<uint32_t> values;  // class of each key
  std::vector<std::vector<uint32_t>> classes;
};

Prefix6Table build_prefix6(std::span<const Prefix6> prefixes, PrefixOwners which);

}  // namespace wp
