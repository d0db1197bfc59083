// SPDX-License-Identifier: Apache-2.0
// Frames that the NIC lost for want of a descriptor. No event tells of them: the driver counts
// them per network port, all its users together.
#pragma once

#include <cstdint>
#include <vector>

#include "backends/ef_vi/virtual_interface.h"
#include "net/netdev.h"

namespace wp::ef_vi_backend {

struct Losses {
  uint64_t no_descriptor = 0;
  uint64_t overrun = 0;  // beyond what the kernel's own counters of the interface have
};

class NicLosses {
 public:
  // Counting begins here, in this thread's network namespace.
  NicLosses(const VirtualInterface& vi, const net::Netdev& netdev);
  ~NicLosses();
  NicLosses(const NicLosses&) = delete;
  NicLosses& operator=(const NicLosses&) = delete;

  // Any thread, one at a time.
  Losses read() noexcept;
  // The driver has such a counter.
  bool known() const noexcept { return known_; }

 private:
  Losses query() noexcept;

  [[maybe_unused]] const VirtualInterface& vi_;
  net::Netdev netdev_;
  [[maybe_unused]] int fd_ = -1;
  [[maybe_unused]] uint32_t count_ = 0;  // statistics,
  [[maybe_unused]] uint32_t index_ = 0;  // and which of them
  std::vector<uint64_t> buffer_;
  bool known_ = false;
  Losses base_;
};

}  // namespace wp::ef_vi_backend
