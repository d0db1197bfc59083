// SPDX-License-Identifier: Apache-2.0
#include "core/decided.h"

#include <doctest/doctest.h>

#include <vector>

namespace wp {
namespace {

void fill(wp_batch& batch, const std::vector<uint8_t>& verdicts) {
  batch.count = static_cast<uint32_t>(verdicts.size());
  for (uint32_t i = 0; i < batch.count; i++) {
    batch.verdict[i] = verdicts[i];
    batch.length[i] = 100 + i;
    batch.handle[i] = 200 + i;
    batch.target[i] = static_cast<uint16_t>(i);
    batch.timestamp[i] = 300 + i;
    batch.hash[i] = 400 + i;
    batch.data[i] = reinterpret_cast<uint8_t*>(uintptr_t{500} + i);
  }
}

std::vector<uint32_t> order(const wp_batch& batch) {
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < batch.count; i++) {
    const uint32_t k = batch.length[i] - 100;
    CHECK(batch.handle[i] == 200 + k);
    CHECK(batch.target[i] == k);
    CHECK(batch.timestamp[i] == 300 + k);
    CHECK(batch.hash[i] == 400 + k);
    CHECK(batch.data[i] == reinterpret_cast<uint8_t*>(uintptr_t{500} + k));
    out.push_back(k);
  }
  return out;
}

TEST_CASE("what is decided is set apart and comes back behind the rest, both in their order") {
  BatchStorage batch(8);
  Decided decided(8);
  fill(*batch, {WP_DROP, kUndecided, WP_TX, kUndecided, kUndecided, WP_PASS});
  CHECK(decided.set_apart(*batch) == 3);
  CHECK(order(*batch) == std::vector<uint32_t>{1, 3, 4});
  for (uint32_t i = 0; i < 3; i++) CHECK(batch->verdict[i] == WP_DROP);
  // A second stage decides one of them.
  batch->verdict[0] = kUndecided;
  batch->verdict[1] = WP_REDIRECT;
  batch->verdict[2] = kUndecided;
  CHECK(decided.set_apart(*batch) == 2);
  CHECK(order(*batch) == std::vector<uint32_t>{1, 4});
  batch->count = 1;  // a stage behind took the last one out
  decided.put_back(*batch);
  CHECK(order(*batch) == std::vector<uint32_t>{1, 0, 2, 5, 3});
  const std::vector<uint8_t> verdicts(batch->verdict, batch->verdict + batch->count);
  CHECK(verdicts == std::vector<uint8_t>{WP_DROP, WP_DROP, WP_TX, WP_PASS, WP_REDIRECT});
  decided.put_back(*batch);
  CHECK(batch->count == 5);
}

TEST_CASE("all undecided stay as they came, all decided as they are") {
  BatchStorage batch(4);
  Decided decided(4);
  fill(*batch, {kUndecided, kUndecided});
  CHECK(decided.set_apart(*batch) == 2);
  CHECK(batch->verdict[0] == WP_DROP);
  fill(*batch, {WP_TX, WP_PASS});
  CHECK(decided.set_apart(*batch) == 0);
  CHECK(batch->count == 2);
  decided.put_back(*batch);
  CHECK(order(*batch) == std::vector<uint32_t>{0, 1});
}

}  // namespace
}  // namespace wp
