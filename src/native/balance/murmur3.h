// SPDX-License-Identifier: Apache-2.0
// MurmurHash3_x64_128 (Austin Appleby, public domain), which Cilium's tables are made with.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

namespace wp::balance {

inline uint64_t murmur3_mix(uint64_t k) noexcept {
  k = (k ^ k >> 33) * 0xff51afd7ed558ccdull;
  k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53ull;
  return k ^ k >> 33;
}

inline std::pair<uint64_t, uint64_t> murmur3_128(std::string_view text, uint32_t seed) noexcept {
  constexpr uint64_t c1 = 0x87c37b91114253d5ull, c2 = 0x4cf5ad432745937full;
  uint64_t h1 = seed, h2 = seed;
  size_t at = 0;
  for (; at + 16 <= text.size(); at += 16) {
    uint64_t k1, k2;
    std::memcpy(&k1, text.data() + at, 8);
    std::memcpy(&k2, text.data() + at + 8, 8);
    h1 = std::rotl(h1 ^ std::rotl(k1 * c1, 31) * c2, 27) + h2;
    h1 = h1 * 5 + 0x52dce729;
    h2 = std::rotl(h2 ^ std::rotl(k2 * c2, 33) * c1, 31) + h1;
    h2 = h2 * 5 + 0x38495ab5;
  }
  uint64_t tail[2] = {0, 0};
  std::memcpy(tail, text.data() + at, text.size() - at);
  if (text.size() - at > 8) h2 ^= std::rotl(tail[1] * c2, 33) * c1;
  if (text.size() > at) h1 ^= std::rotl(tail[0] * c1, 31) * c2;
  h1 ^= text.size();
  h2 ^= text.size();
  h1 += h2;
  h2 += h1;
  h1 = murmur3_mix(h1);
  h2 = murmur3_mix(h2);
  h1 += h2;
  return {h1, h2 + h1};
}

}  // namespace wp::balance
