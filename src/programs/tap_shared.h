/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What the taps in the driver write into their ring buffer, and how they are set. */
#ifndef WIREPATH_TAP_SHARED_H
#define WIREPATH_TAP_SHARED_H

#include <linux/types.h>

#define TAP_NO_VERDICT 0xffu /* before other programs have judged */

struct tap_frame { /* followed by `captured` bytes of the frame */
  __u64 monotonic; /* ns, CLOCK_MONOTONIC */
  __u64 lost;      /* frames of this CPU that found no room, ever */
  __u32 original;  /* bytes of the frame */
  __u32 captured;  /* bytes of it that follow */
  __u32 queue;     /* receive queue */
  __u16 cpu;
  __u8 verdict; /* XDP's, or TAP_NO_VERDICT */
  __u8 reserved;
};

struct tap_config {
  __u32 copy; /* bytes of each frame, at most TAP_MAX_COPY */
};
#define TAP_MAX_COPY 9216u

#endif
