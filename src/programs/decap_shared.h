/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What the decapsulating program (decap.c) and its control plane share. */
#ifndef WIREPATH_DECAP_SHARED_H
#define WIREPATH_DECAP_SHARED_H

#include <linux/types.h>

struct decap_config {
  __u16 gue_port; /* network order; 0: no GUE */
};
struct decap_endpoint {
  __u32 address[4]; /* network order, IPv4 in the first word */
  __u32 family;
};
/* Of a packet's outer headers. */
struct decap_outer {
  __u64 l3, l4, end; /* offsets in the frame, the last one behind the packet */
  __u64 pseudo;      /* sum over what UDP's checksum covers beside the datagram */
  __u32 gue;
  __u32 protocol;
};

#endif
