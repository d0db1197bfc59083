/* SPDX-License-Identifier: Apache-2.0
 *
 * The batch: up to `capacity` frames as parallel arrays. This struct is the C ABI
 * of wirepath: a stage written in any compiled language receives a pointer to it.
 * Fields are never reordered; `abi` changes when one is added.
 *
 * Frames are Ethernet frames whatever the backend: a port whose kernel interface
 * hands out bare payloads (a UDP socket) lays the headers in front of them.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WP_BATCH_ABI 1u

/* The numbers are XDP's, so that a packet program compiled to eBPF and to native
 * code returns the same value in both. */
enum wp_verdict {
  WP_ABORTED = 0,  /* the stage failed on this frame; counted, then released */
  WP_DROP = 1,     /* done with it: release the frame */
  WP_PASS = 2,     /* give it to the host's own network stack */
  WP_TX = 3,       /* send it out of the port it came from */
  WP_REDIRECT = 4, /* send it out of the port in `target` */
  WP_KEEP = 5,     /* somebody holds the frame and will release it later */
};
#define WP_VERDICTS 6

/* handle of a frame that no longer belongs to the batch (sent, or never owned) */
#define WP_NO_FRAME UINT64_MAX

struct wp_batch {
  uint32_t abi;       /* WP_BATCH_ABI */
  uint32_t capacity;  /* length of every array below */
  uint32_t count;     /* frames in this batch: [0, capacity] */
  uint16_t port;      /* number of the port within its worker */
  uint16_t queue;     /* receive queue within the port */
  uint8_t** data;     /* first byte of each frame (Ethernet destination) */
  uint32_t* length;   /* bytes from `data` on; no frame check sequence */
  int64_t* timestamp; /* ns since the Unix epoch; source: the port's info */
  uint32_t* hash;     /* flow hash; 0 = not computed */
  uint8_t* verdict;   /* enum wp_verdict; WP_DROP when the batch arrives */
  uint16_t* target;   /* for WP_REDIRECT: number of the port within the worker */
  uint64_t* handle;   /* the backend's own; stages leave it alone */
};

/* A stage as a C function: looks at the batch, writes verdicts, returns 0. Any
 * other value stops the worker, which reports it when joined. Must not block,
 * allocate or throw. */
typedef int (*wp_stage_fn)(struct wp_batch* batch, void* state);

/* For shared objects with stages, which may hide everything else. WP_STAGE_ABI;
 * stands once, outside functions, and says what the object was built for: without
 * it wirepath.load_stage() refuses the object. */
#define WP_EXPORT __attribute__((visibility("default")))
#ifdef __cplusplus
#define WP_STAGE_ABI                            \
  extern "C" {                                  \
  WP_EXPORT extern const uint32_t wp_stage_abi; \
  const uint32_t wp_stage_abi = WP_BATCH_ABI;   \
  }                                             \
  static_assert(sizeof wp_stage_abi == 4, "what load_stage() reads")
#else
#define WP_STAGE_ABI                            \
  WP_EXPORT extern const uint32_t wp_stage_abi; \
  const uint32_t wp_stage_abi = WP_BATCH_ABI
#endif
