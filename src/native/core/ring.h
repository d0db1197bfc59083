// SPDX-License-Identifier: Apache-2.0
// Lock-free single-producer single-consumer ring of 64-byte records in shared memory.
//
// Each side owns one cache line of indices and keeps a private copy of the other's, so that the
// lines travel between cores once per batch, not once per record (Lamport's queue with the
// cached indices of Rigtorp's and DPDK's rings). Indices run freely; slot = index & mask.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "core/histogram.h"
#include "core/record.h"
#include "core/shm.h"

namespace wp {

enum class FullPolicy : uint32_t {
  kBlock = 0,  // the producer waits for room: nothing is lost here, the loss moves upstream
  kDrop = 1,   // the producer throws the newest away and counts it
};

class Ring {
 public:
  using Record = wp_record;

  // `capacity`: records, a power of two from 2 to 2^30. `name`: empty = private to the process.
  Ring(uint64_t capacity, FullPolicy policy, const std::string& name);
  static Ring attach(const std::string& name);
  Ring(Ring&&) noexcept = default;

  // Whoever produces or consumes holds this meanwhile: one of each at a time, among the threads
  // and, of a named ring, the processes that have it. It goes on where the last one stopped.
  class Turn {
   public:
    enum Side : int { kProducer, kConsumer };
    Turn(Ring& ring, Side side);  // throws kBusy
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Ring& ring_;
    Side side_;
  };

  // --- producer ---------------------------------------------------------------------------
  // Contiguous free slots, at most `want`; 0 when full. Fill, then commit(n) with n <= answer.
  size_t reserve(size_t want, Record** slots) noexcept {
    const uint64_t head = producer_.head;
    uint64_t room = capacity_ - (head - producer_.cached_tail);
    if (room < want) {
      producer_.cached_tail = shared_->tail.load(std::memory_order_acquire);
      room = capacity_ - (head - producer_.cached_tail);
    }
    const uint64_t at = head & mask_;
    const uint64_t contiguous = capacity_ - at;
    *slots = slots_ + at;
    return want < room ? (want < contiguous ? want : contiguous)
                       : (room < contiguous ? room : contiguous);
  }
  // `now` (ns) stamps the burst for the consumer's hand-over histogram; 0 = no stamp.
  void commit(size_t n, int64_t now = 0) noexcept {
    producer_.head += n;
    if (now != 0) stamp(now);
    shared_->head.store(producer_.head, std::memory_order_release);
  }
  // Copies up to n records in; returns how many fitted. Counts nothing.
  size_t try_push(const Record* records, size_t n, int64_t now = 0) noexcept;
  // Waits under kBlock until everything is in or the ring is closed; under kDrop counts what
  // does not fit. Returns how many went in.
  size_t push(const Record* records, size_t n, int64_t now = 0) noexcept;
  // Called by a producer that found no room: true = try again (it waited), false = give up.
  bool wait_for_room(uint64_t spin) noexcept;
  void count_dropped(uint64_t n) noexcept { add_relaxed(shared_->dropped, n); }
  void count_blocked() noexcept { add_relaxed(shared_->blocked, uint64_t{1}); }
  // Either side: no more records will come, or none will be taken.
  void close() noexcept { shared_->closed.store(1, std::memory_order_release); }

  // --- consumer ---------------------------------------------------------------------------
  // Contiguous records ready to read, at most `want`; then consume(n).
  size_t peek(size_t want, const Record** records) noexcept {
    const uint64_t tail = consumer_.tail;
    uint64_t ready = consumer_.cached_head - tail;
    if (ready < want) {
      consumer_.cached_head = shared_->head.load(std::memory_order_acquire);
      ready = consumer_.cached_head - tail;
      if (ready > shared_->high_water.load(std::memory_order_relaxed))
        shared_->high_water.store(ready, std::memory_order_relaxed);
    }
    const uint64_t at = tail & mask_;
    const uint64_t contiguous = capacity_ - at;
    *records = slots_ + at;
    return want < ready ? (want < contiguous ? want : contiguous)
                        : (ready < contiguous ? ready : contiguous);
  }
  void consume(size_t n) noexcept {
    consumer_.tail += n;
    shared_->tail.store(consumer_.tail, std::memory_order_release);
  }
  // Copies up to max records out.
  size_t pop(Record* out, size_t max) noexcept;
  // Adds the age (ns) of everything consumed so far to `histogram`, one sample per record,
  // from the stamps that commit() left.
  void record_hand_over(int64_t now, Histogram& histogram) noexcept;

  // --- anyone -----------------------------------------------------------------------------
  bool closed() const noexcept { return shared_->closed.load(std::memory_order_acquire) != 0; }
  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t size() const noexcept {
    const uint64_t tail = shared_->tail.load(std::memory_order_acquire);
    return shared_->head.load(std::memory_order_acquire) - tail;
  }
  uint64_t pushed() const noexcept { return shared_->head.load(std::memory_order_relaxed); }
  uint64_t popped() const noexcept { return shared_->tail.load(std::memory_order_relaxed); }
  uint64_t dropped() const noexcept { return shared_->dropped.load(std::memory_order_relaxed); }
  uint64_t blocked() const noexcept { return shared_->blocked.load(std::memory_order_relaxed); }
  uint64_t high_water() const noexcept {
    return shared_->high_water.load(std::memory_order_relaxed);
  }
  FullPolicy policy() const noexcept { return policy_; }
  const std::string& name() const noexcept { return memory_.name(); }

 private:
  // Bursts in flight between the two sides. When the consumer lags by more bursts than this,
  // the newest go without a stamp: the histogram then misses samples, never invents them.
  static constexpr uint64_t kStamps = 4096;
  struct Stamp {
    uint64_t end;  // index after the burst's last record
    int64_t time;
  };
  struct Shared {
    uint64_t magic;
    uint64_t capacity;
    uint32_t policy;
    uint32_t record_bytes;
    std::atomic<uint32_t> closed;
    alignas(64) std::atomic<uint64_t> head;  // written by the producer
    std::atomic<uint64_t> stamp_head;
    std::atomic<uint64_t> dropped;
    std::atomic<uint64_t> blocked;
    alignas(64) std::atomic<uint64_t> tail;  // written by the consumer
    std::atomic<uint64_t> stamp_tail;
    std::atomic<uint64_t> high_water;
    alignas(64) std::array<Stamp, kStamps> stamps;
  };
  struct alignas(64) Producer {
    uint64_t head = 0;
    uint64_t cached_tail = 0;
  };
  struct alignas(64) Consumer {
    uint64_t tail = 0;
    uint64_t cached_head = 0;
    uint64_t stamped = 0;  // index up to which ages were recorded
  };

  explicit Ring(SharedMemory memory);
  void catch_up(int side) noexcept;
  void stamp(int64_t now) noexcept {
    const uint64_t at = shared_->stamp_head.load(std::memory_order_relaxed);
    if (at - shared_->stamp_tail.load(std::memory_order_acquire) == kStamps) return;
    shared_->stamps[at & (kStamps - 1)] = {producer_.head, now};
    shared_->stamp_head.store(at + 1, std::memory_order_release);
  }

  SharedMemory memory_;
  Shared* shared_ = nullptr;
  Record* slots_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t mask_ = 0;
  FullPolicy policy_ = FullPolicy::kBlock;
  Producer producer_;
  Consumer consumer_;
  std::unique_ptr<std::array<std::atomic<bool>, 2>> taken_ =
      std::make_unique<std::array<std::atomic<bool>, 2>>();  // by side, in this process
};

}  // namespace wp
