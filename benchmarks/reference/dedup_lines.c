/* SPDX-License-Identifier: Apache-2.0
 *
 * Two lines of MoldUDP64 packets in memory, each message taken once: the number
 * in the header against the next one wanted, and a walk over the blocks. No gaps,
 * no sessions, no time: what is out of order is only counted.
 */
#define _GNU_SOURCE
#include "ref.h"

static const char kWhat[] =
    "Takes each message of two interleaved MoldUDP64 lines once. One line of JSON.";

#define WINDOW 256
#define ROOM 1472
#define HEADER 20

static uint16_t be16(const uint8_t* p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return __builtin_bswap16(v);
}
static uint64_t be64(const uint8_t* p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return __builtin_bswap64(v);
}
static void put64(uint8_t* p, uint64_t v) {
  v = __builtin_bswap64(v);
  memcpy(p, &v, sizeof v);
}

struct lines {
  uint64_t next, messages, sum, duplicates, out_of_order;
};

/* Not inlined: packets come from a receive loop, one call each. */
static void __attribute__((noinline)) take(struct lines* s, const uint8_t* p, size_t n) {
  if (n < HEADER) return;
  uint64_t seq = be64(p + 10);
  const uint64_t after = seq + be16(p + 18);
  if (after <= s->next) {
    s->duplicates += after - seq;
    return;
  }
  if (seq > s->next) s->out_of_order++;
  const uint8_t* at = p + HEADER;
  const uint8_t* const end = p + n;
  for (; seq != after; seq++) {
    if (end - at < 2) return;
    const uint16_t length = be16(at);
    if (length > end - at - 2) return;
    if (seq >= s->next) {
      s->messages++;
      s->sum += seq * at[2] + length;
      s->next = seq + 1;
    }
    at += 2 + length;
  }
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  uint64_t messages = 2000000, per_packet = 4, bytes = 36, skew = 3, lose = 0, repeat = 5;
  uint64_t cpu = UINT64_MAX;
  double seconds = 60;
  const struct ref_opt opts[] = {
      {"messages", REF_U64, &messages, 1, 1e9, "messages a repeat"},
      {"per-packet", REF_U64, &per_packet, 1, 700, "messages a packet"},
      {"bytes", REF_U64, &bytes, 1, 1450, "bytes a message"},
      {"skew", REF_U64, &skew, 0, WINDOW - 1, "packets that line B is behind"},
      {"lose", REF_U64, &lose, 0, 1e9, "one in so many packets is missing on each line; 0: none"},
      {"repeat", REF_U64, &repeat, 1, 1000, "repeats"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "give up after this long in all"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  const size_t size = HEADER + per_packet * (2 + bytes);
  if (size > ROOM) ref_die(2, "--per-packet, --bytes: a packet holds %d bytes", ROOM);
  ref_pin(cpu);
  static uint8_t ring[WINDOW * ROOM];
  for (size_t i = 0; i < WINDOW; i++) {
    uint8_t* at = ring + i * ROOM;
    memcpy(at, "BENCHMARK ", 10);
    at[18] = (uint8_t)(per_packet >> 8);
    at[19] = (uint8_t)per_packet;
    at += HEADER;
    for (uint64_t k = 0; k < per_packet; k++, at += 2 + bytes) {
      at[0] = (uint8_t)(bytes >> 8);
      at[1] = (uint8_t)bytes;
      memset(at + 2, 'A', bytes);
    }
  }
  const uint64_t packets = messages / per_packet;
  double* rates = calloc(repeat, sizeof *rates);
  if (!rates) ref_die(1, "no memory");
  struct lines s = {0};
  uint64_t runs = 0;
  ref_bound(seconds);
  /* The first run warms the caches. */
  for (uint64_t run = 0; run <= repeat && (run < 2 || !ref_stop); run++) {
    s = (struct lines){.next = 1};
    uint64_t lost_a = lose / 2, lost_b = lose - 1;
    const uint64_t start = ref_now();
    for (uint64_t i = 0; i < packets + skew; i++) {
      if (i < packets) {
        uint8_t* const a = ring + i % WINDOW * ROOM;
        put64(a + 10, 1 + i * per_packet);
        if (!lose || lost_a-- != 0) {
          take(&s, a, size);
        } else {
          lost_a = lose - 1;
        }
      }
      if (i >= skew) {
        if (!lose || lost_b-- != 0) {
          take(&s, ring + (i - skew) % WINDOW * ROOM, size);
        } else {
          lost_b = lose - 1;
        }
      }
    }
    const uint64_t elapsed = ref_now() - start;
    if (run) rates[runs++] = ref_rate(s.messages, elapsed);
  }
  qsort(rates, runs, sizeof *rates, by_value);
  printf("{\"name\": \"dedup_lines\", \"unit\": \"messages/s\", \"messages\": %" PRIu64
         ", \"sum\": %" PRIu64 ", \"duplicates\": %" PRIu64 ", \"out_of_order\": %" PRIu64
         ", \"rate\": %.1f, \"rate_min\": %.1f, \"rate_max\": %.1f, \"ns_per_message\": %.3f"
         ", \"repeats\": %" PRIu64 "}\n",
         s.messages, s.sum, s.duplicates, s.out_of_order, rates[runs / 2], rates[0],
         rates[runs - 1], 1e9 / rates[runs / 2], runs);
  return 0;
}
