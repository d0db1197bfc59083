/* SPDX-License-Identifier: Apache-2.0
 *
 * Two bounded queues between one thread that puts and one that takes, without
 * locks and allocated once: items of one size, and messages of any.
 */
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace wp::feed {

template <class T>
class SpscQueue {
 public:
  /* Room for at least `capacity` items. */
  explicit SpscQueue(size_t capacity)
      : mask_(std::bit_ceil(capacity) - 1), items_(std::make_unique<T[]>(mask_ + 1)) {}

  /* False: no room. */
  bool put(const T& item) noexcept {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) > mask_) return false;
    items_[head & mask_] = item;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }
  /* False: empty. */
  bool take(T* item) noexcept {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    *item = items_[tail & mask_];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  const uint64_t mask_;
  std::unique_ptr<T[]> items_;
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

/* Messages are a Header and bytes behind it, contiguous in a ring of bytes. */
template <class Header>
class SpscMessages {
 public:
  /* capacity: bytes, rounded up to a power of two. */
  explicit SpscMessages(size_t capacity)
      : size_(std::bit_ceil(capacity)), bytes_(std::make_unique<uint8_t[]>(size_)) {}

  /* False: no room. n at most half of the capacity, or there never is. */
  bool put(const Header& header, const uint8_t* data, size_t n) noexcept {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    const size_t need = block(n);
    const size_t at = static_cast<size_t>(head & (size_ - 1));
    // What does not fit behind the last message begins at the front.
    const size_t skip = need > size_ - at ? size_ - at : 0;
    if (skip + need > size_ - (head - tail_.load(std::memory_order_acquire))) return false;
    if (skip != 0) store(at, kSkip);
    const size_t to = static_cast<size_t>((head + skip) & (size_ - 1));
    store(to, n);
    std::memcpy(&bytes_[to + kPrefix], &header, sizeof header);
    if (n != 0) std::memcpy(&bytes_[to + kPrefix + sizeof header], data, n);
    head_.store(head + skip + need, std::memory_order_release);
    return true;
  }

  bool empty() const noexcept {
    return tail_.load(std::memory_order_relaxed) == head_.load(std::memory_order_acquire);
  }

  /* Calls f(const Header&, const uint8_t* data, size_t n) with the oldest; false: empty. */
  template <class F>
  bool take(F&& f) noexcept {
    uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == head_.load(std::memory_order_acquire)) return false;
    size_t at = static_cast<size_t>(tail & (size_ - 1));
    uint64_t n = load(at);
    if (n == kSkip) {
      tail += size_ - at;
      at = 0;
      n = load(0);
    }
    Header header;
    std::memcpy(&header, &bytes_[at + kPrefix], sizeof header);
    f(header, &bytes_[at + kPrefix + sizeof header], static_cast<size_t>(n));
    tail_.store(tail + block(static_cast<size_t>(n)), std::memory_order_release);
    return true;
  }

 private:
  static constexpr size_t kPrefix = 8;
  static constexpr uint64_t kSkip = UINT64_MAX;

  // Multiples of 8, so that a prefix always fits in front of the end.
  static size_t block(size_t n) { return (kPrefix + sizeof(Header) + n + 7) & ~size_t{7}; }
  void store(size_t at, uint64_t n) noexcept { std::memcpy(&bytes_[at], &n, sizeof n); }
  uint64_t load(size_t at) const noexcept {
    uint64_t n;
    std::memcpy(&n, &bytes_[at], sizeof n);
    return n;
  }

  const size_t size_;
  std::unique_ptr<uint8_t[]> bytes_;
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace wp::feed
