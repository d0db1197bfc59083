// SPDX-License-Identifier: Apache-2.0
#include "core/frame_ring.h"

#include <algorithm>
#include <utility>

#include "core/histogram.h"

namespace wp {
namespace {
constexpr uint64_t round_up(uint64_t bytes) noexcept {
  return (bytes + 7) & ~uint64_t{7};
}
constexpr uint64_t round_down(uint64_t index) noexcept {
  return index & ~uint64_t{7};
}
// What the other process may write to at any time: read once, then judged.
uint32_t read_once(const uint32_t& field) noexcept {
  return *static_cast<const volatile uint32_t*>(&field);
}
}  // namespace

FrameRing::FrameRing(void* memory, uint64_t capacity) noexcept
    : shared_(static_cast<Shared*>(memory)), capacity_(capacity) {
  // Records start at multiples of 8, so that the header of one to skip always fits.
  head_ = published_ = round_down(shared_->head.load(std::memory_order_acquire));
  cached_tail_ = tail_ = round_down(shared_->tail.load(std::memory_order_acquire));
}

// The record at an index, past what is to be skipped; nullptr where nothing is reserved any more.
// Lengths that were written may have been changed by the other process: the way through them never
// leaves what was reserved, nor the memory.
FrameRecord* FrameRing::at(uint64_t index) noexcept {
  const uint64_t reserved = head_ - published_;
  if (index - published_ >= reserved) return nullptr;
  auto* record = reinterpret_cast<FrameRecord*>(shared_->data + (index & (capacity_ - 1)));
  const uint64_t rest = capacity_ - (index & (capacity_ - 1));
  if (read_once(record->captured) != kSkip) return rest < sizeof *record ? nullptr : record;
  index += rest;
  return index - published_ >= reserved ? nullptr : reinterpret_cast<FrameRecord*>(shared_->data);
}

FrameRecord* FrameRing::next(FrameRecord* record) noexcept {
  const auto offset = static_cast<uint64_t>(reinterpret_cast<uint8_t*>(record) - shared_->data);
  // Where it stands on the way from published_ to head_, which are less than a round apart.
  const uint64_t from = published_ & (capacity_ - 1);
  const uint64_t index = published_ + (offset >= from ? offset - from : offset + capacity_ - from);
  return at(index + round_up(sizeof(FrameRecord) + read_once(record->captured)));
}

void FrameRing::take_back(FrameRecord* record) noexcept {
  const auto offset = static_cast<uint64_t>(reinterpret_cast<uint8_t*>(record) - shared_->data);
  const uint64_t from = published_ & (capacity_ - 1);
  for (FrameRecord* each = record; each != nullptr; each = next(each)) lost_ += each->lost;
  head_ = published_ + (offset >= from ? offset - from : offset + capacity_ - from);
}

uint64_t FrameRing::room() noexcept {
  // What is not published was not read, whatever the tail says: no more than a round is reserved.
  const uint64_t used = std::max(head_ - cached_tail_, head_ - published_);
  return used > capacity_ ? 0 : capacity_ - used;
}

FrameRecord* FrameRing::reserve(uint32_t captured) noexcept {
  const uint64_t need = round_up(sizeof(FrameRecord) + captured);
  const uint64_t offset = head_ & (capacity_ - 1);
  const uint64_t rest = capacity_ - offset;
  const uint64_t skipped = need > rest ? rest : 0;
  if (room() < skipped + need) {
    cached_tail_ = shared_->tail.load(std::memory_order_acquire);
    if (room() < skipped + need) return nullptr;
  }
  auto* record = reinterpret_cast<FrameRecord*>(shared_->data + offset);
  if (skipped != 0) {
    record->bytes = static_cast<uint32_t>(skipped);
    record->captured = kSkip;
    record = reinterpret_cast<FrameRecord*>(shared_->data);
  }
  record->bytes = static_cast<uint32_t>(need);
  record->captured = captured;
  record->lost = lost_;
  lost_ = 0;
  head_ += skipped + need;
  return record;
}

void FrameRing::count(uint64_t seen, uint64_t filtered) noexcept {
  add_relaxed(shared_->seen, seen);
  if (filtered != 0) add_relaxed(shared_->filtered, filtered);
}

void FrameRing::lose(uint32_t frames) noexcept {
  lost_ += frames;
  add_relaxed(shared_->dropped, uint64_t{frames});
}

const FrameRecord* FrameRing::peek() noexcept {
  for (;;) {
    const uint64_t ready = round_down(shared_->head.load(std::memory_order_acquire)) - tail_;
    if (ready == 0) return nullptr;
    const uint64_t offset = tail_ & (capacity_ - 1);
    const uint64_t rest = capacity_ - offset;
    const auto* record = reinterpret_cast<const FrameRecord*>(shared_->data + offset);
    const uint64_t bytes = ready <= capacity_ ? read_once(record->bytes) : 0;
    const uint32_t captured = bytes != 0 ? read_once(record->captured) : 0;
    const bool skip = bytes != 0 && captured == kSkip;
    if (bytes < 8 || bytes % 8 != 0 || bytes > rest || bytes > ready ||
        (!skip && (bytes < sizeof *record || captured > bytes - sizeof *record))) {
      broken_++;
      tail_ += ready;
      shared_->tail.store(tail_, std::memory_order_release);
      return nullptr;
    }
    peeked_bytes_ = bytes;
    peeked_captured_ = captured;
    if (!skip) return record;
    tail_ += bytes;
    shared_->tail.store(tail_, std::memory_order_release);
  }
}

void FrameRing::consume(const FrameRecord*) noexcept {
  tail_ += std::exchange(peeked_bytes_, 0);
  shared_->tail.store(tail_, std::memory_order_release);
}

}  // namespace wp
