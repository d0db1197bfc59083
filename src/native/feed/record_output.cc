// SPDX-License-Identifier: Apache-2.0
#include "feed/record_output.h"

#include <utility>

namespace wp::feed {
namespace {

constexpr size_t kReserve = 256;  // slots asked for at a time
// Without a record taken: how long a worker that is to stop waits for room in the ring, ns.
constexpr int64_t kConsumerGrace = 200'000'000;

}  // namespace

RecordOutput::RecordOutput(std::shared_ptr<Ring> ring, std::shared_ptr<LockedBooks> books)
    : ring_(std::move(ring)), books_(std::move(books)), clock_(Clock::process()) {}

void RecordOutput::start(const std::atomic<bool>* stop) {
  turn_.emplace(*ring_, Ring::Turn::kProducer);
  stop_ = stop;
}

wp_record* RecordOutput::more() noexcept {
  flush(clock_.now());
  room_ = ring_->reserve(kReserve, &slots_);
  if (room_ == 0) [[unlikely]]
    wait_for_room();
  return room_ == 0 ? &scratch_ : slots_;
}

// A worker that is to stop may stand here, in the middle of a burst. It gets its room as long as
// somebody takes records; then nobody is coming, and the rest is lost, and counted.
void RecordOutput::wait_for_room() noexcept {
  if (ring_->policy() == FullPolicy::kBlock) ring_->count_blocked();
  uint64_t popped = ring_->popped();
  int64_t since = 0;
  for (uint64_t spin = 0; room_ == 0 && ring_->wait_for_room(spin); spin++) {
    room_ = ring_->reserve(kReserve, &slots_);
    if (room_ != 0 || !stop_ || !stop_->load(std::memory_order_relaxed)) continue;
    const int64_t now = Clock::steady();
    if (since == 0 || ring_->popped() != popped) {
      popped = ring_->popped();
      since = now;
    } else if (now - since > kConsumerGrace) {
      ring_->close();
    }
  }
}

// The ring has lost it, but the books need not.
void RecordOutput::drop() noexcept {
  ++ring_full_;
  ring_->count_dropped(1);
  if (books_ == nullptr) return;
  const std::lock_guard lock(books_->mutex);
  books_->books.apply(&scratch_, 1, nullptr);
}

void RecordOutput::apply() noexcept {
  if (books_ == nullptr || applied_ == used_) return;
  const std::lock_guard lock(books_->mutex);
  books_->books.apply(slots_ + applied_, used_ - applied_, nullptr);
  applied_ = used_;
}

void RecordOutput::flush(int64_t now) noexcept {
  apply();
  if (used_ != 0) {
    ring_->commit(used_, now);
    delivered_ += used_;
  }
  slots_ = nullptr;
  used_ = room_ = applied_ = 0;
}

}  // namespace wp::feed
