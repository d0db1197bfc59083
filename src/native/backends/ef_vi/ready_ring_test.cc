// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/ready_ring.h"

#include <doctest/doctest.h>

using wp::ef_vi_backend::Ready;
using wp::ef_vi_backend::ReadyRing;

TEST_CASE("the ready ring keeps order over many wraps and knows its room") {
  ReadyRing ring(5);  // eight slots
  CHECK(ring.room() == 8);
  uint64_t put = 0, taken = 0;
  for (int round = 0; round < 1000; round++) {
    const int n = 1 + round % 8;
    for (int i = 0; i < n; i++) ring.put({nullptr, put++, 0, 0});
    CHECK(ring.size() == n);
    CHECK(ring.room() == 8 - n);
    for (int i = 0; i < n; i++) CHECK(ring.take().handle == taken++);
  }
  CHECK(ring.size() == 0);
}
