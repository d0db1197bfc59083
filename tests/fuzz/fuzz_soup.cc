/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a stream of bytes and times through a side of SoupBinTCP and the
 * naive model. The first byte chooses the side, session and first number, and how
 * the bytes are cut. Then steps of one byte: below 0xF0 so many bytes of stream
 * that follow, else what the switch says.
 */
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "feed/soup_bin_tcp_differential.h"

namespace {

void check(const char* difference) {
  if (difference == nullptr) return;
  std::fprintf(stderr, "session and model differ in: %s\n", difference);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wp::feed::naive;
  if (size == 0) return 0;
  const uint8_t options = *data++;
  --size;
  const bool is_client = (options & 1) == 0;
  const size_t piece = 1 + (options >> 4) * (options >> 4);
  SoupClientDifferential client((options & 2) != 0 ? "DAY1" : "", options >> 2 & 3);
  SoupServerDifferential server;
  int64_t now = 0;
  client.connected(now);
  server.connected(now);
  while (size != 0) {
    const uint8_t step = *data++;
    --size;
    if (step < 0xF0) {
      const size_t length = step < size ? step : size;
      const std::string bytes(reinterpret_cast<const char*>(data), length);
      is_client ? client.on_bytes(bytes, piece, now) : server.on_bytes(bytes, piece, now);
      data += length;
      size -= length;
    } else {
      switch (step & 15) {
        case 0:
          is_client ? client.connected(now) : server.connected(now);
          break;
        case 1:
          client.disconnected();
          break;
        case 2:
          client.logout(now);
          break;
        case 3:
          client.write(100);
          break;
        case 4:
          client.write(1);
          break;
        default:  // a quarter of a second to 16 s
          now += int64_t{1} << (step & 15) << 20;
          client.on_time(now);
          server.on_time(now);
      }
    }
    check(client.difference());
    check(server.difference());
  }
  return 0;
}
