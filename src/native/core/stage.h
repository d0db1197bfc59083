// SPDX-License-Identifier: Apache-2.0
// A stage looks at a batch and writes a verdict for each frame.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/batch.h"
#include "core/error.h"

namespace wp {

class Port;

// The verdict with which a stage that decides leaves a frame to those behind it (WP_NEXT of packet
// programs). Where none is behind it, the frame is done with.
inline constexpr uint8_t kUndecided = 6;

// What a worker tells its stages before it starts.
struct StageContext {
  std::span<const std::shared_ptr<Port>> ports;  // by the number that wp_batch.port gives
  uint32_t batch_size;                           // no burst is larger
  const std::atomic<bool>* stop = nullptr;       // becomes true when the worker is asked to stop
  // Worker's thread: whatever reached one of its queues before this time, by this machine's clock,
  // has been through process(). INT64_MAX where no frame waits in a queue: captures. Null: unknown.
  const int64_t* polled_until = nullptr;
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual const char* name() const noexcept = 0;

  // Control thread, when the worker starts. May allocate, may throw Error to refuse.
  virtual void attach(const StageContext& context) { (void)context; }

  // Worker's thread, before the first burst.
  virtual void enter() noexcept {}

  // Frames come with WP_DROP ("done with it"); a later stage sees what an earlier one wrote.
  // Returns false to stop the worker; error() then says why. Must not block or allocate.
  virtual bool process(wp_batch& batch) noexcept = 0;

  // Called when no port had frames, and at least every few hundred bursts: flush, notice time.
  virtual bool idle(int64_t now) noexcept {
    (void)now;
    return true;
  }
  // Called once, after the last burst; by the worker's thread, which may wait here.
  virtual void end(int64_t now) noexcept { (void)now; }
  // The worker is being destroyed while it runs: wait for nobody any more. Any thread.
  virtual void abandon() noexcept {}
  virtual std::string error() const { return "the stage failed"; }
  // Throws what stopped the worker. Control thread.
  [[noreturn]] virtual void raise() const { throw Error(ErrorKind::kIo, error()); }

  // Its verdicts stand: stages behind it see only the frames that it left with kUndecided.
  virtual bool decides() const noexcept { return false; }
  // Its verdicts are final: no stage may come after it.
  virtual bool last() const noexcept { return false; }
  // Frames that it leaves with WP_KEEP are its own to give back. Where no stage holds, WP_KEEP is
  // a drop that the worker counts: nobody would ever release the frame.
  virtual bool holds() const noexcept { return false; }
  // May run in several workers at a time.
  virtual bool shareable() const noexcept { return false; }
  // The one worker that runs it from now on, by the worker's number, which is never given again;
  // false when another one does.
  bool claim(uint64_t worker) noexcept {
    uint64_t nobody = 0;
    return user_.compare_exchange_strong(nobody, worker) || nobody == worker;
  }
  void unclaim(uint64_t worker) noexcept { user_.compare_exchange_strong(worker, 0); }

 private:
  std::atomic<uint64_t> user_{0};
};

// A stage behind the C ABI of batch.h. `keep` is what function and state live in.
class CStage : public Stage {
 public:
  CStage(std::string name, wp_stage_fn function, void* state, std::shared_ptr<void> keep = {})
      : name_(std::move(name)), function_(function), state_(state), keep_(std::move(keep)) {}
  const char* name() const noexcept override { return name_.c_str(); }
  bool process(wp_batch& batch) noexcept final {
    const int code = function_(&batch, state_);
    if (code == 0) [[likely]]
      return true;
    code_.store(code, std::memory_order_relaxed);
    return false;
  }
  std::string error() const override {
    return "stage " + name_ + " returned " + std::to_string(code());
  }
  bool shareable() const noexcept override { return true; }

 protected:
  int code() const noexcept { return code_.load(std::memory_order_relaxed); }

 private:
  std::string name_;
  wp_stage_fn function_;
  void* state_;
  std::shared_ptr<void> keep_;
  std::atomic<int> code_{0};
};

}  // namespace wp
