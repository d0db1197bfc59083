// SPDX-License-Identifier: Apache-2.0
// What a forwarding table's numbers stand for: groups of next hops, and each next hop's rewrite.
// One thread changes them, any number read them meanwhile without a lock. A group's buckets are
// resilient: when a member is lost only its own flows move.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "route/table_memory.h"

namespace wp::route {

enum class NextHopKind : uint8_t {
  kNone,         // no such next hop
  kForward,      // out of an interface, with these two addresses in front
  kHost,         // the host's own stack decides: its own address, a neighbour not resolved yet
  kBlackhole,    // drop without a word
  kUnreachable,  // the host answers: ICMP unreachable
  kProhibit,     // the host answers: ICMP prohibited
};

// The bytes of one value in a table of next hops.
struct NextHop {
  uint32_t sequence;  // odd while it is written; a reader compares before and after
  uint8_t kind;       // NextHopKind
  uint8_t reserved;
  uint16_t vlan;  // tag to lay on, 0 = none
  uint32_t interface_index;
  uint32_t mtu;  // bytes of an IP packet, 0 = any
  uint8_t destination[6];
  uint8_t source[6];
  uint16_t port;       // of a packet program: which port the interface is, 0 = none of the router's
  uint16_t interface;  // and which of its interfaces the packet leaves by, 0 = none
  bool operator==(const NextHop&) const = default;
};
static_assert(sizeof(NextHop) == 32);

struct Member {
  uint16_t next_hop;
  uint16_t weight;
  bool operator==(const Member&) const = default;
};

// Interfaces that members of a group lead out of (struct route_reach): bit n of interface n, bit 0
// of any that is none of the router's.
struct Reach {
  uint64_t interfaces[4];
  bool operator==(const Reach&) const = default;
};

// Where the bytes are; empty: memory of its own. Zeroed.
struct NextHopsPlace {
  std::span<uint8_t> hops{}, buckets{}, reach{};
};

class NextHops {
 public:
  // Numbers run from 1 to the limits; 0 is "none". `buckets` of a group: a power of two.
  NextHops(uint32_t max_next_hops, uint32_t max_groups, uint32_t buckets,
           const NextHopsPlace& place = {});

  // --- readers ---------------------------------------------------------------------------------
  // The member that a flow hash falls to; 0 = the group has none.
  uint16_t select(uint32_t group, uint32_t hash) const noexcept {
    return __atomic_load_n(&buckets_[size_t{group} * bucket_count_ + (hash & (bucket_count_ - 1))],
                           __ATOMIC_ACQUIRE);
  }
  // A copy that no change was made to meanwhile.
  NextHop get(uint32_t next_hop) const noexcept;

  // --- the writer ------------------------------------------------------------------------------
  void set(uint32_t next_hop, NextHop value);
  // Deals the buckets to the members by weight; how many buckets moved to another member. With no
  // members the group leads nowhere.
  uint32_t set_group(uint32_t group, const std::vector<Member>& members);

  std::vector<uint16_t> buckets(uint32_t group) const;
  Reach reach(uint32_t group) const;
  uint32_t max_next_hops() const noexcept { return max_next_hops_; }
  uint32_t max_groups() const noexcept { return max_groups_; }
  uint32_t bucket_count() const noexcept { return bucket_count_; }
  size_t resident() const {
    return hop_memory_.resident() + bucket_memory_.resident() + reach_memory_.resident();
  }
  size_t reserved() const {
    return hop_memory_.reserved() + bucket_memory_.reserved() + reach_memory_.reserved();
  }

 private:
  void check(const char* field, uint32_t value, uint32_t most) const;
  void write_reach(uint32_t group);

  uint32_t max_next_hops_, max_groups_, bucket_count_;
  TableMemory hop_memory_, bucket_memory_, reach_memory_;
  NextHop* hops_;
  uint16_t* buckets_;
  Reach* reach_;
  std::vector<std::vector<Member>> members_;
};

}  // namespace wp::route
