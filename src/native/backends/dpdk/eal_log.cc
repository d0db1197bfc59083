// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/eal_log.h"

#include <rte_log.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace wp::dpdk {
namespace {

constexpr size_t kLines = 256;
constexpr size_t kLongest = 1024;  // of a line

struct Log {
  std::mutex mutex;
  std::deque<std::string> lines;
  uint64_t dropped = 0;  // lines that fell off the front
  std::string partial;
  FILE* stream = nullptr;
};

// Never destroyed: EAL's threads log until the very end.
Log& log() {
  static Log* const one = new Log;
  return *one;
}
std::atomic<void (*)(std::string_view)> g_observer{nullptr};

// Text that comes through the stream by itself (alerts of rte_eal_init) has no level.
bool worth_keeping() {
  const int level = rte_log_cur_msg_loglevel();
  return level < 0 || level <= static_cast<int>(RTE_LOG_WARNING);
}

ssize_t take(void*, const char* text, size_t n) {
  Log& l = log();
  std::vector<std::string> complete;
  {
    const std::lock_guard lock(l.mutex);
    for (size_t i = 0; i < n; i++) {
      if (text[i] != '\n') {
        if (l.partial.size() < kLongest) l.partial += text[i];
        continue;
      }
      complete.push_back(std::move(l.partial));
      l.partial.clear();
      if (complete.back().empty() || !worth_keeping()) continue;
      l.lines.push_back(complete.back());
      if (l.lines.size() > kLines) {
        l.lines.pop_front();
        l.dropped++;
      }
    }
  }
  if (const auto observer = g_observer.load(std::memory_order_acquire))
    for (const std::string& line : complete) observer(line);
  return static_cast<ssize_t>(n);
}

}  // namespace

void EalLog::capture() {
  Log& l = log();
  if (l.stream) return;
  l.stream = fopencookie(nullptr, "w", {nullptr, &take, nullptr, nullptr});
  if (!l.stream) throw Error(ErrorKind::kIo, "no memory for DPDK's log");
  setvbuf(l.stream, nullptr, _IOLBF, 0);
  rte_openlog_stream(l.stream);
}

FILE* EalLog::stream() noexcept {
  return log().stream;
}

uint64_t EalLog::mark() noexcept {
  Log& l = log();
  const std::lock_guard lock(l.mutex);
  return l.dropped + l.lines.size();
}

std::string EalLog::since(uint64_t mark) {
  Log& l = log();
  const std::lock_guard lock(l.mutex);
  std::string out;
  for (size_t i = mark > l.dropped ? mark - l.dropped : 0; i < l.lines.size(); i++) {
    std::string_view line = l.lines[i];
    line.remove_suffix(line.size() - std::min(line.find_last_not_of(" .") + 1, line.size()));
    if (line.empty() || out.find(line) != std::string::npos) continue;
    if (!out.empty()) out += "; ";
    out += line;
  }
  return out;
}

void EalLog::observe(void (*observer)(std::string_view)) noexcept {
  g_observer.store(observer, std::memory_order_release);
}

}  // namespace wp::dpdk
