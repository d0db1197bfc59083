// SPDX-License-Identifier: Apache-2.0
// Counters, gauges and histograms by name in one shared-memory segment per process, so that
// `wirepath` in another process reads them without touching the data path (after Snabb's shm).
//
// A directory of fixed entries grows at the front, cells are taken from the rest. What a closed
// port or a finished worker gives back is used again. Each entry has a version that is odd while
// it is written, so that a reader never sees half of one.
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
#include "core/tap_cell.h"

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

enum class Kind : uint32_t { kCounter = 1, kGauge = 2, kHistogram = 3, kTap = 4 };

struct TelemetryEntry {
  std::string name;
  Kind kind;
  uint64_t value;              // counters and gauges
  const Histogram* histogram;  // histograms
  TapCell* tap;                // taps
};

class Telemetry {
 public:
  static constexpr size_t kBytes = 16 << 20;  // sparse: pages exist once touched
  static constexpr size_t kEntries = 16384;
  static constexpr size_t kNameBytes = 112;

  // `name` of the shared-memory segment; empty keeps it private to this process.
  explicit Telemetry(const std::string& name);
  // `writable`: to ask for a tap.
  static std::unique_ptr<Telemetry> attach(const std::string& name, bool writable = false);

  // A block of counters that one thread writes, on cache lines of its own: "<group>/<name>"
  // each. The pointer stays valid until released. Groups with a name already taken get a suffix
  // "#2", "#3", …; a name too long for its entry loses the middle of its group.
  Counter* counters(const std::string& group, std::span<const char* const> names);
  Histogram* histogram(const std::string& name);
  // Where others ask for the frames of a port: "tap/<spec>".
  TapCell* tap(const std::string& spec);
  // Takes the block that counters(), histogram() or tap() gave out of the directory.
  void release(const void* cells) noexcept;

  std::vector<TelemetryEntry> entries() const;
  const std::string& name() const noexcept { return memory_.name(); }
  unsigned user() const { return memory_.user(); }
  bool abandoned() const noexcept { return memory_.abandoned(); }  // its process has gone

  // The process's own: segment "<pid>", private where /dev/shm can't be written. A forked child
  // gets one of its own when it first asks.
  static Telemetry& process();

 private:
  struct Header;
  struct Entry;
  explicit Telemetry(SharedMemory memory);
  Header* header() const noexcept;
  Entry* table() const noexcept;
  struct Block {
    uint64_t offset, bytes;
    bool tap;  // others write to it: never used again for anything else
  };
  void* take(size_t bytes, bool tap = false);
  // The group to publish `longest` under: not taken, and short enough for an entry.
  std::string unique(const std::string& group, size_t longest) const;
  void publish(const std::string& name, Kind kind, const void* cell);
  uint64_t offset_of(const void* cell) const noexcept;

  SharedMemory memory_;
  mutable std::mutex mutex_;
  std::vector<Block> used_, free_;
};

}  // namespace wp
