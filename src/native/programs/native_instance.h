// SPDX-License-Identifier: Apache-2.0
// A natively built packet program with maps, counters and configuration of its own, and the stage
// that runs it.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/stage.h"
#include "programs/native_maps.h"
#include "programs/native_program.h"

namespace wp::programs {

struct Builtin {
  const char* name;
  const wp_native_program* (*code)();
};
// The programs that are part of wirepath.
const std::vector<Builtin>& builtin_programs();

struct InstanceConfig {
  std::map<std::string, uint32_t> entries{};  // of maps, where the source's number does not do
  std::string config{};                       // bytes of the configuration; empty = zero
  uint32_t slots = 1;                         // workers that may run it at a time
  bool test_mode = false;                     // random numbers follow from the time
};

class NativeInstance {
 public:
  // `keep` is what the code lives in (a shared object). Throws kConfig.
  NativeInstance(const wp_native_program* code, const InstanceConfig& config,
                 std::shared_ptr<void> keep = {});
  ~NativeInstance();
  NativeInstance(const NativeInstance&) = delete;
  NativeInstance& operator=(const NativeInstance&) = delete;

  const char* name() const noexcept { return code_->name; }
  uint32_t config_size() const noexcept { return code_->config_size; }
  const std::vector<std::unique_ptr<NativeMap>>& maps() const noexcept { return maps_; }
  NativeMap& map(const std::string& name) const;  // throws kConfig
  uint32_t slots() const noexcept { return raw_.slots; }
  size_t memory() const noexcept;

  // A slot nobody has, for batches of `frames`. Throws kBusy when all are taken.
  uint32_t take_slot(uint32_t frames);
  void give_slot(uint32_t slot) noexcept;
  void run(wp_batch& batch, uint32_t slot, bool in_place) noexcept {
    code_->run(&raw_, &batch, slot, in_place);
  }

  // One frame, as BPF_PROG_RUN would do it. Control thread.
  struct Result {
    uint8_t verdict;  // WP_NEXT included
    uint16_t target;
    std::string frame;
  };
  Result run_once(const std::string& frame, uint32_t queue, uint32_t interface, int64_t time);

 private:
  const wp_native_program* code_;
  std::shared_ptr<void> keep_;
  std::string config_;
  wp_instance raw_{};
  std::vector<std::unique_ptr<NativeMap>> maps_;
  std::mutex mutex_;
  uint64_t taken_ = 0;
  size_t scratch_bytes_[WP_MAX_SLOTS] = {};
};

// Runs a program over each batch. Frames that it leaves with WP_NEXT are for the stages behind, the
// others are decided: those stages do not see them.
class ProgramStage final : public Stage {
 public:
  ProgramStage(std::shared_ptr<NativeInstance> instance, std::string name);
  ~ProgramStage() override;

  const char* name() const noexcept override { return name_.c_str(); }
  void attach(const StageContext& context) override;
  void enter() noexcept override;
  bool process(wp_batch& batch) noexcept override;
  bool idle(int64_t now) noexcept override;
  void end(int64_t now) noexcept override;
  bool decides() const noexcept override { return true; }

  // Another instance of the same or another program from the next batch on; returns once the
  // worker no longer runs the old one. Throws kBusy, and all stays as it was, where the worker has
  // not come to a next batch or an idle moment within `patience`. Control thread.
  void replace(std::shared_ptr<NativeInstance> instance,
               std::chrono::nanoseconds patience = std::chrono::seconds(5));
  std::shared_ptr<NativeInstance> instance();

 private:
  struct Use {
    explicit Use(std::shared_ptr<NativeInstance> what) : instance(std::move(what)) {}
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    std::shared_ptr<NativeInstance> instance;
    int slot = -1;
  };
  void take_pending() noexcept;

  std::string name_;
  std::mutex mutex_;              // of the control side, and of the worker's first and last moment
  std::unique_ptr<Use> current_;  // what the control side handed over last
  Use* now_ = nullptr;            // what the worker runs
  std::atomic<Use*> pending_{nullptr};
  std::atomic<bool> running_{false};  // between enter() and end(): the worker may use now_
  uint32_t batch_size_ = 0;
  std::vector<uint8_t> in_place_;  // by port
};

}  // namespace wp::programs
