/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the filter and its control plane (wirepath/filter/compile.py) share.
 */
#ifndef WIREPATH_FILTER_SHARED_H
#define WIREPATH_FILTER_SHARED_H

#include <linux/types.h>

#include "programs/prefix.h"

#define FILTER_RULES 512 /* after signatures are spelled out */
#define FILTER_WORDS 8   /* of 64 rules */

/* What of a packet some rule looks at. What none does is not looked up. */
enum filter_dimension {
  FILTER_SHAPE,       /* FILTER_SHAPE_... */
  FILTER_PROTOCOL,    /* 0-255 */
  FILTER_SOURCE_PORT, /* 0-65535, 65536 = none */
  FILTER_DESTINATION_PORT,
  FILTER_FLAGS,      /* TCP's, 256 = not TCP */
  FILTER_ICMP,       /* type * 256 + code, + 65536 for ICMPv6; 131072 = neither */
  FILTER_TTL,        /* 0-255 */
  FILTER_LENGTH,     /* of the IP packet, 0-65535 */
  FILTER_VLAN,       /* 0-4095, 4096 = no tag */
  FILTER_DIMENSIONS, /* those that are plain arrays; prefixes are searched */
  FILTER_SOURCE = FILTER_DIMENSIONS,
  FILTER_DESTINATION,
};
#define FILTER_NO_PORT 65536u
#define FILTER_NO_FLAGS 256u
#define FILTER_NO_ICMP 131072u
#define FILTER_NO_VLAN 4096u

#define FILTER_SHAPE_IP6 1u
#define FILTER_SHAPE_FRAGMENT(state) ((state) << 1) /* 0 none, 1 first, 2 later */
#define FILTER_SHAPE_OPTIONS 8u
#define FILTER_SHAPE_LAND 16u
#define FILTER_SHAPE_SAME_PORT 32u

/* Bits of `features` behind those of the dimensions. */
#define FILTER_HAS(dimension) (1u << (dimension))
#define FILTER_LIMITS (1u << 16)  /* some rule is a limit */
#define FILTER_BLOCKS (1u << 17)  /* addresses can be blocked for a time */
#define FILTER_SAMPLES (1u << 18) /* some rule samples */
#define FILTER_IP4 (1u << 19)     /* some rule can fit an IPv4 packet */
#define FILTER_IP6 (1u << 20)
#define FILTER_WATCH (1u << 21) /* one in watch_every packets goes to the samples */
#define FILTER_DEFAULT_DROP (1u << 22)
#define FILTER_MALFORMED_DROP (1u << 23)
#define FILTER_DRY_RUN (1u << 24)
#define FILTER_TRANSPORT (1u << 25) /* ports, flags, ICMP types are looked at */
#define FILTER_DIRECT (1u << 26)  /* one dimension alone: its classes are 1 + number of the rule */
#define FILTER_COOKIES (1u << 27) /* some rule answers SYNs */
#define FILTER_NEVER (1u << 31)

/* Groups, tested once. A feature that is not in use is removed when the program is loaded, but the
 * masking in front of its branch stays, at two instructions each. */
#define FILTER_MORE \
  (FILTER_LIMITS | FILTER_BLOCKS | FILTER_SAMPLES | FILTER_WATCH | FILTER_DRY_RUN | FILTER_COOKIES)
#define FILTER_FIELDS /* what is looked at besides addresses */ \
  (((1u << FILTER_DIMENSIONS) - 1) | FILTER_TRANSPORT | FILTER_LIMITS | FILTER_COOKIES)

struct filter_config {
  __u32 features;
  __u32 words;                   /* of the vectors in use */
  __u32 base[FILTER_DIMENSIONS]; /* where a dimension's classes begin, in blocks of 256 */
  __u32 names;                   /* of rules; behind them the default is counted */
  __u32 watch_every;
  __u32 source_root_bits, destination_root_bits;
  __u32 source4_vector, destination4_vector; /* where the vectors of prefixes begin */
  __u32 source6_vector, destination6_vector;
  __u32 source_lengths, destination_lengths; /* how many there are of IPv6 */
  __u32 only;                                /* FILTER_DIRECT: the dimension */
  __u8 source_length[WP_PREFIX6_LENGTHS], destination_length[WP_PREFIX6_LENGTHS];
};

/* Numbers of vectors, for 256 values of a dimension. */
struct filter_classes {
  __u16 vector[256];
};
/* Rules that a value of a dimension leaves possible, the first in bit 0 of word 0. */
struct filter_vector {
  __u64 word[FILTER_WORDS];
};

enum filter_action { FILTER_DROP, FILTER_PASS, FILTER_LIMIT, FILTER_COOKIE };
#define FILTER_BY_SIGNATURE 1u /* the drop has this reason */
#define FILTER_PER_RULE 2u     /* one bucket for all */

struct filter_rule {
  __u32 action;
  __u32 flags;
  __u32 name;                       /* where it is counted */
  __u32 sample;                     /* one in so many, 0 = none */
  __u64 packet_ns, packet_burst_ns; /* a token bucket in time: what a packet takes, what it holds */
  __u64 byte_ns, byte_burst_ns;     /* byte_ns in 2^-20 ns; a burst of 0 = no such limit */
  __u64 mask6_high, mask6_low;      /* of the source address, what the bucket is per */
  __u32 mask4, reserved;
};

struct filter_count {
  __u64 packets, bytes;           /* that the rule fitted */
  __u64 over_packets, over_bytes; /* of these: above a limit's rate. Others drop all, or none */
};

struct filter_source {
  __u64 high, low; /* IPv4 in the last four bytes of ::ffff:0:0/96 */
  __u32 name, reserved;
};
/* When the bucket will be empty of what was put into it (GCRA's theoretical arrival time). */
struct filter_bucket {
  __u64 packets_until, bytes_until;
};

/* Whose cookie was right just now: the two ends of its connection. */
struct filter_ends {
  __u64 source[2], destination[2]; /* IPv4 in the last four bytes */
  __u32 ports, is6;
};
#define FILTER_PROVEN 1000000000ull /* ns that its segments pass without a connection */

#define FILTER_SET_BACK 1000000000ull /* ns; less is the difference of two queues' time stamps */

struct filter_address {
  __u64 high, low;
};
struct filter_block {
  __u64 until; /* ns of wp_now() */
  __u64 packets;
};

/* The rules as text, for whoever finds the program in the kernel. */
struct filter_text {
  __u8 byte[256];
};

#define FILTER_SNAP 192
struct filter_sample {
  __u64 time;
  __u32 length; /* of the frame */
  __u32 name;   /* of the rule; names = default, names + 1 = malformed, names + 2 = blocked */
  __u32 drop;
  __u32 captured; /* bytes of the frame that follow */
};

#endif
