/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the ITCH 5.0 decoder: the bare decode-and-store loop from
 * length-prefixed messages in memory to 64-byte records.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/record.h"
#include "ref.h"

static const char kWhat[] =
    "Decodes a file of ITCH 5.0 messages, each behind a big-endian u16 length, into 64-byte\n"
    "records: A F E C X D U P Q B in full, the other types header only. Prints one line of JSON;\n"
    "`rate` is the median of the repeats. The checksum is taken outside the measured loop.\n\n"
    "example: itch_decode --file day.itch --repeat 9";

static inline uint16_t be16(const uint8_t* p) {
  uint16_t v;
  memcpy(&v, p, 2);
  return __builtin_bswap16(v);
}

static inline uint32_t be32(const uint8_t* p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return __builtin_bswap32(v);
}

static inline uint64_t be64(const uint8_t* p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return __builtin_bswap64(v);
}

static inline uint64_t raw64(const uint8_t* p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

/* Price(4): 1e-4 units on the wire, 1e-9 in the record. */
static inline int64_t price4(const uint8_t* p) {
  return (int64_t)be32(p) * 100000;
}

/* Length of each known type; 0: unknown. */
static const uint8_t kLength[256] = {
    ['S'] = 12, ['R'] = 39, ['H'] = 25, ['Y'] = 20, ['L'] = 26, ['V'] = 35, ['W'] = 12, ['K'] = 28,
    ['J'] = 35, ['h'] = 21, ['A'] = 36, ['F'] = 40, ['E'] = 31, ['C'] = 36, ['X'] = 23, ['D'] = 19,
    ['U'] = 35, ['P'] = 44, ['Q'] = 40, ['B'] = 19, ['I'] = 50, ['N'] = 20, ['O'] = 48,
};

struct cursor {
  const uint8_t *at, *end;
  uint64_t sequence; /* of the next message */
  uint64_t unknown, malformed;
  int64_t midnight;  /* ns since the Unix epoch that the message times count from */
  int64_t recv_time; /* one arrival time, as all messages of a packet share it */
  bool truncated;
};

/* Decodes up to `max` messages to `out`; returns how many records were stored. */
static __attribute__((noinline)) size_t decode(struct cursor* cursor, struct wp_record* out,
                                               size_t max) {
  const uint8_t *at = cursor->at, *end = cursor->end;
  const int64_t midnight = cursor->midnight, recv_time = cursor->recv_time;
  uint64_t sequence = cursor->sequence;
  size_t n = 0;
  while (n < max && end - at >= 2) {
    const uint16_t length = be16(at);
    const uint8_t* m = at + 2;
    if (end - m < length) {
      cursor->truncated = true;
      at = end;
      break;
    }
    at = m + length;
    sequence++;
    if (length == 0) continue;
    if (kLength[m[0]] != length) {
      if (kLength[m[0]]) {
        cursor->malformed++;
      } else {
        cursor->unknown++;
      }
      continue;
    }
    struct wp_record r = {
        .seq = sequence - 1,
        .event_time = midnight + (int64_t)(be64(m + 3) & 0xffffffffffffu),
        .recv_time = recv_time,
        .instrument = be16(m + 1),
        .type = m[0],
        .venue = WP_VENUE_NASDAQ,
    };
    switch (m[0]) {
      case 'A':
      case 'F':
        r.action = WP_ACTION_ADD;
        r.order_id = be64(m + 11);
        r.side = m[19];
        r.qty = be32(m + 20);
        r.aux = raw64(m + 24);
        r.price = price4(m + 32);
        break;
      case 'D':
        r.action = WP_ACTION_DELETE;
        r.order_id = be64(m + 11);
        break;
      case 'U':
        r.action = WP_ACTION_MODIFY;
        r.aux = be64(m + 11);
        r.order_id = be64(m + 19);
        r.qty = be32(m + 27);
        r.price = price4(m + 31);
        break;
      case 'E':
        r.action = WP_ACTION_EXECUTE;
        r.order_id = be64(m + 11);
        r.qty = be32(m + 19);
        r.aux = be64(m + 23);
        break;
      case 'C':
        r.action = WP_ACTION_EXECUTE;
        r.order_id = be64(m + 11);
        r.qty = be32(m + 19);
        r.aux = be64(m + 23);
        r.flags = m[31] == 'N' ? WP_FLAG_NON_PRINTABLE : 0;
        r.price = price4(m + 32);
        break;
      case 'X':
        r.action = WP_ACTION_CANCEL;
        r.order_id = be64(m + 11);
        r.qty = be32(m + 19);
        break;
      case 'P':
        r.action = WP_ACTION_TRADE;
        r.order_id = be64(m + 11);
        r.side = m[19];
        r.qty = be32(m + 20);
        r.price = price4(m + 32);
        r.aux = be64(m + 36);
        break;
      case 'Q': {
        const uint64_t shares = be64(m + 11);
        r.action = WP_ACTION_TRADE;
        r.qty = shares > UINT32_MAX ? UINT32_MAX : (uint32_t)shares;
        r.flags = shares > UINT32_MAX ? WP_FLAG_SATURATED : 0;
        r.price = price4(m + 27);
        r.aux = be64(m + 31);
        break;
      }
      case 'B':
        r.action = WP_ACTION_BREAK;
        r.aux = be64(m + 11);
        break;
      default:
        break; /* header only */
    }
    out[n++] = r;
  }
  cursor->at = at;
  cursor->sequence = sequence;
  return n;
}

/* Over the eight little-endian words of each record, in order, modulo 2^64. */
static uint64_t checksum(uint64_t sum, const struct wp_record* records, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t words[8];
    memcpy(words, &records[i], sizeof words);
    for (int w = 0; w < 8; w++) sum = sum * 0x9e3779b97f4a7c15u + words[w];
  }
  return sum;
}

static int by_value(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static const uint8_t* load(const char* path, size_t* size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info)) ref_die(2, "--file '%s': %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode) || info.st_size < 2) {
    ref_die(2, "--file '%s': must be a regular file of at least one message", path);
  }
  *size = (size_t)info.st_size;
  /* Slack behind the file: be64 reads of a short last message stay inside the mapping. */
  uint8_t* memory = mmap(NULL, *size + 64, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) ref_die(1, "mmap %zu bytes: %s", *size, strerror(errno));
  for (size_t got = 0; got < *size;) {
    const ssize_t n = read(fd, memory + got, *size - got);
    if (n <= 0) ref_die(1, "--file '%s': %s", path, n ? strerror(errno) : "file shrank");
    got += (size_t)n;
  }
  close(fd);
  return memory;
}

static size_t count_messages(const uint8_t* at, size_t size) {
  const uint8_t* end = at + size;
  size_t count = 0;
  while (end - at >= 2 && end - at - 2 >= be16(at)) {
    at += 2 + be16(at);
    count++;
  }
  return count;
}

int main(int argc, char** argv) {
  const char* path = NULL;
  uint64_t repeat = 7, window = 0, cpu = UINT64_MAX, midnight = 0, recv_time = 0, sequence = 1;
  double seconds = 60;
  const struct ref_opt opts[] = {
      {"file", REF_STR, &path, 0, 0, "messages, each behind a big-endian u16 length"},
      {"repeat", REF_U64, &repeat, 1, 1000, "repeats"},
      {"window", REF_U64, &window, 0, 1 << 24,
       "store into this many records, over and over; 0: all"},
      {"midnight", REF_U64, &midnight, 0, 4e18, "ns since the epoch that message times count from"},
      {"recv-time", REF_U64, &recv_time, 0, 4e18, "arrival time put into every record, ns"},
      {"sequence", REF_U64, &sequence, 0, 1e18, "sequence number of the first message"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "give up after this long in all"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!path) ref_die(2, "--file is needed (see --help)");
  ref_pin(cpu);
  size_t size;
  const uint8_t* data = load(path, &size);
  const size_t messages = count_messages(data, size);
  const size_t space = window ? window : messages + 1;
  struct wp_record* out = mmap(NULL, space * sizeof *out, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  double* rates = calloc(repeat, sizeof *rates);
  if (out == MAP_FAILED || !rates) ref_die(1, "no memory for %zu records", space);

  const struct cursor begin = {.at = data,
                               .end = data + size,
                               .sequence = sequence,
                               .midnight = (int64_t)midnight,
                               .recv_time = (int64_t)recv_time};
  /* Untimed: the checksum, which also warms the caches and the pages. */
  struct cursor cursor = begin;
  uint64_t sum = 0, records = 0;
  for (size_t n; (n = decode(&cursor, out, space)) > 0; records += n) sum = checksum(sum, out, n);

  ref_bound(seconds);
  uint64_t runs = 0, total_ns = 0;
  for (; runs < repeat && (!runs || !ref_stop); runs++) {
    cursor = begin;
    const uint64_t start = ref_now();
    while (decode(&cursor, out, space) > 0) {
      __asm__ volatile("" : : "r"(out) : "memory");
    }
    const uint64_t elapsed = ref_now() - start;
    total_ns += elapsed;
    rates[runs] = ref_rate(messages, elapsed);
  }
  qsort(rates, runs, sizeof *rates, by_value);
  printf(
      "{\"name\": \"itch_decode\", \"unit\": \"messages/s\", \"messages\": %zu"
      ", \"records\": %" PRIu64
      ", \"bytes\": %zu, \"seconds\": %.9f, \"rate\": %.1f"
      ", \"rate_min\": %.1f, \"rate_max\": %.1f, \"drops\": %" PRIu64 ", \"unknown\": %" PRIu64
      ", \"malformed\": %" PRIu64 ", \"truncated\": %s, \"checksum\": %" PRIu64
      ", \"window\": %" PRIu64 ", \"repeats\": %" PRIu64 "}\n",
      messages, records, size, (double)total_ns / 1e9, rates[runs / 2], rates[0], rates[runs - 1],
      cursor.unknown + cursor.malformed, cursor.unknown, cursor.malformed,
      cursor.truncated ? "true" : "false", sum, window, runs);
  return 0;
}
