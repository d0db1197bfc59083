// SPDX-License-Identifier: Apache-2.0
// A forwarding table of either family and entry size behind one interface, for the control plane.
// A data path that knows which it has uses PrefixTrie itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "route/prefix_trie.h"

namespace wp::route {

struct FibOptions {
  int family = 4;           // 4 or 6
  int entry_bytes = 4;      // 2: numbers of groups and next hops up to 32,767, and half the memory
  size_t max_prefixes = 0;  // 0 = 2,000,000 (IPv4), 500,000 (IPv6)
  size_t max_groups = 0;    // 0 = 32,768 (IPv4), 131,072 or as many as 2 bytes number (IPv6)
  bool huge_pages = true;   // for what look-ups read
  FibPlace place{};         // of what look-ups read; a packet program's maps
};

class Fib {
 public:
  virtual ~Fib() = default;

  // Addresses are in network order, 4 or 16 bytes each, one after the other.
  // Any thread, at any time.
  virtual void lookup(const uint8_t* addresses, size_t n, uint32_t* next_hops) const noexcept = 0;

  // One thread at a time. Bits beyond a prefix's length must be 0, next hops 1 to max_next_hop().
  // Throws at the first that is not usable or does not fit: those before it are in.
  virtual size_t add(const uint8_t* prefixes, const uint8_t* lengths, const uint32_t* next_hops,
                     size_t n) = 0;  // how many were new
  virtual size_t remove(const uint8_t* prefixes, const uint8_t* lengths,
                        size_t n) = 0;                                     // how many were there
  virtual uint32_t find(const uint8_t* prefix, uint8_t length) const = 0;  // of this very prefix
  // Length and next hop of the longest prefix that holds the address; {0, 0} = none. The writer's.
  struct Match {
    uint8_t length;
    uint32_t next_hop;
  };
  virtual Match match(const uint8_t* address) const = 0;
  virtual size_t size() const noexcept = 0;
  // All prefixes, in no order; room for size() of each.
  virtual void dump(uint8_t* prefixes, uint8_t* lengths, uint32_t* next_hops) const noexcept = 0;
  virtual FibMemory memory() const = 0;
  virtual uint32_t max_next_hop() const noexcept = 0;
  virtual const FibOptions& options() const noexcept = 0;
  size_t address_bytes() const noexcept { return options().family == 4 ? 4 : 16; }

  static std::unique_ptr<Fib> make(FibOptions options);
};

}  // namespace wp::route
