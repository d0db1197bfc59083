// SPDX-License-Identifier: Apache-2.0
// perf_event_open(2): what the CPU and the kernel count. Where an event cannot be had, why.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wp::load {

struct PerfValue {
  std::string name;
  bool available = false;
  uint64_t value = 0;       // since construction, scaled up where the event shared its counter
  double share = 0;         // of the time in which it was counted, 0 to 1
  bool with_kernel = true;  // false: user space only (perf_event_paranoid)
  std::string reason;       // why it is not available
};

class PerfCounters {
 public:
  // Of this process: the calling thread, and every thread that it starts from now on. Never throws:
  // an event that cannot be had says so when it is read.
  PerfCounters();
  ~PerfCounters();
  PerfCounters(const PerfCounters&) = delete;
  PerfCounters& operator=(const PerfCounters&) = delete;

  std::vector<PerfValue> read() const;

 private:
  struct Event {
    std::string name;
    int fd = -1;
    bool with_kernel = true;
    std::string reason;
  };
  std::vector<Event> events_;
};

}  // namespace wp::load
