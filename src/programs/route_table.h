/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The forwarding program's tables, read without a lock while they change: addresses to groups of
 * next hops (route_fib.h), groups to next hops, and the symmetric hash of a flow.
 */
#ifndef WIREPATH_ROUTE_TABLE_H
#define WIREPATH_ROUTE_TABLE_H

#include "route_shared.h"

#define ROUTE_BUSY 0xffffffffu /* the table changed again and again */

#ifdef __bpf__
/* The control plane maps these maps into its memory and changes them in place. */
#undef WP_FLAGS_ARRAY
#define WP_FLAGS_ARRAY BPF_F_MMAPABLE
#define ROUTE_READ(place) wp_read(place)
#define ROUTE_BARRIER() __asm__ volatile("" ::: "memory")
#define ROUTE_UNROLL
#else
#define ROUTE_UNROLL _Pragma("GCC unroll 4")
#define ROUTE_READ(place) __atomic_load_n(&(place), __ATOMIC_ACQUIRE)
#define ROUTE_BARRIER() (void)0
#endif

/* The control plane gives all of them their sizes. */
WP_MAP(ARRAY, root4, __u32, struct route_fib_block, 1);
WP_MAP(ARRAY, groups4, __u32, struct route_fib_block, 1);
WP_MAP(ARRAY, state4, __u32, struct wp_fib_state, 1);
WP_MAP(ARRAY, root6, __u32, struct route_fib_block, 1);
WP_MAP(ARRAY, groups6, __u32, struct route_fib_block, 1);
WP_MAP(ARRAY, state6, __u32, struct wp_fib_state, 1);
WP_MAP(ARRAY, buckets, __u32, struct route_buckets, 1);
WP_MAP(ARRAY, hops, __u32, struct route_next_hop, 1);
WP_MAP(ARRAY, reach, __u32, struct route_reach, 1);

struct route_address { /* in host order; IPv4 in the low half of `low` */
  __u64 high;
  __u64 low;
};

WP_INLINE __u32 route_or_default(__u32 entry, const struct wp_fib_state* state) {
  return entry ? entry : ROUTE_READ(state->default_next_hop);
}

/* The number of the group that the longest prefix leads to; 0: none does. */
WP_INLINE __u32 route_find4(const struct wp_packet* p, __u32 address) {
  const __u32 zero = 0;
  const __u32 block = address >> 16;
  const struct wp_fib_state* state = wp_lookup(p, state4, &zero);
  const struct route_fib_block* root = wp_lookup(p, root4, &block);
  if (!state || !root) return 0;
  for (int i = 0; i < ROUTE_RETRIES; i++) {
    const __u64 reused = ROUTE_READ(state->reused);
    __u32 entry = ROUTE_READ(root->entry[address >> 8 & 255]);
    if (!(entry & WP_FIB_GROUP_FLAG32)) return route_or_default(entry, state);
    const __u32 number = entry & ~WP_FIB_GROUP_FLAG32;
    const struct route_fib_block* group = wp_lookup(p, groups4, &number);
    if (!group) return 0;
    entry = ROUTE_READ(group->entry[address & 255]);
    if (ROUTE_READ(state->reused) == reused) return route_or_default(entry, state);
  }
  return ROUTE_BUSY;
}

WP_INLINE __u32 route_find6(const struct wp_packet* p, struct route_address address) {
  const __u32 zero = 0;
  const __u32 block = (__u32)(address.high >> 48);
  const struct wp_fib_state* state = wp_lookup(p, state6, &zero);
  const struct route_fib_block* root = wp_lookup(p, root6, &block);
  if (!state || !root) return 0;
  for (int i = 0; i < ROUTE_RETRIES; i++) {
    const __u64 reused = ROUTE_READ(state->reused);
    __u32 entry = ROUTE_READ(root->entry[address.high >> 40 & 255]);
    for (__u32 bit = WP_FIB_ROOT_BITS; bit < 128; bit += WP_FIB_GROUP_BITS) {
      if (!(entry & WP_FIB_GROUP_FLAG32)) break;
      const __u32 number = entry & ~WP_FIB_GROUP_FLAG32;
      const struct route_fib_block* group = wp_lookup(p, groups6, &number);
      if (!group) return 0;
      const __u64 byte = bit < 64 ? address.high >> (56 - bit) : address.low >> (120 - bit);
      entry = ROUTE_READ(group->entry[byte & 255]);
    }
    if (ROUTE_READ(state->reused) == reused) return route_or_default(entry, state);
  }
  return ROUTE_BUSY;
}

WP_INLINE __u32 route_find(const struct wp_packet* p, int family, struct route_address address) {
  return family == 4 ? route_find4(p, (__u32)address.low) : route_find6(p, address);
}

/* The member of a group that a flow falls to; 0: the group is empty. */
WP_INLINE __u32 route_member(const struct wp_packet* p, __u32 group, __u32 hash) {
  const struct route_buckets* of = wp_lookup(p, buckets, &group);
  return of ? ROUTE_READ(of->next_hop[hash & (ROUTE_BUCKETS - 1)]) : 0;
}

/* A copy of a next hop that no change was made to meanwhile; 0: there is none to be had. */
WP_INLINE int route_copy_next_hop(const struct route_next_hop* hop, struct route_next_hop* out) {
  const __u64* words = (const __u64*)hop;
  __u64* copy = (__u64*)out;
  for (int i = 0; i < ROUTE_RETRIES; i++) {
    ROUTE_UNROLL for (int j = 0; j < 4; j++) copy[j] = ROUTE_READ(words[j]);
    ROUTE_BARRIER();
    const __u32 sequence = (__u32)copy[0];
    if (!(sequence & 1) && ROUTE_READ(hop->sequence) == sequence) return 1;
  }
  return 0;
}
WP_INLINE int route_next_hop(const struct wp_packet* p, __u32 number, struct route_next_hop* out) {
  const struct route_next_hop* hop = wp_lookup(p, hops, &number);
  return hop && route_copy_next_hop(hop, out);
}

/* Whether a route to the source leads out of the interface, or with any != 0 out of some. */
WP_INLINE int route_reaches(const struct wp_packet* p, __u32 group, __u32 interface, int any) {
  const struct route_reach* of = group == ROUTE_BUSY ? 0 : wp_lookup(p, reach, &group);
  if (!of) return group == ROUTE_BUSY; /* a table that changes is no reason to drop */
  if (any) {
    return (of->interfaces[0] | of->interfaces[1] | of->interfaces[2] | of->interfaces[3]) != 0;
  }
  return (int)(of->interfaces[interface >> 6 & 3] >> (interface & 63) & 1);
}

WP_INLINE __u64 route_mix(__u64 value) {
  value *= 0x9e3779b97f4a7c15ull;
  return value ^ value >> 32;
}
WP_INLINE __u64 route_end_hash(struct route_address address, __u16 port, __u64 seed) {
  return route_mix(route_mix(seed ^ address.high) + address.low + ((__u64)port << 32));
}
/* The same both ways: the two ends are added up. */
WP_INLINE __u32 route_flow_hash(struct route_address source, __u16 source_port,
                                struct route_address destination, __u16 destination_port,
                                __u8 protocol, __u64 seed) {
  const __u64 ends = route_end_hash(source, source_port, seed) +
                     route_end_hash(destination, destination_port, seed);
  return (__u32)(route_mix(ends + protocol) * 0xd6e8feb86659fd93ull >> 32);
}

#endif
