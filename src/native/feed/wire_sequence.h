/* SPDX-License-Identifier: Apache-2.0
 *
 * Sequence numbers that roll over on the wire, as 64-bit numbers that do not.
 * Up to the first roll both are the same; after it the 64-bit number goes on
 * counting (Cboe PITCH: 4294967295, then 1 on the wire, 4294967296 here).
 */
#pragma once

#include <cstdint>

#include "feed/packet.h"

namespace wp::feed {

/* How many numbers there are until they repeat; 0: they never do. */
constexpr uint64_t sequence_period(const SequenceNumbers& numbers) {
  return numbers.last - numbers.after_last + 1;
}

/* The 64-bit number nearest to `near` that is `wire` on the wire. */
constexpr uint64_t extend_sequence(const SequenceNumbers& numbers, uint64_t wire, uint64_t near) {
  const uint64_t period = sequence_period(numbers);
  if (period == 0 || near <= wire) return wire;
  // Split, since near - wire + half may not fit.
  const uint64_t distance = near - wire;
  const uint64_t rolls = distance / period + (distance % period > period / 2 ? 1 : 0);
  const uint64_t seq = wire + rolls * period;
  return seq < wire ? wire : seq;  // past 64 bits: nothing is near
}

constexpr uint64_t wire_sequence(const SequenceNumbers& numbers, uint64_t seq) {
  const uint64_t period = sequence_period(numbers);
  if (period == 0 || seq <= numbers.last) return seq;
  return numbers.after_last + (seq - numbers.after_last) % period;
}

static_assert(extend_sequence({4294967295, 1}, 1, 4294967290) == 4294967296);
static_assert(extend_sequence({4294967295, 1}, 4294967290, 4294967297) == 4294967290);
static_assert(wire_sequence({4294967295, 1}, 4294967296) == 1);
static_assert(wire_sequence({4294967295, 1}, 4294967295) == 4294967295);
static_assert(extend_sequence({}, 7, 1000) == 7);

}  // namespace wp::feed
