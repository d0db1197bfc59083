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
  std::string partial, stderr_partial;
  FILE* stream = nullptr;
  FILE* in_place_of_stderr = nullptr;
};

// Never destroyed: EAL's threads log until the very end.
Log& log() {
  static Log* const one = new Log;
  return *one;
}
std::atomic<void (*)(std::string_view)> g_observer{nullptr};

void keep(Log& l, std::string line) {
  l.lines.push_back(std::move(line));
  if (l.lines.size() <= kLines) return;
  l.lines.pop_front();
  l.dropped++;
}

// Whole lines of `text`; what is left of the last stays in `partial`.
std::vector<std::string> split(std::string& partial, std::string_view text) {
  std::vector<std::string> out;
  for (const char c : text) {
    if (c != '\n') {
      if (partial.size() < kLongest) partial += c;
      continue;
    }
    if (!partial.empty()) out.push_back(std::move(partial));
    partial.clear();
  }
  return out;
}

ssize_t take_log(void*, const char* text, size_t n) {
  Log& l = log();
  std::vector<std::string> complete;
  {
    const std::lock_guard lock(l.mutex);
    complete = split(l.partial, {text, n});
    if (rte_log_cur_msg_loglevel() <= static_cast<int>(RTE_LOG_WARNING))
      for (const std::string& line : complete) keep(l, line);
  }
  if (const auto observer = g_observer.load(std::memory_order_acquire))
    for (const std::string& line : complete) observer(line);
  return static_cast<ssize_t>(n);
}

ssize_t take_stderr(void*, const char* text, size_t n) {
  Log& l = log();
  const std::lock_guard lock(l.mutex);
  for (std::string& line : split(l.stderr_partial, {text, n}))
    if (line.find("libbpf: elf: skipping") == std::string::npos) keep(l, std::move(line));
  return static_cast<ssize_t>(n);
}

}  // namespace

void EalLog::capture() {
  Log& l = log();
  if (l.stream) return;
  l.stream = fopencookie(nullptr, "w", {nullptr, &take_log, nullptr, nullptr});
  l.in_place_of_stderr = fopencookie(nullptr, "w", {nullptr, &take_stderr, nullptr, nullptr});
  if (!l.stream || !l.in_place_of_stderr) throw Error(ErrorKind::kIo, "no memory for DPDK's log");
  setvbuf(l.stream, nullptr, _IOLBF, 0);
  setvbuf(l.in_place_of_stderr, nullptr, _IOLBF, 0);
  rte_openlog_stream(l.stream);
}

CaughtStderr::CaughtStderr() noexcept : before_(stderr) {
  stderr = log().in_place_of_stderr;
}

CaughtStderr::~CaughtStderr() {
  std::fflush(stderr);
  stderr = before_;
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
