// SPDX-License-Identifier: Apache-2.0
#include "programs/native_instance.h"

#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include <bit>
#include <cstring>

#include "core/batch_storage.h"
#include "core/error.h"
#include "core/port.h"

namespace wp::programs {
namespace {

constexpr uint32_t kProgramAbi = 1;  // WP_PROGRAM_ABI

uint64_t random_state() {
  uint64_t state = 0;
  while (state == 0)
    if (getrandom(&state, sizeof state, 0) != sizeof state) state = 0x9e3779b97f4a7c15;
  return state;
}

void nap() noexcept {
  const timespec t{0, 100'000};
  nanosleep(&t, nullptr);
}

}  // namespace

NativeInstance::NativeInstance(const wp_native_program* code, const InstanceConfig& config,
                               std::shared_ptr<void> keep)
    : code_(code), keep_(std::move(keep)), config_(config.config) {
  if (code->abi != kProgramAbi)
    throw Error(ErrorKind::kConfig,
                "the program was built for program ABI " + std::to_string(code->abi) +
                    ", and this wirepath has " + std::to_string(kProgramAbi),
                "build it again with this wirepath's program.h");
  if (config.slots < 1 || config.slots > WP_MAX_SLOTS)
    throw config_error("slots", std::to_string(config.slots),
                       "from 1 to " + std::to_string(WP_MAX_SLOTS));
  if (config_.empty()) config_.resize(code->config_size);
  if (config_.size() != code->config_size)
    throw config_error(
        "config", std::to_string(config_.size()) + " bytes",
        std::to_string(code->config_size) + " bytes, as program " + code->name + " declares");
  raw_.config = config_.data();
  raw_.test_mode = config.test_mode;
  raw_.slots = raw_.epochs.slots = config.slots;
  raw_.epochs.now = 1;
  for (uint32_t i = 0; i < config.slots; i++) raw_.slot[i].random = random_state();
  std::map<std::string, uint32_t> entries = config.entries;
  for (uint32_t i = 0; i < code->maps; i++) {
    const wp_map_decl* decl = code->decls[i];
    if (!decl) continue;
    const auto given = entries.extract(decl->name);
    maps_.push_back(
        std::make_unique<NativeMap>(*decl, given ? given.mapped() : 0, config.slots, &raw_.epochs));
    raw_.maps[i] = maps_.back()->raw();
  }
  if (!entries.empty())
    throw Error(ErrorKind::kConfig,
                std::string("program ") + code->name + " has no map " + entries.begin()->first);
}

NativeInstance::~NativeInstance() {
  for (uint32_t i = 0; i < WP_MAX_SLOTS; i++)
    if (scratch_bytes_[i]) ::munmap(raw_.slot[i].scratch, scratch_bytes_[i]);
}

NativeMap& NativeInstance::map(const std::string& name) const {
  std::string known;
  for (const auto& map : maps_) {
    if (map->shape().name == name) return *map;
    known += (known.empty() ? "" : ", ") + map->shape().name;
  }
  throw Error(ErrorKind::kConfig, std::string("program ") + code_->name + " has no map " + name +
                                      ": its maps are " + known);
}

size_t NativeInstance::memory() const noexcept {
  size_t total = sizeof *this;
  for (const auto& map : maps_) total += map->memory();
  return total;
}

uint32_t NativeInstance::take_slot(uint32_t frames) {
  const std::lock_guard lock(mutex_);
  const auto slot = static_cast<uint32_t>(std::countr_one(taken_));
  if (slot >= raw_.slots)
    throw Error(ErrorKind::kBusy,
                std::string("all ") + std::to_string(raw_.slots) + " slots of program " +
                    code_->name + " are taken",
                "make it with more slots, one for each worker");
  const size_t bytes = size_t{frames} * WP_SCRATCH_BYTES;
  if (scratch_bytes_[slot] < bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
      throw Error(ErrorKind::kIo, "no memory for " + std::to_string(frames) + " changed frames");
    if (scratch_bytes_[slot]) ::munmap(raw_.slot[slot].scratch, scratch_bytes_[slot]);
    raw_.slot[slot].scratch = static_cast<uint8_t*>(memory);
    scratch_bytes_[slot] = bytes;
  }
  taken_ |= uint64_t{1} << slot;
  return slot;
}

void NativeInstance::give_slot(uint32_t slot) noexcept {
  const std::lock_guard lock(mutex_);
  taken_ &= ~(uint64_t{1} << slot);
}

NativeInstance::Result NativeInstance::run_once(const std::string& frame, uint32_t queue,
                                                uint32_t interface, int64_t time) {
  const size_t most = WP_SCRATCH_END - WP_SCRATCH_FRONT;
  if (frame.size() < 14 || frame.size() > most)
    throw config_error("frame", std::to_string(frame.size()) + " bytes",
                       "from 14 to " + std::to_string(most) + " bytes");
  BatchStorage batch(1);
  std::string bytes = frame;
  batch->count = 1;
  batch->queue = static_cast<uint16_t>(queue);
  batch->port = static_cast<uint16_t>(interface);
  batch->data[0] = reinterpret_cast<uint8_t*>(bytes.data());
  batch->length[0] = static_cast<uint32_t>(bytes.size());
  batch->timestamp[0] = time;
  const uint32_t slot = take_slot(1);
  run(*batch, slot, false);
  Result out{batch->verdict[0], batch->target[0],
             std::string(reinterpret_cast<char*>(batch->data[0]), batch->length[0])};
  give_slot(slot);
  return out;
}

ProgramStage::ProgramStage(std::shared_ptr<NativeInstance> instance, std::string name)
    : name_(std::move(name)), current_(std::make_unique<Use>(std::move(instance))) {}

ProgramStage::~ProgramStage() = default;

ProgramStage::Use::~Use() {
  if (slot >= 0) instance->give_slot(static_cast<uint32_t>(slot));
}

void ProgramStage::attach(const StageContext& context) {
  const std::lock_guard lock(mutex_);
  batch_size_ = context.batch_size;
  if (current_->slot < 0)
    current_->slot = static_cast<int>(current_->instance->take_slot(batch_size_));
  in_place_.clear();
  for (const auto& port : context.ports) in_place_.push_back(port->capabilities().writable);
}

// Only here, since a worker that was told of its stages may still not start.
void ProgramStage::enter() noexcept {
  const std::lock_guard lock(mutex_);
  now_ = current_.get();
  running_.store(true, std::memory_order_release);
}

bool ProgramStage::process(wp_batch& batch) noexcept {
  if (pending_.load(std::memory_order_relaxed)) [[unlikely]]
    take_pending();
  now_->instance->run(batch, static_cast<uint32_t>(now_->slot), in_place_[batch.port] != 0);
  return true;
}

bool ProgramStage::idle(int64_t) noexcept {
  if (pending_.load(std::memory_order_relaxed)) take_pending();
  return true;
}

void ProgramStage::end(int64_t) noexcept {
  running_.store(false, std::memory_order_release);
}

void ProgramStage::take_pending() noexcept {
  // The old one is free from here on. Null where the control side has taken its own back.
  if (Use* next = pending_.exchange(nullptr, std::memory_order_acq_rel)) now_ = next;
}

void ProgramStage::replace(std::shared_ptr<NativeInstance> instance,
                           std::chrono::nanoseconds patience) {
  const std::lock_guard lock(mutex_);
  auto use = std::make_unique<Use>(std::move(instance));
  if (batch_size_ != 0) use->slot = static_cast<int>(use->instance->take_slot(batch_size_));
  if (running_.load(std::memory_order_acquire)) {
    pending_.store(use.get(), std::memory_order_release);
    const auto end = std::chrono::steady_clock::now() + patience;
    while (pending_.load(std::memory_order_acquire) && running_.load(std::memory_order_acquire) &&
           std::chrono::steady_clock::now() < end)
      nap();
    // A worker that has ended looks at nothing any more; one that is late may take it just now.
    const bool missed = pending_.exchange(nullptr, std::memory_order_acq_rel) != nullptr;
    if (missed && running_.load(std::memory_order_acquire))
      throw Error(ErrorKind::kBusy,
                  "the worker of stage " + name_ + " has not come to its next batch in " +
                      std::to_string(
                          std::chrono::duration_cast<std::chrono::milliseconds>(patience).count()) +
                      " ms, so that it still runs the old program",
                  "see what the stages beside it wait for, or stop the worker first");
  }
  current_.swap(use);
}

std::shared_ptr<NativeInstance> ProgramStage::instance() {
  const std::lock_guard lock(mutex_);
  return current_->instance;
}

}  // namespace wp::programs
