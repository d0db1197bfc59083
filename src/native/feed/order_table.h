/* SPDX-License-Identifier: Apache-2.0
 *
 * Order id to slot number: an open-addressing table with linear probing and no
 * tombstones. One cache line a look-up at the load that it keeps to, and the
 * line can be asked for ahead of time. Grows by doubling; never shrinks.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace wp::feed {

class OrderTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /* Room for `orders` ids before it grows. */
  explicit OrderTable(size_t orders) {
    size_t cells = 16;
    while (cells < orders * 2) cells *= 2;
    reset(cells);
  }

  void prefetch(uint64_t id) const { __builtin_prefetch(&cells_[home(id)]); }

  uint32_t find(uint64_t id) const {
    for (size_t at = home(id);; at = (at + 1) & mask_) {
      const Cell& cell = cells_[at];
      if (cell.slot == kNone) return kNone;
      if (cell.id == id) return cell.slot;
    }
  }

  /* False, and nothing done, when the id is there. May allocate. */
  bool insert(uint64_t id, uint32_t slot) {
    if ((size_ + 1) * 2 > mask_ + 1) [[unlikely]]
      grow();
    size_t at = home(id);
    for (; cells_[at].slot != kNone; at = (at + 1) & mask_)
      if (cells_[at].id == id) return false;
    cells_[at] = {id, slot};
    ++size_;
    return true;
  }

  /* The slot that it had; kNone when it was not there. */
  uint32_t erase(uint64_t id) {
    size_t at = home(id);
    while (cells_[at].id != id || cells_[at].slot == kNone) {
      if (cells_[at].slot == kNone) return kNone;
      at = (at + 1) & mask_;
    }
    const uint32_t slot = cells_[at].slot;
    // Cells behind move up into the hole when it lies between their home and where they are.
    size_t hole = at;
    for (size_t next = (at + 1) & mask_; cells_[next].slot != kNone; next = (next + 1) & mask_) {
      if (((next - home(cells_[next].id)) & mask_) < ((next - hole) & mask_)) continue;
      cells_[hole] = cells_[next];
      hole = next;
    }
    cells_[hole].slot = kNone;
    --size_;
    return slot;
  }

  size_t size() const { return size_; }
  size_t capacity() const { return (mask_ + 1) / 2; }
  void clear() { reset(mask_ + 1); }

 private:
  struct Cell {
    uint64_t id;
    uint32_t slot;
  };
  static_assert(sizeof(Cell) == 16);

  // Ids are dense counters at most venues: their low bits must reach the high ones.
  size_t home(uint64_t id) const {
    return static_cast<size_t>((id * 0x9E37'79B9'7F4A'7C15u) >> shift_);
  }

  void reset(size_t cells) {
    cells_ = std::make_unique_for_overwrite<Cell[]>(cells);
    for (size_t i = 0; i < cells; i++) cells_[i] = {0, kNone};
    mask_ = cells - 1;
    shift_ = 64;
    for (size_t c = cells; c > 1; c /= 2) shift_--;
    size_ = 0;
  }

  void grow() {
    const std::unique_ptr<Cell[]> old = std::move(cells_);
    const size_t cells = mask_ + 1;
    reset(cells * 2);
    for (size_t i = 0; i < cells; i++)
      if (old[i].slot != kNone) insert(old[i].id, old[i].slot);
  }

  std::unique_ptr<Cell[]> cells_;
  size_t mask_ = 0;
  uint32_t shift_ = 64;
  size_t size_ = 0;
};

}  // namespace wp::feed
