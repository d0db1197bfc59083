/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the forwarding program needs to know of a packet, and what it writes into one. Only the
 * headers that a router looks at are read: a tag, the IP header, and the ports for the flow hash.
 */
#ifndef WIREPATH_ROUTE_PACKET_H
#define WIREPATH_ROUTE_PACKET_H

#include "route_table.h"

#define ROUTE_TCP 6
#define ROUTE_UDP 17
#define ROUTE_SCTP 132

enum route_header {
  ROUTE_FORWARDABLE,
  ROUTE_MALFORMED,
  ROUTE_BAD_CHECKSUM,
  ROUTE_OPTIONS,
  ROUTE_SPECIAL,
  ROUTE_TTL,
};

struct route_ip {
  struct route_address source;
  struct route_address destination;
  __u32 length; /* of the IP packet */
  __u16 source_port;
  __u16 destination_port;
  __u8 family;
  __u8 protocol;
  __u8 tos;
  __u8 unused;
};

/* Addresses that no router forwards for: "this network", loopback, link-local, multicast and above
 * (RFC 1122 3.2.1.3, RFC 3927 2.7). */
WP_INLINE int route_special4(__u32 a) {
  return a >> 24 == 0 || a >> 24 == 127 || a >> 16 == 0xa9fe || a >> 28 >= 14;
}
/* Unspecified and loopback, link-local, multicast (RFC 4291 2.4). */
WP_INLINE int route_special6(struct route_address a) {
  return (a.high == 0 && a.low <= 1) || a.high >> 54 == 0x3fa || a.high >> 56 == 0xff;
}

WP_INLINE int route_has_ports(__u8 protocol) {
  return protocol == ROUTE_TCP || protocol == ROUTE_UDP || protocol == ROUTE_SCTP;
}
WP_INLINE void route_ports(const struct wp_packet* p, const __u8* transport, __u32 bytes,
                           struct route_ip* h) {
  if (!route_has_ports(h->protocol) || bytes < 4 || transport + 4 > p->end) return;
  h->source_port = wp_be16(wp_load16(transport));
  h->destination_port = wp_be16(wp_load16(transport + 2));
}

/* The pieces of a datagram go one way: of none of them the ports count. */
WP_INLINE enum route_header route_read4(const struct wp_packet* p, const __u8* ip,
                                        struct route_ip* h) {
  if (ip + 20 > p->end) return ROUTE_MALFORMED;
  h->family = 4;
  h->length = wp_be16(wp_load16(ip + 2));
  const __u32 header = (ip[0] & 15u) * 4u;
  if (ip[0] >> 4 != 4 || header < 20 || h->length < header || h->length > (__u64)(p->end - ip))
    return ROUTE_MALFORMED;
  if (header > 20) return ROUTE_OPTIONS;
  __u64 sum = 0;
  for (int i = 0; i < 5; i++) sum += wp_load32(ip + 4 * i);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  if ((sum >> 16) + (sum & 0xffff) != 0xffff) return ROUTE_BAD_CHECKSUM;
  h->tos = ip[1];
  h->protocol = ip[9];
  h->source.low = wp_be32(wp_load32(ip + 12));
  h->destination.low = wp_be32(wp_load32(ip + 16));
  if (route_special4((__u32)h->source.low) || route_special4((__u32)h->destination.low))
    return ROUTE_SPECIAL;
  if (ip[8] <= 1) return ROUTE_TTL;
  if (!(wp_load16(ip + 6) & wp_be16(0x3fff))) route_ports(p, ip + 20, h->length - 20, h);
  return ROUTE_FORWARDABLE;
}

/* Of extension headers only hop-by-hop options are a router's matter (RFC 8200 4). Behind the
 * others no ports are looked for: fragments have theirs in the first one only. */
WP_INLINE enum route_header route_read6(const struct wp_packet* p, const __u8* ip,
                                        struct route_ip* h) {
  if (ip + 40 > p->end) return ROUTE_MALFORMED;
  h->family = 6;
  h->length = 40u + wp_be16(wp_load16(ip + 4));
  if (ip[0] >> 4 != 6 || h->length > (__u64)(p->end - ip)) return ROUTE_MALFORMED;
  h->tos = (__u8)(ip[0] << 4 | ip[1] >> 4);
  h->protocol = ip[6];
  if (h->protocol == 0) return ROUTE_OPTIONS;
  h->source.high = wp_be64(wp_load64(ip + 8));
  h->source.low = wp_be64(wp_load64(ip + 16));
  h->destination.high = wp_be64(wp_load64(ip + 24));
  h->destination.low = wp_be64(wp_load64(ip + 32));
  if (route_special6(h->source) || route_special6(h->destination)) return ROUTE_SPECIAL;
  if (ip[7] <= 1) return ROUTE_TTL;
  route_ports(p, ip + 40, h->length - 40, h);
  return ROUTE_FORWARDABLE;
}

/* One hop less, and the checksum that goes with it (RFC 1624). */
WP_INLINE void route_hop_less4(__u8* ip) {
  __u32 sum = (__u32)wp_be16(wp_load16(ip + 10)) + 0x100;
  sum += sum >= 0xffff;
  ip[8]--;
  wp_store16(ip + 10, wp_be16(sum));
}

/* Both addresses of an Ethernet header, in the words that the next hop was copied in: a processor
 * that is asked for others waits until the copy is in its cache. */
WP_INLINE void route_write_macs(__u8* data, const struct route_next_hop* hop) {
  const __u64* words = (const __u64*)hop;
  wp_store64(data, words[2]);
  wp_store32(data + 8, (__u32)words[3]);
}

/* The Ethernet header of the next hop in front, in place of `l2` bytes: tag off, on or another. 0:
 * there is no room for it, and nothing was changed. */
WP_INLINE int route_rewrite(struct wp_packet* p, __u32 l2, int family,
                            const struct route_next_hop* hop) {
  const __u16 vlan = hop->vlan;
  if (l2 == 18 && !vlan) {
    if (wp_adjust_head(p, 4)) return 0;
  } else if (l2 == 14 && vlan) {
    if (wp_adjust_head(p, -4)) return 0;
  }
  __u8* data = p->data;
  /* As a whole IP header is there neither can be; the verifier wants to see it. */
  if (data + 34 > p->end) return 0;
  route_write_macs(data, hop);
  const __u16 type = family == 4 ? wp_be16(0x0800) : wp_be16(0x86dd);
  __u8* ip = data + 14;
  if (vlan) {
    if (data + 38 > p->end) return 0;
    wp_store16(data + 12, wp_be16(0x8100));
    wp_store16(data + 14, wp_be16(vlan));
    wp_store16(data + 16, type);
    ip = data + 18;
  } else {
    wp_store16(data + 12, type);
  }
  if (family == 4)
    route_hop_less4(ip);
  else
    ip[7]--;
  return 1;
}

#endif
