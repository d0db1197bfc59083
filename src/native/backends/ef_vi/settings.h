// SPDX-License-Identifier: Apache-2.0
// The options of an ef_vi port, read and checked.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "backends/ef_vi/onload.h"
#include "core/port.h"
#include "net/netdev.h"

namespace wp::ef_vi_backend {

enum class Stamps { kAuto, kHardware, kPoll };

struct Settings {
  explicit Settings(const PortConfig& config);

  uint32_t rx_ring, tx_ring;
  uint32_t frame_size;  // of a packet buffer of ours
  uint32_t frames;      // 0 = as the rings need
  bool zero_copy;       // shared hardware buffers are handed out as they are
  bool event_merge;
  Stamps stamps;
  uint32_t max_held;
  bool tx_only;
#ifdef WP_EF_VI_SIMULATOR
  ef_sim_config simulator;
#endif

  static std::span<const OptionHelp> options();
};

// Throws unless the interface is up and its frames fit a packet buffer.
void check_link(const Settings& settings, const net::Netdev& netdev);

}  // namespace wp::ef_vi_backend
