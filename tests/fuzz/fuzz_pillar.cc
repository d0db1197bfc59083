/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of datagrams through the framer and the session of NYSE
 * Pillar, and through the naive ones. The input's form is stream_difference's.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "feed/venue_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wp::feed::naive::PillarVenue;
  const char* const difference = wp::feed::naive::stream_difference<PillarVenue>(data, size);
  if (difference != nullptr) {
    std::fprintf(stderr, "pillar and its model differ in: %s\n", difference);
    std::abort();
  }
  return 0;
}
