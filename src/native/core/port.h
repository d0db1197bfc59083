// SPDX-License-Identifier: Apache-2.0
// A Port is a NIC, or its stand-in, opened through one backend. To write a backend: implement
// the virtual functions below in a folder of its own and register it (backend.h). They are
// called per burst, never per packet.
//
// Threads: rx, tx, release and wait of one queue are called by one thread at a time; different
// queues may be driven by different threads. info, stats and close are the control thread's.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/batch.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/options.h"
#include "core/steering.h"
#include "core/tap.h"
#include "core/telemetry.h"
#include "core/value.h"

namespace wp {

// What a backend can do. The conformance suite checks each claim, and that what is not claimed
// is refused rather than half done.
struct Capabilities {
  bool rx = true;
  bool tx = false;
  bool pass = false;  // WP_PASS can be carried out from user space
  bool multi_queue = false;
  bool everything = false;       // steering may be "everything"
  bool ethernet_headers = true;  // false: headers are laid on by the backend, not off the wire
  bool waitable = false;         // fd() gives a descriptor that becomes readable
  bool finite = false;           // the source ends (a capture)
  bool writable = true;          // received frames may be changed in place
  bool wire = true;              // frames come from elsewhere; false: they are made up
  bool link = false;             // with another side, which may go: info() says "up" or "down"
  bool shareable = false;        // a second port may be opened on the same device
  bool rest_to_host = false;     // what steering leaves out keeps reaching the host's own stack
  bool divert = false;           // divert() sets the share of the flows that it takes
  uint32_t max_frame = 0;        // longest frame it can carry, bytes
  uint32_t pool_frames = 0;      // buffers of a queue that held frames are taken from; 0 = no limit

  bool operator==(const Capabilities&) const = default;
};

// What divert() counts in: all flows.
constexpr uint32_t kAllFlows = 65536;

struct PortConfig {
  std::string spec;    // as the user wrote it
  std::string device;  // between the backend's name and the first comma
  Options options;
  Steering steering;
  uint32_t batch_size = 64;  // largest burst that rx will be asked for
  Clock* clock = nullptr;
  Telemetry* telemetry = nullptr;
};

class Port {
 public:
  explicit Port(const PortConfig& config)
      : clock_(*config.clock),
        telemetry_(*config.telemetry),
        full_burst_(config.batch_size),
        spec_(config.spec),
        steering_(config.steering) {}
  virtual ~Port() {  // closes
    for (const Group& group : groups_) telemetry_.release(group.cells);
  }
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // Up to min(batch.capacity, burst size) frames from `queue` into `batch`; sets count, data,
  // length, timestamp, verdict (WP_DROP) and handle. Returns count. Never blocks.
  virtual uint32_t rx(uint32_t queue, wp_batch& batch) noexcept = 0;

  // Sends every frame whose verdict is WP_TX. Frames may come from any port; what could not be
  // queued is counted as a drop. A frame of this very port leaves without a copy and its handle
  // becomes WP_NO_FRAME. Returns how many were queued. Flushes before it returns. Where room runs
  // out, those queued are the first ones, so that a sender may offer the rest again.
  virtual uint32_t tx(uint32_t queue, wp_batch& batch) noexcept {
    (void)queue, (void)batch;
    return 0;
  }

  // Ports that answer the same, and not null, send each other's frames without a copy.
  virtual const void* frame_memory() const noexcept { return nullptr; }
  // tx() of frames of a port with the same frame_memory(): those queued leave as they are, and
  // their handle becomes WP_NO_FRAME.
  virtual uint32_t tx_lent(uint32_t queue, wp_batch& batch) noexcept { return tx(queue, batch); }
  // So many frames of the latest burst of `queue` left that way, by another port.
  virtual void lent(uint32_t queue, uint32_t frames) noexcept { (void)queue, (void)frames; }

  // tx(), or tx_lent(), with the frames shown to whoever has tapped the port.
  uint32_t send(uint32_t queue, wp_batch& batch, bool lent = false) noexcept {
    const bool tapped = tap_.on();
    if (tapped) [[unlikely]]
      tap_.sending(queue, batch, clock_.now());
    const uint32_t queued = lent ? tx_lent(queue, batch) : tx(queue, batch);
    if (tapped) [[unlikely]]
      tap_.sent(queue, queued);
    return queued;
  }

  // Gives back every frame of the batch that has a handle and whose verdict is not WP_KEEP.
  // Held frames come back the same way, in a batch that the holder makes.
  virtual void release(uint32_t queue, wp_batch& batch) noexcept = 0;

  // Blocks until `queue` may have frames, at most timeout_us; true = try rx. Waking the driver
  // where it asked to be woken is part of it.
  virtual bool wait(uint32_t queue, int64_t timeout_us) noexcept {
    (void)queue, (void)timeout_us;
    return true;
  }

  // Descriptor that becomes readable when `queue` has frames, or -1.
  virtual int fd(uint32_t queue) const noexcept {
    (void)queue;
    return -1;
  }

  // From now on takes this share of the flows of its steering, by their hash, in 65536ths, and all
  // flows to the destinations of `named`; the others are the host's. Frames taken before stay to be
  // received. Control thread. Throws kUnsupported where capabilities() lacks it.
  virtual void divert(uint32_t share, const Steering& named) {
    (void)share, (void)named;
    throw Error(ErrorKind::kUnsupported, spec() + " takes all flows of its steering or none",
                "af_xdp can leave a share of them to the host");
  }

  // Backend, driver, mode, queues, wake-up mode, timestamp source, tuning: as read back.
  virtual Info info() const = 0;

  // Brings counters that the kernel or a device keeps up to date.
  virtual void refresh_stats() noexcept {}

  virtual Capabilities capabilities() const noexcept = 0;

  uint32_t queues() const noexcept { return queues_; }
  // An rx with room for so many that gave fewer has found the queue empty.
  uint32_t full_burst() const noexcept { return full_burst_; }
  const std::string& spec() const noexcept { return spec_; }
  const Steering& steering() const noexcept { return steering_; }
  Tap& tap() noexcept { return tap_; }
  // A finite source has handed out its last frame, or the device is gone.
  bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }

  // Whoever drives a queue takes it: a worker or publisher for as long as it runs, Python for a
  // burst, so that no two threads drive one. false = it is taken.
  bool claim(uint32_t queue) noexcept {
    return !(claimed_[queue / 64 % claimed_.size()].fetch_or(bit(queue)) & bit(queue));
  }
  void unclaim(uint32_t queue) noexcept {
    claimed_[queue / 64 % claimed_.size()].fetch_and(~bit(queue));
  }
  bool claimed() const noexcept {
    return std::ranges::any_of(claimed_, [](const auto& word) { return word.load() != 0; });
  }

  // A frame that somebody held, from any thread: whoever drives the queue releases it before its
  // next burst.
  void give_back(uint32_t queue, uint8_t* data, uint64_t handle) {
    const std::lock_guard lock(returned_mutex_);
    returned_.push_back({queue, data, handle});
    returned_queues_.fetch_or(bit(queue), std::memory_order_release);
  }
  // By whoever drives `queue`.
  void collect_returned(uint32_t queue) noexcept {
    if (returned_queues_.load(std::memory_order_acquire) & bit(queue)) [[unlikely]]
      release_returned(queue);
  }

  // Every counter of every queue, summed by name. "drop.*" are frames that did not reach the
  // consumer, each in exactly one of them.
  virtual std::vector<std::pair<std::string, uint64_t>> stats() {
    refresh_stats();
    std::vector<std::pair<std::string, uint64_t>> out;
    for (const Group& group : groups_)
      for (size_t i = 0; i < group.names.size(); i++) {
        const auto same = [&](const auto& have) { return have.first == group.names[i]; };
        const auto found = std::find_if(out.begin(), out.end(), same);
        if (found == out.end())
          out.emplace_back(group.names[i], group.cells[i].value());
        else
          found->second += group.cells[i].value();
      }
    return out;
  }

 protected:
  // One group of counters per queue (or one for the port with queue = -1).
  Counter* add_counters(int queue, std::span<const char* const> names, const char* kind = "port") {
    std::string group = std::string(kind) + "/" + spec_;
    if (queue >= 0) group += "/q" + std::to_string(queue);
    Counter* cells = telemetry_.counters(group, names);
    groups_.push_back({std::vector<std::string>(names.begin(), names.end()), cells});
    return cells;
  }

  Clock& clock_;
  Telemetry& telemetry_;
  uint32_t queues_ = 1;
  uint32_t full_burst_;  // 1: only none at all says so
  std::atomic<bool> finished_{false};

 private:
  struct Group {
    std::vector<std::string> names;
    Counter* cells;
  };
  std::string spec_;
  Steering steering_;
  std::vector<Group> groups_;
  Tap tap_;
  struct Returned {
    uint32_t queue;
    uint8_t* data;
    uint64_t handle;
  };
  static constexpr uint64_t bit(uint32_t queue) noexcept { return uint64_t{1} << queue % 64; }
  void release_returned(uint32_t queue) noexcept;

  std::mutex returned_mutex_;  // taken by the data path only when something was given back
  std::atomic<uint64_t> returned_queues_{0};  // a bit for every queue that has some, modulo 64
  std::vector<Returned> returned_;
  std::array<std::atomic<uint64_t>, 16> claimed_{};  // options allow queues up to 1023
};

}  // namespace wp
