// SPDX-License-Identifier: Apache-2.0
// Log-linear histogram of nanoseconds, 1 ns to over 10 s at under 1 % error: 128 linear steps
// in every power of two, which is HdrHistogram's layout for two significant digits, so counts
// can be exported index by index (HdrHistogram specification, V2 encoding).
//
// Plain data without pointers: it lives in shared memory and is read by other processes while
// one thread writes.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace wp {

// One writer, any readers: a relaxed load and store is a plain add, no locked instruction.
template <class T>
inline void add_relaxed(std::atomic<T>& cell, T n) noexcept {
  cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

class Histogram {
 public:
  static constexpr int kStepBits = 7;  // 128 steps per power of two: 1/128 wide, ±0.4 % at mid
  static constexpr uint64_t kSteps = 1ULL << kStepBits;
  static constexpr int64_t kHighest = (1LL << 34) - 1;  // 17.2 s
  static constexpr size_t kBuckets = (34 - kStepBits + 1) * kSteps;

  // Index of the bucket that holds `value`, and the lowest value of bucket `index`.
  static constexpr size_t index_of(uint64_t value) noexcept {
    const int exponent = std::bit_width(value | (2 * kSteps - 1)) - (kStepBits + 1);
    return (static_cast<size_t>(exponent) << kStepBits) + (value >> exponent);
  }
  static constexpr uint64_t lowest_in(size_t index) noexcept {
    if (index < 2 * kSteps) return index;
    const size_t exponent = (index >> kStepBits) - 1;
    return ((index & (kSteps - 1)) + kSteps) << exponent;
  }
  static constexpr uint64_t width_of(size_t index) noexcept {
    return index < 2 * kSteps ? 1 : 1ULL << ((index >> kStepBits) - 1);
  }

  // Negative values (a clock stepped back) and those past the range are kept in their own
  // cells and clamped into the first and last bucket, so that no sample vanishes.
  void record(int64_t value, uint64_t n = 1) noexcept {
    if (value < 0) [[unlikely]] {
      add_relaxed(negative_, n);
      value = 0;
    } else if (value > kHighest) [[unlikely]] {
      add_relaxed(overflow_, n);
      value = kHighest;
    }
    add_relaxed(counts_[index_of(static_cast<uint64_t>(value))], n);
    add_relaxed(total_, n);
    add_relaxed(sum_, static_cast<uint64_t>(value) * n);
    if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
    if (value < min_.load(std::memory_order_relaxed)) min_.store(value, std::memory_order_relaxed);
  }

  void merge(const Histogram& other) noexcept;
  void reset() noexcept;

  uint64_t total() const noexcept { return total_.load(std::memory_order_relaxed); }
  uint64_t negative() const noexcept { return negative_.load(std::memory_order_relaxed); }
  uint64_t overflow() const noexcept { return overflow_.load(std::memory_order_relaxed); }
  int64_t min() const noexcept { return total() ? min_.load(std::memory_order_relaxed) : 0; }
  int64_t max() const noexcept { return max_.load(std::memory_order_relaxed); }
  double mean() const noexcept {
    return total() ? static_cast<double>(sum_.load(std::memory_order_relaxed)) /
                         static_cast<double>(total())
                   : 0.0;
  }
  uint64_t count_at(size_t index) const noexcept {
    return counts_[index].load(std::memory_order_relaxed);
  }
  // Middle of the bucket in which the q-quantile (0 to 1) falls, never above max; 0 when empty.
  int64_t quantile(double q) const noexcept;

 private:
  alignas(64) std::atomic<uint64_t> total_{0};
  std::atomic<uint64_t> sum_{0};
  std::atomic<uint64_t> negative_{0};
  std::atomic<uint64_t> overflow_{0};
  std::atomic<int64_t> min_{INT64_MAX};
  std::atomic<int64_t> max_{0};
  alignas(64) std::atomic<uint64_t> counts_[kBuckets]{};
};

static_assert(std::is_standard_layout_v<Histogram>, "shared between processes");
static_assert(std::atomic<uint64_t>::is_always_lock_free);
static_assert(Histogram::index_of(Histogram::kHighest) == Histogram::kBuckets - 1);

}  // namespace wp
