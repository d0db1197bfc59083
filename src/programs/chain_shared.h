/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What the root of a chain and the control plane know of each other. */
#ifndef WIREPATH_CHAIN_SHARED_H
#define WIREPATH_CHAIN_SHARED_H

#include <linux/types.h>

struct wp_slot_note {
  __u32 program;   /* its number in the kernel, 0 = the slot is empty */
  __u32 pid;       /* of the process that holds it, 0 = it stays without one */
  __u64 pid_start; /* clock ticks since boot: tells a number given again */
  char name[16];
};

#endif
