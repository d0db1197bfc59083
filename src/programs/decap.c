// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// For the servers behind the balancer: takes the outer header (IPv4 or IPv6 in either, GUE variant
// 1) off packets for one of this server's tunnel endpoints, and lets the host have what was within.
#include "decap_shared.h"
#include "parse.h"
#include "program.h"

WP_CONFIG(struct decap_config);

#define COUNTERS(COUNT, DROP) \
  COUNT(taken_off) DROP(malformed) DROP(bad_checksum) DROP(fragment) DROP(foreign) DROP(failed)
WP_COUNTERS(COUNTERS);
WP_MAP(HASH, endpoints, struct decap_endpoint, __u32, 64);
WP_MAP(HASH, services, struct decap_endpoint, __u32, 1024); /* addresses that may stand within */

WP_INLINE int decap_checksum_is_right(const struct wp_packet* p, __u64 l3) {
  const __u8* ip = p->data + l3;
  __u64 sum = 0;
  if (ip + 20 > p->end) return 0;
  if (ip[0] != 0x45) return 1; /* with options: the host looks at what is within anyway */
  WP_UNROLL for (int i = 0; i < 20; i += 2) sum += wp_load16(ip + i);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

WP_PROGRAM(decap) {
  struct parsed h;
  parse_frame(p->data, p->end, &h);
  const int gue = h.protocol == PARSE_UDP;
  if (!h.family || (h.protocol != 4 && h.protocol != 41 && !gue)) return WP_NEXT;
  if (gue && !(h.flags & PARSE_FRAGMENT) && h.destination_port != wp_config(p)->gue_port)
    return WP_NEXT;
  const struct decap_endpoint endpoint = {
      {h.destination[0], h.destination[1], h.destination[2], h.destination[3]}, h.family};
  if (!wp_lookup(p, endpoints, &endpoint)) return WP_NEXT;
  if (h.flags & PARSE_FRAGMENT) return gue ? WP_NEXT : wp_drop(p, fragment);
  if (h.flags & PARSE_BAD) return wp_drop(p, malformed);
  const __u64 l3 = h.l3 & 0x1f;
  if (h.family == 4 && !decap_checksum_is_right(p, l3)) return wp_drop(p, bad_checksum);

  const __u64 start = (h.l4 & 0x7fff) + (gue ? 8 : 0);
  const __u8* inner = p->data + start;
  if (inner + 20 > p->end || start + 20 > h.l4_end) return wp_drop(p, malformed);
  const __u32 family = inner[0] >> 4; /* of GUE too: variant 1 begins as the packet within does */
  struct decap_endpoint service = {{0, 0, 0, 0}, family};
  if (family == 4 && h.protocol != 41) {
    service.address[0] = wp_load32(inner + 16);
  } else if (family == 6 && h.protocol != 4) {
    if (inner + 40 > p->end) return wp_drop(p, malformed);
    for (int i = 0; i < 4; i++) service.address[i] = wp_load32(inner + 24 + 4 * i);
  } else {
    return wp_drop(p, malformed);
  }
  /* Whoever can reach this server could otherwise have any packet appear from within. */
  if (!wp_lookup(p, services, &service)) return wp_drop(p, foreign);

  const __u8* d = p->data;
  if (d + 22 > p->end) return wp_drop(p, malformed);
  const __u64 addresses = wp_load64(d);
  const __u32 addresses2 = wp_load32(d + 8);
  const __u64 tags = wp_load64(d + 12);
  if (wp_adjust_head(p, (int)(start - l3))) return wp_drop(p, failed);
  __u8* to = p->data;
  if (to + 22 > p->end) return wp_drop(p, failed);
  wp_store64(to, addresses);
  wp_store32(to + 8, addresses2);
  if (l3 > 14) wp_store32(to + 12, (__u32)tags);
  if (l3 > 18) wp_store32(to + 16, (__u32)(tags >> 32));
  wp_store16(to + l3 - 2, wp_be16(family == 4 ? 0x0800 : 0x86dd));
  wp_count(p, taken_off);
  return WP_NEXT;
}
