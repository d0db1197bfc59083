// SPDX-License-Identifier: Apache-2.0
// A forwarding table: a trie with a root of 24 bits and groups of 8 bits below it (for IPv4 that is
// DIR-24-8 of Gupta, Lin and McKeown, 1998), in the bytes of programs/route_fib.h. One thread
// changes it, any number read it meanwhile without a lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "programs/route_fib.h"
#include "route/prefix_set.h"
#include "route/table_memory.h"
#include "route/trie_gather.h"

namespace wp::route {

// Where a table's bytes are; empty: memory of its own. Zeroed.
struct FibPlace {
  std::span<uint8_t> root{}, groups{}, state{};
};

struct FibMemory {
  size_t prefixes;       // of the set that changes are made from
  size_t root_resident;  // pages in use
  size_t root_reserved;  // and the bound
  size_t groups_resident;
  size_t groups_reserved;
  size_t depths_resident;  // how long the prefix behind each entry is; the writer's
  size_t depths_reserved;
  size_t groups_used;
  size_t groups_limit;
};

template <class Address, class Entry>
class PrefixTrie {
 public:
  static constexpr Entry kGroup =
      sizeof(Entry) == 2 ? Entry{WP_FIB_GROUP_FLAG16} : static_cast<Entry>(WP_FIB_GROUP_FLAG32);
  static constexpr uint32_t kMaxNextHop = static_cast<uint32_t>(kGroup) - 1;
  static constexpr uint32_t kMaxGroups = static_cast<uint32_t>(kGroup);

  PrefixTrie(size_t max_prefixes, uint32_t max_groups, bool huge, const FibPlace& place = {})
      : max_prefixes_(max_prefixes),
        max_groups_(max_groups),
        root_memory_(TableMemory::of(place.root, sizeof(Entry) << WP_FIB_ROOT_BITS, "root", huge)),
        group_memory_(TableMemory::of(
            place.groups, sizeof(Entry) * WP_FIB_GROUP_ENTRIES * max_groups, "groups", huge)),
        state_memory_(TableMemory::of(place.state, sizeof(wp_fib_state), "state", false)),
        root_depth_memory_(size_t{1} << WP_FIB_ROOT_BITS, false),
        group_depth_memory_(size_t{WP_FIB_GROUP_ENTRIES} * max_groups, false),
        root_(root_memory_.as<Entry>()),
        groups_(group_memory_.as<Entry>()),
        root_depth_(root_depth_memory_.as<uint8_t>()),
        group_depth_(group_depth_memory_.as<uint8_t>()),
        state_(*state_memory_.as<wp_fib_state>()),
        below_(max_groups, 0),
        gather_(can_gather(max_groups)) {}

  // --- readers ---------------------------------------------------------------------------------
  // The next hop of the longest prefix that holds the address; 0 = none.
  uint32_t lookup(Address address) const noexcept {
    // Read whether it is needed or not: which addresses are in no prefix cannot be predicted.
    const uint32_t otherwise = default_next_hop();
    const Entry entry = load(&root_[address.root()]);
    if (entry & kGroup) [[unlikely]]
      return below_root(address);
    return entry ? entry : otherwise;
  }
  // Of many, given as bytes in network order: none is waited for before others are begun.
  void lookup(const uint8_t* addresses, size_t n, uint32_t* next_hops) const noexcept {
    for (size_t done = 0; done < n; done += kAtOnce)
      lookup_some(addresses + done * Address::kBytes, std::min(kAtOnce, n - done),
                  next_hops + done);
  }

  // --- the writer ------------------------------------------------------------------------------
  // The next hop before, 0 = new. Throws, with nothing changed, when a bound is reached.
  uint32_t add(Address prefix, uint32_t length, uint32_t next_hop) {
    const uint32_t before = prefixes_.find(prefix, length);
    if (!before) {
      if (prefixes_.size() >= max_prefixes_)
        throw Error(ErrorKind::kConfig,
                    "max_prefixes = " + std::to_string(max_prefixes_) + " is reached",
                    "a table with a larger max_prefixes");
      reserve(prefix, length);
    }
    prefixes_.put(prefix, length, next_hop);
    if (before == next_hop) return before;
    if (length == 0) {
      __atomic_store_n(&state_.default_next_hop, next_hop, __ATOMIC_RELEASE);
      return before;
    }
    const Place place = descend(prefix, length, before == 0);
    const auto value = static_cast<Entry>(next_hop);
    const auto depth = static_cast<uint8_t>(length);
    for (size_t i = 0; i < place.count; i++)
      overlay(place.entries + i, place.depths + i, value, depth);
    return before;
  }

  // The next hop before, 0 = was not there.
  uint32_t remove(Address prefix, uint32_t length) noexcept {
    const uint32_t before = prefixes_.erase(prefix, length);
    if (!before) return 0;
    if (length == 0) {
      __atomic_store_n(&state_.default_next_hop, 0u, __ATOMIC_RELEASE);
      return before;
    }
    auto cover = prefixes_.covering(prefix, length);
    if (cover.length == 0) cover.next_hop = 0;  // the default stands in the state, not in entries
    const Place place = descend(prefix, length, false);
    for (size_t i = 0; i < place.count; i++)
      uncover(place.entries + i, place.depths + i, static_cast<uint8_t>(length),
              static_cast<Entry>(cover.next_hop), cover.length);
    release(prefix, length);
    return before;
  }

  const PrefixSet<Address>& prefixes() const noexcept { return prefixes_; }
  const wp_fib_state& state() const noexcept { return state_; }
  FibMemory memory() const {
    return {prefixes_.bytes(),
            root_memory_.resident(),
            root_memory_.reserved(),
            group_memory_.resident(),
            group_memory_.reserved(),
            root_depth_memory_.resident() + group_depth_memory_.resident(),
            root_depth_memory_.reserved() + group_depth_memory_.reserved(),
            groups_used_,
            max_groups_};
  }

 private:
  // The entries that a prefix is made of, all in the root or all in one group.
  struct Place {
    Entry* entries;
    uint8_t* depths;
    size_t count;
  };

  static Entry load(const Entry* entry) noexcept {
    return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
  }
  static void store(Entry* entry, Entry value) noexcept {
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
  }
  uint32_t default_next_hop() const noexcept {
    return __atomic_load_n(&state_.default_next_hop, __ATOMIC_ACQUIRE);
  }
  static constexpr size_t kAtOnce = 64;

  void lookup_some(const uint8_t* bytes, size_t n, uint32_t* next_hops) const noexcept {
    const auto reused = __atomic_load_n(&state_.reused, __ATOMIC_ACQUIRE);
    const uint32_t otherwise = default_next_hop();
    size_t done = 0;
    if (gather_) {
      for (; done + kGathered <= n; done += kGathered)
        gather_lookup<Address>(root_, groups_, bytes + done * Address::kBytes, otherwise,
                               next_hops + done);
      // Gathers are no atomic accesses to the compiler.
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
    }
    if (done < n)
      lookup_plain(bytes + done * Address::kBytes, n - done, otherwise, next_hops + done);
    if (__atomic_load_n(&state_.reused, __ATOMIC_ACQUIRE) != reused) [[unlikely]]
      for (size_t i = 0; i < n; i++)
        next_hops[i] = lookup(Address::load(bytes + i * Address::kBytes));
  }

  void lookup_plain(const uint8_t* bytes, size_t n, uint32_t otherwise,
                    uint32_t* next_hops) const noexcept {
    Address address[kAtOnce];
    uint8_t deep[kAtOnce];  // those that go on below the root
    size_t deeper = 0;
    for (size_t i = 0; i < n; i++) {
      address[i] = Address::load(bytes + i * Address::kBytes);
      const Entry entry = load(&root_[address[i].root()]);
      next_hops[i] = entry ? entry : otherwise;
      deep[deeper] = static_cast<uint8_t>(i);
      deeper += (entry & kGroup) != 0;
    }
    walk(address, deep, deeper, otherwise, next_hops);
  }

  // From the groups that stand in next_hops to what stands in them, level by level.
  void walk(const Address* address, uint8_t* left, size_t n, uint32_t otherwise,
            uint32_t* next_hops) const noexcept {
    const Entry* at[kAtOnce];
    for (uint32_t bit = WP_FIB_ROOT_BITS; n > 0 && bit < Address::kBits; bit += WP_FIB_GROUP_BITS) {
      for (size_t k = 0; k < n; k++) {
        const uint8_t i = left[k];
        at[k] = &group(static_cast<Entry>(next_hops[i]))[address[i].byte(bit)];
        __builtin_prefetch(at[k]);
      }
      size_t more = 0;
      for (size_t k = 0; k < n; k++) {
        const Entry entry = load(at[k]);
        const uint8_t i = left[k];
        next_hops[i] = entry ? entry : otherwise;
        left[more] = i;
        more += (entry & kGroup) != 0;
      }
      n = more;
    }
  }

  uint32_t below_root(Address address) const noexcept {
    for (;;) {
      const auto reused = __atomic_load_n(&state_.reused, __ATOMIC_ACQUIRE);
      Entry entry = load(&root_[address.root()]);
      for (uint32_t at = WP_FIB_ROOT_BITS; (entry & kGroup) && at < Address::kBits;
           at += WP_FIB_GROUP_BITS)
        entry = load(&group(entry)[address.byte(at)]);
      if (__atomic_load_n(&state_.reused, __ATOMIC_ACQUIRE) == reused) [[likely]]
        return entry ? entry : default_next_hop();
    }
  }
  Entry* group(Entry entry) const noexcept {
    return groups_ + size_t{static_cast<Entry>(entry & ~kGroup)} * WP_FIB_GROUP_ENTRIES;
  }
  uint8_t* depths_of(Entry entry) const noexcept {
    return group_depth_ + size_t{static_cast<Entry>(entry & ~kGroup)} * WP_FIB_GROUP_ENTRIES;
  }

  // Throws when the groups that this prefix would need are more than are left.
  void reserve(Address prefix, uint32_t length) const {
    uint32_t need = 0;
    Entry entry = length > WP_FIB_ROOT_BITS ? root_[prefix.root()] : Entry{0};
    for (uint32_t at = WP_FIB_ROOT_BITS; at < length; at += WP_FIB_GROUP_BITS) {
      if (entry & kGroup)
        entry = group(entry)[prefix.byte(at)];
      else
        need++;
    }
    if (groups_used_ + need > max_groups_)
      throw Error(ErrorKind::kConfig, "max_groups = " + std::to_string(max_groups_) + " is reached",
                  "a table with a larger max_groups, or with next hops of 4 bytes");
  }

  // Goes to where the prefix ends, making the groups on the way when it is `fresh`.
  Place descend(Address prefix, uint32_t length, bool fresh) {
    Entry* entry = &root_[prefix.root()];
    uint8_t* depth = &root_depth_[prefix.root()];
    uint32_t end = WP_FIB_ROOT_BITS;
    while (length > end) {
      if (!(*entry & kGroup)) store(entry, make_group(*entry, *depth));
      if (fresh) below_[*entry & ~kGroup]++;
      const uint32_t i = prefix.byte(end);
      depth = depths_of(*entry) + i;
      entry = group(*entry) + i;
      end += WP_FIB_GROUP_BITS;
    }
    return {entry, depth, size_t{1} << (end - length)};
  }

  // Takes the prefix out of the counts of the groups on its way; a group with no prefix of its own
  // is folded into the entry above it.
  void release(Address prefix, uint32_t length) noexcept {
    Entry* entry = &root_[prefix.root()];
    uint8_t* depth = &root_depth_[prefix.root()];
    for (uint32_t end = WP_FIB_ROOT_BITS; length > end; end += WP_FIB_GROUP_BITS) {
      const Entry number = *entry;
      if (--below_[number & ~kGroup] == 0) {
        fold(entry, depth);
        return;
      }
      const uint32_t i = prefix.byte(end);
      depth = depths_of(number) + i;
      entry = group(number) + i;
    }
  }

  Entry make_group(Entry value, uint8_t depth) {
    Entry number;
    // The oldest of those given back, once some rest: else every change would take fresh memory.
    if (next_fresh_ < max_groups_ && free_.size() < kResting) {
      number = static_cast<Entry>(next_fresh_++);
    } else {
      number = free_.front();
      free_.pop_front();
      // Before the first new entry: who reads one of them also sees this.
      __atomic_store_n(&state_.reused, state_.reused + 1, __ATOMIC_RELEASE);
    }
    groups_used_++;
    const auto link = static_cast<Entry>(number | kGroup);
    Entry* entries = group(link);
    uint8_t* depths = depths_of(link);
    for (size_t i = 0; i < WP_FIB_GROUP_ENTRIES; i++) {
      store(entries + i, value);
      depths[i] = depth;
    }
    return link;
  }

  // All prefixes of its own are gone: what is left is the one that covers the whole group, in all
  // entries, and the groups below it have been left by the same prefix.
  void fold(Entry* entry, uint8_t* depth) noexcept {
    const Entry link = *entry;
    Entry* first = group(link);
    for (size_t i = 0; i < WP_FIB_GROUP_ENTRIES; i++) {
      if (first[i] & kGroup) {
        below_[first[i] & ~kGroup] = 0;
        fold(first + i, depths_of(link) + i);
      }
    }
    *depth = depths_of(link)[0];
    store(entry, *first);
    free_.push_back(static_cast<Entry>(link & ~kGroup));
    groups_used_--;
  }

  void overlay(Entry* entry, uint8_t* depth, Entry value, uint8_t length) noexcept {
    if (*entry & kGroup) {
      for (size_t i = 0; i < WP_FIB_GROUP_ENTRIES; i++)
        overlay(group(*entry) + i, depths_of(*entry) + i, value, length);
    } else if (*depth <= length) {
      *depth = length;
      store(entry, value);
    }
  }

  void uncover(Entry* entry, uint8_t* depth, uint8_t length, Entry value, uint8_t cover) noexcept {
    if (*entry & kGroup) {
      for (size_t i = 0; i < WP_FIB_GROUP_ENTRIES; i++)
        uncover(group(*entry) + i, depths_of(*entry) + i, length, value, cover);
    } else if (*depth == length) {
      *depth = cover;
      store(entry, value);
    }
  }

  // Groups given back that are not used again at once, so that a reader has long left them.
  static constexpr size_t kResting = 256;

  size_t max_prefixes_;
  uint32_t max_groups_;
  TableMemory root_memory_, group_memory_, state_memory_, root_depth_memory_, group_depth_memory_;
  Entry* root_;
  Entry* groups_;
  uint8_t* root_depth_;
  uint8_t* group_depth_;
  wp_fib_state& state_;
  std::vector<uint32_t> below_;  // prefixes that end in a group or below it
  std::deque<Entry> free_;
  uint32_t next_fresh_ = 0;
  uint32_t groups_used_ = 0;
  PrefixSet<Address> prefixes_;
  bool gather_;
};

}  // namespace wp::route
