// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Gives each frame another IPv4 source, so that a filter behind it in the chain does not find the
// same lines of its tables in the processor's caches over and over. Checksums are not mended.
#include <wirepath/program.h>

WP_COUNTERS(WP_NONE);

WP_PROGRAM(random_source) {
  if (p->data + 34 > p->end) return WP_NEXT;
  const __u32 number = wp_random(p);
  /* 11.0.0.0 to 222.255.255.255, where the prefixes are. */
  const __u32 address = (11u << 24) + (__u32)(((__u64)number * (212u << 24)) >> 32);
  wp_store32(p->data + 26, wp_be32(address));
  return WP_NEXT;
}
