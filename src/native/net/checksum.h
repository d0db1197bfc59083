// SPDX-License-Identifier: Apache-2.0
// The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/bytes.h"

namespace wp::net {

// Running sum over `n` bytes in network order, to be folded at the end.
inline uint64_t checksum_add(const uint8_t* p, size_t n, uint64_t sum = 0) noexcept {
  // Long runs are summed in the host's byte order and swapped once (RFC 1071 §2 B), which the
  // compiler turns into vector adds.
  if (n >= 64) {
    uint64_t host = 0;
    for (; n >= 32; n -= 32, p += 32)
      for (size_t i = 0; i < 32; i += 4) host += load_le<uint32_t>(p + i);
    host = (host & 0xffffffff) + (host >> 32);
    host = (host & 0xffff) + (host >> 16);
    host = (host & 0xffff) + (host >> 16);
    host = (host & 0xffff) + (host >> 16);
    sum += __builtin_bswap16(static_cast<uint16_t>(host));
  }
  for (; n >= 4; n -= 4, p += 4) sum += load_be32(p);
  if (n >= 2) {
    sum += load_be16(p);
    p += 2;
    n -= 2;
  }
  if (n) sum += static_cast<uint64_t>(*p) << 8;
  return sum;
}

inline uint16_t checksum_fold(uint64_t sum) noexcept {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

inline uint16_t checksum(const uint8_t* p, size_t n, uint64_t sum = 0) noexcept {
  return checksum_fold(checksum_add(p, n, sum));
}

}  // namespace wp::net
