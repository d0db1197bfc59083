/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What both taps do: copy the beginning of a frame into the ring buffer of whoever captures. */
#ifndef WIREPATH_TAP_H
#define WIREPATH_TAP_H

#include "programs/program.h"
#include "programs/tap_shared.h"

WP_CONFIG(struct tap_config);
#define TAP_COUNTERS(COUNT, DROP) COUNT(seen) COUNT(lost)
WP_COUNTERS(TAP_COUNTERS);
WP_RING(tap_frames, 8388608); /* set before loading: what the capturer asked for */

/* Rooms of a few sizes: the verifier wants constants, and a ring of whole frames that are mostly
 * short would hold few of them. */
#define TAP_COPY(p, head, room) (wp_sample(p, tap_frames, head, room) == 0)

WP_INLINE void tap_frame_out(struct wp_packet* p, __u32 verdict) {
  const __u64 length = (__u64)(p->end - p->data);
  const __u64 wanted = length < wp_config(p)->copy ? length : wp_config(p)->copy;
  struct tap_frame head = {
      .monotonic = wp_now(p),
      .lost = p->counters->lost,
      .original = (__u32)length,
      .queue = p->queue,
      .cpu = (__u16)wp_slot(p),
      .verdict = (__u8)verdict,
  };
  int done;
  wp_count(p, seen);
  if (wanted <= 128) {
    head.captured = wanted < 128 ? (__u32)wanted : 128;
    done = TAP_COPY(p, &head, 128);
  } else if (wanted <= 512) {
    head.captured = (__u32)wanted;
    done = TAP_COPY(p, &head, 512);
  } else if (wanted <= 2048) {
    head.captured = (__u32)wanted;
    done = TAP_COPY(p, &head, 2048);
  } else {
    head.captured = wanted < TAP_MAX_COPY ? (__u32)wanted : TAP_MAX_COPY;
    done = TAP_COPY(p, &head, TAP_MAX_COPY);
  }
  if (!done) wp_count(p, lost);
}

#endif
