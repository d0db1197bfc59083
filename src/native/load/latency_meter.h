// SPDX-License-Identifier: Apache-2.0
// The receiving end of a load: a stage that finds the sender's probes, and keeps latencies from the
// intended send time, delay variation, what was lost, repeated or reordered, and a timeline.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/histogram.h"
#include "core/stage.h"

namespace wp::load {

class MeterClock {
 public:
  virtual ~MeterClock() = default;
  virtual int64_t now() noexcept;  // ns since the Unix epoch
  virtual void sleep(int64_t ns) noexcept;
};

struct MeterOptions {
  uint16_t run = 0;    // whose packets count
  uint64_t count = 1;  // packets that the sender plans: 1 to 2^28
  int64_t start = 0;   // ns since the Unix epoch: time zero of the timeline
  int64_t bin_ns = 100'000'000;
  uint32_t bins = 0;  // of the timeline, 0 to 4096
  // The receiver stands still for this long, once, at the first packet that was meant to leave
  // `stall_after_ns` after the start or later: to see that a measurement shows it. 0 = never.
  int64_t stall_ns = 0;
  int64_t stall_after_ns = 0;
};

// What is kept of one run. One writer, the worker; any readers.
struct MeterRun {
  explicit MeterRun(const MeterOptions& options);

  MeterOptions options;
  std::atomic<uint64_t> received{0};    // packets of the run, each once
  std::atomic<uint64_t> bytes{0};       // of their frames
  std::atomic<uint64_t> duplicates{0};  // seen before
  std::atomic<uint64_t> reordered{0};   // after one with a higher number (RFC 4737)
  std::atomic<uint64_t> outside{0};     // numbers that were not planned
  std::atomic<uint64_t> other_run{0};   // probes of another run: late ones of the one before
  std::atomic<uint64_t> foreign{0};     // no probes
  std::atomic<int64_t> first_ns{0}, last_ns{0};  // when the first and the latest were seen
  std::atomic<int64_t> stalled_ns{0};            // how long it did stand still
  std::unique_ptr<Histogram> latency;            // from the intended send time to the stage
  std::unique_ptr<Histogram> variation;   // |difference| of neighbours in sequence (RFC 3393)
  std::unique_ptr<Histogram> from_stamp;  // from the frame's receive stamp to the stage
  std::vector<std::unique_ptr<Histogram>> timeline;  // latency by intended send time

 private:
  friend class LatencyMeter;
  std::vector<uint64_t> seen_;
  uint64_t highest_ = 0;
  bool any_ = false, stalled_ = false;
  uint64_t previous_ = 0;
  int64_t previous_latency_ = 0;
};

class LatencyMeter final : public Stage {
 public:
  explicit LatencyMeter(std::shared_ptr<MeterClock> clock = {});
  const char* name() const noexcept override { return "latency_meter"; }
  bool process(wp_batch& batch) noexcept override;

  // From now on packets of this run count; what was kept before is dropped. Control thread. Throws
  // wp::Error naming the field.
  void begin(const MeterOptions& options);
  // The run at present; null before begin(). Valid until the next begin().
  const MeterRun* run() const noexcept { return run_.get(); }

 private:
  void take(MeterRun& run, const uint8_t* frame, uint32_t length, int64_t stamp,
            int64_t& now) noexcept;

  std::shared_ptr<MeterClock> clock_;
  std::unique_ptr<MeterRun> run_;
  std::atomic<MeterRun*> current_{nullptr};
  std::atomic<MeterRun*> in_use_{nullptr};  // by the worker: not to be freed
};

}  // namespace wp::load
