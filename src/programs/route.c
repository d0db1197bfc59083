// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The forwarding program of the router: what is plain forwarding it does, all else it leaves to the
// host's own stack. docs/routing.md says what each counter means.
#include "program.h"
#include "route_shared.h"

WP_CONFIG(struct route_config);

// clang-format off
#define COUNTERS(COUNT, DROP)                                                                  \
  COUNT(forwarded4) COUNT(forwarded6)                                                          \
  COUNT(to_host_not_ip) COUNT(to_host_not_ours) COUNT(to_host_vlan) COUNT(to_host_off)         \
  COUNT(to_host_special) COUNT(to_host_options) COUNT(to_host_ttl) COUNT(to_host_mtu)          \
  COUNT(to_host_local) COUNT(to_host_unresolved) COUNT(to_host_no_route)                       \
  COUNT(to_host_unreachable) COUNT(to_host_prohibit) COUNT(to_host_no_port)                    \
  COUNT(to_host_rpf) COUNT(to_host_busy)                                                       \
  DROP(malformed) DROP(bad_checksum) DROP(blackhole) DROP(rpf) DROP(no_headroom) DROP(no_port)
// clang-format on
WP_COUNTERS(COUNTERS);

#include "route_packet.h"

WP_MAP(ARRAY, interfaces, __u32, struct route_interface, ROUTE_INTERFACES);
WP_MAP(HASH, vlans, struct route_vlan_key, __u32, 4096);
WP_MAP(HASH, outs, __u32, struct route_out, 4096); /* of the kernel's numbers of interfaces */
WP_MAP(PERCPU_ARRAY, if_counters, __u32, struct route_interface_counters, ROUTE_INTERFACES);
WP_MAP(PERCPU_ARRAY, hop_counters, __u32, struct route_hop_counters, 1);
WP_PORTS(ports, ROUTE_INTERFACES);

struct route_in {
  __u32 port;
  __u32 interface; /* its number */
  __u32 index;     /* and the kernel's */
  __u32 l2;        /* bytes of the Ethernet header, with a tag */
  __u32 flags;     /* ROUTE_... of the interface */
};

#define ROUTE_TO_HOST(p, reason) ((p)->counters->to_host_##reason++, WP_NEXT)

/* Where the route of an entry that is no forwarding one goes. */
WP_INLINE int route_not_forwarded(struct wp_packet* p, const struct route_next_hop* hop) {
  switch (hop->kind) {
    case ROUTE_BLACKHOLE:
      return wp_drop(p, blackhole);
    case ROUTE_UNREACHABLE:
      return ROUTE_TO_HOST(p, unreachable);
    case ROUTE_PROHIBIT:
      return ROUTE_TO_HOST(p, prohibit);
    case ROUTE_HOST:
      if (hop->interface_index) return ROUTE_TO_HOST(p, unresolved);
      return ROUTE_TO_HOST(p, local);
    default:
      return ROUTE_TO_HOST(p, no_route);
  }
}

/* The source's address is one that this interface may have sent: 1. Strict goes before loose. */
WP_INLINE int route_source_fits(const struct wp_packet* p, const struct route_in* in,
                                const struct route_ip* h) {
  const __u32 strict = h->family == 4 ? ROUTE_RPF_STRICT4 : ROUTE_RPF_STRICT6;
  const __u32 loose = h->family == 4 ? ROUTE_RPF_LOOSE4 : ROUTE_RPF_LOOSE6;
  if (!(in->flags & (strict | loose))) return 1;
  const __u32 group = route_find(p, h->family, h->source);
  return route_reaches(p, group, in->interface, !(in->flags & strict));
}

/* `number`: of the next hop in its table, 0: it has none. */
WP_INLINE int route_send(struct wp_packet* p, const struct route_in* in, const struct route_ip* h,
                         const struct route_next_hop* hop, __u32 number) {
  if (!route_rewrite(p, in->l2, h->family, hop)) return wp_drop(p, no_headroom);
  const int verdict = wp_redirect(p, ports, hop->port);
  if (verdict != WP_REDIRECT) return wp_drop(p, no_port);
  const __u64 bytes = (__u64)(p->end - p->data);
  const __u32 interface = hop->interface;
  struct route_interface_counters* out = wp_lookup(p, if_counters, &interface);
  if (out) {
    out->sent_packets++;
    out->sent_bytes += bytes;
  }
  struct route_hop_counters* of_hop = number ? wp_lookup(p, hop_counters, &number) : 0;
  if (of_hop) {
    of_hop->packets++;
    of_hop->bytes += bytes;
  }
  if (h->family == 4)
    wp_count(p, forwarded4);
  else
    wp_count(p, forwarded6);
  return verdict;
}

#ifdef __bpf__
#include "route_kernel.h"
#endif

WP_INLINE int route_by_tables(struct wp_packet* p, const struct route_in* in,
                              const struct route_ip* h) {
  const __u32 group = route_find(p, h->family, h->destination);
  if (group == 0) return ROUTE_TO_HOST(p, no_route);
  if (group == ROUTE_BUSY) return ROUTE_TO_HOST(p, busy);
  const __u32 hash = route_flow_hash(h->source, h->source_port, h->destination, h->destination_port,
                                     h->protocol, wp_config(p)->seed);
  const __u32 number = route_member(p, group, hash);
  if (number == 0) return ROUTE_TO_HOST(p, no_route);
  struct route_next_hop hop;
  if (!route_next_hop(p, number, &hop)) return ROUTE_TO_HOST(p, busy);
  if (hop.kind != ROUTE_FORWARD) return route_not_forwarded(p, &hop);
  if (!route_source_fits(p, in, h)) return wp_drop(p, rpf);
  if (hop.port == 0) return ROUTE_TO_HOST(p, no_port);
  if (hop.mtu && h->length > hop.mtu) return ROUTE_TO_HOST(p, mtu);
  return route_send(p, in, h, &hop, number);
}

WP_INLINE int route_frame(struct wp_packet* p, struct route_in* in) {
  const __u8* data = p->data;
  if (data + 14 > p->end) return wp_drop(p, malformed);
  __u16 type = wp_load16(data + 12);
  in->l2 = 14;
  if (type == wp_be16(0x8100)) {
    if (data + 18 > p->end) return wp_drop(p, malformed);
    const struct route_vlan_key key = {(__u16)in->port, wp_be16(wp_load16(data + 14)) & 0xfff};
    if (key.vlan) { /* 0 is a priority, and no VLAN */
      const __u32* number = wp_lookup(p, vlans, &key);
      if (!number) return ROUTE_TO_HOST(p, vlan);
      in->interface = *number;
    }
    type = wp_load16(data + 16);
    in->l2 = 18;
  }
  const struct route_interface* interface = wp_lookup(p, interfaces, &in->interface);
  if (!interface || !(interface->flags & ROUTE_UP)) return ROUTE_TO_HOST(p, off);
  in->index = interface->index;
  in->flags = interface->flags;
  if (type != wp_be16(0x0800) && type != wp_be16(0x86dd)) return ROUTE_TO_HOST(p, not_ip);
  if (wp_load32(data) != *(const __u32*)interface->mac ||
      wp_load16(data + 4) != *(const __u16*)(interface->mac + 4))
    return ROUTE_TO_HOST(p, not_ours);
  const int is4 = type == wp_be16(0x0800);
  if (in->flags & (is4 ? ROUTE_NO_IP4 : ROUTE_NO_IP6)) return ROUTE_TO_HOST(p, off);
  struct route_ip h = {{0, 0}, {0, 0}, 0, 0, 0, 0, 0, 0, 0};
  __u64 l2 = in->l2;
  __asm__ volatile("" : "+r"(l2)); /* the compiler knows its bounds, the verifier does not */
  const __u8* ip = data + (l2 & 31);
  switch (is4 ? route_read4(p, ip, &h) : route_read6(p, ip, &h)) {
    case ROUTE_MALFORMED:
      return wp_drop(p, malformed);
    case ROUTE_BAD_CHECKSUM:
      return wp_drop(p, bad_checksum);
    case ROUTE_OPTIONS:
      return ROUTE_TO_HOST(p, options);
    case ROUTE_SPECIAL:
      return ROUTE_TO_HOST(p, special);
    case ROUTE_TTL:
      return ROUTE_TO_HOST(p, ttl);
    default:
      break;
  }
#ifdef __bpf__
  if (wp_config(p)->kernel_fib) return route_by_kernel(p, in, &h);
#endif
  return route_by_tables(p, in, &h);
}

#ifndef __bpf__
#include "route_burst.h"
#endif

WP_PROGRAM(route) {
  const __u32 port = wp_config(p)->port ? wp_config(p)->port : p->interface + 1;
  struct route_in in = {port, port, 0, 14, 0};
  const __u64 bytes = (__u64)(p->end - p->data);
  const int verdict = route_frame(p, &in);
  struct route_interface_counters* count = wp_lookup(p, if_counters, &in.interface);
  if (!count) return verdict;
  count->packets++;
  count->bytes += bytes;
  if (verdict == WP_REDIRECT)
    count->forwarded++;
  else if (verdict == WP_NEXT)
    count->to_host++;
  else
    count->dropped++;
  return verdict;
}
