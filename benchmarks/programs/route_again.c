// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The forwarding program for BPF_PROG_RUN's repeats, which run over the buffer as the last run left
// it: each packet goes to the next address of a list, with its hops to live made what they were.
// `nothing` does only that, for the price of it. Ethernet addresses need no mending, as the next
// hops' are the router's own.
#include "../../src/programs/route.c"

/* With benchmarks/route_driver.py; all in network order. */
struct again4 {
  __u32 destination;
  __u16 checksum;
  __u16 source_port;
};
struct again6 {
  __u64 destination[2];
  __u64 source_port; /* its first two bytes */
};
WP_MAP(ARRAY, packets4, __u32, struct again4, 1);
WP_MAP(ARRAY, packets6, __u32, struct again6, 1);
WP_MAP(PERCPU_ARRAY, ticks, __u32, __u64, 1);

#define AGAIN_MASK 0xfffff /* 2^20 addresses */
#define AGAIN_HOPS 64

WP_INLINE int again_write4(struct wp_packet* p) {
  const __u32 zero = 0;
  __u64* tick = wp_lookup(p, ticks, &zero);
  if (!tick || p->data + 42 > p->end) return 0;
  const __u32 number = (__u32)(*tick)++ & AGAIN_MASK;
  const struct again4* next = wp_lookup(p, packets4, &number);
  if (!next) return 0;
  p->data[22] = AGAIN_HOPS;
  wp_store16(p->data + 24, next->checksum);
  wp_store32(p->data + 30, next->destination);
  wp_store16(p->data + 34, next->source_port);
  return 1;
}

WP_INLINE int again_write6(struct wp_packet* p) {
  const __u32 zero = 0;
  __u64* tick = wp_lookup(p, ticks, &zero);
  if (!tick || p->data + 62 > p->end) return 0;
  const __u32 number = (__u32)(*tick)++ & AGAIN_MASK;
  const struct again6* next = wp_lookup(p, packets6, &number);
  if (!next) return 0;
  p->data[21] = AGAIN_HOPS;
  wp_store64(p->data + 38, next->destination[0]);
  wp_store64(p->data + 46, next->destination[1]);
  wp_store16(p->data + 54, (__u16)next->source_port);
  return 1;
}

#define wp_license wp_license_again4
WP_PROGRAM(again4) {
  return again_write4(p) ? wp_body_route(p) : WP_ABORTED;
}

#undef wp_license
#define wp_license wp_license_again6
WP_PROGRAM(again6) {
  return again_write6(p) ? wp_body_route(p) : WP_ABORTED;
}

#undef wp_license
#define wp_license wp_license_nothing4
WP_PROGRAM(nothing4) {
  return again_write4(p) ? WP_REDIRECT : WP_ABORTED;
}

#undef wp_license
#define wp_license wp_license_nothing6
WP_PROGRAM(nothing6) {
  return again_write6(p) ? WP_REDIRECT : WP_ABORTED;
}
