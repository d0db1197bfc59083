// SPDX-License-Identifier: Apache-2.0
// What order books look like from outside.
#include "feed/book.h"

namespace wp::feed {

Bbo Books::best(uint32_t instrument) const {
  Bbo out{};
  out.instrument = instrument;
  const uint32_t number = find_book(instrument);
  if (number == kNone) return out;
  const Best best = best_of(books_[number]);
  out.bid = best.bid;
  out.ask = best.ask;
  out.bid_qty = best.bid_qty;
  out.ask_qty = best.ask_qty;
  out.state = books_[number].state;
  if (best.bid_qty != 0 && best.ask_qty != 0)
    out.crossed = best.bid > best.ask ? 1 : best.bid == best.ask ? 2 : 0;
  return out;
}

uint8_t Books::state(uint32_t instrument) const {
  const uint32_t number = find_book(instrument);
  return number == kNone ? 0 : books_[number].state;
}

Phase Books::phase(uint32_t instrument) const {
  const uint32_t number = find_book(instrument);
  return number == kNone ? Phase::kUnknown : phase_of(books_[number]);
}

bool Books::consistent(uint32_t instrument) const {
  const uint32_t number = find_book(instrument);
  return number == kNone || !books_[number].pending;
}

uint64_t Books::events(uint32_t instrument) const {
  const uint32_t number = find_book(instrument);
  return number == kNone ? 0 : books_[number].events;
}

std::vector<uint32_t> Books::instruments() const {
  std::vector<uint32_t> out;
  out.reserve(books_.size());
  for (const Book& book : books_) out.push_back(book.instrument);
  return out;
}

size_t Books::depth(uint32_t instrument, char side, std::span<BookLevel> out) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  if (books_[number].numbered != kNone)
    return numbered_levels(numbered_[books_[number].numbered].sides[side == 'S'], out);
  const Ladder& rungs = books_[number].sides[side == 'S'];
  size_t n = 0;
  for (auto at = rungs.rbegin(); at != rungs.rend() && n < out.size(); ++at) {
    const Level& level = levels_[at->level];
    out[n++] = {level.price, level.qty, level.orders};
  }
  return n;
}

size_t Books::implied(uint32_t instrument, char side, std::span<BookLevel> out) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone || books_[number].numbered == kNone) return 0;
  return numbered_levels(numbered_[books_[number].numbered].sides[2 + (side == 'S')], out);
}

// Those before the first whose price was never told.
size_t Books::numbered_levels(const NumberedSide& side, std::span<BookLevel> out) {
  size_t n = 0;
  for (; n < kMostLevels && n < out.size() && side[n].known; n++)
    out[n] = {side[n].price, side[n].qty, 0};
  return n;
}

size_t Books::orders(uint32_t instrument, char side, std::span<BookOrder> out) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  const Ladder& rungs = books_[number].sides[side == 'S'];
  size_t n = 0;
  for (auto at = rungs.rbegin(); at != rungs.rend(); ++at) {
    const Level& level = levels_[at->level];
    for (uint32_t slot = level.head; slot != kNone; slot = orders_[slot].next) {
      if (n == out.size()) return n;
      out[n++] = {orders_[slot].id, level.price, orders_[slot].qty,
                  static_cast<uint8_t>(side == 'S' ? 'S' : 'B')};
    }
  }
  return n;
}

size_t Books::level_count(uint32_t instrument, char side) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  return books_[number].numbered == kNone ? books_[number].sides[side == 'S'].size() : kMostLevels;
}

size_t Books::order_count(uint32_t instrument, char side) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  size_t n = 0;
  for (const Rung& rung : books_[number].sides[side == 'S']) n += levels_[rung.level].orders;
  return n;
}

}  // namespace wp::feed
