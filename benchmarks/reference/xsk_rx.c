/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the AF_XDP port: the plainest fast libxdp receive loop on one
 * queue, copy mode, with its own steering program attached by bpf_link.
 */
#define _GNU_SOURCE
#include "ref_bpf.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "xsk_rx_kern.h"

static const char kWhat[] =
    "Receives one UDP destination through an AF_XDP socket (native XDP, copy mode), sums 4 bytes\n"
    "(big-endian) at --offset of each frame and prints one line of JSON. `seconds` runs from the\n"
    "first batch to the last frame. The host must take the multicast group's frames off the wire\n"
    "itself (veth does); the program joins nothing.\n\n"
    "example: xsk_rx --ifname veth_b --group 239.1.1.1 --port 9001 --busy --seconds 5";

struct socket_set {
  struct xsk_ring_prod fill;
  struct xsk_ring_cons completion, rx;
  struct xsk_umem* umem;
  struct xsk_socket* xsk;
  uint8_t* area;
  int fd;
};

/* Returns 0 or a negative errno; leaves nothing behind when it fails. */
static int open_xsk(struct socket_set* s, const char* ifname, uint32_t queue, uint32_t frames,
                    uint32_t frame_size, uint32_t rx_size) {
  memset(s, 0, sizeof *s); /* libxdp 1.3 leaves some cached indices as it finds them */
  const size_t size = (size_t)frames * frame_size;
  s->area =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (s->area == MAP_FAILED) return -errno;
  /* Twice the frames: the kernel publishes the receive ring before the fill ring, so for a moment
   * frames are back with us that still count as lying in the fill ring. */
  const struct xsk_umem_config umem = {
      .fill_size = 2 * frames, .comp_size = 64, .frame_size = frame_size};
  int error = xsk_umem__create(&s->umem, s->area, size, &s->fill, &s->completion, &umem);
  if (error) {
    munmap(s->area, size);
    return error;
  }
  const struct xsk_socket_config config = {
      .rx_size = rx_size,
      .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
      .bind_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
  };
  error = xsk_socket__create(&s->xsk, ifname, queue, s->umem, &s->rx, NULL, &config);
  if (error) {
    xsk_umem__delete(s->umem);
    munmap(s->area, size);
    return error;
  }
  s->fd = xsk_socket__fd(s->xsk);
  uint32_t at;
  if (xsk_ring_prod__reserve(&s->fill, frames, &at) != frames) ref_die(1, "fill ring too small");
  for (uint32_t i = 0; i < frames; i++) {
    *xsk_ring_prod__fill_addr(&s->fill, at + i) = (uint64_t)i * frame_size;
  }
  xsk_ring_prod__submit(&s->fill, frames);
  return 0;
}

int main(int argc, char** argv) {
  const char *group = NULL, *ifname = NULL;
  uint64_t port = 0, queue = 0, batch = 64, packets_max = UINT64_MAX, frames = 4096;
  uint64_t frame_size = 2048, rx_size = 2048, offset = 42, cpu = UINT64_MAX, idle_ms = 0;
  double seconds = 10;
  bool timestamps = false, busy = false, sleepy = false;
  const struct ref_opt opts[] = {
      {"ifname", REF_STR, &ifname, 0, 0, "interface to receive on"},
      {"queue", REF_U64, &queue, 0, 63, "receive queue"},
      {"group", REF_STR, &group, 0, 0, "destination address of the wanted datagrams"},
      {"port", REF_U64, &port, 1, 65535, "destination UDP port"},
      {"batch", REF_U64, &batch, 1, 1024, "frames per turn of the loop"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "run at most this long"},
      {"packets", REF_U64, &packets_max, 1, 1e18, "stop after this many frames"},
      {"idle-ms", REF_U64, &idle_ms, 0, 1e6, "stop when idle this long after the first; 0: never"},
      {"offset", REF_U64, &offset, 0, 1024, "where in the frame the field is (42: payload)"},
      {"frames", REF_U64, &frames, 64, 1 << 20, "frames in the umem, a power of two"},
      {"frame-size", REF_U64, &frame_size, 2048, 4096, "bytes a frame, 2048 or 4096"},
      {"rx-size", REF_U64, &rx_size, 64, 1 << 16, "receive ring, a power of two"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
      {"timestamps", REF_FLAG, &timestamps, 0, 0, "stamp each frame in the driver and read it"},
      {"busy", REF_FLAG, &busy, 0, 0, "spin when there is nothing (the default)"},
      {"poll", REF_FLAG, &sleepy, 0, 0, "sleep in poll() when there is nothing"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!group || !port || !ifname)
    ref_die(2, "--ifname, --group and --port are needed (see --help)");
  if (busy && sleepy) ref_die(2, "--busy and --poll exclude each other");
  if (frames & (frames - 1)) ref_die(2, "--frames %" PRIu64 ": must be a power of two", frames);
  if (rx_size & (rx_size - 1)) ref_die(2, "--rx-size %" PRIu64 ": must be a power of two", rx_size);
  if (frame_size & (frame_size - 1)) ref_die(2, "--frame-size: must be 2048 or 4096");
  struct xsk_rx_config config = {.dport = htons((uint16_t)port), .timestamps = timestamps};
  if (inet_pton(AF_INET, group, &config.daddr) != 1) {
    ref_die(2, "--group '%s': must be an IPv4 address", group);
  }
  const unsigned ifindex = if_nametoindex(ifname);
  if (!ifindex) ref_die(2, "--ifname '%s': no such interface here", ifname);
  ref_pin(cpu);
  const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited); /* where it fails, the umem call says so */

  struct bpf_object* object = ref_load(&config, sizeof config);
  struct socket_set s;
  int error;
  /* The kernel frees a closed socket's queue later, from a work queue: EBUSY passes by itself. */
  for (int tries = 0;; tries++) {
    error = open_xsk(&s, ifname, (uint32_t)queue, (uint32_t)frames, (uint32_t)frame_size,
                     (uint32_t)rx_size);
    if (error != -EBUSY || tries == 60) break;
    usleep(50000);
  }
  if (error) {
    ref_die(1, "AF_XDP socket on %s queue %" PRIu64 ": %s%s", ifname, queue, strerror(-error),
            error == -EBUSY ? " (another AF_XDP socket owns the queue)"
                            : " (needs CAP_NET_RAW, CAP_NET_ADMIN and locked memory)");
  }
  const int map = ref_map_fd(object, "xsks");
  const uint32_t key = (uint32_t)queue;
  if (bpf_map_update_elem(map, &key, &s.fd, BPF_ANY)) ref_die(1, "xskmap: %s", strerror(errno));
  ref_bound(seconds);
  /* A link, so that the kernel detaches the program however this process ends. */
  LIBBPF_OPTS(bpf_link_create_opts, link_opts, .flags = XDP_FLAGS_DRV_MODE);
  const int link =
      bpf_link_create(ref_program_fd(object, "steer"), (int)ifindex, BPF_XDP, &link_opts);
  if (link < 0) {
    ref_die(1, "cannot attach to %s in native mode: %s (another program there? `bpftool net`)",
            ifname, strerror(errno));
  }
  ref_ready();

  const uint8_t* const area = s.area;
  const uint32_t want = (uint32_t)batch;
  uint64_t packets = 0, bytes = 0, sum = 0, stamp_sum = 0, batches = 0, wakeups = 0, spins = 0;
  uint64_t first_batch = 0, first_field = 0, last_stamp = 0, first_ns = 0, last_ns = 0;
  uint32_t last_field = 0;
  bool idle = true;
  while (!ref_stop && packets < packets_max) {
    uint32_t rx_at, fill_at;
    const uint32_t n = xsk_ring_cons__peek(&s.rx, want, &rx_at);
    if (!n) {
      if (!idle) {
        idle = true;
        last_ns = ref_now();
      }
      if (sleepy) {
        struct pollfd wait = {.fd = s.fd, .events = POLLIN};
        poll(&wait, 1, 100);
        wakeups++;
      } else if (xsk_ring_prod__needs_wakeup(&s.fill)) {
        recvfrom(s.fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
        wakeups++;
      } else {
        ref_pause();
      }
      spins++;
      if (idle_ms && packets && (sleepy || !(spins & 0xff)) &&
          ref_now() - last_ns > idle_ms * 1000000u) {
        break;
      }
      continue;
    }
    /* As many frames go back as came, so the fill ring never overflows. */
    if (xsk_ring_prod__reserve(&s.fill, n, &fill_at) != n) ref_die(1, "fill ring overflow");
    for (uint32_t i = 0; i < n; i++) {
      const struct xdp_desc* desc = xsk_ring_cons__rx_desc(&s.rx, rx_at + i);
      const uint8_t* frame = area + desc->addr;
      uint32_t field;
      memcpy(&field, frame + offset, 4);
      last_field = ntohl(field);
      sum += last_field;
      bytes += desc->len;
      if (timestamps) {
        memcpy(&last_stamp, frame - 8, 8);
        stamp_sum += last_stamp;
      }
      *xsk_ring_prod__fill_addr(&s.fill, fill_at + i) = desc->addr & ~(frame_size - 1);
    }
    if (!packets) {
      uint32_t field;
      memcpy(&field, area + xsk_ring_cons__rx_desc(&s.rx, rx_at)->addr + offset, 4);
      first_field = ntohl(field);
      first_ns = ref_now();
      first_batch = n;
    }
    xsk_ring_cons__release(&s.rx, n);
    xsk_ring_prod__submit(&s.fill, n);
    packets += n;
    batches++;
    idle = false;
  }
  if (!idle) last_ns = ref_now();

  close(link); /* first, so that the counters below are final */
  struct xdp_statistics stats = {0};
  struct xdp_options options = {0};
  socklen_t length = sizeof stats;
  if (getsockopt(s.fd, SOL_XDP, XDP_STATISTICS, &stats, &length)) {
    ref_die(1, "XDP_STATISTICS: %s", strerror(errno));
  }
  length = sizeof options;
  getsockopt(s.fd, SOL_XDP, XDP_OPTIONS, &options, &length);
  const uint64_t elapsed = last_ns - first_ns;
  printf("{\"name\": \"xsk_rx\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64 ", \"seconds\": %.9f, \"rate\": %.1f, \"drops\": %" PRIu64
         ", \"sum\": %" PRIu64 ", \"first\": %" PRIu64 ", \"last\": %u, \"batches\": %" PRIu64
         ", \"wakeups\": %" PRIu64 ", \"stamp_sum\": %" PRIu64 ", \"last_stamp_ns\": %" PRIu64
         ", \"rx_dropped\": %llu, \"rx_ring_full\": %llu, \"fill_ring_empty\": %llu"
         ", \"rx_invalid_descs\": %llu, \"zero_copy\": %s, \"xdp\": \"native\""
         ", \"mode\": \"%s\", \"batch\": %" PRIu64 ", \"cpu_seconds\": %.6f}\n",
         packets, bytes, (double)elapsed / 1e9, ref_rate(packets - first_batch, elapsed),
         (uint64_t)(stats.rx_dropped + stats.rx_ring_full), sum, first_field, last_field, batches,
         wakeups, stamp_sum, last_stamp, stats.rx_dropped, stats.rx_ring_full,
         stats.rx_fill_ring_empty_descs, stats.rx_invalid_descs,
         options.flags & XDP_OPTIONS_ZEROCOPY ? "true" : "false", sleepy ? "poll" : "busy", batch,
         (double)ref_cpu_ns() / 1e9);
  xsk_socket__delete(s.xsk);
  xsk_umem__delete(s.umem);
  bpf_object__close(object);
  return 0;
}
