/* SPDX-License-Identifier: Apache-2.0
 *
 * How forwarding tables are measured, ours and others': a table is filled once and then told on
 * standard input what to do,
 *
 *   lookup BATCH SECONDS FILE    look-ups of the addresses of FILE, over and over
 *   update SECONDS FILE          a second thread takes rows out and puts them in again meanwhile
 *
 * and answers each with one line of JSON. Rates are by the processor time of their thread. Whoever
 * includes this defines the three functions below. FILE has addresses of 4 or 16 bytes in network
 * order; a table's file has rows of struct ref_fib_row.
 */
#pragma once

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ref_fib_row {
  uint8_t address[16]; /* IPv4: the first four */
  uint32_t length;
  uint32_t next_hop;
};

void ref_fib_add(const struct ref_fib_row* row);
void ref_fib_remove(const struct ref_fib_row* row);
/* Of n addresses, `batch` at once; the sum of the next hops. */
uint64_t ref_fib_lookup(const uint8_t* addresses, uint64_t n, uint64_t batch);

#ifdef __cplusplus
}
#endif

/* A whole file, and its size. */
static inline uint8_t* ref_fib_read(const char* path, uint64_t* bytes) {
  FILE* file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) {
    perror(path);
    exit(1);
  }
  *bytes = (uint64_t)ftell(file);
  rewind(file);
  uint8_t* data = (uint8_t*)aligned_alloc(64, (*bytes + 64) / 64 * 64);
  if (!data || fread(data, 1, *bytes, file) != *bytes) {
    perror(path);
    exit(1);
  }
  fclose(file);
  return data;
}

static inline uint64_t ref_fib_rows(const char* path, struct ref_fib_row** rows) {
  uint64_t bytes;
  *rows = (struct ref_fib_row*)(void*)ref_fib_read(path, &bytes);
  return bytes / sizeof **rows;
}

/* Memory of the process, bytes. */
static inline uint64_t ref_fib_resident(void) {
  unsigned long long all = 0, resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%llu %llu", &all, &resident) != 2) {
    perror("/proc/self/statm");
    exit(1);
  }
  fclose(file);
  return resident * 4096;
}

static inline uint64_t ref_fib_cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void ref_fib_pin(uint64_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set)) {
    fprintf(stderr, "cannot pin to cpu %" PRIu64 "\n", cpu);
    exit(2);
  }
}

struct ref_fib_churn {
  const struct ref_fib_row* rows;
  uint64_t count, cpu, updates, ns;
  double seconds;
  int done; /* atomic */
};

/* Takes rows out and puts them in again, so that the table is what it was at the end. */
static inline void* ref_fib_churn_run(void* arg) {
  struct ref_fib_churn* c = (struct ref_fib_churn*)arg;
  enum { AT_ONCE = 64 };
  uint64_t state = 88172645463325252u, at[AT_ONCE];
  ref_fib_pin(c->cpu);
  const uint64_t start = ref_fib_cpu_ns();
  const uint64_t end = start + (uint64_t)(c->seconds * 1e9);
  while (ref_fib_cpu_ns() < end) {
    /* All different: a stretch of rows from anywhere. */
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const uint64_t first = state % (c->count - AT_ONCE * 64);
    for (int i = 0; i < AT_ONCE; i++) at[i] = first + (uint64_t)i * 64;
    for (int i = 0; i < AT_ONCE; i++) ref_fib_remove(&c->rows[at[i]]);
    for (int i = 0; i < AT_ONCE; i++) ref_fib_add(&c->rows[at[i]]);
    c->updates += 2 * AT_ONCE;
  }
  c->ns = ref_fib_cpu_ns() - start;
  __atomic_store_n(&c->done, 1, __ATOMIC_RELEASE);
  return NULL;
}

/* Measures until standard input ends. `swap`: IPv4 addresses are wanted in host order. */
static inline int ref_fib_serve(const struct ref_fib_row* rows, uint64_t count, uint64_t size,
                                bool swap, uint64_t reader, uint64_t writer) {
  char line[4096];
  ref_fib_pin(reader);
  while (fgets(line, sizeof line, stdin)) {
    char path[4000];
    uint64_t batch = 64, bytes;
    double seconds;
    const bool update = sscanf(line, "update %lf %3999s", &seconds, path) == 2;
    if (!update && (sscanf(line, "lookup %" SCNu64 " %lf %3999s", &batch, &seconds, path) != 3 ||
                    batch < 1 || batch > 256)) {
      fprintf(stderr, "not understood: %s", line);
      return 2;
    }
    uint8_t* addresses = ref_fib_read(path, &bytes);
    const uint64_t n = bytes / size / batch * batch;
    if (swap && size == 4)
      for (uint64_t i = 0; i < n; i++) {
        uint32_t a;
        memcpy(&a, addresses + i * 4, 4);
        a = __builtin_bswap32(a);
        memcpy(addresses + i * 4, &a, 4);
      }
    struct ref_fib_churn churn;
    memset(&churn, 0, sizeof churn);
    churn.rows = rows, churn.count = count, churn.cpu = writer, churn.seconds = seconds;
    uint64_t sum = ref_fib_lookup(addresses, n, batch); /* warm, and what is compared */
    pthread_t thread;
    if (update && pthread_create(&thread, NULL, ref_fib_churn_run, &churn)) {
      perror("pthread_create");
      return 1;
    }
    const uint64_t slice = 1 << 16;
    uint64_t looked = 0, at = 0;
    const uint64_t start = ref_fib_cpu_ns();
    const uint64_t end = start + (uint64_t)(seconds * 1e9);
    uint64_t now = start, keep = 0;
    while (update ? !__atomic_load_n(&churn.done, __ATOMIC_ACQUIRE) : now < end) {
      uint64_t some = n - at < slice ? n - at : slice;
      keep += ref_fib_lookup(addresses + at * size, some, batch);
      looked += some;
      at = at + some == n ? 0 : at + some;
      now = ref_fib_cpu_ns();
    }
    now = ref_fib_cpu_ns();
    if (update) {
      pthread_join(thread, NULL);
      if (ref_fib_lookup(addresses, n, batch) != sum) {
        fprintf(stderr, "after the updates the table is not what it was\n");
        return 1;
      }
    }
    printf("{\"rate\": %.1f, \"sum\": %" PRIu64 ", \"updates\": %.1f, \"lookups\": %" PRIu64
           ", \"kept\": %" PRIu64 "}\n",
           (double)looked * 1e9 / (double)(now - start), sum,
           update ? (double)churn.updates * 1e9 / (double)churn.ns : 0.0, looked, keep & 1);
    fflush(stdout);
    free(addresses);
  }
  return 0;
}
