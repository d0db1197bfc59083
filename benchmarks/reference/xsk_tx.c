/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for transmit through the AF_XDP port: a libxdp transmit loop on
 * one queue, copy mode, a sequence number written into every frame.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "ref.h"
#include "ref_frame.h"

/* Linux 6.17: how many frames one wake-up of a copy-mode socket may send. */
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

static const char kWhat[] =
    "Sends a UDP frame through an AF_XDP socket (copy mode); the first 4 payload bytes are a\n"
    "big-endian sequence number from 0. Prints one line of JSON.\n\n"
    "example: xsk_tx --ifname veth_a --src-ip 10.1.0.1 --dst-ip 239.1.1.1 --dport 9001";

int main(int argc, char** argv) {
  struct ref_frame_args args = REF_FRAME_DEFAULTS;
  const char* ifname = NULL;
  uint64_t queue = 0, batch = 64, count = UINT64_MAX, frames = 4096, cpu = UINT64_MAX, budget = 0;
  double seconds = 10, rate = 0;
  bool copy = false;
  const struct ref_opt opts[] = {
      {"ifname", REF_STR, &ifname, 0, 0, "interface to send from"},
      {"queue", REF_U64, &queue, 0, 63, "transmit queue"},
      REF_FRAME_OPTIONS(args),
      {"batch", REF_U64, &batch, 1, 1024, "frames per turn of the loop"},
      {"count", REF_U64, &count, 1, 1e18, "stop after this many frames"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "run at most this long"},
      {"rate", REF_F64, &rate, 0, 1e9, "packets per second; 0: as fast as possible"},
      {"frames", REF_U64, &frames, 64, 1 << 16, "frames in the umem, a power of two"},
      {"tx-budget", REF_U64, &budget, 0, 2048, "frames per wake-up; 0: the kernel's own (32)"},
      {"copy", REF_FLAG, &copy, 0, 0, "copy the whole frame each time, not the number only"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!ifname) ref_die(2, "--ifname is needed (see --help)");
  if (frames & (frames - 1)) ref_die(2, "--frames %" PRIu64 ": must be a power of two", frames);
  if (batch > frames) ref_die(2, "--batch %" PRIu64 ": must not exceed --frames", batch);
  if (args.length > 2048)
    ref_die(2, "--length %" PRIu64 ": must be at most 2048 here", args.length);
  static uint8_t template[2048];
  const uint32_t length = ref_build_frame(template, ifname, &args);
  ref_pin(cpu);
  const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &unlimited);

  enum { kFrameSize = 2048 };
  const size_t size = frames * kFrameSize;
  uint8_t* area =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (area == MAP_FAILED) ref_die(1, "mmap %zu bytes: %s", size, strerror(errno));
  /* Zeroed: libxdp 1.3 leaves cached indices of the completion ring as it finds them. */
  struct xsk_ring_prod fill = {0}, tx = {0};
  struct xsk_ring_cons completion = {0};
  struct xsk_umem* umem;
  struct xsk_socket* xsk;
  const struct xsk_umem_config umem_config = {
      .fill_size = 64, .comp_size = (uint32_t)frames, .frame_size = kFrameSize};
  int error = xsk_umem__create(&umem, area, size, &fill, &completion, &umem_config);
  if (error) ref_die(1, "umem: %s (needs CAP_NET_RAW and locked memory)", strerror(-error));
  const struct xsk_socket_config config = {
      .tx_size = (uint32_t)frames,
      .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
      .bind_flags = XDP_COPY | XDP_USE_NEED_WAKEUP,
  };
  error = xsk_socket__create(&xsk, ifname, (uint32_t)queue, umem, NULL, &tx, &config);
  if (error)
    ref_die(1, "AF_XDP socket on %s queue %" PRIu64 ": %s", ifname, queue, strerror(-error));
  const int fd = xsk_socket__fd(xsk);
  if (budget) {
    const int value = (int)budget;
    if (setsockopt(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &value, sizeof value)) {
      ref_die(1, "--tx-budget %" PRIu64 ": %s (needs Linux 6.17)", budget, strerror(errno));
    }
  }

  uint64_t* idle = calloc(frames, sizeof *idle); /* stack of frames that are ours */
  if (!idle) ref_die(1, "out of memory");
  uint64_t idle_count = frames;
  for (uint64_t i = 0; i < frames; i++) {
    idle[i] = i * kFrameSize;
    memcpy(area + idle[i], template, length);
  }

  uint64_t submitted = 0, completed = 0, kicks = 0;
  ref_bound(seconds);
  struct ref_pacer pacer = {.start = ref_now(), .rate = rate};
  uint64_t last_progress = pacer.start;
  while (completed < count) {
    uint32_t at;
    const uint32_t done = xsk_ring_cons__peek(&completion, (uint32_t)frames, &at);
    for (uint32_t i = 0; i < done; i++) {
      idle[idle_count++] = *xsk_ring_cons__comp_addr(&completion, at + i);
    }
    if (done) {
      xsk_ring_cons__release(&completion, done);
      completed += done;
    }
    if (ref_stop) {
      /* What was submitted is still on its way: let it go, for at most a second. */
      const uint64_t now = ref_now();
      if (done || last_progress == pacer.start) last_progress = now;
      if (completed == submitted || now - last_progress > 1000000000u) break;
    } else if (submitted < count) {
      const uint64_t left = count - submitted;
      uint32_t want = (uint32_t)(left < batch ? left : batch);
      if (idle_count >= want) {
        want = ref_due(&pacer, submitted, want);
        if (want && xsk_ring_prod__reserve(&tx, want, &at) == want) {
          for (uint32_t i = 0; i < want; i++) {
            const uint64_t addr = idle[--idle_count];
            if (copy) memcpy(area + addr, template, length);
            const uint32_t sequence = htonl((uint32_t)(submitted + i));
            memcpy(area + addr + kRefHeaders, &sequence, 4);
            struct xdp_desc* desc = xsk_ring_prod__tx_desc(&tx, at + i);
            desc->addr = addr;
            desc->len = length;
            desc->options = 0;
          }
          xsk_ring_prod__submit(&tx, want);
          submitted += want;
        }
      }
    }
    if (xsk_ring_prod__needs_wakeup(&tx)) {
      if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY &&
          errno != ENOBUFS && errno != EINTR && errno != ENETDOWN) {
        ref_die(1, "wake-up: %s", strerror(errno));
      }
      kicks++;
    }
  }
  const uint64_t elapsed = ref_now() - pacer.start;

  struct xdp_statistics stats = {0};
  socklen_t stats_length = sizeof stats;
  getsockopt(fd, SOL_XDP, XDP_STATISTICS, &stats, &stats_length);
  printf("{\"name\": \"xsk_tx\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64 ", \"seconds\": %.9f, \"rate\": %.1f, \"drops\": %" PRIu64
         ", \"tx_invalid_descs\": %llu, \"submitted\": %" PRIu64 ", \"kicks\": %" PRIu64
         ", \"tx_budget\": %" PRIu64 ", \"batch\": %" PRIu64 ", \"cpu_seconds\": %.6f}\n",
         completed, completed * length, (double)elapsed / 1e9, ref_rate(completed, elapsed),
         submitted - completed, stats.tx_invalid_descs, submitted, kicks, budget, batch,
         (double)ref_cpu_ns() / 1e9);
  xsk_socket__delete(xsk);
  xsk_umem__delete(umem);
  return 0;
}
