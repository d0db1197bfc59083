// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The steering program: frames of the flows asked for go to the AF_XDP socket of the queue on
// which they came, the rest goes on to the host.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "chain_shared.h"
#include "steer_shared.h"

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64); /* set before loading: the NIC's receive queues */
  __type(key, __u32);
  __type(value, __u32);
} xsks SEC(".maps");

struct steer_key_slot {
  __u8 bytes[24];
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1); /* set before loading: the number of keys */
  __type(key, struct steer_key_slot);
  __type(value, __u8);
} rules SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct steer_counters);
} counters SEC(".maps");

/* Constants once loaded: the verifier drops the lookups that no rule needs. */
const volatile struct steer_config config = {};
/* Raised when every socket is in the map, so that opening does not look like loss. */
volatile __u32 enabled = 0;

/* Stands for the chain's own where the program is in one (program_bpf.h). Empty slots cost nothing,
 * and alone the program does not even ask. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, WP_CHAIN_SIZE);
  __type(key, __u32);
  __type(value, __u32);
} wp_chain SEC(".maps");

static __attribute__((always_inline)) inline int leave(struct xdp_md* ctx, int action) {
  if (!config.chained) return action;
  if (action == XDP_PASS)
    bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_PASS);
  else
    bpf_tail_call(ctx, &wp_chain, WP_SLOT_EXIT + XDP_REDIRECT);
  return action;
}

#define STEER_LOOKUP(table, key) is_rule(key)
static __attribute__((always_inline)) inline int is_rule(const void* key) {
  const __u64* word = key;
  if (config.few_keys == 0) return bpf_map_lookup_elem(&rules, key) != 0;
#pragma unroll
  for (__u32 i = 0; i < STEER_FEW_KEYS; i++)
    if (i < config.few_keys && word[2] == config.few[i][2] && word[0] == config.few[i][0] &&
        word[1] == config.few[i][1])
      return 1;
  return 0;
}
#include "steer_match.h"

/* The usual case, one UDP flow over IPv4 as the only rule and a frame without tags or options:
 * the packet is compared with the key where it stands, for two thirds of the price. Whatever this
 * does not know is for steer_match to judge. */
STEER_INLINE int is_the_only_flow(const __u8* p, const __u8* end) {
  if (config.features != STEER_FEATURE(4, 0) || config.few_keys != 1) return 0;
  if (p + 42 > end) return 0;
  /* Address; port, family, protocol and kind. */
  return STEER_LOAD16(p + 12) == STEER_BE16(0x0800) && p[14] == 0x45 && p[23] == 17 &&
         STEER_LOAD32(p + 30) == (__u32)config.few[0][0] &&
         (STEER_LOAD16(p + 36) | (4u << 16 | 17u << 24)) == config.few[0][2] &&
         !(STEER_LOAD16(p + 20) & STEER_BE16(0x3fff)) && STEER_BE16(STEER_LOAD16(p + 16)) >= 28;
}

STEER_INLINE int stamp(struct xdp_md* ctx) {
  if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(struct steer_stamp))) return 0;
  struct steer_stamp* meta = (void*)(long)ctx->data_meta;
  if ((void*)(meta + 1) > (void*)(long)ctx->data) return 0;
  meta->magic = config.stamp_magic;
  meta->tai_ns = bpf_ktime_get_tai_ns();
  return 1;
}

SEC("xdp")
int wirepath_steer(struct xdp_md* ctx) {
  const __u32 zero = 0;
  struct steer_counters* count = bpf_map_lookup_elem(&counters, &zero);
  if (!count || !enabled) return leave(ctx, XDP_PASS);
  const __u8* data = (void*)(long)ctx->data;
  const __u8* end = (void*)(long)ctx->data_end;
  const int result =
      is_the_only_flow(data, end) ? STEER_MATCH : steer_match(data, end, 0, config.features);
  if (result != STEER_MATCH) {
    if (result == STEER_FRAGMENT) count->fragments++;
    count->passed++;
    return leave(ctx, XDP_PASS);
  }
  const int action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
  if (action != XDP_REDIRECT) {
    count->no_socket++;
    return leave(ctx, XDP_PASS);
  }
  count->matched++;
  if (config.stamp_magic && !stamp(ctx)) count->unstamped++;
  return leave(ctx, XDP_REDIRECT);
}

char _license[] SEC("license") = "GPL";
