// SPDX-License-Identifier: Apache-2.0
// Open-loop load: one thread that hands packets of planned sizes to a port at planned times.
// Deadlines are absolute, whatever the port or the receiver does; a packet that leaves late carries
// the time at which it was meant to leave, so that its delay counts in full.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/batch_storage.h"
#include "core/histogram.h"
#include "core/port.h"
#include "feed/udp_framer.h"

namespace wp::load {

// A cycle of packets, repeated until `count` have been planned.
struct LoadPlan {
  std::vector<int64_t> due;    // ns from the start of the cycle, 0 or more, never decreasing
  std::vector<uint32_t> size;  // bytes of each Ethernet frame, without frame check sequence
  int64_t period = 1;          // ns from cycle to cycle; not below the last `due`
  uint64_t count = 0;          // packets in all, 1 to 2^28

  int64_t at(uint64_t n) const noexcept {
    return static_cast<int64_t>(n / due.size()) * period + due[n % due.size()];
  }
};

struct LoadSenderOptions {
  feed::UdpFramerOptions flow;
  std::optional<int> cpu_core;  // none = no affinity
  uint32_t tx_queue = 0;
  uint32_t burst = 64;  // overdue packets handed to the port at once, 1 to 1024
  // Spin instead of sleeping when the next deadline is nearer than this; 0 to 1 s.
  int64_t spin_ns = 100'000;
  // A sender that is further behind than this gives up: the rest is counted as unsent. 1 ms to 60
  // s.
  int64_t give_up_ns = 2'000'000'000;
};

struct LoadCounts {
  uint64_t planned = 0;
  uint64_t sent = 0;     // taken by the port
  uint64_t bytes = 0;    // of frames offered
  uint64_t refused = 0;  // offered, and not taken
  uint64_t unsent = 0;   // never offered: given up or stopped. planned = sent + refused + unsent
  int64_t cpu_ns = 0;    // of the thread
  int64_t first_ns = 0;  // CLOCK_MONOTONIC of the first and the last hand-over
  int64_t last_ns = 0;
};

// The clock of the deadlines. Tests put their own in.
class LoadClock {
 public:
  virtual ~LoadClock() = default;
  virtual int64_t now() noexcept;                       // CLOCK_MONOTONIC, ns
  virtual int64_t wall() noexcept;                      // CLOCK_REALTIME, ns
  virtual void sleep_until(int64_t deadline) noexcept;  // absolute; may return early
  virtual void spin() noexcept;
};

class LoadSender {
 public:
  // Throws wp::Error when an option is unusable or the port cannot send this flow.
  LoadSender(LoadSenderOptions options, std::shared_ptr<Port> port,
             std::shared_ptr<LoadClock> clock = {});
  ~LoadSender();  // stops and joins
  LoadSender(const LoadSender&) = delete;
  LoadSender& operator=(const LoadSender&) = delete;

  // Begins to send; `run` marks the packets, `start` is time zero of the plan on CLOCK_MONOTONIC.
  // Throws wp::Error for a plan that cannot be sent, or while another is being sent.
  void start(LoadPlan plan, uint16_t run, int64_t start);
  void stop() noexcept;
  void join();
  bool running() const noexcept { return running_.load(std::memory_order_acquire); }

  // Of the latest plan; exact after join().
  LoadCounts counts() const noexcept { return counts_; }
  // How long after its deadline each packet was handed to the port, ns.
  const Histogram& lateness() const noexcept { return *lateness_; }
  // CLOCK_REALTIME at the plan's time zero, which the packets' times count from.
  int64_t start_wall() const noexcept { return start_wall_; }
  int affinity() const noexcept { return affinity_.load(); }  // core as read back, -1 = none
  uint32_t smallest_frame() const noexcept;
  uint32_t largest_frame() const noexcept { return largest_; }

 private:
  void check(const LoadPlan& plan) const;
  void run() noexcept;
  void pin() noexcept;
  uint32_t send(uint64_t first, int64_t now) noexcept;

  LoadSenderOptions options_;
  std::shared_ptr<Port> port_;
  std::shared_ptr<LoadClock> clock_;
  feed::UdpFramer framer_;
  uint32_t largest_ = 0;
  uint32_t stride_ = 0;
  BatchStorage batch_;
  std::vector<uint8_t> frames_;
  LoadPlan plan_;
  uint16_t run_ = 0;
  int64_t start_ = 0, start_wall_ = 0;
  LoadCounts counts_;
  std::unique_ptr<Histogram> lateness_ = std::make_unique<Histogram>();
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<int> affinity_{-1};
};

}  // namespace wp::load
