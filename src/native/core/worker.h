// SPDX-License-Identifier: Apache-2.0
// A worker is one thread, pinned where asked, that runs to completion: poll the ports, run the
// stages over each batch, carry the verdicts out, release. No locks, no allocation after start.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/batch_storage.h"
#include "core/carrier.h"
#include "core/decided.h"
#include "core/port.h"
#include "core/stage.h"

namespace wp {

enum class IdlePolicy {
  kSpin,   // never sleep: lowest latency, a whole core
  kSleep,  // wait in the kernel until a port is readable, at most poll_timeout_us
};

struct WorkerConfig {
  std::string name = "worker";
  std::optional<int> cpu_core{};  // none = no affinity
  uint32_t batch_size = 64;
  IdlePolicy idle = IdlePolicy::kSleep;
  int64_t poll_timeout_us = 100;
  // Stop when every port is finished (captures); a live port never is.
  bool stop_when_finished = true;
};

class Worker {
 public:
  explicit Worker(WorkerConfig config);
  ~Worker();  // stops, abandons what a stage waits for, and joins; an error not yet taken by join()
              // is lost

  // Before start. `queues` of the port that this worker drives; empty = all of them.
  // Returns the port's number, for WP_REDIRECT.
  uint16_t add_port(std::shared_ptr<Port> port, std::vector<uint32_t> queues = {});
  // `host`: what stands for port `number` in the host's own stack. Frames that its stages PASS are
  // sent there; frames that come from there leave by the port, and no stage sees them. `queues` of
  // it that this worker drives; empty = those of the port. Each queue of the one goes with one of
  // the other's by the remainder. Returns its number.
  uint16_t add_host(uint16_t number, std::shared_ptr<Port> host, std::vector<uint32_t> queues = {});
  void add_stage(std::shared_ptr<Stage> stage);

  // Throws kConfig when there is nothing to do, the core does not exist, or it ran before.
  void start();
  void stop() noexcept;     // asks; returns at once
  void abandon() noexcept;  // what the destructor does first
  // Waits, lets go of the ports, then throws the first error that stopped the worker.
  void join();
  // False: it still runs after `timeout`. True also where it was never started.
  bool wait_for_end(std::chrono::nanoseconds timeout);
  bool running() const noexcept { return running_.load(std::memory_order_acquire); }

  std::vector<std::pair<std::string, uint64_t>> stats() const;
  const WorkerConfig& config() const noexcept { return config_; }
  int affinity() const noexcept { return affinity_.load(); }  // core as read back, -1 = none
  const std::vector<std::shared_ptr<Stage>>& stages() const noexcept { return stages_; }
  std::vector<std::pair<std::string, uint32_t>> queues() const;  // port spec, queue
  // To learn which NUMA node memory is on: the batch's arrays, and a frame (null before the first).
  const void* arrays() noexcept { return batch_->verdict; }
  const void* a_frame() const noexcept { return a_frame_.load(std::memory_order_relaxed); }

 private:
  struct Source {
    uint16_t port;
    uint32_t queue;
    uint32_t full_burst = 0;
    int64_t polled_until = 0;  // whatever came before was found
    bool host = false;
  };
  void run() noexcept;
  void process(const Source& source) noexcept;
  void process_tapped(const Source& source) noexcept;
  bool run_stages(const Source& source) noexcept;
  void settle(uint8_t verdict) noexcept;
  uint32_t poll(Source& source, Clock& clock) noexcept;
  void begin_polling(int64_t now) noexcept;
  void note_polled() noexcept;
  void wait_for_work() noexcept;
  void fail(std::string what) noexcept;
  void end() noexcept;
  void check_core() const;
  void claim_queues();
  void unclaim_queues() noexcept;
  void attach_stages();
  void fail(const std::shared_ptr<Stage>& stage) noexcept;

  const WorkerConfig config_;
  const uint64_t number_;                     // of all workers of this process
  std::vector<std::shared_ptr<Port>> ports_;  // until joined: a worker at rest keeps none open
  std::vector<Carrier::End> ends_;            // of each port
  std::vector<std::string> specs_;            // of each port
  std::vector<std::shared_ptr<Stage>> stages_;
  std::vector<Source> sources_;
  int64_t polled_until_ = 0;  // the least of the sources'
  BatchStorage batch_;
  Carrier carrier_;
  Decided decided_;
  Telemetry* telemetry_ = nullptr;
  Counter* counters_ = nullptr;
  std::mutex join_mutex_;  // one joins, others wait
  std::thread thread_;
  std::mutex end_mutex_;
  std::condition_variable ended_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<int> affinity_{-1};
  bool started_ = false;
  bool holding_ = false;  // a stage releases what it leaves with WP_KEEP
  std::atomic<const void*> a_frame_{nullptr};
  bool failed_ = false;
  std::string error_;
  std::shared_ptr<Stage> failed_stage_;  // none: error_ says all
};

}  // namespace wp
