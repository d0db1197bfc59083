/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What the steering program and its loader share besides the keys: configuration, counters and
 * the receive stamp.
 */
#ifndef WIREPATH_STEER_SHARED_H
#define WIREPATH_STEER_SHARED_H

#include <linux/types.h>

#define STEER_FEW_KEYS 4

/* Read-only data of the program. */
struct steer_config {
  __u64 stamp_magic; /* 0 = no stamps */
  __u32 features;    /* STEER_FEATURE(...), STEER_EVERYTHING */
  __u32 few_keys;    /* how many keys stand in `few`; 0 = they are in the map */
  __u32 chained;     /* in wirepath's chain: exit taps there learn of the verdicts */
  __u32 unused;
  /* A handful of keys (struct steer_key) is compared faster than one is hashed. */
  __u64 few[STEER_FEW_KEYS][3];
};

/* Per CPU. A frame is in exactly one of matched, no_socket and passed. */
struct steer_counters {
  __u64 matched;   /* handed to an AF_XDP socket */
  __u64 no_socket; /* matched, but its queue has no socket: went to the host */
  __u64 passed;    /* went to the host */
  __u64 fragments; /* of `passed`: pieces of an IP datagram, on which no port can be matched */
  __u64 unstamped; /* of `matched`: the driver has no room for metadata */
};

/* XDP metadata in front of a frame. The magic is drawn anew by every loader, so that what an
 * earlier user left in the memory is not taken for a stamp. */
struct steer_stamp {
  __u64 magic;
  __u64 tai_ns; /* CLOCK_TAI when the program ran */
};

#endif
