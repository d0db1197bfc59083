/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: packets on several lines through an arbiter and the naive model.
 * Six bytes choose the options; then every step is a byte (line, and how much
 * time has passed), a byte of length and the packet: kind, flags, unit, session,
 * first u32 and blocks, see plain_framer.h. Small numbers, so that the sequence
 * rolls over and gaps, restarts and sessions meet.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "feed/arbiter_differential.h"
#include "feed/plain_framer.h"

namespace {

void must_agree(const char* difference) {
  if (difference == nullptr) return;
  std::fprintf(stderr, "arbiter and model differ in: %s\n", difference);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 6) return 0;
  wp::feed::ArbiterOptions o;
  o.lines = 1 + (data[0] & 3);
  o.recovery_lines = data[0] >> 2 & 1;
  o.units = 1 + (data[0] >> 3 & 1);
  o.in_order = (data[0] & 16) != 0;
  o.skew_packets = data[0] & 32;
  o.session[0] = (data[0] & 64) != 0 ? 'A' : 0;
  o.pin_session = data[0] >> 6 == 3;
  o.hold_ns = data[1];
  o.hold_messages = 1 + (data[2] & 15);
  o.hold_bytes = 1 << 14;
  o.max_gaps = 1 + (data[2] >> 4 & 7);
  o.next_sequence = data[3];
  o.reorder_messages = data[4] & 63;
  o.reorder_ns = data[4];
  o.restart_packets = data[5] & 3;
  o.max_jump = 1 + data[5];
  o.resumed = (data[2] & 0x40) != 0;
  o.session_begin = data[2] >> 7 != 0 ? 1 + (data[1] & 7) : 0;
  o.await_snapshot = o.session_begin != 0 && o.in_order && (data[1] & 8) != 0;
  data += 6;
  size -= 6;
  wp::feed::naive::ArbiterDifferential<wp::feed::naive::PlainFramer<499, 1>> d(o);
  int64_t now = 0;
  while (size >= 2) {
    const uint32_t line = data[0] % (o.lines + o.recovery_lines);
    now += data[0] >> 4;
    size_t length = data[1];
    data += 2;
    size -= 2;
    if (length > size) length = size;
    std::string packet(reinterpret_cast<const char*>(data), length);
    // Numbers in range and few sessions, or nearly every packet would be malformed.
    if (length >= 8) {
      packet[3] = static_cast<char>('A' + (packet[3] & 3));
      const auto first = static_cast<uint16_t>(1 + (data[4] | data[5] << 8) % 499);
      packet[4] = static_cast<char>(first & 255);
      packet[5] = static_cast<char>(first >> 8);
      packet[6] = packet[7] = 0;
    }
    must_agree(d.on_packet(line, packet, now));
    if (length == 0) must_agree(d.on_time(now += 50));
    data += length;
    size -= length;
  }
  return 0;
}
