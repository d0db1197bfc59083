// SPDX-License-Identifier: Apache-2.0
// A port made of several: paths by which the same flows may come, such as a kernel socket and
// AF_XDP. Paths are added and taken away while it is driven, at the edge of a burst and without a
// lock. Which of them a frame takes is decided in front of them (Port::divert), so it comes once.
//
// Queue q of it drives every queue p of a path for which p % queues() == q. A handle's upper seven
// bits say which path and queue its frame came from.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend.h"
#include "core/port.h"

namespace wp {

extern const Backend kAutoBackend;

// Counters of the switch, written by the control thread.
enum class SwitchCount : size_t {
  kTransitions,  // changes of what is received by which path
  kFallBacks,    // of them: away from a path that was found unfit
  kReturns,      // of them: back to a better one
  kRefusals,     // paths that could not be opened
  kChanges,      // configurations taken over
  kTroubles,     // configurations that were not usable, errors of its own
  kShare,  // gauge: what the path beside the kernel takes, hundredths of a percent of the flows
  kBypassFrames,
  kKernelFrames,
  kCount
};

class SwitchPort final : public Port {
 public:
  static constexpr uint32_t kMaxPaths = 7;
  static constexpr uint32_t kMaxQueues = 16;  // of a path, for each of ours

  explicit SwitchPort(const PortConfig& config);
  ~SwitchPort() override;

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override;
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override;
  void release(uint32_t queue, wp_batch& batch) noexcept override;
  bool wait(uint32_t queue, int64_t timeout_us) noexcept override;
  int fd(uint32_t queue) const noexcept override;
  Info info() const override;
  void refresh_stats() noexcept override;
  Capabilities capabilities() const noexcept override;
  // Sums over the paths, those that are gone among them. Of "nic.*", which several paths over one
  // interface all have, the largest of those that are open.
  std::vector<std::pair<std::string, uint64_t>> stats() override;

  // --- control thread ---------------------------------------------------------------------
  // Polls `path` too from now on; its number. Throws kBusy where somebody drives it, kConfig where
  // there is no room for it.
  uint32_t add(std::shared_ptr<Port> path, std::string name, bool kernel);
  // A resting path is looked at now and then, for what still comes by it. `first`: a path that is
  // read empty before another one, for the order of frames within a flow; -1 = none.
  void rest(uint32_t path, bool resting, int first);
  // Polls it no more. The path's own end has to wait for gone().
  void take_away(uint32_t path);
  // Whoever drives the queues knows of every change before this, and nobody holds a frame of it.
  bool gone(uint32_t path) const;
  // After that: keeps its counters and lets go of it.
  void forget(uint32_t path);

  struct PathStatus {
    uint32_t path;
    std::string name, spec;
    bool kernel, resting, taken_away;
    uint64_t frames, outstanding;
    std::vector<uint64_t> empty_polls;  // of each of our queues
  };
  std::vector<PathStatus> paths() const;
  uint64_t polls() const noexcept;  // of all queues: stands still where nobody drives them
  // Frames delivered by path since the port was opened, with those of paths that are gone.
  std::vector<std::pair<std::string, uint64_t>> delivered() const;
  void count(SwitchCount what, uint64_t n) noexcept { counters_[static_cast<size_t>(what)].add(n); }
  void set_share(uint64_t n) noexcept {
    counters_[static_cast<size_t>(SwitchCount::kShare)].set(n);
  }

 private:
  static constexpr int kTagShift = 57;
  static constexpr uint32_t kTags = kMaxPaths * kMaxQueues;
  static constexpr uint32_t kNoTag = 127;  // of WP_NO_FRAME

  struct Lane {
    Port* port = nullptr;
    uint32_t queue = 0;
    uint32_t tag = 0;
  };
  // What one of our queues polls. Never changed once posted.
  struct Plan {
    uint64_t number = 0;
    uint32_t active = 0;  // the first ones; the rest are resting
    std::vector<Lane> lanes;
    int first = -1;  // of lanes: read until it is empty
    std::array<Lane, kTags> by_tag{};
  };
  struct alignas(64) Cell {
    std::atomic<uint64_t> frames{0}, outstanding{0}, empty{0};
  };
  struct alignas(64) Queue {
    std::atomic<const Plan*> wanted{nullptr};
    // the driver's
    const Plan* plan = nullptr;
    uint32_t next = 0;
    uint32_t bursts = 0;
    uint32_t first_bursts = 0;  // still to be read from `first` at most
    int64_t looked = 0;
    // the driver's, read by the control thread
    alignas(64) std::atomic<uint64_t> known{0};  // number of the plan
    std::atomic<uint64_t> polls{0};
    std::atomic<uint64_t> tx_no_path{0};  // frames while no path is open
    std::array<Cell, kMaxPaths> cells;
    // the control thread's
    std::vector<std::unique_ptr<Plan>> plans;
    int epoll = -1;
  };
  struct Path {
    std::shared_ptr<Port> port;
    std::string name;
    bool kernel = false, resting = false, taken_away = false;
    uint64_t since = 0;  // number of the plan that it went away with
    std::vector<int> watched{};
  };

  static uint32_t tag_of(uint64_t handle) noexcept {
    return static_cast<uint32_t>(handle >> kTagShift);
  }
  uint32_t poll(Queue& queue, const Lane& lane, wp_batch& batch) noexcept;
  void adopt(Queue& queue) noexcept;
  void look_for_end(const Plan& plan) noexcept;
  void give_back(Queue& queue, wp_batch& run, uint32_t tag) noexcept;
  template <class Do>
  void each_run(wp_batch& batch, Do&& handle) noexcept;
  void post(int first);
  void count_capabilities();
  uint64_t delivered_by(uint32_t path) const noexcept;

  std::vector<std::unique_ptr<Queue>> queue_states_;
  mutable std::mutex mutex_;  // of the control side
  std::array<Path, kMaxPaths> paths_;
  uint64_t plan_number_ = 0;
  std::deque<Capabilities> declared_;  // those that the data path may still look at
  std::atomic<const Capabilities*> capabilities_;
  std::vector<std::pair<std::string, uint64_t>> of_the_gone_;
  std::vector<std::pair<std::string, uint64_t>> delivered_gone_;
  uint64_t gone_bypass_ = 0, gone_kernel_ = 0;
  Counter* counters_;
};

}  // namespace wp
