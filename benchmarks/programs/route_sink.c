// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The end of the router's benchmarks: counts IPv4 packets and drops them. The next hops of a prefix
// have MAC addresses whose fifth byte is the first of the prefix, so that a packet which was sent
// to another prefix's is told from one that was not.
#include <wirepath/program.h>

#define COUNTERS(COUNT, DROP) COUNT(right) COUNT(wrong) DROP(counted) DROP(not_ip)
WP_COUNTERS(COUNTERS);

WP_PROGRAM(route_sink) {
  if (p->data + 34 > p->end || wp_load16(p->data + 12) != wp_be16(0x0800))
    return wp_drop(p, not_ip);
  if (p->data[4] == p->data[30])
    wp_count(p, right);
  else
    wp_count(p, wrong);
  return wp_drop(p, counted);
}
