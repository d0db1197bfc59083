/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: length-prefixed ITCH 5.0 frames through decode_frames, decode and
 * the raw columns, against the naive decoder. The first two bytes choose how many
 * record slots and how many bytes decode_frames is shown at a time.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "feed/itch50_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t slots = 1 + data[0] % 64;
  const size_t chunk = data[1];
  const wp::feed::Itch50Context ctx{.seq = 1,
                                    .recv_time = 1'700'000'000'000'000'000,
                                    .midnight_ns = 1'699'938'000'000'000'000,
                                    .channel = 0x0102,
                                    .flags = static_cast<uint8_t>(data[0] & WP_FLAG_LATE)};
  const std::vector<uint8_t> bytes(data + 2, data + size);
  const char* const difference = wp::feed::naive::itch_difference(bytes, ctx, slots, chunk);
  if (difference != nullptr) {
    std::fprintf(stderr, "decoder and model differ in: %s\n", difference);
    std::abort();
  }
  return 0;
}
