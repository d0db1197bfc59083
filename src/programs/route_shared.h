/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the forwarding program (route.c), its control plane and whoever runs it natively share:
 * maps' keys and values, configuration, and what a verdict means.
 *
 * A port is where frames come from and go to: a NIC. It has a number from 1 on, which is its key in
 * the map `ports`. In the driver each port has a program of its own, with its number in the
 * configuration. Natively one instance serves all ports of a worker, the configuration's port is 0,
 * and the number is 1 + the port's number within the worker.
 *
 * An interface is what has addresses: a port without a tag, or a VLAN of it. It has a number from 1
 * on in the map `interfaces`; that of a port without a tag is the port's own number.
 *
 * Verdicts:
 *   WP_REDIRECT  forwarded, rewritten in place: out of the port that the verdict names (natively
 *                batch->target, the port's number within the worker)
 *   WP_DROP      with the reason's counter
 *   WP_NEXT      to the host's own stack, which also answers with ICMP: the frame as it came.
 * Behind the last program of a chain that is PASS. Its reason is in a to_host_* counter Every frame
 * of an interface is in exactly one of forwarded, to_host and dropped of its counters.
 *
 * The forwarding tables are in maps with the bytes of route_fib.h (root4, groups4, state4, and the
 * same of IPv6), entries of 4 bytes; an entry is the number of a group of next hops in `buckets`.
 * All of these are memory that the control plane writes in place, with the stores of
 * src/native/route. Native readers are as in there; eBPF has no load that later loads wait for, so
 * that in the driver the order of stores is kept by processors that keep it themselves (x86-64).
 */
#ifndef WIREPATH_ROUTE_SHARED_H
#define WIREPATH_ROUTE_SHARED_H

#include <linux/types.h>

#include "route_fib.h"

#define ROUTE_INTERFACES 256 /* numbers of ports and interfaces are below it; 0 is none */
#define ROUTE_BUCKETS 128    /* of a group of next hops; a flow's is the low bits of its hash */
#define ROUTE_RETRIES 4      /* of a look-up during which the table changed; then to the host */

struct route_fib_block { /* of a root, and a group of entries */
  __u32 entry[WP_FIB_GROUP_ENTRIES];
};

struct route_buckets {
  __u16 next_hop[ROUTE_BUCKETS]; /* 0: the group is empty */
};

enum route_kind { /* as wp::route::NextHopKind */
                  ROUTE_NONE,
                  ROUTE_FORWARD,
                  ROUTE_HOST,
                  ROUTE_BLACKHOLE,
                  ROUTE_UNREACHABLE,
                  ROUTE_PROHIBIT,
};

struct route_next_hop {
  __u32 sequence; /* odd while it is written; a reader compares before and after */
  __u8 kind;      /* enum route_kind */
  __u8 reserved;
  __u16 vlan;            /* tag to lay on, 0: none */
  __u32 interface_index; /* the kernel's number of the link that `port` stands for */
  __u32 mtu;             /* bytes of an IP packet, 0: any */
  __u8 destination[6];   /* from byte 16 on as in an Ethernet header */
  __u8 source[6];
  __u16 port;      /* key in `ports`, 0: none of the router's, so the host forwards */
  __u16 interface; /* number of the interface that it leads out of, 0: none of the router's */
};

/* The interfaces that members of a group lead out of, also while a neighbour is not resolved: bit n
 * of interface n, bit 0 of any that is none of the router's. For the reverse-path filter. */
struct route_reach {
  __u64 interfaces[ROUTE_INTERFACES / 64];
};

#define ROUTE_UP 1u          /* else everything goes to the host */
#define ROUTE_RPF_STRICT4 2u /* the source's route must lead out of the same interface, */
#define ROUTE_RPF_LOOSE4 4u  /* or out of any */
#define ROUTE_RPF_STRICT6 8u
#define ROUTE_RPF_LOOSE6 16u
#define ROUTE_NO_IP4 32u /* IPv4 is not forwarded from here: to the host */
#define ROUTE_NO_IP6 64u
struct route_interface {
  __u32 index; /* the kernel's number of the interface, of a VLAN its own */
  __u8 mac[6]; /* frames to other addresses are for the host */
  __u16 flags; /* ROUTE_... */
};

struct route_vlan_key { /* in `vlans`, whose values are numbers of interfaces */
  __u16 port;
  __u16 vlan;
};

/* Where the kernel's own table sends to: the way out of the interface of that kernel number. */
struct route_out {
  __u16 port;
  __u16 interface;
  __u16 vlan;
  __u16 reserved;
};

struct route_interface_counters {
  __u64 packets; /* received; = forwarded + to_host + dropped */
  __u64 bytes;
  __u64 forwarded;
  __u64 to_host;
  __u64 dropped;
  __u64 sent_packets; /* forwarded out of this interface */
  __u64 sent_bytes;
};
struct route_hop_counters {
  __u64 packets;
  __u64 bytes; /* as they are sent */
};

struct route_config {
  __u64 seed;       /* of the flow hash */
  __u32 port;       /* in the driver: this port's number. 0: by p->interface */
  __u32 kernel_fib; /* driver only: decide by bpf_fib_lookup, not by the tables */
};

#endif
