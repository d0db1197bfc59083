/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the balancer (maglev.c) and its control plane share: maps' keys and values, configuration.
 * Addresses and ports are in network order, IPv4 in the first word and 0 behind; all other
 * numbers are the host's.
 */
#ifndef WIREPATH_MAGLEV_SHARED_H
#define WIREPATH_MAGLEV_SHARED_H

#include <linux/types.h>

/* --- services: a VIP is found by the most exact key that is in use --- */
struct lb_vip_key {
  __u32 address[4]; /* family 0: the number of a prefix in the first word */
  __u16 port;       /* 0: any */
  __u8 family;      /* 4, 6; 0: what lb_prefix4/6 found */
  __u8 protocol;    /* 0: any */
};
#define LB_VIP_QUIC 1u      /* short headers go by their connection ID */
#define LB_VIP_ECHO 2u      /* no service: echo requests are answered */
#define LB_VIP_STATELESS 4u /* no connection table: each packet by the Maglev table */
struct lb_vip {
  __u32 number; /* index in vip_counters */
  __u32 ring;   /* where its table begins in rings */
  __u32 size;   /* slots of its table; 0: none */
  __u32 flags;  /* LB_VIP_... */
};
struct lb_prefix4 {
  __u32 prefixlen;
  __u32 address;
};
struct lb_prefix6 {
  __u32 prefixlen;
  __u32 address[4];
};

/* --- servers: one record for each service that a server has --- */
enum lb_mode { LB_IPIP = 1, LB_GUE = 2, LB_DSR = 3 };
enum lb_state { LB_DOWN = 0, LB_UP = 1, LB_DRAINING = 2 };
struct lb_server {
  __u32 address[4];
  __u32 generation; /* another one each time the record changes hands */
  __u16 gue_port;
  __u8 family;
  __u8 mode;  /* enum lb_mode */
  __u8 state; /* enum lb_state */
  __u8 unused;
  __u8 mac[6]; /* of the next hop, or with LB_DSR of the server */
};

/* --- connections --- */
struct lb_flow {
  __u32 source[4];
  __u32 destination[4];
  __u16 source_port;
  __u16 destination_port;
  __u8 family;
  __u8 protocol;
  __u16 unused;
};
struct lb_connection {
  __u64 seen; /* ns of wp_now(): when it was entered; UDP: when last seen, to the second */
  __u32 server;
  __u32 generation;
};

/* --- counters --- */
struct lb_vip_counters {
  __u64 packets; /* sent to a server */
  __u64 bytes;   /* of these, as they came */
  __u64 new_flows;
  __u64 drops;
};
struct lb_server_counters {
  __u64 packets;
  __u64 bytes;
  __u64 new_flows;
};
/* What a CPU has spent of what is bounded by the second. */
struct lb_second {
  __u64 began;
  __u64 flows;
  __u64 errors;
};

/* --- configuration --- */
#define LB_FEATURE_EXACT 1u        /* services with address, port and protocol */
#define LB_FEATURE_ANY_PORT 2u     /* services of every port of a protocol */
#define LB_FEATURE_ANY_PROTOCOL 4u /* services of everything */
#define LB_FEATURE_PREFIX4 8u
#define LB_FEATURE_PREFIX6 16u
#define LB_FEATURE_QUIC 32u
#define LB_FEATURE_ECHO 64u
struct lb_config {
  __u64 udp_timeout;       /* ns; 0: UDP flows are not timed out */
  __u64 flows_per_second;  /* new ones that a CPU enters in a second; beyond it none */
  __u64 errors_per_second; /* ICMP errors that a CPU sends in a second */
  __u32 features;          /* LB_FEATURE_... */
  __u32 mtu;               /* bytes of the largest IP packet on the way to the servers */
  __u32 source4;           /* of what is sent to servers */
  __u32 source6[4];
  __u32 quic_config; /* the first three bits of a connection ID that tells its server */
};

#define LB_SECOND 1000000000ull

/* The same everywhere, so that balancers that share a VIP agree on every flow. The upper half
 * chooses the slot, the lower half the entropy of the outer header. */
#define LB_HASH_SEED 0x9ae16a3b2f90404full
#define LB_HASH_FACTOR 0xc949c7dead8b68a7ull

#endif
