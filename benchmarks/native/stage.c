/* SPDX-License-Identifier: Apache-2.0
 *
 * The stage of the receive benchmarks, behind the C ABI of wirepath: reads one field of every
 * packet, as the yardsticks do.
 */
#include <string.h>
#include <time.h>

#include "core/batch.h"

/* Shared with benchmarks/receiver.py, which reads it while the worker runs. */
struct bench_stage {
  uint64_t packets, bytes, sum;
  uint64_t first_ns, last_ns; /* CLOCK_MONOTONIC after the first and the latest batch */
  uint64_t first_batch;       /* packets that were there when the clock started */
  uint32_t offset;            /* of the field in the frame */
  uint32_t delay_ns;          /* spent on every packet: makes a slow receiver on purpose */
};

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

__attribute__((visibility("default"))) int bench_read_field(struct wp_batch* batch, void* state) {
  struct bench_stage* s = state;
  uint64_t sum = 0, bytes = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    uint32_t field = 0;
    if (batch->length[i] >= s->offset + 4) memcpy(&field, batch->data[i] + s->offset, 4);
    sum += __builtin_bswap32(field);
    bytes += batch->length[i];
  }
  if (s->delay_ns) {
    const uint64_t until = now_ns() + (uint64_t)s->delay_ns * batch->count;
    while (now_ns() < until) {
    }
  }
  s->sum += sum;
  s->bytes += bytes;
  s->last_ns = now_ns();
  if (!s->packets) {
    s->first_ns = s->last_ns;
    s->first_batch = batch->count;
  }
  s->packets += batch->count;
  return 0;
}

/* Swaps the Ethernet addresses and sends every packet back, as testpmd's macswap does. */
__attribute__((visibility("default"))) int bench_swap_macs(struct wp_batch* batch, void* state) {
  struct bench_stage* s = state;
  for (uint32_t i = 0; i < batch->count; i++) {
    uint8_t* frame = batch->data[i];
    uint8_t kept[6];
    if (batch->length[i] < 14) continue;
    memcpy(kept, frame, 6);
    memcpy(frame, frame + 6, 6);
    memcpy(frame + 6, kept, 6);
    batch->verdict[i] = WP_TX;
  }
  if (s->delay_ns) {
    const uint64_t until = now_ns() + (uint64_t)s->delay_ns * batch->count;
    while (now_ns() < until) {
    }
  }
  s->packets += batch->count;
  return 0;
}

/* Shared with benchmarks/latency_ends.py. */
struct bench_latency {
  uint64_t count, capacity;
  uint32_t* since_sent;  /* ns from the time in the payload to this stage */
  uint32_t* since_stamp; /* ns from the frame's timestamp to this stage */
  uint64_t last_ns;      /* CLOCK_MONOTONIC of the latest batch */
  uint32_t offset;       /* of the time in the frame: 8 bytes, this machine's order */
};

static uint32_t bounded(int64_t ns) {
  return ns < 0 ? 0 : ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

__attribute__((visibility("default"))) int bench_latency(struct wp_batch* batch, void* state) {
  struct bench_latency* s = state;
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  const int64_t now = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
  for (uint32_t i = 0; i < batch->count && s->count < s->capacity; i++) {
    int64_t sent;
    if (batch->length[i] < s->offset + sizeof sent) continue;
    memcpy(&sent, batch->data[i] + s->offset, sizeof sent);
    s->since_sent[s->count] = bounded(now - sent);
    s->since_stamp[s->count++] = bounded(now - batch->timestamp[i]);
  }
  s->last_ns = now_ns();
  return 0;
}
