// SPDX-License-Identifier: Apache-2.0
// Lock-free single-producer single-consumer queue of small values within one process; Ring is
// its sibling of records in shared memory, and says how the indices work.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace wp {

template <class T>
class SpscQueue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Room for at least `capacity` values.
  explicit SpscQueue(uint32_t capacity)
      : mask_(std::bit_ceil(uint64_t{capacity}) - 1), slots_(std::make_unique<T[]>(mask_ + 1)) {}

  // Producer. False: full.
  bool push(T value) noexcept {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - cached_tail_ > mask_) {
      cached_tail_ = tail_.load(std::memory_order_acquire);
      if (head - cached_tail_ > mask_) return false;
    }
    slots_[head & mask_] = value;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // Consumer. False: empty.
  bool pop(T& value) noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == cached_head_) {
      cached_head_ = head_.load(std::memory_order_acquire);
      if (tail == cached_head_) return false;
    }
    value = slots_[tail & mask_];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Anyone.
  uint64_t size() const noexcept {
    const uint64_t tail = tail_.load(std::memory_order_acquire);
    return head_.load(std::memory_order_acquire) - tail;
  }

 private:
  uint64_t mask_;
  std::unique_ptr<T[]> slots_;
  alignas(64) std::atomic<uint64_t> head_{0};  // with the producer's copy of the other's index
  uint64_t cached_tail_ = 0;
  alignas(64) std::atomic<uint64_t> tail_{0};
  uint64_t cached_head_ = 0;
};

}  // namespace wp
