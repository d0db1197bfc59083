// SPDX-License-Identifier: Apache-2.0
#include "core/hand_off.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace wp {
namespace {

enum : size_t {
  kFrames,
  kByReference,
  kCopied,
  kReturned,
  kHeld,
  kQueueFull,
  kHeldFull,
  kNotOwned,
  kCounters
};
constexpr std::array<const char*, kCounters> kNames{
    "frames", "by_reference",    "copied",         "returned",
    "held",   "drop.queue_full", "drop.held_full", "drop.not_owned"};

constexpr uint32_t kGiveBackBurst = 64;

HandOffConfig checked(HandOffConfig config) {
  if (config.zero_copy_threshold > HandOff::kMaxThreshold)
    throw config_error("zero_copy_threshold", std::to_string(config.zero_copy_threshold),
                       "from 0 to " + std::to_string(HandOff::kMaxThreshold) + " bytes");
  if (config.capacity < 1 || config.capacity > HandOff::kMaxCapacity)
    throw config_error("capacity", std::to_string(config.capacity),
                       "from 1 to " + std::to_string(HandOff::kMaxCapacity) + " frames");
  if (config.max_held > config.capacity)
    throw config_error("max_held", std::to_string(config.max_held),
                       "at most capacity = " + std::to_string(config.capacity));
  return config;
}

}  // namespace

HandOff::HandOff(HandOffConfig config)
    : config_(checked(std::move(config))),
      max_held_(config_.max_held ? config_.max_held : config_.capacity),
      stride_((config_.zero_copy_threshold + 63) & ~63u),
      // Zeroed, so that the data path does not meet the pages first.
      copies_(std::make_unique<uint8_t[]>(size_t{config_.capacity} * stride_)),
      slots_(config_.capacity),
      ready_(config_.capacity),
      returned_(config_.capacity),
      telemetry_(Telemetry::process()),
      counters_(telemetry_.counters("hand_off/" + config_.name, kNames)),
      back_(kGiveBackBurst) {
  free_.reserve(config_.capacity);
  for (uint32_t i = config_.capacity; i-- > 0;) free_.push_back(i);
}

HandOff::~HandOff() {
  uint32_t slot = 0;
  while (pop(slot)) release(slot);
  if (!ended()) collect();  // the worker never ran
  telemetry_.release(counters_);
}

// How many a port can spare: three quarters of a queue's buffers, so that a quarter is always
// with the NIC.
void HandOff::attach(const StageContext& context) {
  uint32_t spare = UINT32_MAX;
  std::string which;
  for (const auto& port : context.ports) {
    const uint32_t pool = port->capabilities().pool_frames;
    if (pool == 0 || pool - pool / 4 >= spare) continue;
    spare = pool - pool / 4;
    which = port->spec();
  }
  if (config_.max_held > spare)
    throw config_error("max_held", std::to_string(config_.max_held),
                       "at most " + std::to_string(spare) + ", three quarters of the buffers of " +
                           which + " (or open it with more)");
  max_held_ = std::min(config_.max_held ? config_.max_held : config_.capacity, spare);
  ports_.assign(context.ports.begin(), context.ports.end());
  writable_.clear();
  for (const auto& port : ports_) writable_.push_back(port->capabilities().writable);
}

bool HandOff::process(wp_batch& batch) noexcept {
  collect();
  uint64_t frames = 0, by_reference = 0, copied = 0, queue_full = 0, held_full = 0, not_owned = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_KEEP && (config_.kept_only || batch.verdict[i] != WP_DROP)) continue;
    batch.verdict[i] = WP_DROP;
    frames++;
    const bool refer = batch.length[i] >= config_.zero_copy_threshold;
    if (refer && batch.handle[i] == WP_NO_FRAME) [[unlikely]] {
      not_owned++;  // not the port's own: nobody would keep it for us
      continue;
    }
    if (free_.empty()) [[unlikely]] {
      queue_full++;
      continue;
    }
    if (refer && held_ == max_held_) [[unlikely]] {
      held_full++;
      continue;
    }
    const uint32_t slot = free_.back();
    free_.pop_back();
    Frame& frame = slots_[slot];
    frame = {batch.data[i], batch.handle[i], batch.timestamp[i], batch.length[i],
             batch.hash[i], batch.port,      batch.queue,        refer};
    if (refer) {
      batch.verdict[i] = WP_KEEP;
      held_++;
      by_reference++;
    } else {
      frame.data = copies_.get() + size_t{slot} * stride_;
      std::memcpy(frame.data, batch.data[i], batch.length[i]);
      copied++;
    }
    ready_.push(slot);  // has room for every slot there is
  }
  counters_[kFrames].add(frames);
  counters_[kByReference].add(by_reference);
  counters_[kCopied].add(copied);
  counters_[kHeld].set(held_);
  if (queue_full) counters_[kQueueFull].add(queue_full);
  if (held_full) counters_[kHeldFull].add(held_full);
  if (not_owned) counters_[kNotOwned].add(not_owned);
  return true;
}

bool HandOff::idle(int64_t) noexcept {
  collect();
  return true;
}

void HandOff::end(int64_t) noexcept {
  const std::lock_guard lock(mutex_);
  collect();
  ended_.store(true, std::memory_order_release);
  if (held_ == 0) ports_.clear();
}

void HandOff::release(uint32_t slot) noexcept {
  std::vector<std::shared_ptr<Port>> last;  // closes ports without the lock
  const std::lock_guard lock(mutex_);
  if (!ended_.load(std::memory_order_relaxed)) {
    returned_.push(slot);
    return;
  }
  const Frame& frame = slots_[slot];
  counters_[kReturned].add(1);
  free_.push_back(slot);
  if (!frame.by_reference) return;
  ports_[frame.port]->give_back(frame.queue, frame.data, frame.handle);
  counters_[kHeld].set(--held_);
  if (held_ == 0) last.swap(ports_);
}

// Slots that the consumer let go of since the last burst.
void HandOff::collect() noexcept {
  uint32_t slot = 0;
  if (!returned_.pop(slot)) [[likely]]
    return;
  do give_back(slot);
  while (returned_.pop(slot));
  flush();
  counters_[kHeld].set(held_);
}

void HandOff::give_back(uint32_t slot) noexcept {
  const Frame& frame = slots_[slot];
  counters_[kReturned].add(1);
  free_.push_back(slot);
  if (!frame.by_reference) return;
  held_--;
  wp_batch& out = *back_;
  if (out.count == out.capacity ||
      (out.count != 0 && (out.port != frame.port || out.queue != frame.queue)))
    flush();
  out.port = frame.port;
  out.queue = frame.queue;
  out.data[out.count] = frame.data;
  out.length[out.count] = frame.length;
  out.handle[out.count] = frame.handle;
  out.verdict[out.count] = WP_DROP;
  out.count++;
}

void HandOff::flush() noexcept {
  wp_batch& out = *back_;
  if (out.count != 0) ports_[out.port]->release(out.queue, out);
  out.count = 0;
}

std::vector<std::pair<std::string, uint64_t>> HandOff::stats() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kNames.size(); i++) out.emplace_back(kNames[i], counters_[i].value());
  return out;
}

}  // namespace wp
