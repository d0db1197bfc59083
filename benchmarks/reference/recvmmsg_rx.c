/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for the socket port: the plainest fast UDP receiver, a recvmmsg
 * loop that reads the first four payload bytes of every datagram.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ref.h"

enum { kMaxBatch = 1024, kControl = 128, kMaxLatencies = 1 << 22 };

static const char kWhat[] =
    "Receives UDP with recvmmsg, sums the first 4 payload bytes (big-endian) of each datagram and\n"
    "prints one line of JSON. `seconds` runs from the first batch to the last packet.\n\n"
    "example: recvmmsg_rx --group 239.1.1.1 --port 9001 --ifname veth_b --seconds 5";

static void on_or_die(int fd, int level, int name, const void* value, socklen_t length,
                      const char* what) {
  if (setsockopt(fd, level, name, value, length)) ref_die(1, "%s: %s", what, strerror(errno));
}

static int open_socket(const char* group, uint16_t port, const char* ifname, int rcvbuf,
                       bool timestamps) {
  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, group, &addr.sin_addr) != 1) {
    ref_die(2, "--group '%s': must be an IPv4 address", group);
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) ref_die(1, "socket: %s", strerror(errno));
  const int one = 1, zero = 0;
  on_or_die(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one, "SO_REUSEADDR");
  /* FORCE needs CAP_NET_ADMIN; without it the limit is net.core.rmem_max. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof rcvbuf)) {
    on_or_die(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf, "SO_RCVBUF");
  }
  if (timestamps) {
    on_or_die(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one, "SO_TIMESTAMPNS");
  }
  /* The timeout bounds the wait that a signal just missed would leave open. */
  const struct timeval wait = {.tv_usec = 100000};
  on_or_die(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait, "SO_RCVTIMEO");
  if (bind(fd, (struct sockaddr*)&addr, sizeof addr)) {
    ref_die(1, "bind %s:%u: %s", group, port, strerror(errno));
  }
  if (IN_MULTICAST(ntohl(addr.sin_addr.s_addr))) {
    struct ip_mreqn join = {.imr_multiaddr = addr.sin_addr};
    if (!ifname) ref_die(2, "--ifname is needed to join the multicast group %s", group);
    join.imr_ifindex = (int)if_nametoindex(ifname);
    if (!join.imr_ifindex) ref_die(2, "--ifname '%s': no such interface here", ifname);
    on_or_die(fd, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero, "IP_MULTICAST_ALL");
    on_or_die(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join, "IP_ADD_MEMBERSHIP");
  }
  return fd;
}

/* What --timestamps keeps of every datagram. */
struct origin {
  int64_t time_ns;
  uint32_t address;
  uint16_t port;
};

/* --latency: nanoseconds from the time in each payload (8 bytes, CLOCK_REALTIME, this machine's
 * byte order), or with --since-stamp from the kernel's stamp, to the moment after the batch that
 * brought it. */
struct latency {
  uint32_t* ns;
  uint64_t capacity, count;
};

static inline int64_t stamp_of(struct msghdr* header);

static inline void measure_latency(struct latency* l, struct mmsghdr* messages,
                                   const struct iovec* vectors, int n, bool since_stamp) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  const uint64_t now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
  for (int i = 0; i < n && l->count < l->capacity; i++) {
    uint64_t sent;
    if (since_stamp)
      sent = (uint64_t)stamp_of(&messages[i].msg_hdr);
    else
      memcpy(&sent, vectors[i].iov_base, sizeof sent);
    l->ns[l->count++] = now - sent < UINT32_MAX ? (uint32_t)(now - sent) : UINT32_MAX;
  }
}

static void write_latency(const struct latency* l, const char* path) {
  FILE* file = fopen(path, "wb");
  if (!file || fwrite(l->ns, sizeof *l->ns, l->count, file) != l->count || fclose(file))
    ref_die(1, "--latency '%s': %s", path, strerror(errno));
}

static inline int64_t stamp_of(struct msghdr* header) {
  for (struct cmsghdr* c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
      struct timespec ts;
      memcpy(&ts, CMSG_DATA(c), sizeof ts);
      return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    }
  }
  return 0;
}

int main(int argc, char** argv) {
  const char *group = NULL, *ifname = NULL, *latency_path = NULL;
  uint64_t port = 0, batch = 64, packets_max = UINT64_MAX, rcvbuf = 8 << 20, size = 2048;
  uint64_t cpu = UINT64_MAX, idle_ms = 0;
  double seconds = 10;
  bool timestamps = false, busy = false, since_stamp = false;
  const struct ref_opt opts[] = {
      {"group", REF_STR, &group, 0, 0, "multicast group to join, or own unicast address"},
      {"port", REF_U64, &port, 1, 65535, "UDP port"},
      {"ifname", REF_STR, &ifname, 0, 0, "interface for the multicast join"},
      {"batch", REF_U64, &batch, 1, kMaxBatch, "datagrams per recvmmsg call"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "run at most this long"},
      {"packets", REF_U64, &packets_max, 1, 1e18, "stop after this many datagrams"},
      {"idle-ms", REF_U64, &idle_ms, 0, 1e6, "stop when idle this long after the first; 0: never"},
      {"rcvbuf", REF_U64, &rcvbuf, 4096, 1 << 30, "socket receive buffer asked for, bytes"},
      {"size", REF_U64, &size, 64, 65536, "buffer per datagram, bytes"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
      {"timestamps", REF_FLAG, &timestamps, 0, 0, "keep SO_TIMESTAMPNS and the sender of each"},
      {"busy", REF_FLAG, &busy, 0, 0, "spin with MSG_DONTWAIT instead of MSG_WAITFORONE"},
      {"latency", REF_STR, &latency_path, 0, 0, "write latencies here: u32 ns each; see source"},
      {"since-stamp", REF_FLAG, &since_stamp, 0, 0, "latencies from the kernel's --timestamps"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!group || !port) ref_die(2, "--group and --port are needed (see --help)");
  if (since_stamp && !(timestamps && latency_path))
    ref_die(2, "--since-stamp goes with --timestamps and --latency");
  ref_pin(cpu);
  const int fd = open_socket(group, (uint16_t)port, ifname, (int)rcvbuf, timestamps);
  int rcvbuf_got = 0;
  socklen_t length = sizeof rcvbuf_got;
  getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_got, &length);

  uint8_t* buffers = aligned_alloc(4096, (batch * size + 4095) & ~4095ull);
  uint8_t* controls = aligned_alloc(64, batch * kControl);
  struct mmsghdr* messages = calloc(batch, sizeof *messages);
  struct iovec* vectors = calloc(batch, sizeof *vectors);
  struct sockaddr_in* senders = calloc(batch, sizeof *senders);
  struct origin* seen = calloc(batch, sizeof *seen);
  if (!buffers || !controls || !messages || !vectors || !senders || !seen)
    ref_die(1, "out of memory");
  memset(buffers, 0, batch * size);
  struct latency latency = {.capacity = latency_path ? kMaxLatencies : 0};
  if (latency_path && !(latency.ns = calloc(kMaxLatencies, sizeof *latency.ns)))
    ref_die(1, "out of memory");
  for (uint64_t i = 0; i < batch; i++) {
    vectors[i] = (struct iovec){.iov_base = buffers + i * size, .iov_len = size};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    if (timestamps) {
      messages[i].msg_hdr.msg_control = controls + i * kControl;
      messages[i].msg_hdr.msg_controllen = kControl;
      messages[i].msg_hdr.msg_name = &senders[i];
      messages[i].msg_hdr.msg_namelen = sizeof senders[i];
    }
  }

  uint64_t packets = 0, bytes = 0, sum = 0, calls = 0, short_packets = 0, stamped = 0;
  uint64_t first_batch = 0, first_field = 0, last_field = 0, first_ns = 0, last_ns = 0;
  int64_t last_stamp = 0;
  ref_bound(seconds);
  ref_ready();
  const int flags = busy ? MSG_DONTWAIT : MSG_WAITFORONE;
  while (!ref_stop && packets < packets_max) {
    const uint64_t left = packets_max - packets;
    const int n = recvmmsg(fd, messages, (unsigned)(left < batch ? left : batch), flags, NULL);
    if (n <= 0) {
      if (n < 0 && errno != EAGAIN && errno != EINTR) ref_die(1, "recvmmsg: %s", strerror(errno));
      if (idle_ms && packets && ref_now() - last_ns > idle_ms * 1000000u) break;
      continue;
    }
    calls++;
    if (latency_path) measure_latency(&latency, messages, vectors, n, since_stamp);
    for (int i = 0; i < n; i++) {
      const uint32_t got = messages[i].msg_len;
      uint32_t field = 0;
      if (got >= 4) {
        memcpy(&field, vectors[i].iov_base, 4);
        field = ntohl(field);
      } else {
        short_packets++;
      }
      last_field = field;
      sum += field;
      bytes += got;
      if (packets == 0 && i == 0) first_field = field;
    }
    if (timestamps) {
      for (int i = 0; i < n; i++) {
        seen[i] = (struct origin){stamp_of(&messages[i].msg_hdr), senders[i].sin_addr.s_addr,
                                  senders[i].sin_port};
        messages[i].msg_hdr.msg_controllen = kControl;
        messages[i].msg_hdr.msg_namelen = sizeof senders[i];
        stamped += seen[i].time_ns != 0 && seen[i].address != 0;
      }
      last_stamp = seen[n - 1].time_ns;
    }
    last_ns = ref_now();
    if (!packets) {
      first_ns = last_ns;
      first_batch = (uint64_t)n;
    }
    packets += (uint64_t)n;
  }

  if (latency_path) write_latency(&latency, latency_path);
  uint32_t memory[SK_MEMINFO_VARS] = {0};
  length = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &length)) {
    ref_die(1, "SO_MEMINFO: %s", strerror(errno));
  }
  const uint64_t elapsed = last_ns - first_ns;
  printf("{\"name\": \"recvmmsg_rx\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64
         ", \"seconds\": %.9f, \"rate\": %.1f, \"drops\": %u"
         ", \"sum\": %" PRIu64 ", \"first\": %" PRIu64 ", \"last\": %" PRIu64
         ", \"short\": %" PRIu64 ", \"calls\": %" PRIu64 ", \"stamped\": %" PRIu64
         ", \"last_stamp_ns\": %" PRId64 ", \"rcvbuf\": %d, \"batch\": %" PRIu64
         ", \"busy\": %s, \"cpu_seconds\": %.6f}\n",
         packets, bytes, (double)elapsed / 1e9, ref_rate(packets - first_batch, elapsed),
         memory[SK_MEMINFO_DROPS], sum, first_field, last_field, short_packets, calls, stamped,
         last_stamp, rcvbuf_got, batch, busy ? "true" : "false", (double)ref_cpu_ns() / 1e9);
  close(fd);
  return 0;
}
