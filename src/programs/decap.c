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
WP_MAP(PERCPU_ARRAY, outers, __u32, struct decap_outer, 1); /* of the packet at hand */

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

/* The sum of [at, end) in 16-bit words as they stand in memory (RFC 1071). -1: the frame ends
 * before. The offset is cut to its range in each round, so that rounds and ends look alike to the
 * verifier, and it follows them once. */
#define DECAP_CHUNK 128
#define DECAP_CHUNKS 128 /* 16 KiB: no driver gives XDP more in one piece */
WP_INLINE __s64 decap_sum(const struct wp_packet* p, __u64 at, __u64 end) {
  __u64 sum = 0;
  at &= 0x7fff;
  for (int i = 0; i < DECAP_CHUNKS; i++) {
    const __u8* from = p->data + at;
    if (at + DECAP_CHUNK > end || from + DECAP_CHUNK > p->end) break;
    WP_UNROLL for (int k = 0; k < DECAP_CHUNK; k += 4) sum += wp_load32(from + k);
    at = (at + DECAP_CHUNK) & 0x7fff;
    __asm__ volatile("" : "+r"(at)); /* as below */
  }
  for (int i = 0; i < DECAP_CHUNK / 2; i++) {
    const __u8* from = p->data + at;
    if (at + 2 > end || from + 2 > p->end) break;
    sum += wp_load16(from);
    at = (at + 2) & 0x7fff;
    __asm__ volatile("" : "+r"(at)); /* clang would count a pointer up, unseen by the comparison */
  }
  if (at + 1 == end) {
    const __u8* from = p->data + at;
    if (from + 1 > p->end) return -1;
    sum += *from; /* with a zero byte behind it */
    at++;
  }
  return at == end ? (__s64)sum : -1;
}

/* UDP's own checksum, where there is one: over IPv6 nothing else guards the outer addresses. None
 * is allowed for tunnels (RFC 768, RFC 6935). */
WP_INLINE int decap_udp_is_right(const struct wp_packet* p, const struct decap_outer* outer) {
  const __u64 at = outer->l4 & 0x7fff;
  const __u8* udp = p->data + at;
  if (udp + 8 > p->end) return 0;
  if (wp_load16(udp + 6) == 0) return 1;
  const __s64 bytes = decap_sum(p, at, outer->end);
  if (bytes < 0) return 0;
  __u64 sum = (__u64)bytes + outer->pseudo;
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff;
}

/* What decap_take_off needs of the outer headers. It goes through a map, not the stack: the
 * verifier then sees numbers, and not each way through the headers by itself. */
WP_INLINE void decap_remember(struct decap_outer* outer, const struct parsed* h, int gue) {
  outer->l3 = h->l3;
  outer->l4 = h->l4;
  outer->end = h->l4_end;
  outer->gue = gue;
  outer->protocol = h->protocol;
  outer->pseudo = (__u64)wp_be16(PARSE_UDP) + wp_be16((__u16)(h->l4_end - h->l4));
  for (int i = 0; i < 4; i++) outer->pseudo += (__u64)h->source[i] + h->destination[i];
}

WP_INLINE int decap_take_off(struct wp_packet* p, const struct decap_outer* outer) {
  const __u64 l3 = outer->l3 & 0x1f;
  const __u64 start = (outer->l4 & 0x7fff) + (outer->gue ? 8 : 0);
  if (outer->gue) {
    const __u8* udp = p->data + (outer->l4 & 0x7fff);
    if (udp + 8 > p->end || wp_be16(wp_load16(udp + 4)) != outer->end - outer->l4)
      return wp_drop(p, malformed);
    if (!decap_udp_is_right(p, outer)) return wp_drop(p, bad_checksum);
  }
  const __u8* inner = p->data + start;
  if (inner + 20 > p->end || start + 20 > outer->end) return wp_drop(p, malformed);
  const __u32 family = inner[0] >> 4; /* of GUE too: variant 1 begins as the packet within does */
  struct decap_endpoint service = {{0, 0, 0, 0}, family};
  if (family == 4 && outer->protocol != 41) {
    service.address[0] = wp_load32(inner + 16);
  } else if (family == 6 && outer->protocol != 4) {
    if (inner + 40 > p->end || start + 40 > outer->end) return wp_drop(p, malformed);
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
  const __u16 type = wp_be16(family == 4 ? 0x0800 : 0x86dd);
  if (l3 > 14) wp_store32(to + 12, (__u32)tags);
  if (l3 > 18) wp_store32(to + 16, (__u32)(tags >> 32));
  wp_store16(to + (l3 > 18 ? 20 : l3 > 14 ? 16 : 12), type);
  wp_count(p, taken_off);
  return WP_NEXT;
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
  if (h.family == 4 && !decap_checksum_is_right(p, h.l3 & 0x1f)) return wp_drop(p, bad_checksum);
  const __u32 zero = 0;
  struct decap_outer* outer = wp_lookup(p, outers, &zero);
  if (!outer) return WP_ABORTED;
  decap_remember(outer, &h, gue);
  /* Moves nothing, but the verifier forgets how much of the packet each way has looked at. */
  if (wp_adjust_head(p, 0)) return wp_drop(p, failed);
  return decap_take_off(p, outer);
}
