// SPDX-License-Identifier: Apache-2.0
#include "load/perf_counters.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace wp::load {
namespace {

struct Wanted {
  const char* name;
  uint32_t type;
  uint64_t config;
};
constexpr Wanted kWanted[] = {
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {"cache_references", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_REFERENCES},
    {"cache_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
    {"branch_misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES},
    {"task_clock_ns", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK},
    {"context_switches", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES},
    {"cpu_migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS},
    {"page_faults", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS},
};

int open_event(const Wanted& wanted, bool with_kernel) {
  perf_event_attr attr{};
  attr.size = sizeof attr;
  attr.type = wanted.type;
  attr.config = wanted.config;
  attr.exclude_kernel = !with_kernel;
  attr.exclude_hv = 1;
  attr.inherit = 1;
  attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  return static_cast<int>(syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

std::string reason_of(int error) {
  switch (error) {
    case ENOENT:
    case EOPNOTSUPP:
    case ENODEV:
      return "this CPU, or the hypervisor under it, offers no such counter";
    case EACCES:
    case EPERM:
      return "not permitted (CAP_PERFMON, or a lower kernel.perf_event_paranoid)";
    case ENOSYS:
      return "this kernel is built without perf events";
    default:
      return std::string("perf_event_open: ") + std::strerror(error);
  }
}

}  // namespace

PerfCounters::PerfCounters() {
  for (const Wanted& wanted : kWanted) {
    Event event;
    event.name = wanted.name;
    event.fd = open_event(wanted, true);
    if (event.fd < 0 && (errno == EACCES || errno == EPERM)) {
      event.with_kernel = false;
      event.fd = open_event(wanted, false);
    }
    if (event.fd < 0) event.reason = reason_of(errno);
    events_.push_back(event);
  }
}

PerfCounters::~PerfCounters() {
  for (const Event& event : events_)
    if (event.fd >= 0) ::close(event.fd);
}

std::vector<PerfValue> PerfCounters::read() const {
  std::vector<PerfValue> out(events_.size());
  for (size_t i = 0; i < out.size(); i++) {
    const Event& event = events_[i];
    PerfValue& value = out[i];
    value.name = event.name;
    value.with_kernel = event.with_kernel;
    value.reason = event.reason;
    if (event.fd < 0) continue;
    uint64_t raw[3] = {};  // value, time enabled, time running
    if (::read(event.fd, raw, sizeof raw) != sizeof raw) {
      value.reason = reason_of(errno);
      continue;
    }
    value.available = true;
    value.share = raw[1] ? static_cast<double>(raw[2]) / static_cast<double>(raw[1]) : 0.0;
    value.value = raw[2] == 0 || raw[2] == raw[1]
                      ? raw[0]
                      : static_cast<uint64_t>(static_cast<double>(raw[0]) / value.share);
  }
  return out;
}

}  // namespace wp::load
