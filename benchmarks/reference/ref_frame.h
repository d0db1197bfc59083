/* SPDX-License-Identifier: Apache-2.0
 *
 * The UDP frame that the frame-level senders repeat.
 */
#pragma once

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ref.h"

enum { kRefHeaders = 42 }; /* Ethernet 14, IPv4 20, UDP 8 */

struct ref_frame_args {
  const char *dst_mac, *src_mac, *dst_ip, *src_ip;
  uint64_t dport, sport, length;
};

#define REF_FRAME_DEFAULTS                                                                        \
  {                                                                                               \
    .dst_mac = NULL, .src_mac = NULL, .dst_ip = "239.1.1.1", .src_ip = "10.0.0.1", .dport = 9001, \
    .sport = 40000, .length = 64                                                                  \
  }

#define REF_FRAME_OPTIONS(args)                                                               \
  {"dst-mac", REF_STR, &(args).dst_mac, 0, 0, "destination MAC (multicast: from the group)"}, \
      {"src-mac", REF_STR, &(args).src_mac, 0, 0, "source MAC (default: the interface's)"},   \
      {"dst-ip", REF_STR, &(args).dst_ip, 0, 0, "destination address"},                       \
      {"src-ip", REF_STR, &(args).src_ip, 0, 0, "source address"},                            \
      {"dport", REF_U64, &(args).dport, 1, 65535, "destination UDP port"},                    \
      {"sport", REF_U64, &(args).sport, 1, 65535, "source UDP port (of the first flow)"}, {   \
    "length", REF_U64, &(args).length, 60, 3400, "frame length without FCS, bytes"            \
  }

static inline void ref_parse_mac(const char* option, const char* text, uint8_t mac[6]) {
  unsigned v[6];
  char rest;
  if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &rest) !=
      6) {
    ref_die(2, "--%s '%s': must look like 02:00:00:00:00:01", option, text);
  }
  for (int i = 0; i < 6; i++) mac[i] = (uint8_t)v[i];
}

static inline uint16_t ref_ip_checksum(const uint8_t* header) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += (uint32_t)header[i] << 8 | header[i + 1];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t)~sum;
}

/* Fills `frame` (at least args->length bytes); returns its length. The UDP checksum is 0 (not
 * used), so that a changing sequence number or source port leaves the frame valid. */
static inline uint32_t ref_build_frame(uint8_t* frame, const char* ifname,
                                       const struct ref_frame_args* args) {
  struct in_addr dst, src;
  if (inet_pton(AF_INET, args->dst_ip, &dst) != 1) {
    ref_die(2, "--dst-ip '%s': must be an IPv4 address", args->dst_ip);
  }
  if (inet_pton(AF_INET, args->src_ip, &src) != 1) {
    ref_die(2, "--src-ip '%s': must be an IPv4 address", args->src_ip);
  }
  const uint32_t length = (uint32_t)args->length;
  memset(frame, 0, length);
  uint8_t *ip = frame + 14, *udp = frame + 34;
  if (args->dst_mac) {
    ref_parse_mac("dst-mac", args->dst_mac, frame);
  } else if ((ntohl(dst.s_addr) >> 28) == 14) {
    const uint32_t low = ntohl(dst.s_addr) & 0x7fffff;
    const uint8_t mac[6] = {0x01, 0x00, 0x5e, low >> 16 & 0xff, low >> 8 & 0xff, low & 0xff};
    memcpy(frame, mac, 6);
  } else {
    ref_die(2, "--dst-mac is needed for the unicast destination %s", args->dst_ip);
  }
  if (args->src_mac) {
    ref_parse_mac("src-mac", args->src_mac, frame + 6);
  } else {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", ifname);
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &request)) {
      ref_die(2, "--ifname '%s': %s", ifname, strerror(errno));
    }
    close(fd);
    memcpy(frame + 6, request.ifr_hwaddr.sa_data, 6);
  }
  const uint16_t ip_length = (uint16_t)(length - 14), udp_length = (uint16_t)(length - 34);
  frame[12] = 0x08;
  ip[0] = 0x45;
  ip[2] = (uint8_t)(ip_length >> 8);
  ip[3] = (uint8_t)ip_length;
  ip[6] = 0x40; /* don't fragment */
  ip[8] = 16;   /* hops */
  ip[9] = 17;
  memcpy(ip + 12, &src, 4);
  memcpy(ip + 16, &dst, 4);
  const uint16_t checksum = ref_ip_checksum(ip);
  ip[10] = (uint8_t)(checksum >> 8);
  ip[11] = (uint8_t)checksum;
  const uint16_t ports[2] = {htons((uint16_t)args->sport), htons((uint16_t)args->dport)};
  memcpy(udp, ports, 4);
  udp[4] = (uint8_t)(udp_length >> 8);
  udp[5] = (uint8_t)udp_length;
  return length;
}
