// SPDX-License-Identifier: Apache-2.0
#include "route/next_hops.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>

#include "core/error.h"
#include "programs/route_shared.h"

namespace wp::route {
namespace {

// In a group's reach; -1: it leads out of no interface.
int bit_of(const NextHop& hop) {
  const auto kind = static_cast<NextHopKind>(hop.kind);
  if (kind != NextHopKind::kForward && (kind != NextHopKind::kHost || !hop.interface_index))
    return -1;
  return hop.interface < ROUTE_INTERFACES ? hop.interface : 0;
}

// The bytes are those that the forwarding program reads.
static_assert(sizeof(NextHop) == sizeof(route_next_hop));
static_assert(offsetof(NextHop, kind) == offsetof(route_next_hop, kind));
static_assert(offsetof(NextHop, vlan) == offsetof(route_next_hop, vlan));
static_assert(offsetof(NextHop, interface_index) == offsetof(route_next_hop, interface_index));
static_assert(offsetof(NextHop, mtu) == offsetof(route_next_hop, mtu));
static_assert(offsetof(NextHop, destination) == offsetof(route_next_hop, destination));
static_assert(offsetof(NextHop, source) == offsetof(route_next_hop, source));
static_assert(offsetof(NextHop, port) == offsetof(route_next_hop, port));
static_assert(offsetof(NextHop, interface) == offsetof(route_next_hop, interface));
static_assert(sizeof(Reach) == sizeof(route_reach));
static_assert(int{ROUTE_FORWARD} == static_cast<int>(NextHopKind::kForward));
static_assert(int{ROUTE_HOST} == static_cast<int>(NextHopKind::kHost));
static_assert(int{ROUTE_BLACKHOLE} == static_cast<int>(NextHopKind::kBlackhole));
static_assert(int{ROUTE_UNREACHABLE} == static_cast<int>(NextHopKind::kUnreachable));
static_assert(int{ROUTE_PROHIBIT} == static_cast<int>(NextHopKind::kProhibit));

constexpr size_t kWords = sizeof(NextHop) / sizeof(uint32_t);

// Buckets that each member should have: its share of the weights, the left-overs to the largest
// remainders, so that they add up.
std::vector<uint32_t> shares(const std::vector<Member>& members, uint32_t buckets) {
  uint64_t total = 0;
  for (const Member& m : members) total += m.weight;
  std::vector<uint32_t> out(members.size());
  std::vector<std::pair<uint64_t, size_t>> remainders;
  uint32_t given = 0;
  for (size_t i = 0; i < members.size(); i++) {
    const uint64_t exact = uint64_t{members[i].weight} * buckets;
    out[i] = static_cast<uint32_t>(exact / total);
    given += out[i];
    remainders.emplace_back(exact % total, i);
  }
  std::stable_sort(remainders.begin(), remainders.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = 0; given < buckets; i++, given++) out[remainders[i].second]++;
  return out;
}

}  // namespace

NextHops::NextHops(uint32_t max_next_hops, uint32_t max_groups, uint32_t buckets,
                   const NextHopsPlace& place)
    : max_next_hops_(max_next_hops),
      max_groups_(max_groups),
      bucket_count_(buckets),
      hop_memory_(TableMemory::of(place.hops, sizeof(NextHop) * (size_t{max_next_hops} + 1), "hops",
                                  false)),
      bucket_memory_(TableMemory::of(
          place.buckets, sizeof(uint16_t) * buckets * (size_t{max_groups} + 1), "buckets", false)),
      reach_memory_(
          TableMemory::of(place.reach, sizeof(Reach) * (size_t{max_groups} + 1), "reach", false)),
      hops_(hop_memory_.as<NextHop>()),
      buckets_(bucket_memory_.as<uint16_t>()),
      reach_(reach_memory_.as<Reach>()),
      members_(size_t{max_groups} + 1) {
  check("max_next_hops", max_next_hops, 65535);
  check("max_groups", max_groups, 1u << 20);
  if (buckets < 1 || buckets > 4096 || !std::has_single_bit(buckets))
    throw config_error("buckets", std::to_string(buckets), "a power of two from 1 to 4096");
}

void NextHops::check(const char* field, uint32_t value, uint32_t most) const {
  if (value < 1 || value > most)
    throw config_error(field, std::to_string(value), "from 1 to " + std::to_string(most));
}

NextHop NextHops::get(uint32_t next_hop) const noexcept {
  const auto* from = reinterpret_cast<const uint32_t*>(hops_ + next_hop);
  uint32_t words[kWords];
  for (;;) {
    const uint32_t before = __atomic_load_n(from, __ATOMIC_ACQUIRE);
    words[0] = before;
    // Acquire: the second look at the sequence must not come before any of these.
    for (size_t i = 1; i < kWords; i++) words[i] = __atomic_load_n(from + i, __ATOMIC_ACQUIRE);
    if (!(before & 1) && __atomic_load_n(from, __ATOMIC_RELAXED) == before) break;
  }
  NextHop out;
  std::memcpy(&out, words, sizeof out);
  return out;
}

void NextHops::set(uint32_t next_hop, NextHop value) {
  check("next_hop", next_hop, max_next_hops_);
  const NextHop old = hops_[next_hop];
  auto* to = reinterpret_cast<uint32_t*>(hops_ + next_hop);
  uint32_t words[kWords];
  std::memcpy(words, &value, sizeof words);
  const uint32_t before = *to;
  __atomic_store_n(to, before + 1, __ATOMIC_RELAXED);
  // Release: who reads one of the new words also sees the odd sequence.
  for (size_t i = 1; i < kWords; i++) __atomic_store_n(to + i, words[i], __ATOMIC_RELEASE);
  __atomic_store_n(to, before + 2, __ATOMIC_RELEASE);
  if (bit_of(old) == bit_of(value)) return;
  for (uint32_t group = 1; group <= max_groups_; group++)
    for (const Member& member : members_[group])
      if (member.next_hop == next_hop) write_reach(group);
}

void NextHops::write_reach(uint32_t group) {
  Reach now{};
  for (const Member& member : members_[group]) {
    const int bit = bit_of(hops_[member.next_hop]);
    if (bit >= 0) now.interfaces[bit / 64] |= uint64_t{1} << bit % 64;
  }
  for (size_t i = 0; i < std::size(now.interfaces); i++)
    __atomic_store_n(&reach_[group].interfaces[i], now.interfaces[i], __ATOMIC_RELEASE);
}

uint32_t NextHops::set_group(uint32_t group, const std::vector<Member>& members) {
  check("group", group, max_groups_);
  if (members.size() > bucket_count_)
    throw config_error("members", std::to_string(members.size()),
                       "at most the buckets of a group, " + std::to_string(bucket_count_));
  for (size_t i = 0; i < members.size(); i++) {
    check("next_hop", members[i].next_hop, max_next_hops_);
    check("weight", members[i].weight, 65535);
    for (size_t j = 0; j < i; j++)
      if (members[j].next_hop == members[i].next_hop)
        throw config_error("members", std::to_string(members[i].next_hop) + " twice",
                           "each next hop once, with the sum of its weights");
  }
  uint16_t* row = buckets_ + size_t{group} * bucket_count_;
  std::vector<Member>& old = members_[group];
  const bool only_lost = std::all_of(members.begin(), members.end(), [&](const Member& m) {
    return std::find(old.begin(), old.end(), m) != old.end();
  });
  old = members;
  write_reach(group);
  uint32_t moved = 0;
  if (members.empty()) {
    for (uint32_t b = 0; b < bucket_count_; b++) {
      moved += row[b] != 0;
      __atomic_store_n(row + b, uint16_t{0}, __ATOMIC_RELEASE);
    }
    return moved;
  }
  const std::vector<uint32_t> target = shares(members, bucket_count_);
  std::vector<uint32_t> have(members.size(), 0);
  std::vector<uint32_t> orphans;
  for (uint32_t b = 0; b < bucket_count_; b++) {
    size_t i = 0;
    while (i < members.size() && members[i].next_hop != row[b]) i++;
    // When members were only lost nothing is taken from those that stay, whatever rounding says.
    if (i < members.size() && (only_lost || have[i] < target[i]))
      have[i]++;
    else
      orphans.push_back(b);
  }
  for (const uint32_t b : orphans) {
    size_t best = 0;
    int64_t most = INT64_MIN;
    for (size_t i = 0; i < members.size(); i++) {
      const int64_t missing = int64_t{target[i]} - have[i];
      if (missing > most) {
        most = missing;
        best = i;
      }
    }
    have[best]++;
    moved++;
    __atomic_store_n(row + b, members[best].next_hop, __ATOMIC_RELEASE);
  }
  return moved;
}

Reach NextHops::reach(uint32_t group) const {
  check("group", group, max_groups_);
  return reach_[group];
}

std::vector<uint16_t> NextHops::buckets(uint32_t group) const {
  check("group", group, max_groups_);
  std::vector<uint16_t> out(bucket_count_);
  for (uint32_t b = 0; b < bucket_count_; b++) out[b] = select(group, b);
  return out;
}

}  // namespace wp::route
