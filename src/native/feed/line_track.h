/* SPDX-License-Identifier: Apache-2.0
 *
 * What one line brought of one sequence, whatever the others did: its losses,
 * its reordering, and whether its numbering can be believed.
 */
#pragma once

#include <cstddef>
#include <cstdint>

#include "feed/arbiter_types.h"
#include "feed/sequence_gaps.h"

namespace wp::feed {

class LineTrack {
 public:
  explicit LineTrack(size_t max_gaps) : gaps_(max_gaps) {}

  bool known() const { return known_; }
  uint64_t next() const { return next_; }
  uint32_t epoch() const { return epoch_; }
  int64_t last_time() const { return last_time_; }

  /* The line is in this epoch of the sequence from now on and begins at `next`. */
  void join(uint32_t epoch, uint64_t next) {
    epoch_ = epoch;
    next_ = next;
    known_ = true;
    proof_ = 0;
    gaps_.clear();  // what is missing stays so
  }

  /* A packet of count messages, believed. */
  void passed(uint64_t first, uint64_t count, int64_t time, LineCounters& c) {
    last_time_ = time;
    proof_ = 0;
    if (first == next_) [[likely]] {
      next_ += count;
      c.expected += count;
      return;
    }
    reveal(first, c);
    const uint64_t after = first + count;
    uint64_t seq = first;
    for (; seq != after && seq < next_; ++seq) {
      uint64_t dropped = 0;
      if (gaps_.take(seq, &dropped)) {
        --c.missing;
        ++c.reordered;
      } else {
        ++c.repeated;
      }
    }
    c.expected += after - seq;
    next_ += after - seq;
  }

  /* The line's sender says that it has sent everything before next. */
  void told(uint64_t next, int64_t time, LineCounters& c) {
    last_time_ = time;
    proof_ = 0;
    reveal(next, c);
  }

  /* A packet whose number is out of reach. True when, with it, `needed` packets in a row have
   * continued each other; *begin is then the first number of the first of them. */
  bool proves(uint64_t wire, uint64_t count, uint32_t needed, uint64_t* begin) {
    if (proof_ == 0 || wire != proof_next_) {
      proof_ = 0;
      proof_begin_ = wire;
    }
    ++proof_;
    proof_next_ = wire + count;
    *begin = proof_begin_;
    return needed != 0 && proof_ >= needed;
  }

 private:
  void reveal(uint64_t to, LineCounters& c) {
    if (to <= next_) return;
    c.missing += to - next_;
    c.expected += to - next_;
    gaps_.append({next_, to - 1});
    next_ = to;
  }

  uint64_t next_ = 0;
  int64_t last_time_ = 0;
  uint32_t epoch_ = 0;
  uint32_t proof_ = 0;
  bool known_ = false;
  uint64_t proof_next_ = 0;
  uint64_t proof_begin_ = 0;
  SequenceGaps gaps_;
};

}  // namespace wp::feed
