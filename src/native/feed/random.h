// SPDX-License-Identifier: Apache-2.0
// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64. Integers only, so a seed gives
// the same numbers with every compiler and library; std::distribution does not promise that.
#pragma once

#include <bit>
#include <cstdint>

namespace wp::feed {

class Random {
 public:
  explicit Random(uint64_t seed) noexcept {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
      z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() noexcept {
    const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // 0 to n - 1, n > 0; the bias of the multiplication is below n / 2^64.
  uint64_t below(uint64_t n) noexcept {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }

 private:
  uint64_t state_[4];
};

// The same from 32 random bits at hand, for n < 2^32.
inline uint32_t scale32(uint32_t bits, uint32_t n) noexcept {
  return static_cast<uint32_t>((uint64_t{bits} * n) >> 32);
}

}  // namespace wp::feed
