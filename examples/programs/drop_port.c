/* SPDX-License-Identifier: Apache-2.0
 *
 * A packet program: drops UDP over IPv4 to the ports in a table, remembers who sent it, and
 * answers nothing. Everything else goes on to the next program, or to the host.
 *
 *   wirepath program test drop_port.c --capture day.pcapng
 *   sudo wirepath program load drop_port.c --interface eth0
 */
#include <wirepath/program.h>

struct options {
  __u32 answer; /* 1: send what would be dropped back to its sender instead */
};
WP_CONFIG(struct options);

#define COUNTERS(COUNT, DROP) COUNT(not_udp) COUNT(allowed) DROP(truncated) DROP(blocked)
WP_COUNTERS(COUNTERS);

WP_MAP(HASH, blocked, __be16, __u8, 1024);
struct sender {
  __u64 frames;
  __u64 bytes;
  __u64 last; /* ns */
};
WP_MAP(LRU_HASH, senders, __be32, struct sender, 65536);

WP_INLINE void remember(struct wp_packet* p, __u32 address) {
  struct sender* known = wp_lookup(p, senders, &address);
  if (known) {
    wp_add(&known->frames, 1);
    wp_add(&known->bytes, (__u64)(p->end - p->data));
    wp_write(known->last, wp_now(p));
    return;
  }
  const struct sender first = {1, (__u64)(p->end - p->data), wp_now(p)};
  wp_update(p, senders, &address, &first, WP_ANY);
}

WP_INLINE int answer(struct wp_packet* p) {
  for (int i = 0; i < 6; i++) { /* Ethernet addresses */
    const __u8 byte = p->data[i];
    p->data[i] = p->data[6 + i];
    p->data[6 + i] = byte;
  }
  return WP_TX;
}

WP_PROGRAM(drop_port) {
  if (p->data + 14 > p->end) return wp_drop(p, truncated);
  if (wp_load16(p->data + 12) != wp_be16(0x0800)) {
    wp_count(p, not_udp);
    return WP_NEXT;
  }
  if (p->data + 34 > p->end) return wp_drop(p, truncated);
  /* Without options, and no fragment but a first one: else the ports are elsewhere. */
  if (p->data[14] != 0x45 || p->data[23] != 17 || (wp_load16(p->data + 20) & wp_be16(0x1fff))) {
    wp_count(p, not_udp);
    return WP_NEXT;
  }
  if (p->data + 42 > p->end) return wp_drop(p, truncated);
  const __u16 port = wp_load16(p->data + 36);
  if (!wp_lookup(p, blocked, &port)) {
    wp_count(p, allowed);
    return WP_NEXT;
  }
  remember(p, wp_load32(p->data + 26));
  return wp_config(p)->answer ? answer(p) : wp_drop(p, blocked);
}
