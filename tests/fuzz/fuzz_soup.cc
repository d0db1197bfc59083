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

using namespace wp::feed::naive;

/* What differs is told step by step, and events that agreed are not looked at again. */
template <class Side>
void check(Side& side) {
  if (const char* difference = side.difference()) {
    std::fprintf(stderr, "session and model differ in: %s\n", difference);
    std::abort();
  }
  side.take();
}

void other(SoupClientDifferential& client, uint8_t what, int64_t now) {
  if (what == 1) client.disconnected();
  if (what == 2) client.logout(now);
  if (what == 3) client.write(100);
  if (what == 4) client.write(1);
}
void other(SoupServerDifferential&, uint8_t, int64_t) {}

template <class Side>
void run(Side& side, size_t piece, const uint8_t* data, size_t size) {
  int64_t now = 0;
  side.connected(now);
  while (size != 0) {
    const uint8_t step = *data++;
    --size;
    if (step < 0xF0) {
      const size_t length = step < size ? step : size;
      side.on_bytes(std::string(reinterpret_cast<const char*>(data), length), piece, now);
      data += length;
      size -= length;
    } else if ((step & 15) == 0) {
      side.connected(now);
    } else if ((step & 15) < 5) {
      other(side, step & 15, now);
    } else {  // a quarter of a second to 16 s
      now += int64_t{1} << (step & 15) << 20;
      side.on_time(now);
    }
    check(side);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const uint8_t options = data[0];
  const size_t piece = 1 + (options >> 4) * (options >> 4);
  if ((options & 1) == 0) {
    SoupClientDifferential client((options & 2) != 0 ? "DAY1" : "", options >> 2 & 3);
    run(client, piece, data + 1, size - 1);
  } else {
    SoupServerDifferential server;
    run(server, piece, data + 1, size - 1);
  }
  return 0;
}
