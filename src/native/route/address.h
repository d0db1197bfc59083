// SPDX-License-Identifier: Apache-2.0
// Addresses as the forwarding tables want them: in host order, so that prefixes are shifts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "net/bytes.h"

namespace wp::route {

struct Address4 {
  static constexpr uint32_t kBits = 32;
  static constexpr size_t kBytes = 4;
  uint32_t value = 0;

  // From four bytes in network order.
  static Address4 load(const uint8_t* bytes) noexcept { return {net::load_be32(bytes)}; }
  uint32_t root() const noexcept { return value >> 8; }
  // The eight bits that begin at bit `at`, a multiple of eight.
  uint32_t byte(uint32_t at) const noexcept { return (value >> (24 - at)) & 0xff; }
  Address4 masked(uint32_t length) const noexcept {
    return {length == 0 ? 0 : value & (~uint32_t{0} << (32 - length))};
  }
  uint64_t hash() const noexcept { return value * uint64_t{0x9e3779b97f4a7c15}; }
  bool operator==(const Address4&) const = default;
};

struct Address6 {
  static constexpr uint32_t kBits = 128;
  static constexpr size_t kBytes = 16;
  uint64_t high = 0, low = 0;

  static Address6 load(const uint8_t* bytes) noexcept {
    return {net::load_be64(bytes), net::load_be64(bytes + 8)};
  }
  uint32_t root() const noexcept { return static_cast<uint32_t>(high >> 40); }
  uint32_t byte(uint32_t at) const noexcept {
    return at < 64 ? (high >> (56 - at)) & 0xff : (low >> (120 - at)) & 0xff;
  }
  Address6 masked(uint32_t length) const noexcept {
    if (length == 0) return {};
    if (length <= 64) return {high & (~uint64_t{0} << (64 - length)), 0};
    return {high, low & (~uint64_t{0} << (128 - length))};
  }
  uint64_t hash() const noexcept {
    const uint64_t x = (high ^ (low >> 29) ^ (low << 17)) * uint64_t{0x9e3779b97f4a7c15};
    return (x ^ (x >> 32)) * uint64_t{0xd6e8feb86659fd93};
  }
  bool operator==(const Address6&) const = default;
};

}  // namespace wp::route
