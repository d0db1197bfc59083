// SPDX-License-Identifier: Apache-2.0
// Keeps the data path out while a device's queues are taken away under it. The data path takes
// no lock: it says that it is inside, and stays out while a reason stands not to go in.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace wp::dpdk {

class Gate {
 public:
  enum Reason : uint32_t { kInterrupt = 1, kRestart = 2 };

  // `entrances`: one per thread that may be inside at a time (receive and transmit of a queue
  // are one thread's).
  explicit Gate(uint32_t entrances)
      : inside_(std::make_unique<Entrance[]>(entrances)), entrances_(entrances) {}

  bool enter(uint32_t entrance) noexcept {
    inside_[entrance].flag.store(1, std::memory_order_seq_cst);
    if (closed_.load(std::memory_order_seq_cst) == 0) [[likely]]
      return true;
    leave(entrance);
    return false;
  }
  void leave(uint32_t entrance) noexcept {
    inside_[entrance].flag.store(0, std::memory_order_release);
  }

  // Waits until nobody is inside, at most `patience_us`; false = somebody still is.
  bool close(Reason why, int64_t patience_us) noexcept;
  void open(Reason why) noexcept { closed_.fetch_and(~static_cast<uint32_t>(why)); }
  bool closed(Reason why) const noexcept { return closed_.load() & why; }

 private:
  struct alignas(64) Entrance {
    std::atomic<uint32_t> flag{0};
  };
  alignas(64) std::atomic<uint32_t> closed_{0};
  std::unique_ptr<Entrance[]> inside_;
  uint32_t entrances_;
};

}  // namespace wp::dpdk
