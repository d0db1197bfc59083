// SPDX-License-Identifier: Apache-2.0
// Many look-ups of a PrefixTrie at once, with the gathers of AVX-512: their memory accesses
// overlap, and no branch depends on what one of them finds.
#pragma once

#include <cstddef>
#include <cstdint>

#include "programs/route_fib.h"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#ifndef __clang__  // GCC 12 takes the undefined operands of its own header for a mistake
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#define WP_GATHER __attribute__((target("avx512f,avx512bw"), always_inline)) inline
#endif

namespace wp::route {

inline constexpr size_t kGathered = 64;

#if defined(__x86_64__)
// The index of an entry among the groups is signed and of 32 bits.
inline bool can_gather(size_t groups) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         groups <= size_t{1} << 23;
}

// Aligned words of 32 bits, each of which is read whole, as an entry is written whole.
template <class Entry>
WP_GATHER __m512i gather_entries(const Entry* entries, __m512i index, __mmask16 which) {
  const __m512i none = _mm512_setzero_si512();
  if constexpr (sizeof(Entry) == 4) {
    return _mm512_mask_i32gather_epi32(none, which, index, entries, 4);
  } else {
    const __m512i word =
        _mm512_mask_i32gather_epi32(none, which, _mm512_srli_epi32(index, 1), entries, 4);
    const __m512i shift = _mm512_slli_epi32(_mm512_and_si512(index, _mm512_set1_epi32(1)), 4);
    return _mm512_and_si512(_mm512_srlv_epi32(word, shift), _mm512_set1_epi32(0xffff));
  }
}

// Bytes 4 * n to 4 * n + 3 of each address, the first of them lowest.
template <class Address>
WP_GATHER __m512i gather_word(const uint8_t* addresses, uint32_t n) {
  if constexpr (Address::kBytes == 4) {
    return _mm512_loadu_si512(addresses);
  } else {
    const __m512i lane =
        _mm512_set_epi32(60, 56, 52, 48, 44, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4, 0);
    const __m512i at = _mm512_add_epi32(lane, _mm512_set1_epi32(static_cast<int>(n)));
    return _mm512_i32gather_epi32(at, addresses, 4);
  }
}

// kGathered addresses in network order. The caller looks whether groups were reused meanwhile.
template <class Address, class Entry>
__attribute__((target("avx512f,avx512bw"))) inline void gather_lookup(
    const Entry* root, const Entry* groups, const uint8_t* addresses, uint32_t otherwise,
    uint32_t* next_hops) noexcept {
  constexpr uint32_t kFlag = sizeof(Entry) == 2 ? WP_FIB_GROUP_FLAG16 : WP_FIB_GROUP_FLAG32;
  constexpr size_t kLanes = 16, kVectors = kGathered / kLanes, kStep = kLanes * Address::kBytes;
  const __m512i flag = _mm512_set1_epi32(static_cast<int>(kFlag));
  const __m512i backwards =
      _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
  __m512i word[kVectors], entry[kVectors];
  __mmask16 deep[kVectors];
  uint32_t any = 0;
  // A gather alone waits for its lines before the next begins.
  if constexpr (Address::kBytes == 4) {
    for (size_t i = 0; i < kGathered; i++)
      __builtin_prefetch(&root[Address::load(addresses + i * Address::kBytes).root()]);
  }
  for (size_t v = 0; v < kVectors; v++) {
    word[v] = gather_word<Address>(addresses + v * kStep, 0);
    const __m512i first = _mm512_srli_epi32(_mm512_shuffle_epi8(word[v], backwards), 8);
    entry[v] = gather_entries(root, first, 0xffff);
  }
  for (size_t v = 0; v < kVectors; v++) {
    deep[v] = _mm512_test_epi32_mask(entry[v], flag);
    any |= deep[v];
  }
  for (uint32_t byte = WP_FIB_ROOT_BITS / 8; any && byte < Address::kBytes; byte++) {
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(byte % 4 * 8));
    for (size_t v = 0; v < kVectors; v++) {
      if (byte % 4 == 0) word[v] = gather_word<Address>(addresses + v * kStep, byte / 4);
      const __m512i within = _mm512_and_si512(_mm512_srl_epi32(word[v], shift),
                                              _mm512_set1_epi32(WP_FIB_GROUP_ENTRIES - 1));
      const __m512i start =
          _mm512_slli_epi32(_mm512_andnot_si512(flag, entry[v]), WP_FIB_GROUP_BITS);
      const __m512i found = gather_entries(groups, _mm512_or_si512(start, within), deep[v]);
      entry[v] = _mm512_mask_mov_epi32(entry[v], deep[v], found);
    }
    any = 0;
    for (size_t v = 0; v < kVectors; v++) {
      deep[v] = _mm512_mask_test_epi32_mask(deep[v], entry[v], flag);
      any |= deep[v];
    }
  }
  for (size_t v = 0; v < kVectors; v++) {
    const __mmask16 none = _mm512_testn_epi32_mask(entry[v], entry[v]);
    const __m512i hop =
        _mm512_mask_mov_epi32(entry[v], none, _mm512_set1_epi32(static_cast<int>(otherwise)));
    _mm512_storeu_si512(next_hops + v * kLanes, hop);
  }
}
#else
inline bool can_gather(size_t) {
  return false;
}
template <class Address, class Entry>
inline void gather_lookup(const Entry*, const Entry*, const uint8_t*, uint32_t,
                          uint32_t*) noexcept {}
#endif

}  // namespace wp::route
