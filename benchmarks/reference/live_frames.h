/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What live_frames shares with its XDP program: constants set before loading,
 * and the state that survives from one run of the program to the next.
 */
#pragma once

#include <linux/types.h>

struct live_frames_config {
  __u64 count;          /* frames to send in all */
  __u64 interval_q20;   /* ns between frames, 20 fractional bits; 0: no pacing */
  __u32 ifindex;        /* out of which interface */
  __u32 flows;          /* source ports used, one after the other */
  __u32 sequence_at;    /* where in the frame the sequence number goes */
  __u32 sequence_bytes; /* 4 or 8, big-endian; 0: none */
  __u16 sport;          /* first source port, host order */
  __u16 header_sum;     /* of the IP header, its checksum and destination left out */
  __u32 addresses;      /* destinations in the map, a power of two; 0: the frame's own */
  __u32 ethernet[3];    /* both, written anew with each destination, as a router changes them */
  __u8 hops;
  __u8 reserved[7];
};

#define LIVE_FRAMES_ADDRESSES (1u << 20)

struct live_frames_state {
  __u64 sent;     /* frames redirected */
  __u64 sequence; /* next sequence number */
  __u64 due_q20;  /* when the next frame is due, ns after start, 20 fractional bits */
  __u64 start;    /* CLOCK_MONOTONIC, ns; 0: the first run sets it */
  __u64 last;     /* when the last frame was redirected; paced runs only */
  __u32 flow;
  __u32 stop; /* 1: send no more (user space writes it) */
};
