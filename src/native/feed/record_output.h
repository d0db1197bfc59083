/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the records of a feed go: written in place into slots of a Ring, applied
 * to order books where there are some, and published a burst at a time.
 */
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "core/clock.h"
#include "core/ring.h"
#include "feed/locked_books.h"

namespace wp::feed {

class RecordOutput {
 public:
  /* books: none where null. */
  RecordOutput(std::shared_ptr<Ring> ring, std::shared_ptr<LockedBooks> books);

  /* Takes the ring's producer side until stop(). stop: as StageContext has it. */
  void start(const std::atomic<bool>* stop);
  void stop() noexcept { turn_.reset(); }
  Ring& ring() noexcept { return *ring_; }
  bool has_books() const noexcept { return books_ != nullptr; }

  /* Where the next record is written, waiting for room where the ring's policy says so. Never
   * null: a record for which there is no room goes to a place of its own and is dropped by keep. */
  wp_record* slot() noexcept {
    if (used_ < room_) [[likely]]
      return slots_ + used_;
    return more();
  }
  /* At least two slots in a row, or null: then slot() after slot(). */
  wp_record* two() noexcept { return room_ - used_ >= 2 ? slots_ + used_ : nullptr; }
  /* The record in slot() is complete. */
  void keep() noexcept {
    if (used_ < room_) [[likely]] {
      ++used_;
    } else {
      drop();
    }
  }

  /* Publishes what was kept, and applied to the books, at `now`. */
  void flush(int64_t now) noexcept;
  /* Applies to the books what was kept, ahead of flush. */
  void apply() noexcept;

  /* n of those kept are not of the frame that is under way, but of one received at `time`. */
  void waited(int64_t time, uint64_t n) noexcept {
    others_ += n;
    if (waiting_ < waited_.size()) waited_[waiting_++] = {time, n};
  }
  /* Kept so far, of the frames that were under way. */
  uint64_t put_at_once() const noexcept { return put() - others_; }
  /* Samples of those that waited; forget_waited() when published. More than there is room for in a
   * burst go without. */
  void sample_waited(int64_t now, Histogram& histogram) const noexcept {
    for (size_t i = 0; i < waiting_; ++i)
      if (waited_[i].n != 0) histogram.record(now - waited_[i].time, waited_[i].n);
  }
  void forget_waited() noexcept { waiting_ = 0; }

  uint64_t put() const noexcept { return delivered_ + used_; }  // kept so far
  uint64_t delivered() const noexcept { return delivered_; }    // of those: published
  uint64_t waiting() const noexcept { return ring_->size(); }
  uint64_t ring_full() const noexcept { return ring_full_; }  // lost, counted by the ring too

 private:
  wp_record* more() noexcept;
  void wait_for_room() noexcept;
  void drop() noexcept;

  std::shared_ptr<Ring> ring_;
  std::shared_ptr<LockedBooks> books_;
  std::optional<Ring::Turn> turn_;
  const std::atomic<bool>* stop_ = nullptr;
  Clock& clock_;
  wp_record* slots_ = nullptr;  // reserved in the ring, not yet committed
  size_t room_ = 0;
  size_t used_ = 0;
  size_t applied_ = 0;  // of those used
  uint64_t delivered_ = 0;
  uint64_t ring_full_ = 0;
  struct Waited {
    int64_t time;
    uint64_t n;
  };
  std::array<Waited, 1024> waited_;
  size_t waiting_ = 0;
  uint64_t others_ = 0;
  wp_record scratch_{};
};

}  // namespace wp::feed
