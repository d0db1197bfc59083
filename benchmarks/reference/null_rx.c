/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the null backend: the floor of a poll-mode receive loop. A
 * driver call hands out a batch of prepared frames, the caller reads one byte
 * of each and gives the frames back.
 */
#define _GNU_SOURCE
#include "ref.h"

enum { kMaxBatch = 1024, kFrameSpace = 2048 };

static const char kWhat[] =
    "Hands out batches of prepared frames through a driver's function pointer and sums one byte\n"
    "of each. Prints one line of JSON; `ns_per_packet` is the median of the repeats.\n\n"
    "example: null_rx --batch 64";

struct device;

/* What every poll-mode driver has: one call per burst, reached through a pointer. */
struct device {
  uint32_t (*receive)(struct device*, uint8_t** frames, uint32_t* lengths, uint32_t max);
  void (*release)(struct device*, uint32_t count);
  uint8_t* area;
  uint32_t pool, next, length;
  uint64_t packets, bytes;
};

static uint32_t null_receive(struct device* device, uint8_t** frames, uint32_t* lengths,
                             uint32_t max) {
  const uint32_t mask = device->pool - 1;
  uint32_t next = device->next;
  for (uint32_t i = 0; i < max; i++) {
    frames[i] = device->area + (size_t)(next++ & mask) * kFrameSpace;
    lengths[i] = device->length;
  }
  device->next = next;
  device->packets += max;
  device->bytes += (uint64_t)max * device->length;
  return max;
}

static void null_release(struct device* device, uint32_t count) {
  (void)device;
  (void)count;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  uint64_t batch = 64, pool = 64, length = 64, packets = 200000000, repeat = 5;
  uint64_t cpu = UINT64_MAX;
  double seconds = 60;
  const struct ref_opt opts[] = {
      {"batch", REF_U64, &batch, 1, kMaxBatch, "frames per call"},
      {"pool", REF_U64, &pool, 1, 1 << 16, "distinct frames, a power of two"},
      {"length", REF_U64, &length, 64, kFrameSpace, "length of each frame, bytes"},
      {"packets", REF_U64, &packets, 1, 1e15, "packets per repeat"},
      {"repeat", REF_U64, &repeat, 1, 1000, "repeats"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "give up after this long in all"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (pool & (pool - 1)) ref_die(2, "--pool %" PRIu64 ": must be a power of two", pool);
  ref_pin(cpu);

  /* Bytes that the compiler cannot know, from a device that it cannot see through. */
  uint8_t* area = aligned_alloc(4096, (pool * kFrameSpace + 4095) & ~4095ull);
  double* cost = calloc(repeat, sizeof *cost);
  if (!area || !cost) ref_die(1, "out of memory");
  for (size_t i = 0; i < pool * kFrameSpace; i++) area[i] = (uint8_t)(i * 31 + (i >> 11));
  struct device device = {.receive = null_receive,
                          .release = null_release,
                          .area = area,
                          .pool = (uint32_t)pool,
                          .length = (uint32_t)length};
  struct device* port = &device;
  __asm__ volatile("" : "+r"(port) : : "memory");

  uint8_t* frames[kMaxBatch];
  uint32_t lengths[kMaxBatch];
  uint64_t sum = 0, total_ns = 0, runs = 0;
  ref_bound(seconds);
  for (; runs < repeat && (!runs || !ref_stop); runs++) {
    const uint64_t before = port->packets, start = ref_now();
    do {
      const uint32_t n = port->receive(port, frames, lengths, (uint32_t)batch);
      for (uint32_t i = 0; i < n; i++) sum += frames[i][lengths[i] - 1];
      port->release(port, n);
    } while (!ref_stop && port->packets - before < packets);
    const uint64_t elapsed = ref_now() - start;
    total_ns += elapsed;
    cost[runs] = (double)elapsed / (double)(port->packets - before);
  }
  qsort(cost, runs, sizeof *cost, by_value);
  printf("{\"name\": \"null_rx\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64
         ", \"seconds\": %.9f, \"rate\": %.1f, \"ns_per_packet\": %.4f"
         ", \"ns_min\": %.4f, \"ns_max\": %.4f, \"drops\": null, \"sum\": %" PRIu64
         ", \"batch\": %" PRIu64 ", \"repeats\": %" PRIu64 "}\n",
         port->packets, port->bytes, (double)total_ns / 1e9, 1e9 / cost[runs / 2], cost[runs / 2],
         cost[0], cost[runs - 1], sum, batch, runs);
  return 0;
}
