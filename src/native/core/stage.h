// SPDX-License-Identifier: Apache-2.0
// A stage looks at a batch and writes a verdict for each frame.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/batch.h"

namespace wp {

class Stage {
 public:
  virtual ~Stage() = default;
  virtual const char* name() const noexcept = 0;

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
};

// A stage behind the C ABI of batch.h.
class CStage final : public Stage {
 public:
  CStage(std::string name, wp_stage_fn function, void* state)
      : name_(std::move(name)), function_(function), state_(state) {}
  const char* name() const noexcept override { return name_.c_str(); }
  bool process(wp_batch& batch) noexcept override {
    code_ = function_(&batch, state_);
    return code_ == 0;
  }
  std::string error() const override {
    return "stage " + name_ + " returned " + std::to_string(code_);
  }

 private:
  std::string name_;
  wp_stage_fn function_;
  void* state_;
  int code_ = 0;
};

}  // namespace wp
