/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of FRR's FPM, cut as the first byte says, against the same stream in one
 * piece: the same events and the same counters, and every event's members follow it.
 */
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "route/fpm_stream.h"

namespace {

void check(bool right) {
  if (!right) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wp::route;
  if (size == 0) return 0;
  const size_t piece = 1 + *data++;
  size--;
  FpmStream whole, pieces;
  std::vector<RouteEvent> expected, got;
  whole.feed(data, size, expected);
  for (size_t i = 0; i < size; i += piece) pieces.feed(data + i, std::min(piece, size - i), got);
  check(expected.size() == got.size());
  check(expected.empty() ||
        std::memcmp(expected.data(), got.data(), expected.size() * sizeof(RouteEvent)) == 0);
  const FpmCounters &a = whole.counters(), &b = pieces.counters();
  check(a.bytes == b.bytes && a.frames == b.frames && a.other_frames == b.other_frames);
  check(std::memcmp(&a.netlink, &b.netlink, sizeof a.netlink) == 0);
  check(whole.broken() == pieces.broken());
  check(a.netlink.events + a.netlink.unknown <= a.netlink.messages);
  size_t events = 0;
  for (size_t i = 0; i < expected.size(); events++) {
    check(expected[i].kind != static_cast<uint8_t>(EventKind::kMember));
    const size_t members = expected[i].members;
    check(i + members < expected.size());
    for (size_t m = 1; m <= members; m++)
      check(expected[i + m].kind == static_cast<uint8_t>(EventKind::kMember));
    i += 1 + members;
  }
  check(events == a.netlink.events);
  return 0;
}
