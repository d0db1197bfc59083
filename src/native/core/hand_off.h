// SPDX-License-Identifier: Apache-2.0
// The last stage of a worker that hands frames to a consumer in another thread: long ones by
// reference (WP_KEEP), short ones copied. How many may be out at a time is bounded, so that a
// slow consumer loses frames in a counter here and never starves the port of buffers.
//
// Every frame that is out has a slot. Slots travel to the consumer in one queue and back in
// another; the worker gives frames back to their ports from its own thread. Once the worker has
// ended, a frame is left with its port for whoever drives that next.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/batch_storage.h"
#include "core/port.h"
#include "core/spsc_queue.h"
#include "core/stage.h"
#include "core/telemetry.h"

namespace wp {

struct HandOffConfig {
  std::string name = "hand_off";
  uint32_t zero_copy_threshold = 64;  // frames of at least this many bytes go by reference
  uint32_t capacity = 4096;           // frames that may be out, waiting or with the consumer
  uint32_t max_held = 0;              // of them by reference; 0 = what the ports' pools can spare
  bool kept_only = false;  // hand over what an earlier stage marked WP_KEEP, not WP_DROP too
};

// frames = by_reference + copied + drop.queue_full + drop.held_full + drop.not_owned
// by_reference + copied = out (waiting or with the consumer) + returned
class HandOff final : public Stage {
 public:
  static constexpr uint32_t kMaxThreshold = 65536;
  static constexpr uint32_t kMaxCapacity = 1u << 20;

  explicit HandOff(HandOffConfig config);
  ~HandOff() override;

  const char* name() const noexcept override { return config_.name.c_str(); }
  void attach(const StageContext& context) override;
  bool process(wp_batch& batch) noexcept override;
  bool idle(int64_t now) noexcept override;
  void end(int64_t now) noexcept override;
  bool last() const noexcept override { return true; }
  bool holds() const noexcept override { return true; }

  struct Frame {
    uint8_t* data;
    uint64_t handle;
    int64_t timestamp;
    uint32_t length;
    uint32_t hash;
    uint16_t port;
    uint16_t queue;
    bool by_reference;
  };

  // --- consumer ---------------------------------------------------------------------------
  // One thread at a time. The slot of the next frame, which stays valid until released.
  bool pop(uint32_t& slot) noexcept { return ready_.pop(slot); }
  const Frame& frame(uint32_t slot) const noexcept { return slots_[slot]; }
  bool writable(const Frame& f) const noexcept { return !f.by_reference || writable_[f.port]; }
  // Any thread, once for every slot that was popped.
  void release(uint32_t slot) noexcept;

  // --- anyone -----------------------------------------------------------------------------
  uint64_t waiting() const noexcept { return ready_.size(); }
  bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }
  uint32_t max_held() const noexcept { return max_held_; }
  const HandOffConfig& config() const noexcept { return config_; }
  std::vector<std::pair<std::string, uint64_t>> stats() const;

 private:
  void collect() noexcept;
  void give_back(uint32_t slot) noexcept;
  void flush() noexcept;

  HandOffConfig config_;
  uint32_t max_held_;
  uint32_t stride_;
  std::unique_ptr<uint8_t[]> copies_;
  std::vector<Frame> slots_;
  SpscQueue<uint32_t> ready_;     // worker → consumer
  SpscQueue<uint32_t> returned_;  // consumer → worker; push under the mutex
  std::vector<std::shared_ptr<Port>> ports_;
  std::vector<bool> writable_;  // of each port: whether its frames are
  Telemetry& telemetry_;
  Counter* counters_;

  // The worker's, and under the mutex the releasing thread's once it has ended.
  std::vector<uint32_t> free_;
  uint32_t held_ = 0;
  BatchStorage back_;
  std::mutex mutex_;
  std::atomic<bool> ended_{false};
};

}  // namespace wp
