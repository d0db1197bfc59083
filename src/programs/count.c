// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Counts frames and bytes by what they carry and hands every one on: the smallest useful program,
// and what a new one may start from.
#include "program.h"

/* Ethernet types above 0x05ff in network order; anything below is a length (IEEE 802.3). */
#define COUNTERS(COUNT, DROP) \
  COUNT(ip4) COUNT(ip6) COUNT(arp) COUNT(vlan) COUNT(other) DROP(truncated)
WP_COUNTERS(COUNTERS);

struct volume {
  __u64 frames;
  __u64 bytes;
};
WP_MAP(PERCPU_ARRAY, by_protocol, __u32, struct volume, 256); /* IP protocol number */

WP_INLINE void count_protocol(struct wp_packet* p, __u32 protocol) {
  struct volume* v = wp_lookup(p, by_protocol, &protocol);
  if (!v) return;
  v->frames++;
  v->bytes += (__u64)(p->end - p->data);
}

WP_PROGRAM(count) {
  if (p->data + 14 > p->end) return wp_drop(p, truncated);
  const __u16 type = wp_load16(p->data + 12);
  if (type == wp_be16(0x0800)) {
    if (p->data + 34 > p->end) return wp_drop(p, truncated);
    wp_count(p, ip4);
    count_protocol(p, p->data[23]);
  } else if (type == wp_be16(0x86dd)) {
    if (p->data + 54 > p->end) return wp_drop(p, truncated);
    wp_count(p, ip6);
    count_protocol(p, p->data[20]);
  } else if (type == wp_be16(0x0806)) {
    wp_count(p, arp);
  } else if (type == wp_be16(0x8100) || type == wp_be16(0x88a8)) {
    wp_count(p, vlan);
  } else {
    wp_count(p, other);
  }
  return WP_NEXT;
}
