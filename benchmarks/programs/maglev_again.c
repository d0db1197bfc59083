// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The balancer for BPF_PROG_RUN's repeats, which run over the buffer as the last run left it: the
// packet is made what it was before. `nothing` does only that, for the price of it.
#include "../../src/programs/maglev.c"

WP_MAP(PERCPU_ARRAY, ticks, __u32, __u64, 1);

struct saved {
  __u64 length, front;
  __u32 middle;
  __u16 type;
};

WP_INLINE int save(const struct wp_packet* p, struct saved* s) {
  if (p->data + 34 > p->end) return 0;
  __u64 length = (__u64)(p->end - p->data);
  __asm__ volatile("" : "+r"(length)); /* or clang adds pointers up, which the verifier refuses */
  s->length = length;
  s->front = wp_load64(p->data);
  s->middle = wp_load32(p->data + 8);
  s->type = wp_load16(p->data + 12);
  return 1;
}

WP_INLINE int restore(struct wp_packet* p, const struct saved* s, int verdict) {
  __u64 length = (__u64)(p->end - p->data);
  __asm__ volatile("" : "+r"(length));
  const __s64 longer = (__s64)(length - s->length);
  if (longer > 0 && wp_adjust_head(p, (int)longer)) return WP_ABORTED;
  if (p->data + 14 > p->end) return WP_ABORTED;
  wp_store64(p->data, s->front);
  wp_store32(p->data + 8, s->middle);
  wp_store16(p->data + 12, s->type);
  return verdict;
}

#define wp_license wp_license_again
WP_PROGRAM(again) {
  struct saved s;
  if (!save(p, &s)) return WP_ABORTED;
  return restore(p, &s, wp_body_maglev(p));
}

/* Each packet of another flow: source port and address (IPv4, or the last word of IPv6) count. */
#undef wp_license
#define wp_license wp_license_fresh
WP_PROGRAM(fresh) {
  struct saved s;
  const __u32 zero = 0;
  __u64* tick = wp_lookup(p, ticks, &zero);
  if (!tick || !save(p, &s) || p->data + 56 > p->end) return WP_ABORTED;
  const __u64 n = ++*tick;
  if (s.type == wp_be16(0x0800)) {
    wp_store32(p->data + 26, (__u32)n);
    wp_store16(p->data + 34, (__u16)(n * 40503));
  } else {
    wp_store32(p->data + 34, (__u32)n);
    wp_store16(p->data + 54, (__u16)(n * 40503));
  }
  return restore(p, &s, wp_body_maglev(p));
}

#undef wp_license
#define wp_license wp_license_nothing
WP_PROGRAM(nothing) {
  struct saved s;
  if (!save(p, &s) || wp_adjust_head(p, -20)) return WP_ABORTED;
  return restore(p, &s, WP_TX);
}
