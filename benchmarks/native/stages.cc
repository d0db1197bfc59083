// SPDX-License-Identifier: Apache-2.0
// The stages of benchmarks/stages.py in C++, line by line, behind the C ABI of wirepath.
#include <algorithm>
#include <cstdint>

#include "core/batch.h"

WP_STAGE_ABI;

namespace {

uint32_t be16(const uint8_t* p) {
  return uint32_t{p[0]} << 8 | p[1];
}

uint32_t be32(const uint8_t* p) {
  return be16(p) << 16 | be16(p + 2);
}

struct Bucket {
  int64_t rate, limit, credit, time, passed, policed;
};

}  // namespace

extern "C" WP_EXPORT int count_ports(wp_batch* batch, void* state) {
  auto* counts = static_cast<int64_t*>(state);
  for (uint32_t i = 0; i < batch->count; i++) {
    const uint8_t* frame = batch->data[i];
    const uint32_t length = batch->length[i];
    if (length < 42 || be16(frame + 12) != 0x0800 || frame[23] != 17) continue;
    const uint32_t udp = 14 + (frame[14] & 15u) * 4;
    if (length >= udp + 8) counts[be16(frame + udp + 2)]++;
  }
  return 0;
}

extern "C" WP_EXPORT int police(wp_batch* batch, void* state) {
  auto* buckets = static_cast<Bucket*>(state);
  for (uint32_t i = 0; i < batch->count; i++) {
    const uint8_t* frame = batch->data[i];
    Bucket* bucket = buckets;
    if (batch->length[i] >= 34 && be16(frame + 12) == 0x0800)
      bucket += (be32(frame + 26) * 2654435761u) >> 22;
    const int64_t now = batch->timestamp[i];
    if (bucket->time == 0)
      bucket->credit = bucket->limit;
    else
      bucket->credit =
          std::min(bucket->credit + std::max<int64_t>(now - bucket->time, 0), bucket->limit);
    bucket->time = std::max(now, bucket->time);
    const int64_t cost = batch->length[i] * INT64_C(1'000'000'000) / bucket->rate;
    if (cost > bucket->credit) {
      bucket->policed++;
      batch->verdict[i] = WP_DROP;
    } else {
      bucket->credit -= cost;
      bucket->passed++;
      batch->verdict[i] = WP_TX;
    }
  }
  return 0;
}
