// SPDX-License-Identifier: Apache-2.0
// Lock-free single-producer single-consumer ring of frames of any length, over memory that two
// processes share. The producer never waits: what finds no room is counted, and the record after
// it says how many were lost.
//
// A record is contiguous; the end of the memory that is too short for one is skipped. Both sides
// keep their index to themselves and believe nothing that the other could have written: a broken
// index is a full ring to the producer and an empty one to the consumer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace wp {

enum class FrameDirection : uint8_t { kUnknown = 0, kIn = 1, kOut = 2 };

struct FrameRecord {
  static constexpr uint8_t kNoVerdict = 0xff;

  uint32_t bytes;      // of the whole record, a multiple of 8
  uint32_t captured;   // bytes of the frame that follow this header
  uint32_t original;   // bytes of the frame
  uint32_t lost;       // frames that found no room since the record before this one
  int64_t timestamp;   // ns since the Unix epoch
  uint64_t cookie;     // the producer's own until the record is published, then 0
  uint16_t queue;      // of the port
  uint16_t interface;  // where one ring carries several: which
  FrameDirection direction;
  uint8_t verdict;  // enum wp_verdict, or kNoVerdict
  uint16_t reserved;

  const uint8_t* data() const noexcept { return reinterpret_cast<const uint8_t*>(this + 1); }
  uint8_t* data() noexcept { return reinterpret_cast<uint8_t*>(this + 1); }
};
static_assert(sizeof(FrameRecord) == 40);

class FrameRing {
 public:
  struct Shared {
    alignas(64) std::atomic<uint64_t> head;  // the producer's line
    std::atomic<uint64_t> seen;              // frames that came by
    std::atomic<uint64_t> filtered;          // of those: the filter did not want them
    std::atomic<uint64_t> dropped;           // of those: found no room
    alignas(64) std::atomic<uint64_t> tail;  // the consumer's line
    alignas(64) uint8_t data[];              // capacity bytes
  };
  static constexpr uint64_t kMinCapacity = 4096;
  static constexpr uint64_t kMaxCapacity = 1ull << 30;

  // What a ring of `capacity` bytes (a power of two from kMinCapacity to kMaxCapacity) takes.
  static constexpr size_t bytes_for(uint64_t capacity) { return sizeof(Shared) + capacity; }

  FrameRing() = default;
  // Over bytes_for(capacity) zeroed or used bytes, 64-byte aligned, which outlive it. Goes on
  // where the last user of either side stopped.
  FrameRing(void* memory, uint64_t capacity) noexcept;

  // --- producer ---------------------------------------------------------------------------
  // A record with room for `captured` bytes of frame, which the consumer does not see before
  // publish(); nullptr where there is no room. bytes, captured and lost are set.
  FrameRecord* reserve(uint32_t captured) noexcept;
  // The records reserved since the last publish(), in order.
  FrameRecord* first() noexcept { return at(published_); }
  FrameRecord* next(FrameRecord* record) noexcept;
  // Takes back `record` and what was reserved after it.
  void take_back(FrameRecord* record) noexcept;
  void publish() noexcept {
    published_ = head_;
    shared_->head.store(head_, std::memory_order_release);
  }
  void count(uint64_t seen, uint64_t filtered) noexcept;
  // Frames that found no room: the next record tells of them.
  void lose(uint32_t frames) noexcept;

  // --- consumer ---------------------------------------------------------------------------
  const FrameRecord* peek() noexcept;                // nullptr: empty
  void consume(const FrameRecord* record) noexcept;  // the one that was peeked at last
  // Of that one: bytes of frame that are there. The record's own field may change at any time.
  uint32_t captured() const noexcept { return peeked_captured_; }
  uint64_t broken() const noexcept { return broken_; }  // times that its content made no sense

  // --- anybody ----------------------------------------------------------------------------
  uint64_t seen() const noexcept { return shared_->seen.load(std::memory_order_relaxed); }
  uint64_t filtered() const noexcept { return shared_->filtered.load(std::memory_order_relaxed); }
  uint64_t dropped() const noexcept { return shared_->dropped.load(std::memory_order_relaxed); }

 private:
  // In the place of `captured`: no record, skip `bytes`. Only these two are there.
  static constexpr uint32_t kSkip = UINT32_MAX;

  FrameRecord* at(uint64_t index) noexcept;
  uint64_t room() noexcept;

  Shared* shared_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t head_ = 0;             // producer: after what was reserved
  uint64_t published_ = 0;        // producer: what the consumer knows of
  uint64_t cached_tail_ = 0;      // producer
  uint32_t lost_ = 0;             // producer: since the last record
  uint64_t tail_ = 0;             // consumer
  uint64_t peeked_bytes_ = 0;     // consumer: of the record that was peeked at, as judged
  uint32_t peeked_captured_ = 0;  // consumer
  uint64_t broken_ = 0;           // consumer
};

}  // namespace wp
