// SPDX-License-Identifier: Apache-2.0
// What a load sender writes at the start of every UDP payload, and a meter reads back.
#pragma once

#include <cstdint>

#include "net/bytes.h"

namespace wp::load {

// 16 bytes, so that the smallest Ethernet frame has room: magic, run, sequence number, and when
// the packet was *meant* to leave, in ns since the Unix epoch. Network order.
struct Probe {
  static constexpr uint32_t kBytes = 16;
  static constexpr uint16_t kMagic = 0x574c;

  uint16_t run = 0;
  uint32_t sequence = 0;
  int64_t intended = 0;

  void write(uint8_t* p) const noexcept {
    net::store_be16(p, kMagic);
    net::store_be16(p + 2, run);
    net::store_be32(p + 4, sequence);
    net::store_be64(p + 8, static_cast<uint64_t>(intended));
  }
  // False: no probe.
  bool read(const uint8_t* p, uint32_t n) noexcept {
    if (n < kBytes || net::load_be16(p) != kMagic) return false;
    run = net::load_be16(p + 2);
    sequence = net::load_be32(p + 4);
    intended = static_cast<int64_t>(net::load_be64(p + 8));
    return true;
  }
};

}  // namespace wp::load
