// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms by name in one shared-memory segment per process, so that
// `wirepath` in another process reads them without touching the data path (after Snabb's shm).
//
// A directory of fixed entries grows at the front, cells are taken from the rest. Entries are
// written once and then published by the entry count; a reader never sees half of one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/histogram.h"
#include "core/shm.h"

namespace wp {

// A cell in shared memory with one writer.
class Counter {
 public:
  void add(uint64_t n) noexcept { add_relaxed(cell_, n); }
  void set(uint64_t n) noexcept { cell_.store(n, std::memory_order_relaxed); }
  uint64_t value() const noexcept { return cell_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> cell_{0};
};
static_assert(sizeof(Counter) == 8);

enum class Kind : uint32_t { kCounter = 1, kGauge = 2, kHistogram = 3 };

struct TelemetryEntry {
  std::string name;
  Kind kind;
  uint64_t value;              // counters and gauges
  const Histogram* histogram;  // histograms
};

class Telemetry {
 public:
  static constexpr size_t kBytes = 16 << 20;  // sparse: pages exist once touched
  static constexpr size_t kEntries = 16384;
  static constexpr size_t kNameBytes = 112;

  // `name` of the shared-memory segment; empty keeps it private to this process.
  explicit Telemetry(const std::string& name);
  static std::unique_ptr<Telemetry> attach(const std::string& name);

  // A block of counters that one thread writes, on cache lines of its own: "<group>/<name>"
  // each. The pointer stays valid for the life of the Telemetry. Groups with a name already
  // taken get a suffix "#2", "#3", ….
  Counter* counters(const std::string& group, std::span<const char* const> names);
  Histogram* histogram(const std::string& name);

  std::vector<TelemetryEntry> entries() const;
  const std::string& name() const noexcept { return memory_.name(); }

  // The process's own: segment "<pid>", private where /dev/shm can't be written.
  static Telemetry& process();

 private:
  struct Header;
  struct Entry;
  explicit Telemetry(SharedMemory memory);
  Header* header() const noexcept;
  Entry* table() const noexcept;
  void* take(size_t bytes);
  std::string unique(const std::string& name) const;
  void publish(const std::string& name, Kind kind, const void* cell);

  SharedMemory memory_;
  mutable std::mutex mutex_;
};

}  // namespace wp
