/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded, sorted list of missing sequence ranges. Allocated once; when it is
 * full the oldest range makes room and its size is reported, so that the caller
 * can count what it gives up on.
 */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/error.h"

namespace wp::feed {

struct SequenceRange {
  uint64_t first;
  uint64_t last;      // inclusive
  int64_t since = 0;  // when it was found missing, for those who keep time
  uint64_t size() const { return last - first + 1; }
  bool operator==(const SequenceRange&) const = default;
};

class SequenceGaps {
 public:
  static constexpr size_t kMaxCapacity = size_t{1} << 20;

  explicit SequenceGaps(size_t capacity) : capacity_(checked(capacity)) {
    ranges_ = std::make_unique<SequenceRange[]>(capacity);
  }

  std::span<const SequenceRange> ranges() const { return {ranges_.get(), size_}; }
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  const SequenceRange& front() const { return ranges_[0]; }
  const SequenceRange& back() const { return ranges_[size_ - 1]; }
  void clear() { size_ = 0; }

  /* Adds a range above all others, joined with the last if they touch and are of
   * the same age. Returns how many sequence numbers were given up to make room. */
  uint64_t append(SequenceRange range) {
    if (size_ != 0 && ranges_[size_ - 1].last + 1 == range.first &&
        ranges_[size_ - 1].since == range.since) {
      ranges_[size_ - 1].last = range.last;
      return 0;
    }
    const uint64_t dropped = size_ == capacity_ ? drop_oldest() : 0;
    ranges_[size_++] = range;
    return dropped;
  }

  /* Adds a range that overlaps none, anywhere; a full list drops its oldest, or
   * refuses a range that is older still. */
  void insert(SequenceRange range) {
    if (size_ == capacity_) {
      if (range.first < ranges_[0].first) return;
      drop_oldest();
    }
    SequenceRange* const end = ranges_.get() + size_;
    SequenceRange* const at = lower_bound(range.first);
    std::move_backward(at, end, end + 1);
    *at = range;
    ++size_;
  }

  SequenceRange pop_front() {
    const SequenceRange front = ranges_[0];
    drop_oldest();
    return front;
  }

  /* The lowest missing range that has numbers in [first, last], cut to them; false: none. */
  bool find(uint64_t first, uint64_t last, SequenceRange* out) const {
    const SequenceRange* const at = lower_bound(first);
    if (at == ranges_.get() + size_ || at->first > last) return false;
    *out = {std::max(at->first, first), std::min(at->last, last), at->since};
    return true;
  }

  /* Removes a range that find gave. Cutting the middle out of another needs room, which the
   * oldest makes. Returns how many sequence numbers were given up for it. */
  uint64_t erase(const SequenceRange& part) {
    SequenceRange* const at = lower_bound(part.first);
    if (at->first == part.first && at->last == part.last) {
      std::move(at + 1, ranges_.get() + size_, at);
      --size_;
      return 0;
    }
    if (at->first == part.first) {
      at->first = part.last + 1;
      return 0;
    }
    if (at->last == part.last) {
      at->last = part.first - 1;
      return 0;
    }
    uint64_t dropped = 0;
    split(static_cast<size_t>(at - ranges_.get()), part.first, part.last, &dropped);
    return dropped;
  }

  /* Removes one sequence number; false if it is in no range. Splitting a range
   * may need room: *dropped is as append's return value. */
  bool take(uint64_t seq, uint64_t* dropped) {
    *dropped = 0;
    SequenceRange* const begin = ranges_.get();
    SequenceRange* const end = begin + size_;
    // Late packets run upwards through a gap, so the range that the last one was
    // taken from is the likely one.
    SequenceRange* range = begin + hint_;
    if (hint_ >= size_ || seq < range->first || seq > range->last) {
      range = lower_bound(seq);
      if (range == end || seq < range->first) return false;
      hint_ = static_cast<size_t>(range - begin);
    }
    if (range->first == range->last) {
      std::move(range + 1, end, range);
      --size_;
    } else if (seq == range->first) {
      ++range->first;
    } else if (seq == range->last) {
      --range->last;
    } else {
      split(hint_, seq, seq, dropped);
    }
    return true;
  }

 private:
  static size_t checked(size_t capacity) {
    if (capacity == 0 || capacity > kMaxCapacity) {
      throw config_error("max_gaps", std::to_string(capacity), "1 to 1048576");
    }
    return capacity;
  }

  uint64_t drop_oldest() {
    const uint64_t dropped = ranges_[0].size();
    std::move(ranges_.get() + 1, ranges_.get() + size_, ranges_.get());
    --size_;
    return dropped;
  }

  SequenceRange* lower_bound(uint64_t seq) const {
    return std::lower_bound(ranges_.get(), ranges_.get() + size_, seq,
                            [](const SequenceRange& r, uint64_t s) { return r.last < s; });
  }

  void split(size_t i, uint64_t first, uint64_t last, uint64_t* dropped) {
    const SequenceRange low{ranges_[i].first, first - 1, ranges_[i].since};
    const SequenceRange high{last + 1, ranges_[i].last, ranges_[i].since};
    if (size_ == capacity_) {
      if (i == 0) {  // the lower half is itself the oldest
        ranges_[0] = high;
        *dropped = low.size();
        return;
      }
      *dropped = drop_oldest();
      --i;
    }
    std::move_backward(ranges_.get() + i + 1, ranges_.get() + size_, ranges_.get() + size_ + 1);
    ++size_;
    ranges_[i] = low;
    ranges_[i + 1] = high;
    hint_ = i + 1;
  }

  std::unique_ptr<SequenceRange[]> ranges_;
  size_t capacity_;
  size_t size_ = 0;
  size_t hint_ = 0;
};

}  // namespace wp::feed
