/* SPDX-License-Identifier: Apache-2.0
 *
 * Traffic for the benchmarks, made in the kernel: BPF_PROG_RUN with live
 * frames redirects a numbered UDP frame out of a veth, with no system call and
 * no skb per frame, so that the receiver is the slow side.
 */
#define _GNU_SOURCE
#include "ref_bpf.h"

#include <ifaddrs.h>
#include <linux/if_link.h>
#include <sys/mman.h>

#include "live_frames.h"
#include "ref_frame.h"

#ifndef BPF_F_TEST_XDP_LIVE_FRAMES
#define BPF_F_TEST_XDP_LIVE_FRAMES (1U << 1)
#endif

static const char kWhat[] =
    "Sends a UDP frame out of a veth from inside the kernel (BPF_PROG_RUN, live frames); a\n"
    "big-endian sequence number goes into each. Prints one line of JSON: `packets` counts frames\n"
    "redirected, `drops` those that the veth refused (its ring of 256 was full). The peer needs a\n"
    "native XDP program or GRO (`ethtool -K PEER gro on`), or it takes no frames at all. Paced\n"
    "runs spin in the kernel and use one cpu entirely, at any rate.\n\n"
    "example: live_frames --ifname veth_a --dst-ip 239.1.1.1 --dport 9001 --rate 500000 --seconds "
    "5";

struct device_counts {
  uint32_t tx_packets, tx_dropped;
};

/* The device's own counters, which the kernel gives as 32 bits here: only differences count. */
static struct device_counts device_counts(const char* ifname) {
  struct device_counts counts = {0};
  struct ifaddrs* list;
  if (getifaddrs(&list)) ref_die(1, "getifaddrs: %s", strerror(errno));
  for (const struct ifaddrs* a = list; a; a = a->ifa_next) {
    if (!a->ifa_addr || a->ifa_addr->sa_family != AF_PACKET || !a->ifa_data) continue;
    if (strcmp(a->ifa_name, ifname)) continue;
    const struct rtnl_link_stats* stats = a->ifa_data;
    counts.tx_packets = stats->tx_packets;
    counts.tx_dropped = stats->tx_dropped;
  }
  freeifaddrs(list);
  return counts;
}

static uint32_t load_payload(const char* path, uint8_t* payload, uint32_t room) {
  FILE* file = fopen(path, "rb");
  if (!file) ref_die(2, "--payload '%s': %s", path, strerror(errno));
  const size_t got = fread(payload, 1, room, file);
  if (!got || fgetc(file) != EOF) {
    ref_die(2, "--payload '%s': must hold 1 to %u bytes for this --length", path, room);
  }
  fclose(file);
  return (uint32_t)got;
}

/* Destinations from a file of IPv4 addresses of 4 bytes in network order; how many. */
static uint32_t load_addresses(const char* path, uint32_t* to) {
  FILE* file = fopen(path, "rb");
  if (!file) ref_die(2, "--addresses '%s': %s", path, strerror(errno));
  const size_t got = fread(to, 4, LIVE_FRAMES_ADDRESSES, file);
  if (!got || (got & (got - 1)) || fgetc(file) != EOF) {
    ref_die(2, "--addresses '%s': must hold a power of two of addresses, at most %u", path,
            LIVE_FRAMES_ADDRESSES);
  }
  fclose(file);
  return (uint32_t)got;
}

static void fill_addresses(struct bpf_object* object, const uint32_t* to, uint32_t count) {
  const size_t bytes = (size_t)LIVE_FRAMES_ADDRESSES * sizeof(uint64_t);
  uint64_t* map =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ref_map_fd(object, "addresses"), 0);
  if (map == MAP_FAILED) ref_die(1, "mmap of the addresses: %s", strerror(errno));
  for (uint32_t i = 0; i < count; i++) map[i] = to[i];
  munmap(map, bytes);
}

/* Of the IP header without its checksum and its destination, for live_frames.bpf.c. */
static uint16_t header_sum(const uint8_t* ip) {
  uint32_t sum = 0;
  for (int i = 0; i < 16; i += 2) {
    uint16_t word;
    memcpy(&word, ip + i, 2);
    if (i != 10) sum += word;
  }
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)(sum + (sum >> 16));
}

int main(int argc, char** argv) {
  struct ref_frame_args args = REF_FRAME_DEFAULTS;
  const char *ifname = NULL, *payload = NULL, *addresses = NULL;
  uint64_t count = UINT64_MAX, batch = 64, flows = 1, cpu = UINT64_MAX;
  uint64_t sequence = 0, sequence_offset = 0, sequence_bytes = 4;
  double seconds = 10, rate = 0;
  const struct ref_opt opts[] = {
      {"ifname", REF_STR, &ifname, 0, 0, "veth to send out of"},
      REF_FRAME_OPTIONS(args),
      {"payload", REF_STR, &payload, 0, 0, "file whose bytes the payload begins with"},
      {"seq", REF_U64, &sequence, 0, 1e18, "first sequence number"},
      {"seq-offset", REF_U64, &sequence_offset, 0, 3300, "where in the payload it goes"},
      {"seq-bytes", REF_U64, &sequence_bytes, 0, 8, "its size: 4 or 8; 0: none"},
      {"addresses", REF_STR, &addresses, 0, 0,
       "file of destinations, one after the other; Ethernet and IP header are written anew"},
      {"flows", REF_U64, &flows, 1, 60000, "distinct source ports, in turn"},
      {"count", REF_U64, &count, 1, 1e18, "stop after this many frames"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "run at most this long"},
      {"rate", REF_F64, &rate, 0, 1e9, "packets per second, absolute deadlines; 0: flat out"},
      {"batch", REF_U64, &batch, 1, 256, "frames the kernel runs before it flushes"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu (the peer's NAPI runs there too)"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!ifname) ref_die(2, "--ifname is needed (see --help)");
  if (sequence_bytes != 0 && sequence_bytes != 4 && sequence_bytes != 8) {
    ref_die(2, "--seq-bytes %" PRIu64 ": must be 0, 4 or 8", sequence_bytes);
  }
  if (kRefHeaders + sequence_offset + sequence_bytes > args.length) {
    ref_die(2, "--seq-offset %" PRIu64 ": the number does not fit a frame of %" PRIu64 " bytes",
            sequence_offset, args.length);
  }
  if (args.sport + flows - 1 > 65535) ref_die(2, "--flows: source ports end beyond 65535");
  if (rate > 0 && rate < 0.001) ref_die(2, "--rate %g: must be 0 or at least 0.001", rate);
  static uint8_t frame[4096];
  const uint32_t length = ref_build_frame(frame, ifname, &args);
  if (payload) load_payload(payload, frame + kRefHeaders, length - kRefHeaders);
  ref_pin(cpu);
  static uint32_t to[LIVE_FRAMES_ADDRESSES];
  const uint32_t destinations = addresses ? load_addresses(addresses, to) : 0;

  struct live_frames_config config = {
      .count = count,
      .interval_q20 = rate > 0 ? (uint64_t)(1e9 * 1048576.0 / rate) : 0,
      .ifindex = if_nametoindex(ifname),
      .flows = (uint32_t)flows,
      .sequence_at = (uint32_t)(kRefHeaders + sequence_offset),
      .sequence_bytes = (uint32_t)sequence_bytes,
      .sport = (uint16_t)args.sport,
      .header_sum = header_sum(frame + 14),
      .addresses = destinations,
      .hops = frame[22],
  };
  memcpy(config.ethernet, frame, sizeof config.ethernet);
  struct bpf_object* object = ref_open(&config, sizeof config);
  struct bpf_map* list = bpf_object__find_map_by_name(object, "addresses");
  if (destinations) bpf_map__set_max_entries(list, LIVE_FRAMES_ADDRESSES);
  ref_load_opened(object);
  if (destinations) fill_addresses(object, to, destinations);
  const int program = ref_program_fd(object, "live_frames");
  const int map = ref_map_fd(object, ".bss");
  const uint32_t key = 0;
  struct live_frames_state state = {.sequence = sequence};
  if (bpf_map_update_elem(map, &key, &state, BPF_ANY)) ref_die(1, "state: %s", strerror(errno));

  const struct device_counts before = device_counts(ifname);
  uint64_t calls = 0;
  ref_ready();
  const uint64_t start = ref_now(), deadline = start + (uint64_t)(seconds * 1e9);
  /* As few calls as can be: each sets up and tears down a page pool, which makes a gap of tens of
   * milliseconds. So a call runs until a signal ends it: at the deadline or, when paced, when the
   * last frame should have left. */
  while (state.sent < count) {
    const uint64_t left = count - state.sent, now = ref_now();
    if (now >= deadline) break;
    double horizon = (double)(deadline - now) / 1e9;
    /* With room for the call's set-up and for catching up after the cpu was somebody else's. */
    const double needed = rate > 0 ? (double)left / rate + 0.05 : horizon;
    if (needed < horizon) horizon = needed;
    const uint64_t repeat = rate > 0 || left > INT32_MAX ? INT32_MAX : left;
    LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = length,
                .repeat = (int)repeat, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
                .batch_size = (uint32_t)batch);
    ref_bound(horizon);
    const int error = bpf_prog_test_run_opts(program, &run);
    calls++;
    if (bpf_map_lookup_elem(map, &key, &state)) ref_die(1, "state: %s", strerror(errno));
    if (error && error != -EINTR && error != -EAGAIN) {
      ref_die(1, "BPF_PROG_RUN with live frames: %s (needs Linux 5.18)", strerror(-error));
    }
    if (ref_stop && ref_stop != SIGALRM) break;
    ref_stop = 0;
  }
  /* A paced run idles on until the signal: take its own clock. */
  const uint64_t elapsed = rate > 0 ? state.last - state.start : ref_now() - start;
  usleep(50000); /* the peer's NAPI may still be at it */
  const struct device_counts after = device_counts(ifname);
  const uint32_t taken = after.tx_packets - before.tx_packets;
  if (state.sent && !taken) {
    fprintf(stderr,
            "%s: the peer of %s took no frames: it is down, or has neither a native XDP program "
            "nor GRO (`ethtool -K PEER gro on`)\n",
            ref_program, ifname);
  }
  const uint64_t sent = state.sent, bytes = sent * length, next = state.sequence;
  printf("{\"name\": \"live_frames\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64
         ", \"seconds\": %.9f, \"rate\": %.1f, \"drops\": %u"
         ", \"device_tx_packets\": %u, \"first\": %" PRIu64 ", \"next\": %" PRIu64
         ", \"rate_wanted\": %.1f, \"batch\": %" PRIu64 ", \"flows\": %" PRIu64
         ", \"calls\": %" PRIu64 ", \"cpu_seconds\": %.6f}\n",
         sent, bytes, (double)elapsed / 1e9, ref_rate(sent, elapsed),
         after.tx_dropped - before.tx_dropped, taken, sequence, next, rate, batch, flows, calls,
         (double)ref_cpu_ns() / 1e9);
  bpf_object__close(object);
  return sent && !taken ? 1 : 0;
}
