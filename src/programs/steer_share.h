/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Which of the flows that steering matches are taken: a share of them by their hash, and those that
 * are named. Written once and compiled twice, like steer_match.h, which comes first.
 *
 * A flow is the source and destination address, the protocol and both ports, whatever VLAN tags the
 * frame has. Frames of one flow are always judged alike: pieces of a datagram, which carry no
 * ports, count as a flow by their addresses, as does what lies behind IPv6 extension headers.
 */
#ifndef WIREPATH_STEER_SHARE_H
#define WIREPATH_STEER_SHARE_H

#include "steer_match.h"

/* The word that says what is taken. */
#define STEER_ALL_FLOWS 65536u /* a share is counted in 65536ths */
#define STEER_SHARE_MASK 0x1ffffu
#define STEER_NAMED (1u << 30) /* the map of named flows holds some */
#define STEER_ON (1u << 31)    /* without it every frame passes, uncounted */

struct steer_flow {
  struct steer_key to; /* destination, as a key that leaves nothing open */
  __u32 hash;
};

STEER_INLINE __u32 steer_mix(__u32 hash, __u32 word) {
  hash = (hash ^ word) * 0x9e3779b1u;
  return hash ^ hash >> 15;
}

/* The frame is [p, end), from the Ethernet destination on. */
STEER_INLINE void steer_flow_of(const __u8* p, const __u8* end, struct steer_flow* flow) {
  __u32 hash = 0, ports = 0;
  int has_ports = 1;
  __builtin_memset(flow, 0, sizeof(*flow));
  if (p + 14 > end) return;
  __u16 type = STEER_LOAD16(p + 12);
  p += 14;
#ifdef __bpf__
#pragma unroll
#endif
  for (int tags = 0; tags < STEER_VLAN_TAGS; tags++) {
    if (!steer_is_vlan(type)) break;
    if (p + 4 > end) return;
    type = STEER_LOAD16(p + 2);
    p += 4;
  }
  if (type == STEER_BE16(0x0800)) {
    if (p + 20 > end) return;
    const __u32 header = (p[0] & 15u) * 4;
    const __u32 address = STEER_LOAD32(p + 16);
    has_ports = header >= 20 && !(STEER_LOAD16(p + 6) & STEER_BE16(0x3fff));
    __builtin_memcpy(flow->to.address, &address, 4);
    flow->to.family = 4;
    flow->to.protocol = p[9];
    hash = steer_mix(hash, STEER_LOAD32(p + 12));
    hash = steer_mix(hash, address);
    p += header;
  } else if (type == STEER_BE16(0x86dd)) {
    if (p + 40 > end) return;
    for (int i = 0; i < 4; i++) {
      const __u32 word = STEER_LOAD32(p + 24 + 4 * i);
      __builtin_memcpy(flow->to.address + 4 * i, &word, 4);
      hash = steer_mix(hash, STEER_LOAD32(p + 8 + 4 * i));
      hash = steer_mix(hash, word);
    }
    flow->to.family = 6;
    flow->to.protocol = p[6];
    p += 40;
  } else {
    return;
  }
  if (has_ports && (flow->to.protocol == 17 || flow->to.protocol == 6) && p + 4 <= end) {
    ports = STEER_LOAD32(p);
    flow->to.port = STEER_LOAD16(p + 2);
  }
  hash = steer_mix(steer_mix(hash, ports), flow->to.protocol);
  hash *= 0x85ebca6bu;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35u;
  flow->hash = hash ^ hash >> 16;
}

#endif
