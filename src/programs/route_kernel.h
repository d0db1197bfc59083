/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The forwarding program's other table: the kernel's own, asked through bpf_fib_lookup (kernel:
 * Documentation of bpf-helpers(7)). In the driver only. The kernel chooses among several paths, by
 * its own hash (net.ipv4.fib_multipath_hash_policy).
 */
#ifndef WIREPATH_ROUTE_KERNEL_H
#define WIREPATH_ROUTE_KERNEL_H

#define ROUTE_AF_INET 2
#define ROUTE_AF_INET6 10

WP_INLINE void route_kernel_address(__u32* to, struct route_address address, int family) {
  if (family == 4) {
    to[0] = wp_be32(address.low);
    return;
  }
  to[0] = wp_be32(address.high >> 32);
  to[1] = wp_be32(address.high);
  to[2] = wp_be32(address.low >> 32);
  to[3] = wp_be32(address.low);
}

WP_INLINE void route_kernel_question(struct bpf_fib_lookup* ask, const struct route_in* in,
                                     const struct route_ip* h) {
  __builtin_memset(ask, 0, sizeof(*ask));
  ask->family = h->family == 4 ? ROUTE_AF_INET : ROUTE_AF_INET6;
  ask->l4_protocol = h->protocol;
  ask->ifindex = in->index;
  if (h->family == 4) ask->tos = h->tos;
}

/* As the kernel's own filter does where paths are several, any of them that the kernel would choose
 * now counts; what does not fit is not dropped but left to the kernel's filter. */
WP_INLINE int route_kernel_source_fits(struct wp_packet* p, const struct route_in* in,
                                       const struct route_ip* h) {
  const __u32 strict = h->family == 4 ? ROUTE_RPF_STRICT4 : ROUTE_RPF_STRICT6;
  const __u32 loose = h->family == 4 ? ROUTE_RPF_LOOSE4 : ROUTE_RPF_LOOSE6;
  if (!(in->flags & (strict | loose))) return 1;
  struct bpf_fib_lookup ask;
  route_kernel_question(&ask, in, h);
  ask.sport = wp_be16(h->destination_port);
  ask.dport = wp_be16(h->source_port);
  route_kernel_address(ask.ipv6_src, h->destination, h->family);
  route_kernel_address(ask.ipv6_dst, h->source, h->family);
  const long answer = bpf_fib_lookup(p->ctx, &ask, sizeof(ask), 0);
  if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH) return 0;
  return !(in->flags & strict) || ask.ifindex == in->index;
}

WP_INLINE int route_by_kernel(struct wp_packet* p, const struct route_in* in,
                              const struct route_ip* h) {
  struct bpf_fib_lookup ask;
  route_kernel_question(&ask, in, h);
  ask.sport = wp_be16(h->source_port);
  ask.dport = wp_be16(h->destination_port);
  ask.tot_len = (__u16)h->length;
  route_kernel_address(ask.ipv6_src, h->source, h->family);
  route_kernel_address(ask.ipv6_dst, h->destination, h->family);
  switch (bpf_fib_lookup(p->ctx, &ask, sizeof(ask), 0)) {
    case BPF_FIB_LKUP_RET_SUCCESS:
      break;
    case BPF_FIB_LKUP_RET_BLACKHOLE:
      return wp_drop(p, blackhole);
    case BPF_FIB_LKUP_RET_UNREACHABLE:
      return ROUTE_TO_HOST(p, unreachable);
    case BPF_FIB_LKUP_RET_PROHIBIT:
      return ROUTE_TO_HOST(p, prohibit);
    case BPF_FIB_LKUP_RET_FWD_DISABLED:
      return ROUTE_TO_HOST(p, off);
    case BPF_FIB_LKUP_RET_NO_NEIGH:
      return ROUTE_TO_HOST(p, unresolved);
    case BPF_FIB_LKUP_RET_FRAG_NEEDED:
      return ROUTE_TO_HOST(p, mtu);
    default: /* an address of the host's, no route, an encapsulation */
      return ROUTE_TO_HOST(p, local);
  }
  if (!route_kernel_source_fits(p, in, h)) return ROUTE_TO_HOST(p, rpf);
  const __u32 index = ask.ifindex;
  const struct route_out* out = wp_lookup(p, outs, &index);
  if (!out || !out->port) return ROUTE_TO_HOST(p, no_port);
  struct route_next_hop hop = {0};
  hop.vlan = out->vlan;
  hop.port = out->port;
  hop.interface = out->interface;
  __builtin_memcpy(hop.destination, ask.dmac, 6);
  __builtin_memcpy(hop.source, ask.smac, 6);
  return route_send(p, in, h, &hop, 0);
}

#endif
