// SPDX-License-Identifier: Apache-2.0
// What net_memif leaves to its user. When the peer goes, the driver's interrupt handler unmaps
// the rings, whatever the data path is doing: threads of ours are kept out meanwhile. And it
// never closes the socket that a server listened on.
#pragma once

#include <string>

#include "backends/dpdk/gate.h"

namespace wp::dpdk {

// Once EAL runs: from here on the driver's log lines close and open the gates.
void watch_memif();

// For the life of a port.
class MemifGuard {
 public:
  // `socket`: path or abstract name, `server`: the side that listens.
  MemifGuard(Gate& gate, std::string socket, bool server);
  ~MemifGuard();  // after the device has been removed
  MemifGuard(const MemifGuard&) = delete;
  MemifGuard& operator=(const MemifGuard&) = delete;

  // A gate that the driver's handler left closed; called now and then.
  void revive() noexcept;

 private:
  Gate& gate_;
  std::string socket_;
  bool server_;
};

}  // namespace wp::dpdk
