// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The balancer: finds the service that a packet is for, the server that its flow belongs to, and
// sends it there. docs/balancer.md says what each counter means.
#include "maglev_shared.h"
#include "parse.h"
#include "program.h"

WP_CONFIG(struct lb_config);

// clang-format off
#define COUNTERS(COUNT, DROP)                                                                  \
  COUNT(not_ours) COUNT(established) COUNT(new_flows) COUNT(moved) COUNT(unentered)            \
  COUNT(quic) COUNT(icmp_forwarded) COUNT(icmp_too_big) COUNT(echo_answered)                   \
  DROP(malformed) DROP(fragment) DROP(no_server) DROP(no_headroom) DROP(too_big)
// clang-format on
WP_COUNTERS(COUNTERS);

/* Lists of its own for each CPU, so that a flood at one does not push out the flows of the
 * others, over one hash that all see: a flow that comes to another CPU is found there too. */
#ifdef __bpf__
#undef WP_FLAGS_LRU_HASH
#define WP_FLAGS_LRU_HASH BPF_F_NO_COMMON_LRU
#endif
WP_MAP(LRU_HASH, flows, struct lb_flow, struct lb_connection, 1048576);
WP_MAP(HASH, vips, struct lb_vip_key, struct lb_vip, 1024);
WP_MAP(LPM, prefixes4, struct lb_prefix4, __u32, 1024);
WP_MAP(LPM, prefixes6, struct lb_prefix6, __u32, 1024);
WP_MAP(ARRAY, rings, __u32, __u32, 131074); /* of each slot the server's number; 0: none */
WP_MAP(ARRAY, servers, __u32, struct lb_server, 4096);
WP_MAP(HASH, quic_servers, __u32, __u32, 65536); /* of (service << 16 | ID) the server's number */
WP_MAP(PERCPU_ARRAY, vip_counters, __u32, struct lb_vip_counters, 1024);
WP_MAP(PERCPU_ARRAY, server_counters, __u32, struct lb_server_counters, 4096);
WP_MAP(PERCPU_ARRAY, seconds, __u32, struct lb_second, 1);

#include "maglev_send.h"

WP_INLINE __u64 lb_hash(const struct lb_flow* flow) {
  const __u32* a = flow->source;
  const __u32* b = flow->destination;
  const __u64 words[5] = {
      (__u64)a[0] << 32 | a[1],
      (__u64)a[2] << 32 | a[3],
      (__u64)b[0] << 32 | b[1],
      (__u64)b[2] << 32 | b[3],
      (__u64)flow->source_port << 48 | (__u64)flow->destination_port << 32 |
          (__u64)flow->family << 8 | flow->protocol,
  };
  __u64 hash = LB_HASH_SEED;
  for (int i = 0; i < 5; i++) {
    hash = (hash ^ words[i]) * LB_HASH_FACTOR;
    hash ^= hash >> 32;
  }
  return hash * LB_HASH_FACTOR;
}

/* The service of an address as the key has it: by port, by protocol, of everything. */
WP_INLINE const struct lb_vip* lb_find_key(const struct wp_packet* p, struct lb_vip_key* key,
                                           __u16 port, __u8 protocol) {
  const __u32 features = wp_config(p)->features;
  const struct lb_vip* vip = 0;
  key->protocol = protocol;
  if (features & LB_FEATURE_EXACT && port) {
    key->port = port;
    vip = wp_lookup(p, vips, key);
    if (vip) return vip;
  }
  key->port = 0;
  if (features & LB_FEATURE_ANY_PORT) {
    vip = wp_lookup(p, vips, key);
    if (vip) return vip;
  }
  if (features & LB_FEATURE_ANY_PROTOCOL) {
    key->protocol = 0;
    vip = wp_lookup(p, vips, key);
  }
  return vip;
}

WP_INLINE const struct lb_vip* lb_find(const struct wp_packet* p, __u8 family, const __u32* address,
                                       __u16 port, __u8 protocol) {
  struct lb_vip_key key = {{address[0], address[1], address[2], address[3]}, 0, family, 0};
  const struct lb_vip* vip = lb_find_key(p, &key, port, protocol);
  if (vip) return vip;
  const __u32* prefix = 0;
  if (family == 4 && wp_config(p)->features & LB_FEATURE_PREFIX4) {
    const struct lb_prefix4 whole = {32, address[0]};
    prefix = wp_lookup(p, prefixes4, &whole);
  } else if (family == 6 && wp_config(p)->features & LB_FEATURE_PREFIX6) {
    const struct lb_prefix6 whole = {128, {address[0], address[1], address[2], address[3]}};
    prefix = wp_lookup(p, prefixes6, &whole);
  }
  if (!prefix) return 0;
  struct lb_vip_key group = {{*prefix, 0, 0, 0}, 0, 0, 0};
  return lb_find_key(p, &group, port, protocol);
}

/* The number of the server that a short QUIC header names, 0: none. Our servers' connection IDs
 * begin with an octet whose first three bits are the configuration, and two octets of server ID,
 * as QUIC-LB's (draft-ietf-quic-load-balancers) plaintext ones of that length do. */
WP_INLINE __u32 lb_quic_server(const struct wp_packet* p, const struct parsed* h,
                               const struct lb_vip* vip) {
  const __u8* quic = p->data + (h->l4 & 0x7fff) + 8;
  if (quic + 4 > p->end || h->l4 + 12 > h->l4_end) return 0;
  if ((quic[0] & 0xc0) != 0x40 || quic[1] >> 5 != wp_config(p)->quic_config) return 0;
  const __u32 key = vip->number << 16 | wp_be16(wp_load16(quic + 2));
  const __u32* server = wp_lookup(p, quic_servers, &key);
  return server ? *server : 0;
}

WP_INLINE __u32 lb_slot(const struct wp_packet* p, const struct lb_vip* vip, __u64 hash) {
  const __u32 at = vip->ring + (__u32)((hash >> 32) * vip->size >> 32);
  const __u32* server = vip->size ? wp_lookup(p, rings, &at) : 0;
  return server ? *server : 0;
}

/* Remembers where the flow goes, unless too many new ones come: then the table is left to those
 * that are in it, and the others go by the Maglev table alone. So do those for which the table has
 * no room at the moment. */
WP_INLINE void lb_enter(struct wp_packet* p, const struct lb_flow* flow, __u32 number,
                        const struct lb_server* server, __u64 now) {
  const __u32 zero = 0;
  struct lb_second* second = wp_lookup(p, seconds, &zero);
  if (!second || !lb_within(&second->flows, second, now, wp_config(p)->flows_per_second)) {
    wp_count(p, unentered);
    return;
  }
  const struct lb_connection connection = {now, number, server->generation};
  if (wp_update(p, flows, flow, &connection, WP_ANY)) wp_count(p, unentered);
}

WP_INLINE int lb_takes(const struct lb_server* server, int begins) {
  return server->state == LB_UP || (server->state == LB_DRAINING && !begins);
}

struct lb_choice {
  __u32 number; /* 0: no server */
  __u32 is_new;
};

/* The server of a flow. `learn`: the packet is the flow's own, not an error about it. */
WP_INLINE struct lb_choice lb_choose(struct wp_packet* p, const struct lb_flow* flow,
                                     const struct lb_vip* vip, __u64 hash, int begins, int learn) {
  struct lb_choice choice = {0, 0};
  const int keeps = !(vip->flags & LB_VIP_STATELESS);
  const int timed = flow->protocol == PARSE_UDP && wp_config(p)->udp_timeout;
  __u64 now = 0;
  if (keeps) {
    struct lb_connection* known = wp_lookup(p, flows, flow);
    if (known) {
      const __u32 number = known->server;
      const struct lb_server* server = wp_lookup(p, servers, &number);
      int valid = server && server->generation == known->generation && lb_takes(server, begins);
      if (timed) {
        now = wp_now(p);
        const __u64 seen = wp_read(known->seen);
        /* Another CPU may have looked at its clock a moment later. */
        const __u64 age = now > seen ? now - seen : 0;
        if (age > wp_config(p)->udp_timeout)
          valid = 0;
        else if (valid && learn && age > LB_SECOND)
          wp_write(known->seen, now);
      }
      if (valid) {
        if (learn) wp_count(p, established);
        choice.number = number;
        return choice;
      }
      if (learn) wp_count(p, moved);
    }
  }
  const __u32 number = lb_slot(p, vip, hash);
  const struct lb_server* server = wp_lookup(p, servers, &number);
  if (!number || !server || server->state == LB_DOWN) return choice;
  choice.number = number;
  choice.is_new = 1;
  if (keeps && learn) lb_enter(p, flow, number, server, now ? now : wp_now(p));
  return choice;
}

/* The flow that an ICMP error is about, as its own packets have it: the error quotes a packet
 * that went the other way, from the address that the error is for. 0: it is about none. */
WP_INLINE int lb_flow_of_error(const struct wp_packet* p, const struct parsed* h,
                               struct lb_flow* flow) {
  struct parsed quoted;
  parse_quoted(p->data, p->end, h, &quoted);
  if (!(quoted.flags & PARSE_PORTS)) return 0;
  for (int i = 0; i < 4; i++) {
    if (quoted.source[i] != h->destination[i]) return 0;
    flow->source[i] = quoted.destination[i];
    flow->destination[i] = quoted.source[i];
  }
  flow->source_port = quoted.destination_port;
  flow->destination_port = quoted.source_port;
  flow->protocol = quoted.protocol;
  return 1;
}

/* A piece of a datagram for an address of ours whose services have ports: nobody knows which of
 * them it is for. */
WP_INLINE int lb_is_stray_fragment(const struct wp_packet* p, const struct parsed* h) {
  if (!(h->flags & PARSE_FRAGMENT) || !(wp_config(p)->features & LB_FEATURE_ECHO)) return 0;
  const __u8 icmp = h->family == 4 ? PARSE_ICMP4 : PARSE_ICMP6;
  return lb_find(p, h->family, h->destination, 0, icmp) != 0;
}

WP_PROGRAM(maglev) {
  struct parsed h;
  parse_frame(p->data, p->end, &h);
  if (!h.family) {
    wp_count(p, not_ours);
    return WP_NEXT;
  }
  /* The pieces of a datagram have to come together again at one server, and all but the first
   * have no ports: services of every port take them all by the addresses. */
  const int ports = !(h.flags & PARSE_FRAGMENT);
  struct lb_flow flow = {{h.source[0], h.source[1], h.source[2], h.source[3]},
                         {h.destination[0], h.destination[1], h.destination[2], h.destination[3]},
                         ports ? h.source_port : 0,
                         ports ? h.destination_port : 0,
                         h.family,
                         h.protocol,
                         0};
  int is_error = 0;
  if (parse_is_icmp_error(&h) && !(h.flags & (PARSE_BAD | PARSE_FRAGMENT)))
    is_error = lb_flow_of_error(p, &h, &flow);
  const struct lb_vip* vip =
      lb_find(p, h.family, flow.destination, flow.destination_port, flow.protocol);
  if (!vip) {
    if (lb_is_stray_fragment(p, &h)) return wp_drop(p, fragment);
    wp_count(p, not_ours);
    return WP_NEXT;
  }
  const __u32 vip_number = vip->number;
  struct lb_vip_counters* count = wp_lookup(p, vip_counters, &vip_number);
  if (!count) return WP_ABORTED;
  if (h.flags & PARSE_BAD) {
    count->drops++;
    return wp_drop(p, malformed);
  }
  if (vip->flags & LB_VIP_ECHO) {
    if (ports && h.icmp_type == (h.family == 4 ? 8 : 128) && h.icmp_code == 0)
      return lb_echo(p, &h);
    wp_count(p, not_ours);
    return WP_NEXT;
  }
  const __u64 hash = lb_hash(&flow);
  struct lb_choice choice = {0, 0};
  if (wp_config(p)->features & LB_FEATURE_QUIC && vip->flags & LB_VIP_QUIC &&
      h.protocol == PARSE_UDP && h.flags & PARSE_PORTS) {
    const __u32 number = lb_quic_server(p, &h, vip);
    const struct lb_server* server = number ? wp_lookup(p, servers, &number) : 0;
    if (server && lb_takes(server, 0)) {
      choice.number = number;
      wp_count(p, quic);
    }
  }
  if (!choice.number) {
    const int begins = h.protocol == PARSE_TCP && (h.tcp_flags & 0x12) == 0x02;
    choice = lb_choose(p, &flow, vip, hash, begins, !is_error);
  }
  if (!choice.number) {
    count->drops++;
    return wp_drop(p, no_server);
  }
  struct lb_server_counters* of_server = wp_lookup(p, server_counters, &choice.number);
  if (!of_server) return WP_ABORTED;
  const __u64 bytes = (__u64)(p->end - p->data);
  if (choice.is_new && !is_error) {
    wp_count(p, new_flows);
    count->new_flows++;
    of_server->new_flows++;
  }
  const struct lb_server* server = wp_lookup(p, servers, &choice.number);
  if (!server) return WP_ABORTED;
  const __u32 overhead = lb_overhead(server);
  if (overhead && h.l4_end - h.l3 + overhead > wp_config(p)->mtu) {
    count->drops++;
    return lb_too_big(p, &h, overhead);
  }
  const int verdict = overhead ? lb_encapsulate(p, &h, server, hash) : lb_direct(p, server);
  if (verdict != WP_TX) {
    count->drops++;
    return verdict;
  }
  if (is_error) wp_count(p, icmp_forwarded);
  count->packets++;
  count->bytes += bytes;
  of_server->packets++;
  of_server->bytes += bytes;
  return WP_TX;
}
