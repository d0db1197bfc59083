// SPDX-License-Identifier: Apache-2.0
// What DPDK logs, kept instead of printed: an error message is made from it, and net_memif's
// lines are the only way to know what its interrupt handler is about to do.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace wp::dpdk {

class EalLog {
 public:
  // Takes over DPDK's log. Before rte_eal_init; does nothing the second time.
  static void capture();

  // The warnings and errors since a mark, oldest first. Levels are known of threads that are
  // registered with EAL: see register_thread().
  static uint64_t mark() noexcept;
  static std::string since(uint64_t mark);

  // Called with every line, in the thread that logs. Set once, while there is no port.
  static void observe(void (*observer)(std::string_view line)) noexcept;
};

// What DPDK, and libraries that its drivers use, print to stderr past their logs goes to the log
// too, for the life of this.
class CaughtStderr {
 public:
  CaughtStderr() noexcept;
  ~CaughtStderr();
  CaughtStderr(const CaughtStderr&) = delete;
  CaughtStderr& operator=(const CaughtStderr&) = delete;

 private:
  FILE* before_;
};

}  // namespace wp::dpdk
