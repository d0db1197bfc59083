/* SPDX-License-Identifier: Apache-2.0
 *
 * One side of a book that a venue publishes as numbered levels (CME MDP 3.0):
 * level 1 is the best, a new one moves those behind it down, a deleted one moves
 * them up, and what moves beyond the instrument's depth is gone without a word.
 *
 * A feed that is joined in the middle leaves holes: levels that exist, but whose
 * price was never told. They move like any other.
 * Source: CME Group, MDP 3.0 book management, "Market by Price".
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace wp::feed {

inline constexpr size_t kMostLevels = 16;  // that a side may have

/* MDUpdateAction (tag 279). */
enum class LevelUpdate : uint8_t {
  kNew = 0,
  kChange = 1,
  kDelete = 2,
  kDeleteThru = 3,  // from the best through this level
  kDeleteFrom = 4,  // from this level to the worst
  kOverlay = 5,     // whatever stood there
};

struct NumberedLevel {
  int64_t price = 0;
  uint32_t qty = 0;
  bool known = false;
};

class NumberedSide {
 public:
  /* False: the level that is to change or go was not known. What can be done is
   * done all the same: the other levels move as they do at the venue.
   * 1 <= level <= depth <= kMostLevels. */
  bool apply(LevelUpdate update, size_t level, size_t depth, int64_t price, uint32_t qty) {
    const auto begin = levels_.begin(), end = begin + static_cast<ptrdiff_t>(depth);
    const auto at = begin + static_cast<ptrdiff_t>(level - 1);
    const bool known = at->known;
    switch (update) {
      case LevelUpdate::kNew:
        std::move_backward(at, end - 1, end);
        *at = {price, qty, true};
        return true;
      case LevelUpdate::kChange:
        *at = {price, qty, true};
        return known;
      case LevelUpdate::kOverlay:
        *at = {price, qty, true};
        return true;
      case LevelUpdate::kDelete:
        std::fill(std::move(at + 1, end, at), end, NumberedLevel{});
        return known;
      case LevelUpdate::kDeleteThru:
        std::fill(std::move(at + 1, end, begin), end, NumberedLevel{});
        return known;
      case LevelUpdate::kDeleteFrom:
        std::fill(at, end, NumberedLevel{});
        return known;
    }
    return false;
  }

  const NumberedLevel& operator[](size_t i) const { return levels_[i]; }
  void clear() { levels_ = {}; }
  /* Nothing beyond. */
  void limit(size_t depth) {
    std::fill(levels_.begin() + static_cast<ptrdiff_t>(depth), levels_.end(), NumberedLevel{});
  }
  size_t size() const {
    return static_cast<size_t>(
        std::count_if(levels_.begin(), levels_.end(), [](const auto& l) { return l.known; }));
  }

 private:
  std::array<NumberedLevel, kMostLevels> levels_{};
};

/* The levels of an instrument: those of orders, and those implied by other
 * instruments' orders. */
struct NumberedBook {
  std::array<NumberedSide, 4> sides;  // bid, ask, implied bid, implied ask
  uint8_t depth = 10;
  uint8_t implied_depth = 2;

  void clear() {
    for (NumberedSide& side : sides) side.clear();
  }
};

}  // namespace wp::feed
