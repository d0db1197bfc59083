// SPDX-License-Identifier: Apache-2.0
// DPDK's environment abstraction layer: started once per process, by the first port.
//
// It runs in memory alone: no shared configuration, no telemetry socket, no run directory, so
// that any number of processes live side by side. It takes no device by itself, leaves signals
// alone, and the thread that starts it keeps its affinity.
#pragma once

#include <string>
#include <vector>

#include "backends/dpdk/settings.h"

namespace wp::dpdk {

class Eal {
 public:
  // Throws kConfig where EAL runs already with other settings, kUnavailable without hugepages
  // that were asked for, kIo with what EAL said. `physical`: the first device knows nothing but
  // physical addresses, which EAL would see by itself only if it were to take devices by itself.
  static void start(const EalSettings& wanted, bool physical);

  static bool huge_pages() noexcept;
  static std::string memory();          // "hugepages, 64 MiB free of 64", "no hugepages, …"
  static std::vector<int64_t> cores();  // of its own threads
  static std::string version();
};

// Gives the calling thread an lcore number, once: mempool caches are per lcore. False where
// there is none left: everything works, every buffer goes through the pool's shared ring.
bool register_thread() noexcept;

}  // namespace wp::dpdk
