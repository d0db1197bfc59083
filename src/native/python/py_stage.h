// SPDX-License-Identifier: Apache-2.0
// Stages whose code comes from Python: a function that the worker calls with the GIL, once a
// batch, and one that was compiled, whose exceptions are Python's all the same.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/stage.h"
#include "python/py_batch.h"

namespace wp::python {

// An exception kept until the worker is joined. Use with the GIL.
class KeptException {
 public:
  ~KeptException();
  void take();  // the one that is set now, if it is the first
  bool any() const noexcept { return exception_ != nullptr; }
  std::string text() const;
  // With a note that says which stage it stopped. Once: then nothing is kept any more.
  [[noreturn]] void raise(const std::string& note);

 private:
  PyObject* exception_ = nullptr;
};

class PyStage final : public Stage {
 public:
  // Calls function(batch, state): None, or a number that is not 0 to stop the worker.
  PyStage(std::string name, nb::object function, nb::object state);
  ~PyStage() override;

  const char* name() const noexcept override { return name_.c_str(); }
  void attach(const StageContext& context) override;
  void enter() noexcept override;
  void end(int64_t now) noexcept override;
  bool process(wp_batch& batch) noexcept override;
  std::string error() const override;
  [[noreturn]] void raise() const override;

 private:
  void run(wp_batch& batch);

  std::string name_;
  nb::object function_, state_;
  uint32_t batch_size_ = 0;
  std::unique_ptr<BatchSlot> slot_;
  struct Source {
    std::shared_ptr<FrameOwner> keeper;
    bool writable;
  };
  std::vector<Source> sources_;  // by port
  int code_ = 0;
  mutable KeptException kept_;
  PyThreadState* thread_ = nullptr;
  PyGILState_STATE gil_{};
};

// Where compiled code leaves its exception, by keep_exception(), before it returns kRaised.
inline constexpr int kRaised = INT32_MIN;
// A larger number that a stage returns counts as this one.
inline constexpr int kMaxCode = INT32_MAX;

class CompiledStage final : public CStage {
 public:
  CompiledStage(std::string name, wp_stage_fn function, void* state, std::shared_ptr<void> keep,
                std::shared_ptr<KeptException> kept)
      : CStage(std::move(name), function, state, std::move(keep)), kept_(std::move(kept)) {}
  bool shareable() const noexcept override { return false; }
  std::string error() const override;
  [[noreturn]] void raise() const override;

 private:
  std::shared_ptr<KeptException> kept_;
};

}  // namespace wp::python
