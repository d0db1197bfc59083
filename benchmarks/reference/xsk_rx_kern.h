/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What xsk_rx tells its XDP program, as constants set before loading.
 */
#pragma once

#include <linux/types.h>

struct xsk_rx_config {
  __u32 daddr;      /* destination address, network order */
  __u16 dport;      /* destination port, network order */
  __u16 timestamps; /* 1: put bpf_ktime_get_tai_ns() into the 8 bytes before the frame */
};
