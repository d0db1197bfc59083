/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of datagrams through a MoldUDP64 session and the naive
 * model. The first byte chooses the options; then every datagram is one byte of
 * length, or 0xFF and two bytes, little-endian, and its bytes.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "feed/mold_udp64_differential.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t options = *data++;
  --size;
  wp::feed::naive::MoldDifferential d((options & 1) != 0 ? "SESSION__A" : "", options >> 1 & 7,
                                      1 + (options >> 4 & 3));
  while (size != 0) {
    size_t length = *data++;
    --size;
    if (length == 0xFF && size >= 2) {
      length = data[0] | data[1] << 8;
      data += 2;
      size -= 2;
    }
    if (length > size) length = size;
    const char* const difference =
        d.on_packet(std::string(reinterpret_cast<const char*>(data), length));
    if (difference != nullptr) {
      std::fprintf(stderr, "session and model differ in: %s\n", difference);
      std::abort();
    }
    data += length;
    size -= length;
  }
  return 0;
}
