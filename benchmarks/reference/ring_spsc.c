/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the Ring: the bare single-producer single-consumer loop over
 * 64-byte records in shared memory, cached indices, one index store per batch.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/mman.h>

#include "ref.h"

static const char kWhat[] =
    "Moves 64-byte records from one pinned thread to another through an SPSC ring: the producer\n"
    "writes all 64 bytes, the consumer sums one u64 of each (--copy: copies all 64 bytes out and\n"
    "sums from the copy). Prints one line of JSON; `rate` is the median of the repeats.\n\n"
    "example: ring_spsc --producer-cpu 0 --consumer-cpu 1 --batch 64";

struct record {
  uint64_t word[8];
};

/* Each side's own index and its copy of the other's share a line; the sides do not. Two lines
 * apart, because the hardware fetches lines in pairs. */
struct ring {
  _Alignas(128) _Atomic uint64_t tail; /* written by the producer */
  uint64_t head_cached;
  _Alignas(128) _Atomic uint64_t head; /* written by the consumer */
  uint64_t tail_cached;
  _Alignas(128) struct record slots[];
};

struct job {
  struct ring* ring;
  uint64_t capacity, batch, records, cpu;
  bool copy;
  pthread_barrier_t* barrier;
  uint64_t sum, moved, full, empty, start_ns, end_ns;
};

static inline void wait_a_little(uint64_t* spins) {
  ref_pause();
  /* Only matters when both threads share one cpu. */
  if ((++*spins & 0xffff) == 0) sched_yield();
}

static void* produce(void* arg) {
  struct job* job = arg;
  struct ring* ring = job->ring;
  const uint64_t batch = job->batch, capacity = job->capacity, mask = capacity - 1;
  const uint64_t total = job->records;
  uint64_t tail = 0, full = 0, spins = 0;
  ref_pin(job->cpu);
  pthread_barrier_wait(job->barrier);
  job->start_ns = ref_now();
  while (tail < total) {
    if (capacity - (tail - ring->head_cached) < batch) {
      ring->head_cached = atomic_load_explicit(&ring->head, memory_order_acquire);
      if (capacity - (tail - ring->head_cached) < batch) {
        if (ref_stop) break;
        full++;
        wait_a_little(&spins);
        continue;
      }
    }
    struct record* slot = &ring->slots[tail & mask]; /* batch divides capacity: contiguous */
    for (uint64_t i = 0; i < batch; i++) {
      for (uint64_t w = 0; w < 8; w++) slot[i].word[w] = tail + i + w;
    }
    tail += batch;
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
  }
  job->full = full;
  job->moved = tail;
  return NULL;
}

static void* consume(void* arg) {
  struct job* job = arg;
  struct ring* ring = job->ring;
  const uint64_t batch = job->batch, mask = job->capacity - 1, total = job->records;
  struct record* out = aligned_alloc(64, batch * sizeof *out);
  if (!out) ref_die(1, "out of memory");
  uint64_t head = 0, sum = 0, empty = 0, spins = 0;
  ref_pin(job->cpu);
  pthread_barrier_wait(job->barrier);
  while (head < total) {
    if (ring->tail_cached - head < batch) {
      ring->tail_cached = atomic_load_explicit(&ring->tail, memory_order_acquire);
      if (ring->tail_cached - head < batch) {
        if (ref_stop) break;
        empty++;
        wait_a_little(&spins);
        continue;
      }
    }
    const struct record* slot = &ring->slots[head & mask];
    if (job->copy) {
      memcpy(out, slot, batch * sizeof *out);
      __asm__ volatile("" : : "r"(out) : "memory"); /* the copy is real, not read through */
      slot = out;
    }
    for (uint64_t i = 0; i < batch; i++) sum += slot[i].word[0];
    head += batch;
    atomic_store_explicit(&ring->head, head, memory_order_release);
  }
  job->end_ns = ref_now();
  job->sum = sum;
  job->moved = head;
  job->empty = empty;
  free(out);
  return NULL;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  uint64_t producer_cpu = 0, consumer_cpu = 1, capacity = 4096, batch = 64;
  uint64_t records = 50000000, repeat = 5;
  double seconds = 60;
  bool copy = false;
  const struct ref_opt opts[] = {
      {"producer-cpu", REF_U64, &producer_cpu, 0, 1023, "cpu of the producer"},
      {"consumer-cpu", REF_U64, &consumer_cpu, 0, 1023, "cpu of the consumer"},
      {"capacity", REF_U64, &capacity, 2, 1 << 24, "records in the ring, a power of two"},
      {"batch", REF_U64, &batch, 1, 4096, "records per push and per pop, divides the capacity"},
      {"records", REF_U64, &records, 1, 1e15, "records per repeat (rounded up to whole batches)"},
      {"repeat", REF_U64, &repeat, 1, 1000, "repeats"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "give up after this long in all"},
      {"copy", REF_FLAG, &copy, 0, 0, "consumer copies all 64 bytes of each record out"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (capacity & (capacity - 1)) {
    ref_die(2, "--capacity %" PRIu64 ": must be a power of two", capacity);
  }
  if (capacity % batch) {
    ref_die(2, "--batch %" PRIu64 ": must divide the capacity %" PRIu64, batch, capacity);
  }
  records = (records + batch - 1) / batch * batch;

  const size_t size = sizeof(struct ring) + capacity * sizeof(struct record);
  struct ring* ring =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (ring == MAP_FAILED) ref_die(1, "mmap %zu bytes: %s", size, strerror(errno));
  double* rates = calloc(repeat, sizeof *rates);
  if (!rates) ref_die(1, "out of memory");

  ref_bound(seconds);
  uint64_t moved = 0, pushed = 0, sum = 0, full = 0, empty = 0, runs = 0, total_ns = 0;
  for (; runs < repeat && (!runs || !ref_stop); runs++) {
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    atomic_store(&ring->tail, 0);
    atomic_store(&ring->head, 0);
    ring->head_cached = ring->tail_cached = 0;
    struct job push = {.ring = ring,
                       .capacity = capacity,
                       .batch = batch,
                       .records = records,
                       .cpu = producer_cpu,
                       .barrier = &barrier};
    struct job pop = push;
    pop.cpu = consumer_cpu;
    pop.copy = copy;
    pthread_t producer, consumer;
    if (pthread_create(&producer, NULL, produce, &push) ||
        pthread_create(&consumer, NULL, consume, &pop)) {
      ref_die(1, "cannot start two threads");
    }
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    pthread_barrier_destroy(&barrier);
    /* 0 + 1 + ... + (moved - 1), modulo 2^64 */
    const uint64_t expected =
        (uint64_t)((unsigned __int128)pop.moved * (pop.moved ? pop.moved - 1 : 0) / 2);
    if (pop.sum != expected) {
      ref_die(1, "sum %" PRIu64 " is not %" PRIu64 ": the ring lost or tore records", pop.sum,
              expected);
    }
    rates[runs] = ref_rate(pop.moved, pop.end_ns - push.start_ns);
    total_ns += pop.end_ns - push.start_ns;
    moved += pop.moved;
    pushed += push.moved;
    sum += pop.sum;
    full += push.full;
    empty += pop.empty;
  }
  qsort(rates, runs, sizeof *rates, by_value);
  printf("{\"name\": \"ring_spsc\", \"unit\": \"records/s\", \"records\": %" PRIu64
         ", \"bytes\": %" PRIu64
         ", \"seconds\": %.9f, \"rate\": %.1f, \"rate_min\": %.1f"
         ", \"rate_max\": %.1f, \"drops\": %" PRIu64 ", \"sum\": %" PRIu64 ", \"full\": %" PRIu64
         ", \"empty\": %" PRIu64 ", \"batch\": %" PRIu64 ", \"capacity\": %" PRIu64
         ", \"copy\": %s, \"repeats\": %" PRIu64 "}\n",
         moved, moved * 64, (double)total_ns / 1e9, rates[runs / 2], rates[0], rates[runs - 1],
         pushed - moved, sum, full, empty, batch, capacity, copy ? "true" : "false", runs);
  return 0;
}
