// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/gate.h"

#include <time.h>

#include "core/clock.h"

namespace wp::dpdk {

bool Gate::close(Reason why, int64_t patience_us) noexcept {
  closed_.fetch_or(why, std::memory_order_seq_cst);
  const int64_t end = Clock::realtime() + patience_us * 1000;
  for (uint32_t i = 0; i < entrances_; i++)
    while (inside_[i].flag.load(std::memory_order_seq_cst) != 0) {
      if (Clock::realtime() > end) return false;
      // Asleep, not yielding: whoever is inside may want this very core.
      const timespec moment{0, 20'000};
      nanosleep(&moment, nullptr);
    }
  return true;
}

}  // namespace wp::dpdk
