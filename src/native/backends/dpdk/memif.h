// SPDX-License-Identifier: Apache-2.0
// What net_memif leaves to its user. When the peer goes, the driver's interrupt handler unmaps
// the rings, whatever the data path is doing: threads of ours are kept out meanwhile. It has no
// lock against being stopped at that moment: stopping is done in the interrupt thread. It never
// closes the socket that a server listened on, nor takes one's place that was killed.
#pragma once

#include <functional>
#include <string>

#include "backends/dpdk/gate.h"

namespace wp::dpdk {

// Once EAL runs: from here on the driver's log lines close and open the gates.
void watch_memif();

// Removes the socket that a killed server left at `path`, where nobody listens on it any more.
void remove_stale_socket(const std::string& path) noexcept;

// Runs `task` in EAL's interrupt thread, where the handlers of devices run too, and waits for it.
void in_interrupt_thread(const std::function<void()>& task);

// For the life of a port.
class MemifGuard {
 public:
  // `socket`: path or abstract name, `server`: the side that listens.
  MemifGuard(Gate& gate, std::string socket, bool server);
  ~MemifGuard();
  MemifGuard(const MemifGuard&) = delete;
  MemifGuard& operator=(const MemifGuard&) = delete;

  // A gate that the driver's handler left closed; called now and then.
  void revive();

  // Once the device has been removed, in the same breath: nobody is to call its listener.
  void removed();

 private:
  Gate& gate_;
  std::string socket_;
  bool server_;
};

}  // namespace wp::dpdk
