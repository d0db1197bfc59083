// SPDX-License-Identifier: Apache-2.0
// A NIC's free-running clock in nanoseconds since the Unix epoch: a line through two readings of
// both clocks, drawn again as time goes on.
#pragma once

#include <atomic>
#include <cstdint>

namespace wp::dpdk {

class DeviceClock {
 public:
  // `ticks` was read at `ns`. One thread. The first gives no line yet, the second does; readings
  // closer together than a millisecond are passed over, for what the error of one would do.
  void sample(uint64_t ticks, int64_t ns) noexcept {
    if (!seen_) {
      seen_ = true;
      first_ticks_ = ticks;
      first_ns_ = ns;
      return;
    }
    const auto passed = static_cast<double>(static_cast<int64_t>(ticks - first_ticks_));
    if (passed <= 0 || ns - first_ns_ < 1'000'000) return;
    const double slope = static_cast<double>(ns - first_ns_) / passed;
    version_.fetch_add(1, std::memory_order_acq_rel);
    base_ticks_.store(ticks, std::memory_order_relaxed);
    base_ns_.store(ns, std::memory_order_relaxed);
    ns_per_tick_.store(slope, std::memory_order_relaxed);
    version_.fetch_add(1, std::memory_order_release);
  }

  bool ready() const noexcept { return version_.load(std::memory_order_acquire) >= 2; }

  // Any thread; only once ready().
  int64_t to_ns(uint64_t ticks) const noexcept {
    for (;;) {
      const uint32_t before = version_.load(std::memory_order_acquire);
      const uint64_t base = base_ticks_.load(std::memory_order_relaxed);
      const int64_t ns = base_ns_.load(std::memory_order_relaxed);
      const double slope = ns_per_tick_.load(std::memory_order_relaxed);
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) == 0 && before == version_.load(std::memory_order_relaxed))
        return ns + static_cast<int64_t>(static_cast<double>(static_cast<int64_t>(ticks - base)) *
                                         slope);
    }
  }

  // Where drivers put the stamp in an mbuf, and the flag that says there is one.
  int offset = -1;
  uint64_t flag = 0;

 private:
  bool seen_ = false;
  uint64_t first_ticks_ = 0;
  int64_t first_ns_ = 0;
  std::atomic<uint32_t> version_{0};
  std::atomic<uint64_t> base_ticks_{0};
  std::atomic<int64_t> base_ns_{0};
  std::atomic<double> ns_per_tick_{0};
};

}  // namespace wp::dpdk
