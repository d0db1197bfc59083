// SPDX-License-Identifier: Apache-2.0
// Unaligned loads and stores in the wire's byte order. Compile to one instruction each.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace wp::net {

static_assert(std::endian::native == std::endian::little, "wirepath runs on little-endian hosts");

template <class T>
inline T load_le(const uint8_t* p) noexcept {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline uint16_t load_be16(const uint8_t* p) noexcept {
  return __builtin_bswap16(load_le<uint16_t>(p));
}
inline uint32_t load_be32(const uint8_t* p) noexcept {
  return __builtin_bswap32(load_le<uint32_t>(p));
}
inline uint64_t load_be64(const uint8_t* p) noexcept {
  return __builtin_bswap64(load_le<uint64_t>(p));
}

template <class T>
inline void store_le(uint8_t* p, T v) noexcept {
  std::memcpy(p, &v, sizeof v);
}
inline void store_be16(uint8_t* p, uint16_t v) noexcept {
  store_le(p, __builtin_bswap16(v));
}
inline void store_be32(uint8_t* p, uint32_t v) noexcept {
  store_le(p, __builtin_bswap32(v));
}
inline void store_be64(uint8_t* p, uint64_t v) noexcept {
  store_le(p, __builtin_bswap64(v));
}

}  // namespace wp::net
