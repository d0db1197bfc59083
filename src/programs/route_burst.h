/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The forwarding program natively, for the plain packets of a burst: untagged IPv4 without options
 * that leaves untagged. Memory that all of them need is asked for before the first one needs it,
 * and they are counted in one go. A packet of which anything is out of the ordinary is left to the
 * program itself (route.c), unchanged and not counted; so is one whose tables change just now.
 */
#ifndef WIREPATH_ROUTE_BURST_H
#define WIREPATH_ROUTE_BURST_H

struct route_plain {
  __u32 destination;
  __u32 hash;
  __u32 group;
  __u32 number; /* of the next hop, 0: not for us */
  __u32 length; /* of the IP packet */
  __u32 at;     /* in the batch */
};

/* Where the maps' values are. Stores to packets and counters may be to the maps' own description,
 * as far as a compiler knows, which would read that again for each packet. */
struct route_places {
  const __u32* root;
  const struct route_buckets* buckets;
  const struct route_next_hop* hops;
  const __u64* ports;
  struct route_hop_counters* of_hop;
  struct route_interface_counters* of_interface;
  __u32 groups, numbers;
};

/* 0: one of the maps is smaller than it must be. */
WP_INLINE int route_places(const struct wp_packet* p, struct route_places* out) {
  const __u32 zero = 0;
  out->root = (const __u32*)wp_lookup(p, root4, &zero);
  out->buckets = wp_lookup(p, buckets, &zero);
  out->hops = wp_lookup(p, hops, &zero);
  out->ports = (const __u64*)(const void*)WP_MAP_OF(p, ports)->memory;
  out->of_hop = wp_lookup(p, hop_counters, &zero);
  out->of_interface = wp_lookup(p, if_counters, &zero);
  out->groups = WP_MAP_OF(p, buckets)->max_entries;
  out->numbers = WP_MAP_OF(p, hops)->max_entries;
  return WP_MAP_OF(p, root4)->max_entries >= WP_FIB_ROOT_ENTRIES / WP_FIB_GROUP_ENTRIES &&
         WP_MAP_OF(p, hop_counters)->max_entries >= out->numbers &&
         WP_MAP_OF(p, ports)->max_entries >= ROUTE_INTERFACES &&
         WP_MAP_OF(p, if_counters)->max_entries >= ROUTE_INTERFACES;
}

/* By the first byte: 1 where addresses are among them that no router forwards for
 * (route_special4). */
static const __u8 route_odd4[256] = {
    [0] = 1,
    [127] = 1,
    [169] = 1,
    [224 ... 255] = 1,
};

/* Whether the frame is plain, and what the other steps need of it. Looks at 38 bytes. */
WP_INLINE int route_read_plain(const __u8* data, __u32 bytes, __u64 mac, __u64 seed,
                               struct route_plain* out) {
  if (bytes < 38) return 0;
  const __u8* ip = data + 14;
  const __u64 a = wp_load64(ip), b = wp_load64(ip + 8), c = wp_load32(ip + 16);
  if ((wp_load64(data) ^ mac) << 16 || (wp_load32(data + 12) ^ 0x450008) << 8) return 0;
  __u64 sum = a + b; /* 2^16 is 1 in the checksum's arithmetic */
  sum += sum < b;
  sum += c;
  sum += sum < c;
  if (sum % 0xffff) return 0;
  const __u32 length = wp_be16(a >> 16);
  if (length - 24 > bytes - 38) return 0;
  if ((__u8)b <= 1 || (a >> 48 & wp_be16(0x3fff))) return 0; /* hops left, a piece */
  if (route_odd4[b >> 32 & 255] | route_odd4[c & 255]) return 0;
  const struct route_address source = {0, wp_be32(b >> 32)}, destination = {0, wp_be32(c)};
  const __u8 protocol = (__u8)(b >> 8);
  const __u32 ports = route_has_ports(protocol) ? wp_load32(ip + 20) : 0;
  out->hash =
      route_flow_hash(source, wp_be16(ports), destination, wp_be16(ports >> 16), protocol, seed);
  out->destination = (__u32)destination.low;
  out->length = length;
  return 1;
}

/* Of a packet that is left to the program: its entry of the table's root for IPv6. */
WP_INLINE void route_fetch6(const struct wp_packet* p, const __u8* data, __u32 bytes) {
  if (bytes < 54 || wp_load16(data + 12) != wp_be16(0x86dd)) return;
  const __u64 entry = wp_be32(wp_load32(data + 38)) >> 8;
  __builtin_prefetch(WP_MAP_OF(p, root6)->memory + entry * sizeof(__u32));
}

WP_INLINE __u32 route_burst_read(const struct wp_packet* p, const struct wp_batch* batch,
                                 __u32 first, __u32 packets, const struct route_places* at,
                                 const __u8* own, __u64 seed, int rpf, struct route_plain* plain) {
  const __u64 mac = wp_load32(own) | (__u64)wp_load16(own + 4) << 32;
  struct route_plain* x = plain;
  for (__u32 i = first; i < first + packets; i++) {
    const __u8* data = batch->data[i];
    if (!route_read_plain(data, batch->length[i], mac, seed, x)) {
      route_fetch6(p, data, batch->length[i]);
      continue;
    }
    __builtin_prefetch(&at->root[x->destination >> 8]);
    if (rpf) __builtin_prefetch(&at->root[wp_be32(wp_load32(data + 26)) >> 8]);
    x->at = i;
    x++;
  }
  return (__u32)(x - plain);
}

WP_INLINE void route_burst_find(const struct wp_packet* p, const struct route_places* at,
                                struct route_plain* plain, __u32 count) {
  for (struct route_plain* x = plain; x < plain + count; x++) {
    __u32 group = ROUTE_READ(at->root[x->destination >> 8]);
    if (group - 1 >= at->groups - 1) { /* none, or the root is not all there is to it */
      group = route_find4(p, x->destination);
      if (group >= at->groups) group = 0;
    }
    x->group = group;
    __builtin_prefetch(&at->buckets[group].next_hop[x->hash & (ROUTE_BUCKETS - 1)]);
  }
}

WP_INLINE void route_burst_choose(const struct route_places* at, struct route_plain* plain,
                                  __u32 count) {
  for (struct route_plain* x = plain; x < plain + count; x++) {
    const struct route_buckets* of = &at->buckets[x->group];
    __u32 number = ROUTE_READ(of->next_hop[x->hash & (ROUTE_BUCKETS - 1)]);
    if (number >= at->numbers || x->group == 0) number = 0;
    x->number = number;
    __builtin_prefetch(&at->hops[number]);
    __builtin_prefetch(&at->of_hop[number], 1);
  }
}

/* The frame's bytes where they may be changed; NULL: it finds no room there. */
WP_INLINE __u8* route_writable(const struct wp_packet* p, const struct wp_batch* batch, __u32 i) {
  struct wp_packet copy;
  copy.start = copy.data = copy.room = batch->data[i];
  copy.end = copy.data + batch->length[i];
  copy.scratch = p->instance->slot[p->slot].scratch + (size_t)i * WP_SCRATCH_BYTES;
  return wp_to_scratch(&copy) ? copy.data : NULL;
}

/* One packet, rewritten and with its port; 0: it is left to the program. */
WP_INLINE int route_burst_send(const struct wp_packet* p, const struct route_places* at,
                               const struct route_in* in, const struct route_plain* x,
                               struct wp_batch* batch, int in_place) {
  const __u32 number = x->number, i = x->at;
  struct route_next_hop hop;
  if (number == 0 || !route_copy_next_hop(&at->hops[number], &hop)) return 0;
  if (hop.kind != ROUTE_FORWARD || hop.vlan || x->length - 1 > hop.mtu - 1) return 0;
  if (hop.port >= ROUTE_INTERFACES || hop.interface >= ROUTE_INTERFACES) return 0;
  const __u32 port = (__u32)ROUTE_READ(at->ports[hop.port]); /* 1 + its number, 0: none */
  if (hop.port == 0 || port == 0) return 0;
  __u8* data = batch->data[i];
  if (in->flags & (ROUTE_RPF_STRICT4 | ROUTE_RPF_LOOSE4)) {
    const struct route_ip h = {.family = 4, .source = {0, wp_be32(wp_load32(data + 26))}};
    if (!route_source_fits(p, in, &h)) return 0;
  }
  if (!in_place) {
    data = route_writable(p, batch, i);
    if (!data) return 0;
    batch->data[i] = data;
  }
  route_write_macs(data, &hop);
  route_hop_less4(data + 14);
  const __u32 bytes = batch->length[i];
  struct route_interface_counters* out = &at->of_interface[hop.interface];
  out->sent_packets++;
  out->sent_bytes += bytes;
  struct route_hop_counters* of_hop = &at->of_hop[number];
  of_hop->packets++;
  of_hop->bytes += bytes;
  batch->verdict[i] = WP_REDIRECT;
  batch->target[i] = (__u16)(port - 1);
  return 1;
}

/* A bit for each packet that was forwarded. */
WP_INLINE __u64 route_burst(struct wp_instance* instance, struct wp_batch* batch, __u32 first,
                            __u32 packets, struct wp_counters* counts, __u32 slot, int in_place) {
  const struct wp_packet packet = {.instance = instance, .slot = slot};
  const struct wp_packet* p = &packet;
  const __u32 port = wp_config(p)->port ? wp_config(p)->port : batch->port + 1u;
  const struct route_interface* interface = wp_lookup(p, interfaces, &port);
  struct route_places at;
  if (!interface || !route_places(p, &at)) return 0;
  const struct route_in in = {port, port, interface->index, 14, interface->flags};
  if (!(in.flags & ROUTE_UP) || in.flags & ROUTE_NO_IP4) return 0;
  struct route_plain plain[WP_EPOCH_PACKETS];
  const __u32 count =
      route_burst_read(p, batch, first, packets, &at, interface->mac, wp_config(p)->seed,
                       (in.flags & (ROUTE_RPF_STRICT4 | ROUTE_RPF_LOOSE4)) != 0, plain);
  route_burst_find(p, &at, plain, count);
  route_burst_choose(&at, plain, count);
  __u64 decided = 0, bytes = 0;
  for (const struct route_plain* x = plain; x < plain + count; x++) {
    const __u32 length = batch->length[x->at];
    if (!route_burst_send(p, &at, &in, x, batch, in_place)) continue;
    decided |= 1ull << (x->at & 63);
    bytes += length;
  }
  const __u64 sent = (__u64)__builtin_popcountll(decided);
  counts->verdict[WP_REDIRECT] += sent;
  counts->forwarded4 += sent;
  at.of_interface[port].packets += sent;
  at.of_interface[port].bytes += bytes;
  at.of_interface[port].forwarded += sent;
  return decided;
}
#undef WP_BURST
#define WP_BURST(instance, batch, first, packets, counts, slot, in_place) \
  route_burst(instance, batch, first, packets, counts, slot, in_place)

#endif
