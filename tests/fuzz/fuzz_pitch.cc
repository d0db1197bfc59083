/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of datagrams through the framer, the session, the record
 * decoder and the raw columns of Cboe PITCH, and through the naive ones. The input's
 * form is stream_difference's.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "feed/venue_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wp::feed::naive::PitchVenue;
  const char* const difference = wp::feed::naive::stream_difference<PitchVenue>(data, size);
  if (difference != nullptr) {
    std::fprintf(stderr, "pitch and its model differ in: %s\n", difference);
    std::abort();
  }
  return 0;
}
