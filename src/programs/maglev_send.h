/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * How the balancer sends: around the packet another IPv4 or IPv6 header (RFC 2003, RFC 2473), one
 * with UDP (GUE variant 1), or only another Ethernet destination; and what it answers itself.
 */
#ifndef WIREPATH_MAGLEV_SEND_H
#define WIREPATH_MAGLEV_SEND_H

#include "maglev_shared.h"
#include "parse.h"
#include "program.h"

#define LB_TTL 64
#define LB_QUOTE4 64u  /* bytes of the packet that "fragmentation needed" quotes */
#define LB_QUOTE6 256u /* and "packet too big" */

WP_INLINE __u32 lb_sum32(__u32 word) {
  return (word & 0xffff) + (word >> 16);
}
WP_INLINE __u16 lb_fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}
WP_INLINE __u64 lb_sum_address(const __u32* address) {
  return (__u64)lb_sum32(address[0]) + lb_sum32(address[1]) + lb_sum32(address[2]) +
         lb_sum32(address[3]);
}

/* The Ethernet header of a frame, which has to be written anew once its start has moved. */
struct lb_ethernet {
  __u32 destination, source, tag[2];
  __u16 destination2, source2;
};
/* At least 34 bytes are there: IP was parsed. */
WP_INLINE int lb_ethernet_of(const struct wp_packet* p, struct lb_ethernet* e) {
  const __u8* d = p->data;
  if (d + 22 > p->end) return -1;
  e->destination = wp_load32(d);
  e->destination2 = wp_load16(d + 4);
  e->source = wp_load32(d + 6);
  e->source2 = wp_load16(d + 10);
  e->tag[0] = wp_load32(d + 12);
  e->tag[1] = wp_load32(d + 16);
  return 0;
}
/* The caller has checked that 22 bytes are there. Back to where the frame came from, by default. */
WP_INLINE void lb_ethernet_write(__u8* d, const struct lb_ethernet* e, __u64 l3, __u16 type) {
  wp_store32(d, e->source);
  wp_store16(d + 4, e->source2);
  wp_store32(d + 6, e->destination);
  wp_store16(d + 10, e->destination2);
  if (l3 > 14) wp_store32(d + 12, e->tag[0]);
  if (l3 > 18) wp_store32(d + 16, e->tag[1]);
  wp_store16(d + l3 - 2, wp_be16(type));
}

/* `checksum_of`: sums are of words as they stand in memory (RFC 1071 §2 B). */
WP_INLINE void lb_write_ip4(__u8* ip, __u8 tos, __u32 total, __u8 protocol, __u32 source,
                            __u32 destination) {
  const __u16 first = wp_be16(0x4500 | tos);
  const __u16 length = wp_be16(total);
  const __u16 fourth = wp_be16(LB_TTL << 8 | protocol);
  const __u16 dont_fragment = wp_be16(0x4000); /* so the identification may be 0 (RFC 6864) */
  wp_store16(ip, first);
  wp_store16(ip + 2, length);
  wp_store16(ip + 4, 0);
  wp_store16(ip + 6, dont_fragment);
  wp_store16(ip + 8, fourth);
  wp_store16(ip + 10, (__u16)~lb_fold((__u64)first + length + fourth + dont_fragment +
                                      lb_sum32(source) + lb_sum32(destination)));
  wp_store32(ip + 12, source);
  wp_store32(ip + 16, destination);
}

WP_INLINE void lb_write_ip6(__u8* ip, __u8 tos, __u32 label, __u32 payload, __u8 next,
                            const __u32* source, const __u32* destination) {
  wp_store32(ip, wp_be32(6u << 28 | (__u32)tos << 20 | (label & 0xfffff)));
  wp_store16(ip + 4, wp_be16(payload));
  ip[6] = next;
  ip[7] = LB_TTL;
  for (int i = 0; i < 4; i++) {
    wp_store32(ip + 8 + 4 * i, source[i]);
    wp_store32(ip + 24 + 4 * i, destination[i]);
  }
}

/* The sum over the packet within, without reading it: where its own checksum is right, its TCP,
 * UDP or ICMPv6 sums to the complement of the pseudo-header. -1: it has no checksum that says so.
 */
WP_INLINE __s64 lb_inner_sum(const struct wp_packet* p, const struct parsed* h, __u64 l3) {
  if (h->flags & (PARSE_FRAGMENT | PARSE_OPTIONS)) return -1;
  const __u32 length = (__u32)(h->l4_end - h->l4);
  if (h->family == 4) {
    const __u8* l4 = p->data + l3 + 20;
    if (l4 + 8 > p->end || !(h->flags & PARSE_PORTS)) return -1;
    if (h->protocol == PARSE_UDP && wp_load16(l4 + 6) == 0) return -1;
    /* The IPv4 header sums to zero. */
    const __u64 pseudo = (__u64)lb_sum32(h->source[0]) + lb_sum32(h->destination[0]) +
                         wp_be16(h->protocol) + wp_be16(length);
    return (__u16)~lb_fold(pseudo);
  }
  const __u8* ip = p->data + l3;
  if (ip + 48 > p->end || !(h->flags & (PARSE_PORTS | PARSE_ICMP))) return -1;
  if (h->protocol == PARSE_UDP && wp_load16(ip + 46) == 0) return -1; /* RFC 6935 */
  /* Addresses and length stand in the header and in the pseudo-header, and cancel out. */
  const __u64 header = (__u64)lb_sum32(wp_load32(ip)) + wp_load16(ip + 6);
  return lb_fold(header + (__u16)~wp_be16(h->protocol));
}

/* Bytes that the server's mode lays in front of a packet. */
WP_INLINE __u32 lb_overhead(const struct lb_server* server) {
  if (server->mode == LB_DSR) return 0;
  return (server->family == 4 ? 20 : 40) + (server->mode == LB_GUE ? 8 : 0);
}

/* Around the packet whatever the server's mode wants. Returns a verdict. */
WP_INLINE int lb_encapsulate(struct wp_packet* p, const struct parsed* h,
                             const struct lb_server* server, __u64 hash) {
  const __u64 l3 = h->l3 & 0x1f;
  const __u32 inner = (__u32)(h->l4_end - h->l3);
  const __u32 gue = server->mode == LB_GUE ? 8 : 0;
  const __u8 inner_protocol = gue ? PARSE_UDP : h->family == 4 ? 4 : 41;
  struct lb_ethernet ethernet;
  if (lb_ethernet_of(p, &ethernet)) return wp_drop(p, malformed);
  const __s64 inner_sum = gue && server->family == 6 ? lb_inner_sum(p, h, l3) : -1;
  const __u32 overhead = lb_overhead(server);
  const int failed = server->family == 4 ? (gue ? wp_adjust_head(p, -28) : wp_adjust_head(p, -20))
                                         : (gue ? wp_adjust_head(p, -48) : wp_adjust_head(p, -40));
  if (failed) return wp_drop(p, no_headroom);
  __u8* d = p->data;
  if (d + 22 > p->end) return wp_drop(p, no_headroom);
  ethernet.source = wp_load32(server->mac);
  ethernet.source2 = wp_load16(server->mac + 4);
  lb_ethernet_write(d, &ethernet, l3, server->family == 4 ? 0x0800 : 0x86dd);
  __u8* ip = d + l3;
  __u8* udp;
  const __u16 source_port = wp_be16(0xc000 | ((hash >> 14) & 0x3fff));
  if (server->family == 4) {
    if (ip + 20 > p->end) return wp_drop(p, no_headroom);
    lb_write_ip4(ip, h->tos, inner + overhead, inner_protocol, wp_config(p)->source4,
                 server->address[0]);
    udp = ip + 20;
  } else {
    if (ip + 40 > p->end) return wp_drop(p, no_headroom);
    const __u32 source[4] = {wp_config(p)->source6[0], wp_config(p)->source6[1],
                             wp_config(p)->source6[2], wp_config(p)->source6[3]};
    lb_write_ip6(ip, h->tos, (__u32)hash, inner + gue, inner_protocol, source, server->address);
    udp = ip + 40;
  }
  if (gue) {
    if (udp + 8 > p->end) return wp_drop(p, no_headroom);
    const __u16 length = wp_be16(inner + 8);
    __u16 checksum = 0; /* IPv4: none; IPv6: none as RFC 6935 allows */
    if (inner_sum >= 0) {
      const __u32 source[4] = {wp_config(p)->source6[0], wp_config(p)->source6[1],
                               wp_config(p)->source6[2], wp_config(p)->source6[3]};
      checksum = (__u16)~lb_fold(lb_sum_address(source) + lb_sum_address(server->address) +
                                 wp_be16(PARSE_UDP) + 2 * (__u64)length + source_port +
                                 server->gue_port + (__u64)inner_sum);
      if (!checksum) checksum = 0xffff;
    }
    wp_store16(udp, source_port);
    wp_store16(udp + 2, server->gue_port);
    wp_store16(udp + 4, length);
    wp_store16(udp + 6, checksum);
  }
  return WP_TX;
}

/* The same packet to the server's own MAC: the server has the VIP on its loopback. */
WP_INLINE int lb_direct(struct wp_packet* p, const struct lb_server* server) {
  __u8* d = p->data;
  if (d + 14 > p->end) return wp_drop(p, malformed);
  const __u32 own = wp_load32(d);
  const __u16 own2 = wp_load16(d + 4);
  wp_store32(d, wp_load32(server->mac));
  wp_store16(d + 4, wp_load16(server->mac + 4));
  wp_store32(d + 6, own);
  wp_store16(d + 10, own2);
  return WP_TX;
}

/* Whether this CPU may do once more what is bounded by the second. */
WP_INLINE int lb_within(__u64* spent, struct lb_second* second, __u64 now, __u64 bound) {
  if (now - second->began >= LB_SECOND) {
    second->began = now;
    second->flows = 0;
    second->errors = 0;
  }
  if (*spent >= bound) return 0;
  ++*spent;
  return 1;
}

/* The packet does not fit: tells the sender how large one may be (RFC 1191, RFC 8201). No error
 * about an error or a later fragment (RFC 1122 §3.2.2), and none where the sender does not ask. */
WP_INLINE int lb_too_big(struct wp_packet* p, const struct parsed* h, __u32 overhead) {
  const __u32 mtu = wp_config(p)->mtu - overhead;
  const __u32 zero = 0;
  struct lb_second* second = wp_lookup(p, seconds, &zero);
  if (!second || !(h->flags & PARSE_DONT_FRAGMENT) || h->flags & PARSE_LATER_FRAGMENT ||
      parse_is_icmp_error(h) ||
      !lb_within(&second->errors, second, wp_now(p), wp_config(p)->errors_per_second))
    return wp_drop(p, too_big);
  const __u64 l3 = h->l3 & 0x1f;
  const __u64 quote = h->family == 4 ? LB_QUOTE4 : LB_QUOTE6;
  struct lb_ethernet ethernet;
  if (lb_ethernet_of(p, &ethernet)) return wp_drop(p, malformed);
  const __u64 length = (__u64)(p->end - p->data);
  if (length < l3 + quote) return wp_drop(p, malformed);
  if (wp_adjust_tail(p, (int)(l3 + quote) - (int)length)) return wp_drop(p, no_headroom);
  const int failed = h->family == 4 ? wp_adjust_head(p, -28) : wp_adjust_head(p, -48);
  if (failed) return wp_drop(p, no_headroom);
  __u8* d = p->data;
  if (d + 22 > p->end) return wp_drop(p, no_headroom);
  lb_ethernet_write(d, &ethernet, l3, h->family == 4 ? 0x0800 : 0x86dd);
  __u8* ip = d + l3;
  __u64 sum = 0;
  if (h->family == 4) {
    if (ip + 28 + LB_QUOTE4 > p->end) return wp_drop(p, no_headroom);
    lb_write_ip4(ip, 0, 28 + LB_QUOTE4, PARSE_ICMP4, h->destination[0], h->source[0]);
    wp_store32(ip + 20, wp_be32(3u << 24 | 4u << 16));
    wp_store32(ip + 24, wp_be32(mtu & 0xffff));
    for (__u32 i = 20; i < 28 + LB_QUOTE4; i += 2) sum += wp_load16(ip + i);
    wp_store16(ip + 22, (__u16)~lb_fold(sum));
  } else {
    if (ip + 48 + LB_QUOTE6 > p->end) return wp_drop(p, no_headroom);
    lb_write_ip6(ip, 0, 0, 8 + LB_QUOTE6, PARSE_ICMP6, h->destination, h->source);
    wp_store32(ip + 40, wp_be32(2u << 24));
    wp_store32(ip + 44, wp_be32(mtu));
    sum = lb_sum_address(h->source) + lb_sum_address(h->destination) + wp_be16(8 + LB_QUOTE6) +
          wp_be16(PARSE_ICMP6);
    for (__u32 i = 40; i < 48 + LB_QUOTE6; i += 2) sum += wp_load16(ip + i);
    wp_store16(ip + 42, (__u16)~lb_fold(sum));
  }
  wp_count(p, icmp_too_big);
  return WP_TX;
}

/* An echo request for a VIP, turned into its reply where it stands. */
WP_INLINE int lb_echo(struct wp_packet* p, const struct parsed* h) {
  const __u64 l3 = h->l3 & 0x1f;
  struct lb_ethernet ethernet;
  if (lb_ethernet_of(p, &ethernet)) return wp_drop(p, malformed);
  __u8* d = p->data;
  if (d + 22 > p->end) return wp_drop(p, malformed);
  lb_ethernet_write(d, &ethernet, l3, h->family == 4 ? 0x0800 : 0x86dd);
  __u8* ip = d + l3;
  __u8* icmp = d + (h->l4 & 0x7fff);
  if (icmp + 8 > p->end) return wp_drop(p, malformed);
  const __u16 old_type = wp_load16(icmp);
  const __u16 new_type = h->family == 4 ? 0 : wp_be16(129 << 8);
  const __u64 sum = (__u64)(__u16)~wp_load16(icmp + 2) + (__u16)~old_type + new_type;
  wp_store16(icmp, new_type);
  wp_store16(icmp + 2, (__u16)~lb_fold(sum));
  if (h->family == 4) {
    if (ip + 20 > p->end) return wp_drop(p, malformed);
    const __u16 old_ttl = wp_load16(ip + 8);
    const __u16 new_ttl = wp_be16(LB_TTL << 8 | PARSE_ICMP4);
    wp_store16(ip + 10,
               (__u16)~lb_fold((__u64)(__u16)~wp_load16(ip + 10) + (__u16)~old_ttl + new_ttl));
    wp_store16(ip + 8, new_ttl);
    wp_store32(ip + 12, h->destination[0]);
    wp_store32(ip + 16, h->source[0]);
  } else {
    if (ip + 40 > p->end) return wp_drop(p, malformed);
    ip[7] = LB_TTL;
    for (int i = 0; i < 4; i++) {
      wp_store32(ip + 8 + 4 * i, h->destination[i]);
      wp_store32(ip + 24 + 4 * i, h->source[i]);
    }
  }
  wp_count(p, echo_answered);
  return WP_TX;
}

#endif
