/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of datagrams through the framer, the session, the record
 * decoder and the raw columns of IEX, and through the naive ones. The input's form
 * is stream_difference's.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "feed/venue_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using wp::feed::naive::IexVenue;
  const char* const difference = wp::feed::naive::stream_difference<IexVenue>(data, size);
  if (difference != nullptr) {
    std::fprintf(stderr, "iex and its model differ in: %s\n", difference);
    std::abort();
  }
  return 0;
}
