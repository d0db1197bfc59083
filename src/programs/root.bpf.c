// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The root of a chain: goes to the first program there is. The control plane writes into each
// slot the first program at or behind it, so that one jump is enough.
#include "program.h"

/* Who put what into each slot, so that others can tell, and clean up behind the dead. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, WP_CHAIN_SIZE);
  __type(key, __u32);
  __type(value, struct wp_slot_note);
} wp_notes SEC(".maps");

SEC("xdp") int wirepath_root(struct xdp_md* ctx) {
  const __u32 zero = 0;
  bpf_tail_call(ctx, &wp_chain, 0);
  /* Nobody is there. The lookup keeps the notes with the root: who finds one finds the other. */
  return wp_exit_through(ctx, bpf_map_lookup_elem(&wp_notes, &zero) ? XDP_PASS : XDP_ABORTED);
}

char wp_license[] SEC("license") = "GPL";
