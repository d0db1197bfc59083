// SPDX-License-Identifier: Apache-2.0
#include "feed/hold_buffer.h"

#include <bit>
#include <cstring>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr uint64_t kFreed = 1;

size_t checked(const char* name, size_t value, size_t least, size_t most) {
  if (value < least || value > most) {
    throw config_error(name, std::to_string(value),
                       std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

}  // namespace

HoldBuffer::HoldBuffer(size_t messages, size_t bytes)
    : max_messages_(checked("hold_messages", messages, 1, kMaxMessages)),
      capacity_(checked("hold_bytes", bytes, 1024, kMaxBytes) & ~size_t{7}),
      mask_(std::bit_ceil(2 * messages) - 1),
      shift_(64 - std::countr_one(mask_)),
      table_(std::make_unique<Entry[]>(mask_ + 1)),
      bytes_(std::make_unique<uint8_t[]>(capacity_)) {}

bool HoldBuffer::allocate(size_t length, size_t* offset) {
  const size_t size = (kHeader + length + 7) & ~size_t{7};
  if (size > capacity_ - used_) return false;
  if (used_ == 0) head_ = tail_ = 0;
  if (head_ >= tail_ && size > capacity_ - head_) {
    // Not in one piece before the ring's end: the rest becomes a freed block.
    const size_t rest = capacity_ - head_;
    if (size > capacity_ - used_ - rest) return false;
    if (rest != 0) {
      header(head_) = rest | kFreed;
      used_ += rest;
    }
    head_ = 0;
  }
  header(head_) = size;
  *offset = head_;
  head_ += size;
  used_ += size;
  if (head_ == capacity_) head_ = 0;
  return true;
}

void HoldBuffer::release(size_t offset) {
  header(offset) |= kFreed;
  while (used_ != 0 && (header(tail_) & kFreed) != 0) {
    const size_t size = header(tail_) & ~kFreed;
    tail_ += size;
    used_ -= size;
    if (tail_ == capacity_) tail_ = 0;
  }
}

bool HoldBuffer::put(const Entry& entry, const uint8_t* data) {
  size_t offset = 0;
  if (count_ == max_messages_ || !allocate(entry.length, &offset)) return false;
  if (entry.length != 0) std::memcpy(bytes_.get() + offset + kHeader, data, entry.length);
  size_t slot = slot_of(entry.seq);
  while (table_[slot].used) slot = (slot + 1) & mask_;
  table_[slot] = entry;
  table_[slot].used = true;
  table_[slot].offset = offset;
  ++count_;
  return true;
}

const HoldBuffer::Entry* HoldBuffer::find(uint64_t seq) const {
  for (size_t slot = slot_of(seq); table_[slot].used; slot = (slot + 1) & mask_) {
    if (table_[slot].seq == seq) return &table_[slot];
  }
  return nullptr;
}

void HoldBuffer::erase(const Entry* entry) {
  release(entry->offset);
  --count_;
  // What probed past the hole moves into it, so that no search ends early.
  size_t hole = static_cast<size_t>(entry - table_.get());
  for (size_t slot = (hole + 1) & mask_; table_[slot].used; slot = (slot + 1) & mask_) {
    const size_t home = slot_of(table_[slot].seq);
    if (((slot - home) & mask_) >= ((slot - hole) & mask_)) {
      table_[hole] = table_[slot];
      hole = slot;
    }
  }
  table_[hole].used = false;
}

bool HoldBuffer::lowest_from(uint64_t seq, uint64_t* out) const {
  bool found = false;
  for (size_t slot = 0; slot <= mask_ && count_ != 0; ++slot) {
    const Entry& e = table_[slot];
    if (!e.used || e.seq < seq || (found && e.seq >= *out)) continue;
    *out = e.seq;
    found = true;
  }
  return found;
}

void HoldBuffer::clear() {
  for (size_t slot = 0; slot <= mask_ && count_ != 0; ++slot) {
    count_ -= table_[slot].used;
    table_[slot].used = false;
  }
  head_ = tail_ = used_ = 0;
}

}  // namespace wp::feed
