// SPDX-License-Identifier: Apache-2.0
// The options of an af_xdp port, read and checked.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/port.h"
#include "net/netdev.h"

namespace wp::af_xdp {

enum class ZeroCopy { kRequire, kPrefer, kNever };

struct Settings {
  explicit Settings(const PortConfig& config);

  std::vector<int> queues;  // empty = all
  bool native, generic;
  ZeroCopy zero_copy;
  uint32_t rx_ring, tx_ring;
  uint32_t frame_size;
  uint32_t frames;  // per queue, 0 = derived
  bool busy_poll;
  uint32_t busy_poll_us, busy_poll_budget;
  bool driver_stamps;
  bool join;
  bool tx_only;
  int64_t busy_retry_ms;
  uint32_t share;  // of the flows, 65536ths, to begin with

  static std::span<const OptionHelp> options();

  // Bytes in front of a received frame beyond the kernel's own 256: the stamp, so placed that it
  // shares its cache line with the headers of a UDP frame.
  uint32_t headroom() const noexcept { return driver_stamps ? 16 : 0; }
  // Longest frame that fits behind them.
  uint32_t rx_room() const noexcept { return frame_size - 256 - headroom(); }
};

// The queues to bind, in ascending order. Throws naming how many the NIC has.
std::vector<uint32_t> choose_queues(const Settings& settings, const net::Netdev& netdev);

// Throws unless the interface is up and its frames fit.
void check_link(const Settings& settings, const net::Netdev& netdev);

}  // namespace wp::af_xdp
