// SPDX-License-Identifier: Apache-2.0
#include "feed/book.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr size_t kDense = 1 << 16;  // instruments numbered from 0, as most venues do
constexpr size_t kFar = 12;         // records ahead of which the order's cell is asked for
constexpr size_t kNear = 5;         // and its slot

size_t checked(const char* name, size_t value, size_t most) {
  if (value == 0 || value > most)
    throw config_error(name, std::to_string(value), "1 to " + std::to_string(most));
  return value;
}

// The order that a record looks up: for MODIFY the old one.
uint64_t wanted(const wp_record& r) {
  return r.action == WP_ACTION_MODIFY ? r.aux : r.order_id;
}

Bbo stamped(const wp_record& r) {
  Bbo out{};
  out.seq = r.seq;
  out.event_time = r.event_time;
  out.recv_time = r.recv_time;
  out.channel = r.channel;
  return out;
}

}  // namespace

Books::Books(const BookOptions& options)
    : max_orders_(checked("max_orders", options.max_orders, size_t{1} << 31)),
      table_(checked("orders", options.orders, max_orders_)),
      dense_(kDense, kNone) {
  checked("instruments", options.instruments, size_t{1} << 24);
  orders_.reserve(options.orders);
  levels_.reserve(options.orders / 4 + 64);
  books_.reserve(options.instruments);
  best_.reserve(options.instruments);
}

size_t Books::apply(const wp_record* records, size_t n, Bbo* bbo) {
  size_t written = 0;
  for (size_t i = 0; i < n; i++) {
    if (i + kFar < n) table_.prefetch(wanted(records[i + kFar]));
    if (i + kNear < n) {
      const uint32_t slot = table_.find(wanted(records[i + kNear]));
      if (slot != kNone) __builtin_prefetch(&orders_[slot]);
    }
    const wp_record& r = records[i];
    const Change change = apply_one(r);
    counters_.records++;
    switch (change.did) {
      case Did::kApplied:
        counters_.applied++;
        break;
      case Did::kIgnored:
        counters_.ignored++;
        continue;
      case Did::kUnknown:
        counters_.unknown_order++;
        continue;
      case Did::kDuplicate:
        counters_.duplicate_order++;
        continue;
      case Did::kFull:
        counters_.full++;
        continue;
    }
    if (change.book == kNone) continue;
    if (change.book == kEvery) {
      counters_.bbo_changes++;
      if (bbo) bbo[written++] = stamped(r);
      continue;
    }
    const Book& book = books_[change.book];
    const Best now = best_of(book);
    const bool both = now.bid_qty != 0 && now.ask_qty != 0;
    const bool crossed = both && now.bid > now.ask, locked = both && now.bid == now.ask;
    counters_.crossed += crossed;
    counters_.locked += locked;
    if (now == best_[change.book]) continue;
    best_[change.book] = now;
    counters_.bbo_changes++;
    if (!bbo) continue;
    Bbo& out = bbo[written++] = stamped(r);
    out.bid = now.bid;
    out.ask = now.ask;
    out.bid_qty = now.bid_qty;
    out.ask_qty = now.ask_qty;
    out.instrument = book.instrument;
    out.state = book.state;
    out.crossed = crossed ? 1 : locked ? 2 : 0;
  }
  return written;
}

Books::Change Books::apply_one(const wp_record& r) {
  switch (r.action) {
    case WP_ACTION_ADD:
      if (r.order_id == 0) return set_level(r, r.qty);
      return add(r, r.order_id, 2 * book_of(r.instrument) + (r.side == 'S'));
    case WP_ACTION_MODIFY:
      return r.order_id == 0 ? set_level(r, r.qty) : modify(r);
    case WP_ACTION_CANCEL:
    case WP_ACTION_EXECUTE:
      return reduce(r);
    case WP_ACTION_DELETE: {
      if (r.order_id == 0) return set_level(r, 0);
      const uint32_t slot = table_.find(r.order_id);
      if (slot == kNone) return {Did::kUnknown};
      const uint32_t book = levels_[orders_[slot].level].side / 2;
      remove_order(slot);
      return {Did::kApplied, book};
    }
    case WP_ACTION_CLEAR:
      if (r.instrument == 0) {
        clear();
        return {Did::kApplied, kEvery};
      } else {
        const uint32_t book = book_of(r.instrument);
        clear_book(book);
        return {Did::kApplied, book};
      }
    case WP_ACTION_STATUS:
      // A halted book stays as it is, and orders go on coming and going.
      if (r.venue != WP_VENUE_NASDAQ || r.type != 'H') return {Did::kIgnored};
      books_[book_of(r.instrument)].state = static_cast<uint8_t>(r.qty);
      return {Did::kApplied};
    default:
      return {Did::kIgnored};
  }
}

Books::Change Books::add(const wp_record& r, uint64_t id, uint32_t side) {
  if (r.qty == 0) [[unlikely]]
    return {Did::kIgnored};
  if (table_.size() >= max_orders_ && table_.find(id) == kNone) [[unlikely]]
    return {Did::kFull};
  uint32_t slot = free_order_;
  if (slot == kNone) {
    slot = static_cast<uint32_t>(orders_.size());
    if (!table_.insert(id, slot)) return {Did::kDuplicate};
    orders_.emplace_back();
  } else {
    if (!table_.insert(id, slot)) return {Did::kDuplicate};
    free_order_ = orders_[slot].next;
  }
  orders_[slot].id = id;
  orders_[slot].qty = r.qty;
  append(slot, level_at(side, r.price));
  return {Did::kApplied, side / 2};
}

Books::Change Books::modify(const wp_record& r) {
  const uint32_t slot = table_.find(r.aux);
  if (slot == kNone) return {Did::kUnknown};
  Order& order = orders_[slot];
  Level& level = levels_[order.level];
  const uint32_t side = level.side;
  if (r.aux == r.order_id && level.price == r.price && r.qty <= order.qty && r.qty != 0) {
    level.qty -= order.qty - r.qty;  // smaller at the same price: it keeps its place
    order.qty = r.qty;
    return {Did::kApplied, side / 2};
  }
  if (r.aux != r.order_id && table_.find(r.order_id) != kNone) return {Did::kDuplicate};
  remove_order(slot);
  return r.qty == 0 ? Change{Did::kApplied, side / 2} : add(r, r.order_id, side);
}

Books::Change Books::reduce(const wp_record& r) {
  const uint32_t slot = table_.find(r.order_id);
  if (slot == kNone) return {Did::kUnknown};
  Order& order = orders_[slot];
  const uint32_t book = levels_[order.level].side / 2;
  if (r.qty >= order.qty) {
    counters_.over_reduced += r.qty > order.qty;
    remove_order(slot);
  } else {
    order.qty -= r.qty;
    levels_[order.level].qty -= r.qty;
  }
  return {Did::kApplied, book};
}

// A level that is told as a whole has no orders.
Books::Change Books::set_level(const wp_record& r, uint64_t qty) {
  const uint32_t book = book_of(r.instrument);
  const uint32_t side = 2 * book + (r.side == 'S');
  if (qty == 0) {
    Ladder& rungs = ladder(side);
    const int64_t key = key_of(side, r.price);
    const auto at = find_rung(rungs, key);
    if (at == rungs.end() || at->key != key || levels_[at->level].orders != 0)
      return {Did::kUnknown};
    drop_level(at->level);
    return {Did::kApplied, book};
  }
  Level& level = levels_[level_at(side, r.price)];
  if (level.orders != 0) return {Did::kDuplicate};
  level.qty = qty;
  return {Did::kApplied, book};
}

// First rung at or above `key`, looked for from the best: most of what happens happens there.
Books::Ladder::iterator Books::find_rung(Ladder& ladder, int64_t key) {
  constexpr size_t kNearTop = 8;
  auto at = ladder.end();
  for (size_t i = 0; i < kNearTop; i++) {
    if (at == ladder.begin() || (at - 1)->key < key) return at;
    --at;
  }
  return std::lower_bound(ladder.begin(), at, key,
                          [](const Rung& rung, int64_t k) { return rung.key < k; });
}

uint32_t Books::level_at(uint32_t side, int64_t price) {
  Ladder& rungs = ladder(side);
  const int64_t key = key_of(side, price);
  const auto at = find_rung(rungs, key);
  if (at != rungs.end() && at->key == key) return at->level;
  uint32_t level = free_level_;
  if (level == kNone) {
    level = static_cast<uint32_t>(levels_.size());
    levels_.emplace_back();
  } else {
    free_level_ = levels_[level].side;
  }
  levels_[level] = {price, 0, kNone, kNone, 0, side};
  rungs.insert(at, {key, level});
  return level;
}

void Books::drop_level(uint32_t level) {
  const uint32_t side = levels_[level].side;
  Ladder& rungs = ladder(side);
  rungs.erase(find_rung(rungs, key_of(side, levels_[level].price)));
  levels_[level].side = free_level_;
  free_level_ = level;
}

void Books::append(uint32_t slot, uint32_t number) {
  Order& order = orders_[slot];
  Level& level = levels_[number];
  order.level = number;
  order.next = kNone;
  order.previous = level.tail;
  (level.tail == kNone ? level.head : orders_[level.tail].next) = slot;
  level.tail = slot;
  // An order takes the place of a level that was told whole.
  level.qty = (level.orders == 0 ? 0 : level.qty) + order.qty;
  level.orders++;
}

void Books::unlink(uint32_t slot) {
  const Order& order = orders_[slot];
  Level& level = levels_[order.level];
  (order.previous == kNone ? level.head : orders_[order.previous].next) = order.next;
  (order.next == kNone ? level.tail : orders_[order.next].previous) = order.previous;
  level.qty -= order.qty;
  if (--level.orders == 0) drop_level(order.level);
}

void Books::remove_order(uint32_t slot) {
  unlink(slot);
  table_.erase(orders_[slot].id);
  orders_[slot].next = free_order_;
  free_order_ = slot;
}

void Books::clear_book(uint32_t number) {
  Book& book = books_[number];
  for (Ladder& rungs : book.sides) {
    for (const Rung& rung : rungs) {
      Level& level = levels_[rung.level];
      for (uint32_t slot = level.head; slot != kNone;) {
        const uint32_t next = orders_[slot].next;
        table_.erase(orders_[slot].id);
        orders_[slot].next = free_order_;
        free_order_ = slot;
        slot = next;
      }
      level.side = free_level_;
      free_level_ = rung.level;
    }
    rungs.clear();
  }
}

void Books::clear() {
  for (uint32_t book = 0; book < books_.size(); book++) clear_book(book);
  std::fill(best_.begin(), best_.end(), Best{});
}

void Books::clear(uint32_t instrument) {
  const uint32_t book = find_book(instrument);
  if (book == kNone) return;
  clear_book(book);
  best_[book] = {};
}

uint32_t Books::find_book(uint32_t instrument) const {
  if (instrument < dense_.size()) return dense_[instrument];
  const auto found = rest_.find(instrument);
  return found == rest_.end() ? kNone : found->second;
}

uint32_t Books::book_of(uint32_t instrument) {
  uint32_t& number = instrument < dense_.size()
                         ? dense_[instrument]
                         : rest_.try_emplace(instrument, kNone).first->second;
  if (number == kNone) [[unlikely]] {
    number = static_cast<uint32_t>(books_.size());
    books_.emplace_back().instrument = instrument;
    best_.emplace_back();
  }
  return number;
}

Books::Best Books::best_of(const Book& book) const {
  Best out;
  if (!book.sides[0].empty()) {
    const Level& level = levels_[book.sides[0].back().level];
    out.bid = level.price;
    out.bid_qty = level.qty;
  }
  if (!book.sides[1].empty()) {
    const Level& level = levels_[book.sides[1].back().level];
    out.ask = level.price;
    out.ask_qty = level.qty;
  }
  return out;
}

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

std::vector<uint32_t> Books::instruments() const {
  std::vector<uint32_t> out;
  out.reserve(books_.size());
  for (const Book& book : books_) out.push_back(book.instrument);
  return out;
}

size_t Books::depth(uint32_t instrument, char side, std::span<BookLevel> out) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  const Ladder& rungs = books_[number].sides[side == 'S'];
  size_t n = 0;
  for (auto at = rungs.rbegin(); at != rungs.rend() && n < out.size(); ++at) {
    const Level& level = levels_[at->level];
    out[n++] = {level.price, level.qty, level.orders};
  }
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
  return number == kNone ? 0 : books_[number].sides[side == 'S'].size();
}

size_t Books::order_count(uint32_t instrument, char side) const {
  const uint32_t number = find_book(instrument);
  if (number == kNone) return 0;
  size_t n = 0;
  for (const Rung& rung : books_[number].sides[side == 'S']) n += levels_[rung.level].orders;
  return n;
}

}  // namespace wp::feed
