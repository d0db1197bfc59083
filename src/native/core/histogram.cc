// SPDX-License-Identifier: Apache-2.0
#include "core/histogram.h"

#include <algorithm>
#include <cmath>

namespace wp {

void Histogram::merge(const Histogram& other) noexcept {
  if (other.total() == 0) return;
  for (size_t i = 0; i < kBuckets; i++)
    if (const uint64_t n = other.count_at(i)) add_relaxed(counts_[i], n);
  min_.store(std::min(min_.load(std::memory_order_relaxed), other.min()),
             std::memory_order_relaxed);
  max_.store(std::max(max(), other.max()), std::memory_order_relaxed);
  add_relaxed(total_, other.total());
  add_relaxed(sum_, other.sum_.load(std::memory_order_relaxed));
  add_relaxed(negative_, other.negative());
  add_relaxed(overflow_, other.overflow());
}

void Histogram::reset() noexcept {
  for (auto& cell : counts_) cell.store(0, std::memory_order_relaxed);
  total_.store(0, std::memory_order_relaxed);
  sum_.store(0, std::memory_order_relaxed);
  negative_.store(0, std::memory_order_relaxed);
  overflow_.store(0, std::memory_order_relaxed);
  min_.store(INT64_MAX, std::memory_order_relaxed);
  max_.store(0, std::memory_order_relaxed);
}

int64_t Histogram::quantile(double q) const noexcept {
  const uint64_t n = total();
  if (n == 0) return 0;
  const auto rank = std::clamp<uint64_t>(
      static_cast<uint64_t>(std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(n))), 1, n);
  uint64_t seen = 0;
  for (size_t i = 0; i < kBuckets; i++) {
    seen += count_at(i);
    if (seen >= rank)
      return std::clamp(static_cast<int64_t>(lowest_in(i) + width_of(i) / 2), min(), max());
  }
  return max();  // the writer was between two stores
}

}  // namespace wp
