/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the forwarding table: DPDK's rte_fib, rte_lpm, rte_fib6 and rte_lpm6. The table is
 * in transparent huge pages, as ours is, through a heap of its own: DPDK has no huge pages
 * reserved here, and with small ones it would pay for misses of the TLB that we do not have.
 */
#define _GNU_SOURCE
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>
#include <rte_malloc.h>
#include <rte_vect.h>
#include <sys/mman.h>

#include "ref.h"
#include "ref_fib.h"

static const char kWhat[] =
    "Fills one of DPDK's tables from a file and measures look-ups and updates as told on standard\n"
    "input (see ref_fib.h); every answer is one line of JSON.\n\n"
    "example: dpdk_fib --kind fib --family 4 --table fib4.table";

enum { GROUPS4 = 1 << 15, GROUPS6 = 1 << 19, PAGE = 2 << 20, BATCH = 256 };

static struct {
  struct rte_fib* fib;
  struct rte_lpm* lpm;
  struct rte_fib6* fib6;
  struct rte_lpm6* lpm6;
} table;

static int heap(size_t bytes) {
  const size_t room = (bytes + PAGE - 1) / PAGE * PAGE;
  char* raw = mmap(NULL, room + PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) ref_die(1, "mmap %zu bytes: %s", room, strerror(errno));
  char* start = raw + (PAGE - (uintptr_t)raw % PAGE) % PAGE;
  madvise(start, room, MADV_HUGEPAGE);
  if (rte_malloc_heap_create("table") ||
      rte_malloc_heap_memory_add("table", start, room, NULL, (unsigned)(room / PAGE), PAGE))
    ref_die(1, "no heap for the table: %s", rte_strerror(rte_errno));
  return rte_malloc_heap_get_socket("table");
}

static void make(const char* kind, int socket, uint64_t rules) {
  const int most = (int)rules + 1024;
  if (!strcmp(kind, "fib")) {
    struct rte_fib_conf conf = {.type = RTE_FIB_DIR24_8, .max_routes = most};
    conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
    conf.dir24_8.num_tbl8 = GROUPS4;
    table.fib = rte_fib_create("fib", socket, &conf);
  } else if (!strcmp(kind, "lpm")) {
    const struct rte_lpm_config conf = {(uint32_t)most, GROUPS4, 0};
    table.lpm = rte_lpm_create("lpm", socket, &conf);
  } else if (!strcmp(kind, "fib6")) {
    struct rte_fib6_conf conf = {.type = RTE_FIB6_TRIE, .max_routes = most};
    conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
    conf.trie.num_tbl8 = GROUPS6;
    table.fib6 = rte_fib6_create("fib6", socket, &conf);
  } else if (!strcmp(kind, "lpm6")) {
    const struct rte_lpm6_config conf = {(uint32_t)most, GROUPS6, 0};
    table.lpm6 = rte_lpm6_create("lpm6", socket, &conf);
  } else {
    ref_die(2, "--kind '%s': must be fib, lpm, fib6 or lpm6", kind);
  }
  if (!table.fib && !table.lpm && !table.fib6 && !table.lpm6)
    ref_die(1, "%s: %s", kind, rte_strerror(rte_errno));
}

static uint32_t host_order(const uint8_t* a) {
  return (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
}

void ref_fib_add(const struct ref_fib_row* row) {
  int error;
  if (table.fib)
    error = rte_fib_add(table.fib, host_order(row->address), (uint8_t)row->length, row->next_hop);
  else if (table.lpm)
    error = rte_lpm_add(table.lpm, host_order(row->address), (uint8_t)row->length, row->next_hop);
  else if (table.fib6)
    error = rte_fib6_add(table.fib6, row->address, (uint8_t)row->length, row->next_hop);
  else
    error = rte_lpm6_add(table.lpm6, row->address, (uint8_t)row->length, row->next_hop);
  if (error) ref_die(1, "add: %s", strerror(-error));
}

void ref_fib_remove(const struct ref_fib_row* row) {
  int error;
  if (table.fib)
    error = rte_fib_delete(table.fib, host_order(row->address), (uint8_t)row->length);
  else if (table.lpm)
    error = rte_lpm_delete(table.lpm, host_order(row->address), (uint8_t)row->length);
  else if (table.fib6)
    error = rte_fib6_delete(table.fib6, row->address, (uint8_t)row->length);
  else
    error = rte_lpm6_delete(table.lpm6, row->address, (uint8_t)row->length);
  if (error) ref_die(1, "delete: %s", strerror(-error));
}

/* The addresses are in host order for IPv4, as these functions want them. */
uint64_t ref_fib_lookup(const uint8_t* addresses, uint64_t n, uint64_t batch) {
  uint64_t sum = 0;
  if (table.fib) {
    uint64_t hops[BATCH];
    const uint32_t* ips = (const uint32_t*)addresses;
    for (uint64_t i = 0; i < n; i += batch) {
      rte_fib_lookup_bulk(table.fib, (uint32_t*)(uintptr_t)(ips + i), hops, (int)batch);
      for (uint64_t k = 0; k < batch; k++) sum += hops[k];
    }
  } else if (table.lpm && batch == 1) {
    const uint32_t* ips = (const uint32_t*)addresses;
    for (uint64_t i = 0; i < n; i++) {
      uint32_t hop;
      if (!rte_lpm_lookup(table.lpm, ips[i], &hop)) sum += hop;
    }
  } else if (table.lpm) {
    uint32_t hops[BATCH];
    const uint32_t* ips = (const uint32_t*)addresses;
    for (uint64_t i = 0; i < n; i += batch) {
      rte_lpm_lookup_bulk(table.lpm, ips + i, hops, (unsigned)batch);
      for (uint64_t k = 0; k < batch; k++)
        sum += hops[k] & RTE_LPM_LOOKUP_SUCCESS ? hops[k] & 0xffffff : 0;
    }
  } else if (table.fib6) {
    uint64_t hops[BATCH];
    uint8_t(*ips)[16] = (uint8_t(*)[16])(uintptr_t)addresses;
    for (uint64_t i = 0; i < n; i += batch) {
      rte_fib6_lookup_bulk(table.fib6, ips + i, hops, (int)batch);
      for (uint64_t k = 0; k < batch; k++) sum += hops[k];
    }
  } else if (batch == 1) {
    for (uint64_t i = 0; i < n; i++) {
      uint32_t hop;
      if (!rte_lpm6_lookup(table.lpm6, addresses + i * 16, &hop)) sum += hop;
    }
  } else {
    int32_t hops[BATCH];
    uint8_t(*ips)[16] = (uint8_t(*)[16])(uintptr_t)addresses;
    for (uint64_t i = 0; i < n; i += batch) {
      rte_lpm6_lookup_bulk_func(table.lpm6, ips + i, hops, (unsigned)batch);
      for (uint64_t k = 0; k < batch; k++) sum += hops[k] >= 0 ? (uint64_t)hops[k] : 0;
    }
  }
  return sum;
}

/* The vector code where the processor has it: whether it was taken. */
static bool fastest(void) {
  if (table.fib) return !rte_fib_select_lookup(table.fib, RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512);
  if (table.fib6) return !rte_fib6_select_lookup(table.fib6, RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512);
  return false;
}

int main(int argc, char** argv) {
  const char *kind = "fib", *file = NULL;
  uint64_t family = 4, reader = 1, writer = 0;
  const struct ref_opt opts[] = {
      {"kind", REF_STR, &kind, 0, 0, "fib, lpm, fib6 or lpm6"},
      {"family", REF_U64, &family, 4, 6, "4 or 6"},
      {"table", REF_STR, &file, 0, 0, "file of rows (ref_fib.h)"},
      {"reader-cpu", REF_U64, &reader, 0, 1023, "cpu of look-ups"},
      {"writer-cpu", REF_U64, &writer, 0, 1023, "cpu of updates"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!file) ref_die(2, "--table is missing (see --help)");
  if (strchr(kind, '6') ? family != 6 : family != 4)
    ref_die(2, "--family %" PRIu64 " does not go with --kind %s", family, kind);
  char* eal[] = {argv[0],
                 "--no-huge",
                 "--no-shconf",
                 "--no-pci",
                 "-m",
                 "64",
                 "--no-telemetry",
                 "--log-level=lib.*:error",
                 "--force-max-simd-bitwidth=512",
                 NULL};
  if (rte_eal_init((int)REF_COUNT(eal) - 1, eal) < 0)
    ref_die(1, "EAL: %s", rte_strerror(rte_errno));

  struct ref_fib_row* rows;
  const uint64_t count = ref_fib_rows(file, &rows);
  const int socket = heap((size_t)3 << 30);
  const uint64_t start = ref_cpu_now();
  make(kind, socket, count);
  for (uint64_t i = 0; i < count; i++) ref_fib_add(&rows[i]);
  const uint64_t built = ref_cpu_now() - start;
  /* What is taken from the heap; as huge pages of DPDK's own it would all be resident. */
  struct rte_malloc_socket_stats stats;
  rte_malloc_get_socket_stats(socket, &stats);
  const bool vector = fastest();
  printf("{\"rows\": %" PRIu64 ", \"build_seconds\": %.6f, \"bytes\": %zu, \"vector\": %s}\n",
         count, (double)built / 1e9, stats.heap_allocsz_bytes, vector ? "true" : "false");
  fflush(stdout);
  return ref_fib_serve(rows, count, family == 4 ? 4 : 16, true, reader, writer);
}
