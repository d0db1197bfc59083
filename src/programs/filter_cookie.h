/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * SYN cookies in the driver, for listeners of this host. The kernel makes and checks them
 * (bpf_tcp_gen_syncookie and bpf_tcp_check_syncookie of bpf-helpers(7)), for a listening socket
 * that it is asked for: so it answers in its own name, and takes the connection whose cookie it
 * finds right as if it had sent that itself. Its socket table tells a connection's segments from
 * forged ones; all that is kept here is who has just shown a cookie (filter_proven in filter.c).
 *
 * The helpers that need no socket (bpf_tcp_raw_gen_syncookie_...) would do for a proxy alone: the
 * host refuses cookies for a listener that it does not know to be short of room.
 *
 * Natively there is no socket to ask: every segment is left to what comes behind.
 */
#ifndef WIREPATH_FILTER_COOKIE_H
#define WIREPATH_FILTER_COOKIE_H

#include "programs/filter_packet.h"

enum filter_cookie {
  FILTER_COOKIE_NONE,     /* a connection's, or of no listener: the host's */
  FILTER_COOKIE_ANSWER,   /* a SYN; the reply is to be written */
  FILTER_COOKIE_RIGHT,    /* an acknowledgement with a cookie of the host's */
  FILTER_COOKIE_WRONG,    /* for a listener, and neither of these */
  FILTER_COOKIE_DECLINED, /* the host has room for this SYN, or no cookies: it is the host's */
};

#ifdef __bpf__

#define FILTER_TCP_LISTEN 10
/* What a client may send before it hears more from the host (RFC 6928: ten segments). */
#define FILTER_COOKIE_WINDOW 14600
#define FILTER_COOKIE_TCP 24 /* a header with one option: the MSS */

struct filter_cookie_reply {
  __u32 at; /* of the IP header in the frame */
  __u32 number, acknowledged;
};

WP_INLINE int filter_cookie_listener(struct wp_packet* p, const struct filter_packet* packet,
                                     struct bpf_sock* sk, struct filter_cookie_reply* reply) {
  struct filter_packet tags;
  __u8 ip[40] = {}, tcp[60] = {};
  __u16 type;
  const __u32 at = filter_skip_tags(p->data, p->end, &tags, &type);
  /* A SYN in pieces, or behind extension headers, is nobody's who means well. */
  if (packet->fragment || at == 0 || bpf_xdp_load_bytes(p->ctx, at, ip, sizeof ip))
    return FILTER_COOKIE_WRONG;
  const __u32 header = packet->is6 ? 40 : (ip[0] & 15u) * 4;
  if (packet->is6 && ip[6] != 6) return FILTER_COOKIE_WRONG;
  if (bpf_xdp_load_bytes(p->ctx, at + header, tcp, 20)) return FILTER_COOKIE_WRONG;
  const __u32 length = (tcp[12] >> 4) * 4u;
  if (length < 20 || length > sizeof tcp || header + length > packet->length)
    return FILTER_COOKIE_WRONG;
  if (bpf_xdp_load_bytes(p->ctx, at + header, tcp, length)) return FILTER_COOKIE_WRONG;
  const __u32 ip_size = packet->is6 ? 40 : 20;
  const __u32 kind = packet->flags & 0x17; /* FIN, SYN, RST, ACK */
  if (kind == 0x02) {
    const __s64 cookie = bpf_tcp_gen_syncookie(sk, ip, ip_size, (struct tcphdr*)tcp, length);
    if (cookie < 0) return FILTER_COOKIE_DECLINED;
    reply->at = at;
    reply->number = (__u32)cookie;
    reply->acknowledged = wp_be32(*(__u32*)(tcp + 4)) + 1;
    return FILTER_COOKIE_ANSWER;
  }
  if ((kind & ~1u) != 0x10) return FILTER_COOKIE_WRONG;
  const long answer = bpf_tcp_check_syncookie(sk, ip, ip_size, (struct tcphdr*)tcp, length);
  if (answer == 0) return FILTER_COOKIE_RIGHT;
  return answer == -2 /* ENOENT */ ? FILTER_COOKIE_WRONG : FILTER_COOKIE_DECLINED;
}

/* Whose this TCP packet is. */
WP_INLINE int filter_cookie_ask(struct wp_packet* p, const struct filter_packet* packet,
                                struct filter_cookie_reply* reply) {
  struct bpf_sock_tuple tuple = {};
  __u32 size = sizeof tuple.ipv4;
  if (packet->flags == FILTER_NO_FLAGS) return FILTER_COOKIE_NONE; /* a later fragment */
  if (packet->is6) {
    size = sizeof tuple.ipv6;
    for (int i = 0; i < 2; i++) {
      tuple.ipv6.saddr[2 * i] = wp_be32(packet->source6[i] >> 32);
      tuple.ipv6.saddr[2 * i + 1] = wp_be32(packet->source6[i]);
      tuple.ipv6.daddr[2 * i] = wp_be32(packet->destination6[i] >> 32);
      tuple.ipv6.daddr[2 * i + 1] = wp_be32(packet->destination6[i]);
    }
    tuple.ipv6.sport = wp_be16(packet->source_port);
    tuple.ipv6.dport = wp_be16(packet->destination_port);
  } else {
    tuple.ipv4.saddr = wp_be32(packet->source4);
    tuple.ipv4.daddr = wp_be32(packet->destination4);
    tuple.ipv4.sport = wp_be16(packet->source_port);
    tuple.ipv4.dport = wp_be16(packet->destination_port);
  }
  struct bpf_sock* sk = bpf_skc_lookup_tcp(p->ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
  if (!sk) return FILTER_COOKIE_NONE;
  int found = FILTER_COOKIE_NONE;
  if (sk->state == FILTER_TCP_LISTEN) found = filter_cookie_listener(p, packet, sk, reply);
  bpf_sk_release(sk);
  return found;
}

WP_INLINE __u16 filter_fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)(sum + (sum >> 16));
}

/* Sum of `bytes` (a constant) from `q` on, as words stand in memory (RFC 1071 section 2 B). */
#define FILTER_SUM(q, bytes)                                                       \
  ({                                                                               \
    __u64 wp_sum = 0;                                                              \
    WP_UNROLL                                                                      \
    for (int wp_i = 0; wp_i < (bytes); wp_i += 4) wp_sum += wp_load32((q) + wp_i); \
    wp_sum;                                                                        \
  })

WP_INLINE void filter_cookie_tcp(__u8* tcp, const struct filter_packet* packet,
                                 const struct filter_cookie_reply* reply, __u16 mss,
                                 __u64 addresses) {
  wp_store16(tcp, wp_be16(packet->destination_port));
  wp_store16(tcp + 2, wp_be16(packet->source_port));
  wp_store32(tcp + 4, wp_be32(reply->number));
  wp_store32(tcp + 8, wp_be32(reply->acknowledged));
  tcp[12] = FILTER_COOKIE_TCP / 4 << 4;
  tcp[13] = 0x12; /* SYN, ACK */
  wp_store16(tcp + 14, wp_be16(FILTER_COOKIE_WINDOW));
  wp_store32(tcp + 16, 0);
  tcp[20] = 2;
  tcp[21] = 4;
  wp_store16(tcp + 22, wp_be16(mss));
  const __u64 sum =
      FILTER_SUM(tcp, FILTER_COOKIE_TCP) + addresses + wp_be16(6) + wp_be16(FILTER_COOKIE_TCP);
  wp_store16(tcp + 16, (__u16)~filter_fold(sum));
}

/* Makes the frame the SYN/ACK that goes back; 0, or 1 where it has no room for that. */
WP_INLINE int filter_cookie_write(struct wp_packet* p, const struct filter_packet* packet,
                                  const struct filter_cookie_reply* reply) {
  const __u32 header = packet->is6 ? 40 : 20;
  const __u32 at = reply->at;
  __u32 mtu = 0; /* the interface's is told also where this packet is longer */
  bpf_check_mtu(p->ctx, 0, &mtu, 0, 0);
  if (mtu < 576) mtu = packet->is6 ? 1280 : 576;
  const __u16 mss = (__u16)((mtu > 65535 ? 65535 : mtu) - header - 20);
  const int change = (int)(at + header + FILTER_COOKIE_TCP) - (int)(p->end - p->data);
  if (at > 64 || wp_adjust_tail(p, change)) return 1;
  __u8* q = p->data;
  if (q + 14 > p->end) return 1;
  const __u64 to = wp_load64(q), from = wp_load64(q + 6);
  wp_store32(q, (__u32)from);
  wp_store16(q + 4, (__u16)(from >> 32));
  wp_store32(q + 6, (__u32)to);
  wp_store16(q + 10, (__u16)(to >> 32));
  q += at;
  if (packet->is6) {
    if (q + 40 + FILTER_COOKIE_TCP > p->end) return 1;
    wp_store32(q, wp_be32(0x60000000));
    wp_store16(q + 4, wp_be16(FILTER_COOKIE_TCP));
    q[6] = 6;
    q[7] = 64;
    for (int i = 0; i < 2; i++) {
      wp_store64(q + 8 + 8 * i, wp_be64(packet->destination6[i]));
      wp_store64(q + 24 + 8 * i, wp_be64(packet->source6[i]));
    }
    filter_cookie_tcp(q + 40, packet, reply, mss, FILTER_SUM(q + 8, 32));
    return 0;
  }
  if (q + 20 + FILTER_COOKIE_TCP > p->end) return 1;
  wp_store32(q, wp_be32(0x45000000 | (20 + FILTER_COOKIE_TCP)));
  wp_store32(q + 4, wp_be32(0x4000)); /* not to be fragmented, hence without an identification */
  wp_store32(q + 8, wp_be32(64u << 24 | 6u << 16));
  wp_store32(q + 12, wp_be32(packet->destination4));
  wp_store32(q + 16, wp_be32(packet->source4));
  wp_store16(q + 10, (__u16)~filter_fold(FILTER_SUM(q, 20)));
  filter_cookie_tcp(q + 20, packet, reply, mss, FILTER_SUM(q + 12, 8));
  return 0;
}

#else

struct filter_cookie_reply {
  __u32 at;
};
WP_INLINE int filter_cookie_ask(struct wp_packet* p, const struct filter_packet* packet,
                                struct filter_cookie_reply* reply) {
  (void)p, (void)packet, (void)reply;
  return FILTER_COOKIE_NONE;
}
WP_INLINE int filter_cookie_write(struct wp_packet* p, const struct filter_packet* packet,
                                  const struct filter_cookie_reply* reply) {
  (void)p, (void)packet, (void)reply;
  return 1;
}

#endif

#endif
