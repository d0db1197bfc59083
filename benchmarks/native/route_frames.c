/* SPDX-License-Identifier: Apache-2.0
 *
 * What the router's benchmarks route: a stage in front of the program that writes an IPv4 header
 * with the next address of a list into every frame, as ports that cost nothing hand out frames that
 * are all alike, or hold what the last user left in them.
 */
#include <string.h>

#include "core/batch.h"

/* With benchmarks/route_user_run.py. */
struct route_address {
  uint32_t destination; /* network order, as what follows */
  uint16_t checksum;
  uint16_t source_port;
};
struct route_frames {
  const struct route_address* addresses;
  uint64_t count; /* a power of two */
  uint64_t next;
  uint8_t* own;        /* frames to hand on instead of the port's; NULL: those */
  uint64_t own_frames; /* a power of two, of 128 bytes each */
  uint32_t verdict;    /* of every frame, for whoever comes behind */
  uint32_t other_port; /* REDIRECT: 0 and 1 send to each other */
  uint8_t head[42];    /* Ethernet, IPv4 and UDP */
};

__attribute__((visibility("default"))) int bench_route_frames(struct wp_batch* batch, void* state) {
  struct route_frames* s = state;
  const uint8_t verdict = (uint8_t)s->verdict;
  const uint16_t target = (uint16_t)(s->other_port ? !batch->port : 0);
  uint64_t next = s->next;
  for (uint32_t i = 0; i < batch->count; i++, next++) {
    const struct route_address* a = &s->addresses[next & (s->count - 1)];
    if (s->own) {
      batch->data[i] = s->own + (next & (s->own_frames - 1)) * 128;
      batch->length[i] = 60;
    }
    uint8_t* frame = batch->data[i];
    memcpy(frame, s->head, sizeof s->head);
    frame[5] = (uint8_t)batch->port;
    memcpy(frame + 24, &a->checksum, 2);
    memcpy(frame + 30, &a->destination, 4);
    memcpy(frame + 34, &a->source_port, 2);
    batch->verdict[i] = verdict;
    batch->target[i] = target;
  }
  s->next = next;
  return 0;
}
