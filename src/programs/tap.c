/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 * The tap before the other programs of a chain: every frame as the driver hands it over. */
#include "programs/tap.h"

WP_PROGRAM(tap) {
  tap_frame_out(p, TAP_NO_VERDICT);
  return WP_NEXT;
}
