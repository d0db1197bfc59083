/* SPDX-License-Identifier: Apache-2.0
 *
 * Yardstick for transmit through the socket port: a sendmmsg loop on a
 * connected UDP socket, a sequence number written into every datagram.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ref.h"

enum { kMaxBatch = 1024 };

static const char kWhat[] =
    "Sends UDP with sendmmsg; the first 4 payload bytes are a big-endian sequence number from 0.\n"
    "Prints one line of JSON.\n\n"
    "example: udp_tx --group 239.1.1.1 --port 9001 --ifname veth_a --count 1000000";

int main(int argc, char** argv) {
  const char *group = NULL, *ifname = NULL;
  uint64_t port = 0, batch = 64, count = UINT64_MAX, length = 64, sndbuf = 4 << 20;
  uint64_t cpu = UINT64_MAX;
  double seconds = 10, rate = 0;
  bool loop = false;
  const struct ref_opt opts[] = {
      {"group", REF_STR, &group, 0, 0, "destination: multicast group or unicast address"},
      {"port", REF_U64, &port, 1, 65535, "destination UDP port"},
      {"ifname", REF_STR, &ifname, 0, 0, "interface that multicast leaves by"},
      {"batch", REF_U64, &batch, 1, kMaxBatch, "datagrams per sendmmsg call"},
      {"length", REF_U64, &length, 4, 65507, "payload bytes of each datagram"},
      {"count", REF_U64, &count, 1, 1e18, "stop after this many datagrams"},
      {"seconds", REF_F64, &seconds, 0.001, 3600, "run at most this long"},
      {"rate", REF_F64, &rate, 0, 1e9, "packets per second; 0: as fast as possible"},
      {"sndbuf", REF_U64, &sndbuf, 4096, 1 << 30, "socket send buffer asked for, bytes"},
      {"cpu", REF_U64, &cpu, 0, 1023, "pin to this cpu"},
      {"loop", REF_FLAG, &loop, 0, 0, "loop multicast back to this host"},
  };
  ref_parse(argc, argv, kWhat, opts, REF_COUNT(opts));
  if (!group || !port) ref_die(2, "--group and --port are needed (see --help)");
  ref_pin(cpu);

  struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, group, &addr.sin_addr) != 1) {
    ref_die(2, "--group '%s': must be an IPv4 address", group);
  }
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) ref_die(1, "socket: %s", strerror(errno));
  const int buffer = (int)sndbuf, again = loop;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer) &&
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer)) {
    ref_die(1, "SO_SNDBUF: %s", strerror(errno));
  }
  if (IN_MULTICAST(ntohl(addr.sin_addr.s_addr))) {
    if (!ifname) ref_die(2, "--ifname is needed to send to the multicast group %s", group);
    struct ip_mreqn out = {.imr_ifindex = (int)if_nametoindex(ifname)};
    if (!out.imr_ifindex) ref_die(2, "--ifname '%s': no such interface here", ifname);
    if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &again, sizeof again)) {
      ref_die(1, "multicast options: %s", strerror(errno));
    }
  }
  /* Connected: the route is looked up once, not per datagram. */
  if (connect(fd, (struct sockaddr*)&addr, sizeof addr)) {
    ref_die(1, "connect %s:%" PRIu64 ": %s", group, port, strerror(errno));
  }

  uint8_t* payloads = aligned_alloc(4096, (batch * length + 4095) & ~4095ull);
  struct mmsghdr* messages = calloc(batch, sizeof *messages);
  struct iovec* vectors = calloc(batch, sizeof *vectors);
  if (!payloads || !messages || !vectors) ref_die(1, "out of memory");
  memset(payloads, 0xab, batch * length);
  for (uint64_t i = 0; i < batch; i++) {
    vectors[i] = (struct iovec){.iov_base = payloads + i * length, .iov_len = length};
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }

  uint64_t sent = 0, calls = 0, refused = 0;
  ref_bound(seconds);
  struct ref_pacer pacer = {.start = ref_now(), .rate = rate};
  while (!ref_stop && sent < count) {
    const uint64_t left = count - sent;
    const uint32_t want = ref_due(&pacer, sent, (uint32_t)(left < batch ? left : batch));
    if (!want) break;
    for (uint32_t i = 0; i < want; i++) {
      const uint32_t sequence = htonl((uint32_t)(sent + i));
      memcpy(vectors[i].iov_base, &sequence, 4);
    }
    const int n = sendmmsg(fd, messages, want, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      /* A full queue or a missing receiver is the network's state, not an error of ours. */
      if (errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED) {
        ref_die(1, "sendmmsg: %s", strerror(errno));
      }
      refused++;
      continue;
    }
    calls++;
    sent += (uint64_t)n;
  }
  const uint64_t elapsed = ref_now() - pacer.start;
  printf("{\"name\": \"udp_tx\", \"unit\": \"packets/s\", \"packets\": %" PRIu64
         ", \"bytes\": %" PRIu64
         ", \"seconds\": %.9f, \"rate\": %.1f, \"drops\": null"
         ", \"calls\": %" PRIu64 ", \"refused_calls\": %" PRIu64 ", \"batch\": %" PRIu64
         ", \"cpu_seconds\": %.6f}\n",
         sent, sent * length, (double)elapsed / 1e9, ref_rate(sent, elapsed), calls, refused, batch,
         (double)ref_cpu_ns() / 1e9);
  close(fd);
  return 0;
}
