/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the filter sees of a packet: one pass over its headers.
 *
 * - up to FILTER_TAGS tags (802.1Q, 802.1ad) are skipped, the outermost is told; what is behind
 *   more of them is FILTER_DEEP, whatever it is;
 * - up to FILTER_EXTENSIONS IPv6 extension headers are walked;
 * - a later fragment has a protocol, but neither ports nor flags nor an ICMP type;
 * - malformed is what the IP header or the transport header shows to be cut short, or to say
 *   more than the frame holds. Padding behind the packet is not looked at;
 * - the transport header is read where FILTER_TRANSPORT is among the features: some rule, or the
 *   dropping of what is malformed, asks for it.
 *
 * parse.h reads frames for programs that send them on: it keeps network order, tells where headers
 * are and what an ICMP error quotes, goes on behind what is malformed, and reads all of it always.
 * Here a feature that is not in use is not read, which a packet's cost shows: hence two.
 */
#ifndef WIREPATH_FILTER_PACKET_H
#define WIREPATH_FILTER_PACKET_H

#include "programs/filter_shared.h"
#include "programs/program.h"

#define FILTER_TAGS 4
#define FILTER_EXTENSIONS 8

enum filter_parsed { FILTER_IS_IP, FILTER_NOT_IP, FILTER_MALFORMED, FILTER_DEEP };

struct filter_packet {
  __u32 is6;
  __u32 protocol, source_port, destination_port, flags, icmp;
  __u32 ttl, length, vlan, fragment, options;
  __u32 source4, destination4; /* host order */
  __u64 source6[2], destination6[2];
};

/* `rest`: bytes of the packet from `q` on, as the IP header has it. */
WP_INLINE int filter_transport(const __u8* q, const __u8* end, __u32 rest,
                               struct filter_packet* out) {
  switch (out->protocol) {
    case 6:
      if (rest < 20 || q + 20 > end) return FILTER_MALFORMED;
      out->flags = q[13];
      break;
    case 17:
    case 33:
    case 132:
    case 136:
      if (rest < 8 || q + 8 > end) return FILTER_MALFORMED;
      break;
    case 1:
    case 58:
      if (out->is6 != (out->protocol == 58)) return FILTER_IS_IP;
      if (rest < 4 || q + 4 > end) return FILTER_MALFORMED;
      out->icmp = out->is6 * 65536u + q[0] * 256u + q[1];
      return FILTER_IS_IP;
    default:
      return FILTER_IS_IP;
  }
  out->source_port = wp_be16(wp_load16(q));
  out->destination_port = wp_be16(wp_load16(q + 2));
  return FILTER_IS_IP;
}

WP_INLINE int filter_parse4(const __u8* q, const __u8* end, struct filter_packet* out,
                            __u32 features) {
  if (q + 20 > end || q[0] >> 4 != 4) return FILTER_MALFORMED;
  const __u32 header = (q[0] & 15u) * 4;
  const __u32 total = wp_be16(wp_load16(q + 2));
  if (header < 20 || total < header || (__u64)(end - q) < total) return FILTER_MALFORMED;
  out->source4 = wp_be32(wp_load32(q + 12));
  out->destination4 = wp_be32(wp_load32(q + 16));
  if (!(features & FILTER_FIELDS)) return FILTER_IS_IP;
  const __u32 fragment = wp_be16(wp_load16(q + 6));
  out->length = total;
  out->ttl = q[8];
  out->protocol = q[9];
  out->options = header > 20;
  out->fragment = fragment & 0x1fff ? 2 : fragment & 0x2000 ? 1 : 0;
  if (out->fragment == 2 || !(features & FILTER_TRANSPORT)) return FILTER_IS_IP;
  return filter_transport(q + header, end, total - header, out);
}

WP_INLINE int filter_parse6(const __u8* q, const __u8* end, struct filter_packet* out,
                            __u32 features) {
  if (q + 40 > end || q[0] >> 4 != 6) return FILTER_MALFORMED;
  __u32 rest = wp_be16(wp_load16(q + 4));
  if ((__u64)(end - q) < rest + 40) return FILTER_MALFORMED;
  out->is6 = 1;
  out->length = rest + 40;
  out->ttl = q[7];
  out->source6[0] = wp_be64(wp_load64(q + 8));
  out->source6[1] = wp_be64(wp_load64(q + 16));
  out->destination6[0] = wp_be64(wp_load64(q + 24));
  out->destination6[1] = wp_be64(wp_load64(q + 32));
  __u8 next = q[6];
  q += 40;
  for (int i = 0; i <= FILTER_EXTENSIONS; i++) {
    out->protocol = next;
    __u32 length;
    if (next == 0 || next == 43 || next == 60) { /* hop-by-hop, routing, destination options */
      if (rest < 8 || q + 8 > end) return FILTER_MALFORMED;
      length = (q[1] + 1u) * 8;
      out->options = 1;
    } else if (next == 44) { /* fragment; one that is whole is none (RFC 6946) */
      if (rest < 8 || q + 8 > end) return FILTER_MALFORMED;
      const __u32 fragment = wp_be16(wp_load16(q + 2));
      length = 8;
      if (fragment & 0xfff8) {
        out->fragment = 2;
        out->protocol = q[0];
        return FILTER_IS_IP;
      }
      if (fragment & 1) out->fragment = 1;
    } else if (next == 51) { /* authentication header */
      if (rest < 8 || q + 8 > end) return FILTER_MALFORMED;
      length = (q[1] + 2u) * 4;
    } else {
      return features & FILTER_TRANSPORT ? filter_transport(q, end, rest, out) : FILTER_IS_IP;
    }
    if (length > rest) return FILTER_MALFORMED;
    next = q[0];
    q += length;
    rest -= length;
  }
  return FILTER_MALFORMED; /* no host needs that many */
}

WP_INLINE void filter_nothing_seen(struct filter_packet* out) {
#ifndef __bpf__
  memset(out, 0, sizeof *out); /* compilers cannot see that what is6 rules out is not read */
#endif
  out->is6 = out->fragment = out->options = 0;
  out->source_port = out->destination_port = FILTER_NO_PORT;
  out->flags = FILTER_NO_FLAGS;
  out->icmp = FILTER_NO_ICMP;
  out->vlan = FILTER_NO_VLAN;
}

/* Where the tags end, and what stands there; 0 where they do not. */
WP_INLINE __u32 filter_skip_tags(const __u8* q, const __u8* end, struct filter_packet* out,
                                 __u16* type) {
  __u32 at = 14;
  *type = wp_load16(q + 12);
  WP_UNROLL
  for (int tags = 0; tags < FILTER_TAGS; tags++) {
    if (*type != wp_be16(0x8100) && *type != wp_be16(0x88a8)) break;
    if (q + at + 4 > end) return 0;
    if (tags == 0) out->vlan = wp_be16(wp_load16(q + at)) & 0xfff;
    *type = wp_load16(q + at + 2);
    at += 4;
  }
  return at;
}

/* In eBPF these are functions of their own, each proved once: the verifier then forgets by which
 * of many ways it came through the headers. */
#ifdef __bpf__
#define FILTER_PART __attribute__((noinline))
#define FILTER_FRAME struct xdp_md* ctx
#define FILTER_BOUNDS                              \
  const __u8* data = (const __u8*)(long)ctx->data; \
  const __u8* end = (const __u8*)(long)ctx->data_end
#define FILTER_SAME ctx
FILTER_PART int filter_part4(FILTER_FRAME, __u32 at, struct filter_packet* out, __u32 features);
FILTER_PART int filter_part6(FILTER_FRAME, __u32 at, struct filter_packet* out, __u32 features);
FILTER_PART int filter_part(FILTER_FRAME, struct filter_packet* out, __u32 features);
#define FILTER_PARSE_OTHER(p, out, features) filter_part((p)->ctx, out, features)
#else
#define FILTER_PART static
#define FILTER_FRAME const __u8 *data, const __u8 *end
#define FILTER_BOUNDS (void)0
#define FILTER_SAME data, end
#define FILTER_PARSE_OTHER(p, out, features) filter_part((p)->data, (p)->end, out, features)
#endif

FILTER_PART int filter_part4(FILTER_FRAME, __u32 at, struct filter_packet* out, __u32 features) {
  FILTER_BOUNDS;
  if (!out || at > 64 || data + at > end) return FILTER_NOT_IP;
  return filter_parse4(data + at, end, out, features);
}
FILTER_PART int filter_part6(FILTER_FRAME, __u32 at, struct filter_packet* out, __u32 features) {
  FILTER_BOUNDS;
  if (!out || at > 64 || data + at > end) return FILTER_NOT_IP;
  return filter_parse6(data + at, end, out, features);
}
/* Any frame of at least an Ethernet header. */
FILTER_PART int filter_part(FILTER_FRAME, struct filter_packet* out, __u32 features) {
  FILTER_BOUNDS;
  if (!out || data + 14 > end) return FILTER_NOT_IP;
  filter_nothing_seen(out);
  __u16 type;
  const __u32 at = filter_skip_tags(data, end, out, &type);
  if (at == 0) return FILTER_NOT_IP;
  if (type == wp_be16(0x8100) || type == wp_be16(0x88a8)) return FILTER_DEEP;
  if (type == wp_be16(0x0800)) return filter_part4(FILTER_SAME, at, out, features);
  if (type == wp_be16(0x86dd)) return filter_part6(FILTER_SAME, at, out, features);
  return FILTER_NOT_IP;
}

/* enum filter_parsed; `out` is whole where it is FILTER_IS_IP. */
WP_INLINE int filter_parse(struct wp_packet* p, struct filter_packet* out, __u32 features) {
  const __u8* q = p->data;
  if (q + 14 > p->end) return FILTER_NOT_IP;
  filter_nothing_seen(out);
  /* What most frames are, where they stand. */
  if (q + 34 <= p->end && wp_load16(q + 12) == wp_be16(0x0800) && q[14] == 0x45)
    return filter_parse4(q + 14, p->end, out, features);
  return FILTER_PARSE_OTHER(p, out, features);
}

#endif
