/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The match of the steering program, written once and compiled twice: to eBPF (steer.bpf.c)
 * and to native code (steer_native.h). One pass over the headers gives the flow's key, then a
 * hash lookup per kind of rule in use; the number of rules does not matter.
 *
 * The includer supplies the lookup before including this file:
 *   #define STEER_LOOKUP(table, key)  non-zero when `key` (const struct steer_key *) is in it
 *
 * What is a match:
 * - up to STEER_VLAN_TAGS tags (802.1Q, 802.1ad) are skipped;
 * - an IP fragment never is one: only the first carries ports, so taking that and leaving the
 *   rest would break the datagram for both sides. Fragments go to the host and are counted;
 * - ports stand in UDP and TCP only; a rule that names none also takes other protocols where
 *   it names no protocol either;
 * - headers that do not fit the frame match nothing that lies behind the break.
 */
#ifndef WIREPATH_STEER_MATCH_H
#define WIREPATH_STEER_MATCH_H

#include <linux/types.h>

#define STEER_VLAN_TAGS 4
#define STEER_IP6_EXTENSIONS 8

/* What a rule leaves open. The values combine to the kind of a key. */
#define STEER_ANY_ADDRESS 1u
#define STEER_ANY_PORT 2u
#define STEER_ANY_PROTOCOL 4u
#define STEER_KINDS 8u

/* Bits of `features`: which kinds of key the table holds, IPv4 in bits 0-7, IPv6 in 8-15. */
#define STEER_FEATURE(family, kind) (1u << (((family) == 6 ? STEER_KINDS : 0u) + (kind)))
#define STEER_FEATURES_IP4 0x00ffu
#define STEER_FEATURES_IP6 0xff00u
#define STEER_EVERYTHING (1u << 16) /* every frame matches, whatever is in it */

/* No padding: compared and hashed as bytes. What the kind leaves open is zero. */
struct steer_key {
  __u8 address[16]; /* network order, IPv4 in the first four */
  __u16 port;       /* network order */
  __u8 family;      /* 4, 6 */
  __u8 protocol;
  __u32 kind; /* STEER_ANY_... */
} __attribute__((aligned(8)));

enum steer_result {
  STEER_PASS = 0,
  STEER_MATCH = 1,
  STEER_FRAGMENT = 2, /* passed too, and counted */
};

#ifdef __bpf__
#define STEER_INLINE static __attribute__((always_inline)) inline
#define STEER_BE16(n) __builtin_bswap16(n)
/* The verifier allows unaligned loads from packets; clang would split a memcpy into bytes. */
#define STEER_LOAD16(p) (*(const __u16*)(p))
#define STEER_LOAD32(p) (*(const __u32*)(p))
#else
#define STEER_INLINE static inline
#define STEER_BE16(n) __builtin_bswap16(n)
STEER_INLINE __u16 steer_load16(const __u8* p) {
  __u16 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
STEER_INLINE __u32 steer_load32(const __u8* p) {
  __u32 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
#define STEER_LOAD16(p) steer_load16(p)
#define STEER_LOAD32(p) steer_load32(p)
#endif

STEER_INLINE int steer_is_vlan(__u16 type) {
  return type == STEER_BE16(0x8100) || type == STEER_BE16(0x88a8);
}

/* `rest` is what the IP header says is left; a short frame's padding lies behind it. */
STEER_INLINE int steer_ports(const __u8* p, const __u8* end, __u32 rest, struct steer_key* flow) {
  if (flow->protocol == 17) {
    if (rest < 8 || p + 8 > end) return 0;
  } else if (flow->protocol == 6) {
    if (rest < 20 || p + 20 > end) return 0;
  } else {
    return 0;
  }
  flow->port = STEER_LOAD16(p + 2);
  return 1;
}

/* One lookup. `kind` is a constant wherever this is called, so that unused ones fall away. */
#define STEER_TRY(kind_)                                                                        \
  do {                                                                                          \
    if ((features & STEER_FEATURE(family, kind_)) && (has_ports || ((kind_)&STEER_ANY_PORT))) { \
      struct steer_key key = *flow;                                                             \
      key.kind = (kind_);                                                                       \
      if ((kind_)&STEER_ANY_ADDRESS) __builtin_memset(key.address, 0, 16);                      \
      if ((kind_)&STEER_ANY_PORT) key.port = 0;                                                 \
      if ((kind_)&STEER_ANY_PROTOCOL) key.protocol = 0;                                         \
      if (STEER_LOOKUP(table, &key)) return STEER_MATCH;                                        \
    }                                                                                           \
  } while (0)

STEER_INLINE int steer_lookup_kinds(const void* table, __u32 features, __u8 family, int has_ports,
                                    const struct steer_key* flow) {
  (void)table; /* the eBPF build names its map itself */
  STEER_TRY(0);
  STEER_TRY(STEER_ANY_ADDRESS);
  STEER_TRY(STEER_ANY_PORT);
  STEER_TRY(STEER_ANY_ADDRESS | STEER_ANY_PORT);
  STEER_TRY(STEER_ANY_PROTOCOL);
  STEER_TRY(STEER_ANY_PROTOCOL | STEER_ANY_ADDRESS);
  STEER_TRY(STEER_ANY_PROTOCOL | STEER_ANY_PORT);
  STEER_TRY(STEER_ANY_PROTOCOL | STEER_ANY_ADDRESS | STEER_ANY_PORT);
  return STEER_PASS;
}

STEER_INLINE int steer_match_ip4(const __u8* p, const __u8* end, const void* table,
                                 __u32 features) {
  if (p + 20 > end || p[0] >> 4 != 4) return STEER_PASS;
  const __u32 header = (p[0] & 15u) * 4;
  const __u32 total = STEER_BE16(STEER_LOAD16(p + 2));
  if (header < 20 || total < header) return STEER_PASS;
  if (STEER_LOAD16(p + 6) & STEER_BE16(0x3fff)) return STEER_FRAGMENT;
  struct steer_key flow;
  __builtin_memset(&flow, 0, sizeof(flow));
  const __u32 address = STEER_LOAD32(p + 16);
  __builtin_memcpy(flow.address, &address, 4);
  flow.family = 4;
  flow.protocol = p[9];
  const int has_ports = steer_ports(p + header, end, total - header, &flow);
  return steer_lookup_kinds(table, features, 4, has_ports, &flow);
}

STEER_INLINE int steer_match_ip6(const __u8* p, const __u8* end, const void* table,
                                 __u32 features) {
  if (p + 40 > end || p[0] >> 4 != 6) return STEER_PASS;
  struct steer_key flow;
  __builtin_memset(&flow, 0, sizeof(flow));
  for (int i = 0; i < 4; i++) {
    const __u32 word = STEER_LOAD32(p + 24 + 4 * i);
    __builtin_memcpy(flow.address + 4 * i, &word, 4);
  }
  flow.family = 6;
  __u32 rest = STEER_BE16(STEER_LOAD16(p + 4));
  __u8 next = p[6];
  int has_ports = 0;
  p += 40;
  for (int i = 0; i < STEER_IP6_EXTENSIONS; i++) {
    __u32 length;
    flow.protocol = next;
    if (next == 0 || next == 43 || next == 60) { /* hop-by-hop, routing, destination options */
      if (rest < 8 || p + 8 > end) break;
      length = (p[1] + 1u) * 8;
    } else if (next == 44) { /* fragment; one that is whole (RFC 6946) is none */
      if (rest < 8 || p + 8 > end) break;
      if (STEER_LOAD16(p + 2) & STEER_BE16(0xfff9)) return STEER_FRAGMENT;
      length = 8;
    } else {
      has_ports = steer_ports(p, end, rest, &flow);
      break;
    }
    if (length > rest) break;
    next = p[0];
    p += length;
    rest -= length;
  }
  return steer_lookup_kinds(table, features, 6, has_ports, &flow);
}

/* The frame is [p, end), from the Ethernet destination on. */
STEER_INLINE int steer_match(const __u8* p, const __u8* end, const void* table, __u32 features) {
  if (features & STEER_EVERYTHING) return STEER_MATCH;
  if (p + 14 > end) return STEER_PASS;
  __u16 type = STEER_LOAD16(p + 12);
  p += 14;
#ifdef __bpf__
#pragma unroll
#endif
  for (int tags = 0; tags < STEER_VLAN_TAGS; tags++) {
    if (!steer_is_vlan(type)) break;
    if (p + 4 > end) return STEER_PASS;
    type = STEER_LOAD16(p + 2);
    p += 4;
  }
  if (type == STEER_BE16(0x0800) && (features & STEER_FEATURES_IP4))
    return steer_match_ip4(p, end, table, features);
  if (type == STEER_BE16(0x86dd) && (features & STEER_FEATURES_IP6))
    return steer_match_ip6(p, end, table, features);
  return STEER_PASS;
}

#endif
