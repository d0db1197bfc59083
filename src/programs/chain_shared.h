/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What the programs of a chain and the control plane know of each other. */
#ifndef WIREPATH_CHAIN_SHARED_H
#define WIREPATH_CHAIN_SHARED_H

#include <linux/types.h>

/* Slots of the chain in the order in which they are run. */
enum wp_chain_slot {
  WP_SLOT_TAP = 0,
  WP_SLOT_PRE = 1, /* user programs: in front of the filter, */
  WP_SLOT_FILTER = 2,
  WP_SLOT_USER = 3, /* behind it, */
  WP_SLOT_BALANCER = 4,
  WP_SLOT_DECAP = 5,
  WP_SLOT_ROUTER = 6,
  WP_SLOT_POST = 7, /* and behind all but the steering */
  WP_SLOT_STEER = 8,
  WP_SLOTS = 16,
  /* Exit taps see every packet with its final verdict, wp_exit_verdict(p), one slot for each. What
   * they return is ignored. Empty slots cost nothing. */
  WP_SLOT_EXIT = 16,
  WP_CHAIN_SIZE = 24
};

struct wp_slot_note {
  __u32 program;   /* its number in the kernel, 0 = the slot is empty */
  __u32 pid;       /* of the process that holds it, 0 = it stays without one */
  __u64 pid_start; /* clock ticks since boot: tells a number given again */
  char name[16];
};

#endif
