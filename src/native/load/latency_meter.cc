// SPDX-License-Identifier: Apache-2.0
#include "load/latency_meter.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "load/probe.h"
#include "net/headers.h"

namespace wp::load {
namespace {

void check(const MeterOptions& o) {
  if (o.count < 1 || o.count > uint64_t{1} << 28)
    throw config_error("count", std::to_string(o.count), "1 to 2^28 packets");
  if (o.bins > 4'096) throw config_error("bins", std::to_string(o.bins), "0 to 4096");
  if (o.bin_ns < 1) throw config_error("bin_ns", std::to_string(o.bin_ns), "1 or more");
  if (o.stall_ns < 0 || o.stall_ns > 10'000'000'000)
    throw config_error("stall_ns", std::to_string(o.stall_ns), "0 to 10000000000");
}

}  // namespace

int64_t MeterClock::now() noexcept {
  return Clock::realtime();
}
void MeterClock::sleep(int64_t ns) noexcept {
  timespec left{ns / 1'000'000'000, ns % 1'000'000'000};
  while (nanosleep(&left, &left) != 0) {
  }
}

MeterRun::MeterRun(const MeterOptions& o)
    : options(o),
      latency(std::make_unique<Histogram>()),
      variation(std::make_unique<Histogram>()),
      from_stamp(std::make_unique<Histogram>()),
      seen_((o.count + 63) / 64) {
  timeline.reserve(o.bins);
  for (uint32_t i = 0; i < o.bins; i++) timeline.push_back(std::make_unique<Histogram>());
}

LatencyMeter::LatencyMeter(std::shared_ptr<MeterClock> clock)
    : clock_(clock ? std::move(clock) : std::make_shared<MeterClock>()) {}

void LatencyMeter::begin(const MeterOptions& options) {
  check(options);
  auto next = std::make_unique<MeterRun>(options);
  MeterRun* const old = run_.get();
  current_.store(next.get());
  // The worker may be in the middle of a burst.
  while (old && in_use_.load() == old) std::this_thread::yield();
  run_ = std::move(next);
}

bool LatencyMeter::process(wp_batch& batch) noexcept {
  MeterRun* run = current_.load();
  for (;;) {
    in_use_.store(run);
    MeterRun* const again = current_.load();
    if (again == run) break;
    run = again;
  }
  if (run) {
    int64_t now = clock_->now();
    for (uint32_t i = 0; i < batch.count; i++)
      take(*run, batch.data[i], batch.length[i], batch.timestamp[i], now);
  }
  in_use_.store(nullptr);
  return true;
}

void LatencyMeter::take(MeterRun& run, const uint8_t* frame, uint32_t length, int64_t stamp,
                        int64_t& now) noexcept {
  net::Headers h;
  net::parse_headers(frame, length, h);
  Probe probe;
  if (!(h.layers & net::kUdp) || !probe.read(frame + h.payload_offset, h.payload_length)) {
    add_relaxed<uint64_t>(run.foreign, 1);
    return;
  }
  const MeterOptions& o = run.options;
  if (probe.run != o.run) {
    add_relaxed<uint64_t>(run.other_run, 1);
    return;
  }
  if (probe.sequence >= o.count) {
    add_relaxed<uint64_t>(run.outside, 1);
    return;
  }
  uint64_t& word = run.seen_[probe.sequence / 64];
  const uint64_t bit = uint64_t{1} << probe.sequence % 64;
  if (word & bit) {
    add_relaxed<uint64_t>(run.duplicates, 1);
    return;
  }
  word |= bit;
  const int64_t latency = now - probe.intended;
  run.latency->record(latency);
  run.from_stamp->record(now - stamp);
  const int64_t at = probe.intended - o.start;
  if (at >= 0 && at / o.bin_ns < static_cast<int64_t>(run.timeline.size()))
    run.timeline[static_cast<size_t>(at / o.bin_ns)]->record(latency);
  if (run.any_) {
    if (probe.sequence == run.previous_ + 1)
      run.variation->record(std::abs(latency - run.previous_latency_));
    if (probe.sequence < run.highest_) add_relaxed<uint64_t>(run.reordered, 1);
  } else {
    run.first_ns.store(now, std::memory_order_relaxed);
  }
  run.any_ = true;
  run.highest_ = std::max<uint64_t>(run.highest_, probe.sequence);
  run.previous_ = probe.sequence;
  run.previous_latency_ = latency;
  run.last_ns.store(now, std::memory_order_relaxed);
  add_relaxed<uint64_t>(run.bytes, length);
  add_relaxed<uint64_t>(run.received, 1);
  if (o.stall_ns != 0 && !run.stalled_ && at >= o.stall_after_ns) [[unlikely]] {
    run.stalled_ = true;
    const int64_t before = now;
    clock_->sleep(o.stall_ns);
    now = clock_->now();  // the rest of the burst has waited, too
    run.stalled_ns.store(now - before, std::memory_order_relaxed);
  }
}

}  // namespace wp::load
