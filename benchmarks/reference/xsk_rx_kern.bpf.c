/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Steering for the xsk_rx yardstick: one UDP destination goes to the AF_XDP
 * socket of the queue it came by, everything else to the host.
 */
#include "xsk_rx_kern.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile struct xsk_rx_config config = {};

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} xsks SEC(".maps");

struct vlan {
  __be16 tci;
  __be16 protocol;
};

SEC("xdp")
int steer(struct xdp_md* ctx) {
  void *at = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = at;
  if (at + sizeof *eth > end) return XDP_PASS;
  __be16 protocol = eth->h_proto;
  at += sizeof *eth;
#pragma unroll
  for (int tags = 0; tags < 2; tags++) {
    if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD)) break;
    struct vlan* vlan = at;
    if ((void*)(vlan + 1) > end) return XDP_PASS;
    protocol = vlan->protocol;
    at += sizeof *vlan;
  }
  struct iphdr* ip = at;
  if (protocol != bpf_htons(ETH_P_IP) || (void*)(ip + 1) > end) return XDP_PASS;
  if (ip->protocol != IPPROTO_UDP || ip->daddr != config.daddr) return XDP_PASS;
  if (ip->ihl < 5 || ip->frag_off & bpf_htons(0x3fff)) return XDP_PASS;
  struct udphdr* udp = at + ip->ihl * 4;
  if ((void*)(udp + 1) > end || udp->dest != config.dport) return XDP_PASS;

  if (config.timestamps) {
    /* A frame without a stamp must not reach a reader who trusts the stamp. */
    if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(__u64))) return XDP_ABORTED;
    __u64* stamp = (void*)(long)ctx->data_meta;
    if ((void*)(stamp + 1) > (void*)(long)ctx->data) return XDP_ABORTED;
    *stamp = bpf_ktime_get_tai_ns();
  }
  return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

char kLicense[] SEC("license") = "GPL";
