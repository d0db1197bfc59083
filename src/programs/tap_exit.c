/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * The tap behind the other programs of a chain: every frame as they leave it, with its verdict. */
#include "programs/tap.h"

WP_PROGRAM(tap_exit) {
  const int verdict = wp_exit_verdict(p);
  tap_frame_out(p, (__u32)verdict);
  return verdict;
}
