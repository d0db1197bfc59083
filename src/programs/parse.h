/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * One pass over the headers of a frame, for every packet program: VLAN tags, IPv4 with options,
 * IPv6 with extension headers, fragments, TCP, UDP, ICMP, and the packet that an ICMP error quotes.
 * Compiled to eBPF and to native code; needs nothing but a frame's first and last byte.
 *
 * - Up to PARSE_VLANS tags (802.1Q, 802.1ad) and PARSE_IP6_EXTENSIONS extension headers are read;
 *   what has more is `PARSE_DEEP`.
 * - A header counts only where both the frame and IP's own length hold all of it: the padding of
 *   a short frame is no header.
 * - Of a later fragment no transport header is read: it carries none.
 * - Addresses and ports stay in network order, all other numbers are the host's.
 */
#ifndef WIREPATH_PARSE_H
#define WIREPATH_PARSE_H

#include <linux/types.h>

#define PARSE_VLANS 2
#define PARSE_IP6_EXTENSIONS 8

#define PARSE_BE16(n) ((__u16)__builtin_bswap16(n))
#define PARSE_BE32(n) ((__u32)__builtin_bswap32(n))

#ifdef __bpf__
#define PARSE_INLINE static __attribute__((always_inline)) inline
/* The verifier allows unaligned loads from packets; clang would split a memcpy into bytes. */
#define PARSE_LOAD16(p) (*(const __u16*)(p))
#define PARSE_LOAD32(p) (*(const __u32*)(p))
#define PARSE_UNROLL _Pragma("unroll")
#else
#define PARSE_INLINE static inline __attribute__((always_inline))
PARSE_INLINE __u16 parse_load16(const __u8* p) {
  __u16 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
PARSE_INLINE __u32 parse_load32(const __u8* p) {
  __u32 v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
#define PARSE_LOAD16(p) parse_load16(p)
#define PARSE_LOAD32(p) parse_load32(p)
#define PARSE_UNROLL
#endif

/* Bits of `flags`. */
#define PARSE_FRAGMENT 1u       /* a piece of a datagram, the first one or a later one */
#define PARSE_LATER_FRAGMENT 2u /* not the first: no ports in it */
#define PARSE_OPTIONS 4u        /* IPv4 options, or IPv6 extension headers */
#define PARSE_PORTS 8u          /* source_port and destination_port were read (TCP, UDP) */
#define PARSE_ICMP 16u          /* icmp_type and icmp_code were read (ICMP, ICMPv6) */
#define PARSE_DONT_FRAGMENT 32u /* IPv4's DF; IPv6 is never fragmented on the way */
#define PARSE_TRUNCATED 64u     /* the frame ends before the header, or before IP's own end */
#define PARSE_MALFORMED 128u    /* a header contradicts itself: version, length */
#define PARSE_DEEP 256u         /* more tags or extension headers than are read */
#define PARSE_BAD (PARSE_TRUNCATED | PARSE_MALFORMED)

#define PARSE_ICMP4 1u
#define PARSE_TCP 6u
#define PARSE_UDP 17u
#define PARSE_ICMP6 58u

struct parsed {
  __u64 l3;     /* offset of the IP header in the frame */
  __u64 l4;     /* offset of what `protocol` names */
  __u64 l4_end; /* offset behind the IP packet, by its own length */
  __u32 source[4];
  __u32 destination[4]; /* IPv4: the first word, the others are 0 */
  __u16 source_port;
  __u16 destination_port;
  __u16 ethertype; /* behind the tags */
  __u16 vlan[PARSE_VLANS];
  __u16 flags;
  __u8 vlans;
  __u8 family; /* 4, 6; 0: no IP header could be read */
  __u8 protocol;
  __u8 ttl;
  __u8 tos;
  __u8 tcp_flags;
  __u8 icmp_type;
  __u8 icmp_code;
};

PARSE_INLINE int parse_is_vlan(__u16 type) {
  return type == 0x8100 || type == 0x88a8;
}

/* `quoted`: the packet within an ICMP error, of which only 8 bytes of transport need be there. */
PARSE_INLINE void parse_transport(const __u8* data, const __u8* end, __u64 at, struct parsed* h,
                                  const int quoted) {
  const __u8* p = data + at;
  h->l4 = at;
  if (h->protocol == PARSE_TCP) {
    const __u32 need = quoted ? 8 : 20;
    if (at + need > h->l4_end || p + need > end) return;
    h->source_port = PARSE_LOAD16(p);
    h->destination_port = PARSE_LOAD16(p + 2);
    if (!quoted) h->tcp_flags = p[13];
    h->flags |= PARSE_PORTS;
  } else if (h->protocol == PARSE_UDP) {
    if (at + 8 > h->l4_end || p + 8 > end) return;
    h->source_port = PARSE_LOAD16(p);
    h->destination_port = PARSE_LOAD16(p + 2);
    h->flags |= PARSE_PORTS;
  } else if ((h->protocol == PARSE_ICMP4 && h->family == 4) ||
             (h->protocol == PARSE_ICMP6 && h->family == 6)) {
    if (at + 8 > h->l4_end || p + 8 > end) return;
    h->icmp_type = p[0];
    h->icmp_code = p[1];
    h->flags |= PARSE_ICMP;
  }
}

PARSE_INLINE void parse_ip4(const __u8* data, const __u8* end, __u64 at, struct parsed* h,
                            const int quoted) {
  const __u8* p = data + at;
  if (p + 20 > end) {
    h->flags |= PARSE_TRUNCATED;
    return;
  }
  const __u64 header = (p[0] & 15u) * 4u;
  const __u64 total = PARSE_BE16(PARSE_LOAD16(p + 2));
  if (p[0] >> 4 != 4 || header < 20 || total < header) {
    h->flags |= PARSE_MALFORMED;
    return;
  }
  h->family = 4;
  h->tos = p[1];
  h->ttl = p[8];
  h->protocol = p[9];
  h->source[0] = PARSE_LOAD32(p + 12);
  h->destination[0] = PARSE_LOAD32(p + 16);
  h->l4 = at + header;
  h->l4_end = at + total;
  const __u16 fragment = PARSE_BE16(PARSE_LOAD16(p + 6));
  if (fragment & 0x3fff) h->flags |= PARSE_FRAGMENT;
  if (fragment & 0x4000) h->flags |= PARSE_DONT_FRAGMENT;
  if (header > 20) h->flags |= PARSE_OPTIONS;
  if (!quoted && (__u64)(end - data) < h->l4_end) h->flags |= PARSE_TRUNCATED;
  if (fragment & 0x1fff) {
    h->flags |= PARSE_LATER_FRAGMENT;
    return;
  }
  parse_transport(data, end, at + header, h, quoted);
}

/* Hop-by-hop and destination options, routing, fragment, authentication. */
PARSE_INLINE int parse_is_extension(__u64 next) {
  const __u64 headers = 1ull | 1ull << 43 | 1ull << 44 | 1ull << 51 | 1ull << 60;
  return next <= 60 && (headers >> next & 1);
}

/* 1 where they are equal, else 0, without a branch. */
PARSE_INLINE __u64 parse_equal(__u64 a, __u64 b) {
  __u64 difference = (a ^ b) - 1;
  __asm__ volatile("" : "+r"(difference)); /* clang would see the comparison, and branch */
  return difference >> 63;
}

PARSE_INLINE void parse_ip6(const __u8* data, const __u8* end, __u64 at, struct parsed* h,
                            const int quoted) {
  const __u8* p = data + at;
  if (p + 40 > end) {
    h->flags |= PARSE_TRUNCATED;
    return;
  }
  if (p[0] >> 4 != 6) {
    h->flags |= PARSE_MALFORMED;
    return;
  }
  h->family = 6;
  h->tos = (__u8)(p[0] << 4 | p[1] >> 4);
  h->ttl = p[7];
  for (int i = 0; i < 4; i++) {
    h->source[i] = PARSE_LOAD32(p + 8 + 4 * i);
    h->destination[i] = PARSE_LOAD32(p + 24 + 4 * i);
  }
  h->l4_end = at + 40 + PARSE_BE16(PARSE_LOAD16(p + 4));
  h->flags |= PARSE_DONT_FRAGMENT;
  if (!quoted && (__u64)(end - data) < h->l4_end) h->flags |= PARSE_TRUNCATED;
  __u64 next = p[6];
  __u64 fragment = 0;
  at += 40;
  /* One path through the body whatever the header, or the verifier would follow 5^8 of them. */
  for (int i = 0; i < PARSE_IP6_EXTENSIONS; i++) {
    if (!parse_is_extension(next) || fragment & 0xfff8) break;
    h->flags |= PARSE_OPTIONS;
    p = data + at;
    if (p + 8 > end) {
      h->flags |= PARSE_TRUNCATED;
      return;
    }
    const __u64 is_fragment = parse_equal(next, 44);
    const __u64 is_authentication = parse_equal(next, 51);
    const __u64 unit = 8 - 4 * is_authentication;
    fragment |= is_fragment * PARSE_BE16(PARSE_LOAD16(p + 2));
    at += is_fragment * 8 + (1 - is_fragment) * (p[1] + 1u + is_authentication) * unit;
    next = p[0];
  }
  at &= 0x7fff; /* never more: 14 + 8 + 40 + 8 * 2,056 */
  h->protocol = (__u8)next;
  h->l4 = at;
  /* With offset 0 and nothing to come it is a whole packet (RFC 6946). */
  if (fragment & 0xfff9) h->flags |= PARSE_FRAGMENT;
  if (fragment & 0xfff8) h->flags |= PARSE_LATER_FRAGMENT;
  if (at > h->l4_end)
    h->flags |= PARSE_MALFORMED;
  else if (!(fragment & 0xfff8) && parse_is_extension(next))
    h->flags |= PARSE_DEEP;
  else if (!(fragment & 0xfff8))
    parse_transport(data, end, at, h, quoted);
}

/* The frame is [data, end), from the Ethernet destination on. */
PARSE_INLINE void parse_frame(const __u8* data, const __u8* end, struct parsed* h) {
  __builtin_memset(h, 0, sizeof(*h));
  if (data + 14 > end) {
    h->flags = PARSE_TRUNCATED;
    return;
  }
  __u64 at = 14;
  h->ethertype = PARSE_BE16(PARSE_LOAD16(data + 12));
  PARSE_UNROLL
  for (int i = 0; i < PARSE_VLANS; i++) {
    if (!parse_is_vlan(h->ethertype)) break;
    if (data + at + 4 > end) {
      h->flags = PARSE_TRUNCATED;
      return;
    }
    h->vlan[i] = PARSE_BE16(PARSE_LOAD16(data + at));
    h->ethertype = PARSE_BE16(PARSE_LOAD16(data + at + 2));
    h->vlans++;
    at += 4;
  }
  h->l3 = at;
  if (h->ethertype == 0x0800)
    parse_ip4(data, end, at, h, 0);
  else if (h->ethertype == 0x86dd)
    parse_ip6(data, end, at, h, 0);
  else if (parse_is_vlan(h->ethertype))
    h->flags |= PARSE_DEEP;
}

/* An ICMP message that is an error: it quotes the packet that it is about. */
PARSE_INLINE int parse_is_icmp_error(const struct parsed* h) {
  if (!(h->flags & PARSE_ICMP)) return 0;
  if (h->family == 4)
    return h->icmp_type == 3 || h->icmp_type == 11 || h->icmp_type == 12 || h->icmp_type == 5;
  return h->icmp_type < 128;
}

/* The packet that the ICMP error `outer` quotes: from whoever got the error, to where it failed.
 * What stands behind the error's own end, such as padding, is no quotation. */
PARSE_INLINE void parse_quoted(const __u8* data, const __u8* end, const struct parsed* outer,
                               struct parsed* h) {
  __builtin_memset(h, 0, sizeof(*h));
  const __u64 at = (outer->l4 & 0x7fff) + 8;
  h->l3 = at;
  if (outer->family == 4)
    parse_ip4(data, end, at, h, 1);
  else
    parse_ip6(data, end, at, h, 1);
  if (h->l4 + 8 > outer->l4_end) {
    h->flags &= (__u16) ~(PARSE_PORTS | PARSE_ICMP);
    h->flags |= PARSE_TRUNCATED;
  }
}

#endif
