// SPDX-License-Identifier: Apache-2.0
#include "net/checksum.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace {

// RFC 1071 as its text has it: 16-bit words, one at a time.
uint16_t naive(const std::vector<uint8_t>& bytes, size_t from, size_t n, uint32_t sum) {
  for (size_t i = 0; i < n; i += 2) {
    sum += static_cast<uint32_t>(bytes[from + i] << 8);
    if (i + 1 < n) sum += bytes[from + i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(~sum);
}

}  // namespace

TEST_CASE("checksum: any length and alignment as the RFC's loop") {
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(70000);
  for (auto& b : bytes) b = static_cast<uint8_t>(random());
  for (size_t n = 0; n < 400; n++)
    for (size_t from = 0; from < 4; from++)
      CHECK(wp::net::checksum(bytes.data() + from, n, 0x1234) == naive(bytes, from, n, 0x1234));
  CHECK(wp::net::checksum(bytes.data(), 65535) == naive(bytes, 0, 65535, 0));
  std::fill(bytes.begin(), bytes.end(), 0xff);
  CHECK(wp::net::checksum(bytes.data(), 65535) == naive(bytes, 0, 65535, 0));
}
