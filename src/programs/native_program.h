/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * What a natively built program and the control plane that runs it know of each other. */
#ifndef WIREPATH_NATIVE_PROGRAM_H
#define WIREPATH_NATIVE_PROGRAM_H

#include "native_map.h"

struct wp_batch;

#define WP_MAX_MAPS 64
#define WP_EPOCH_PACKETS 64 /* after so many a worker lets go of what others deleted */

/* Room for one changed frame, a page as in the kernel. */
#define WP_SCRATCH_BYTES 4096
#define WP_SCRATCH_KEPT 40
#define WP_SCRATCH_FRONT 256
#define WP_SCRATCH_END (WP_SCRATCH_BYTES - 320)

struct wp_instance {
  struct wp_map* maps[WP_MAX_MAPS];
  const void* config;
  __u32 test_mode;
  __u32 slots; /* workers that may run it at a time */
  struct {
    __u8* scratch; /* WP_SCRATCH_BYTES for each frame of a batch */
    __u64 random;
    __u64 pad_[6];
  } slot[WP_MAX_SLOTS];
  struct wp_epochs epochs;
};

struct wp_native_program {
  __u32 abi; /* WP_PROGRAM_ABI */
  __u32 config_size;
  const char* name;
  const struct wp_map_decl* const* decls; /* by number, some empty */
  __u32 maps;
  /* Writes a verdict for every frame, WP_NEXT among them. in_place 0: frames may not be changed
   * where they are. */
  void (*run)(struct wp_instance* instance, struct wp_batch* batch, __u32 slot, int in_place);
};

#endif
