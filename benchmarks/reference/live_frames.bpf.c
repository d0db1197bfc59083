/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The in-kernel half of live_frames: numbers the frame, picks its source port
 * and redirects it; drops it unsent when it is not due yet or nothing is left.
 *
 * Every field that changes is written anew, never incremented in the frame:
 * frames are recycled with whatever the last run left in them.
 */
#include "live_frames.h"

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

enum { kSourcePort = 34, kLimit = 4096 };

const volatile struct live_frames_config config = {};
struct live_frames_state state = {};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1); /* LIVE_FRAMES_ADDRESSES where they are used */
  __type(key, __u32);
  __type(value, __u64); /* the address in the first four bytes */
} addresses SEC(".maps");

/* Header fields of a frame that is routed: to the next destination, all else as at first. */
static __always_inline int address_frame(void* data, void* end) {
  const __u32 key = (__u32)state.sequence & (config.addresses - 1);
  const __u32* to = bpf_map_lookup_elem(&addresses, &key);
  if (!to || data + 34 > end) return 0;
  for (int i = 0; i < 3; i++) *(__u32*)(data + 4 * i) = config.ethernet[i];
  *(__u8*)(data + 22) = config.hops;
  __u32 sum = config.header_sum + (*to & 0xffff) + (*to >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  *(__u16*)(data + 24) = (__u16) ~(sum + (sum >> 16));
  *(__u32*)(data + 30) = *to;
  return 1;
}

SEC("xdp")
int live_frames(struct xdp_md* ctx) {
  void *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
  if (state.sent >= config.count || state.stop) return XDP_DROP;
  if (config.interval_q20) {
    const __u64 now = bpf_ktime_get_ns();
    if (!state.start) state.start = now;
    if (now - state.start < state.due_q20 >> 20) return XDP_DROP;
    state.due_q20 += config.interval_q20;
    state.last = now;
  }
  if (config.addresses && !address_frame(data, end)) return XDP_ABORTED;
  if (config.flows > 1) {
    if (data + kSourcePort + 2 > end) return XDP_ABORTED;
    *(__be16*)(data + kSourcePort) = bpf_htons(config.sport + state.flow);
    if (++state.flow >= config.flows) state.flow = 0;
  }
  void* at = data + (config.sequence_at & (kLimit - 1));
  if (config.sequence_bytes == 4) {
    if (at + 4 > end) return XDP_ABORTED;
    *(__be32*)at = bpf_htonl((__u32)state.sequence);
  } else if (config.sequence_bytes == 8) {
    if (at + 8 > end) return XDP_ABORTED;
    *(__be64*)at = bpf_cpu_to_be64(state.sequence);
  }
  state.sequence++;
  state.sent++;
  return bpf_redirect(config.ifindex, 0);
}

char kLicense[] SEC("license") = "GPL";
