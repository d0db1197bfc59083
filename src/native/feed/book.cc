// SPDX-License-Identifier: Apache-2.0
#include "feed/book.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

constexpr size_t kFar = 12;  // records ahead of which the order's cell is asked for
constexpr size_t kNear = 5;  // and its slot
constexpr uint16_t kPitchBegin = 0xBC;
constexpr uint64_t kGroupBytes = 0xffff'ffff'ffff;  // of aux: SecurityGroup

size_t checked(const char* name, size_t value, size_t least, size_t most) {
  if (value < least || value > most)
    throw config_error(name, std::to_string(value),
                       std::to_string(least) + " to " + std::to_string(most));
  return value;
}

// The order that a record looks up: for MODIFY the old one. CME's keep their number, and aux is
// their priority.
uint64_t wanted(const wp_record& r) {
  return r.action == WP_ACTION_MODIFY && r.venue != WP_VENUE_CME ? r.aux : r.order_id;
}

// Whether an event may go on behind this record: see the file comment of book.h.
bool announces(const wp_record& r, bool transaction) {
  switch (r.venue) {
    case WP_VENUE_CME:
      return true;
    case WP_VENUE_IEX:
      return r.type == '8' || r.type == '5' || r.type == 'Q';
    case WP_VENUE_CBOE:
      return transaction || r.type == kPitchBegin || (r.flags & WP_FLAG_END_OF_EVENT) != 0;
    default:
      return false;
  }
}

// Venues that say for every modification whether it keeps its place.
bool says_priority(uint8_t venue) {
  return venue == WP_VENUE_IEX || venue == WP_VENUE_CBOE;
}

// CME's snapshots are of orders or of levels, and void those only.
enum class Scope : uint8_t { kBoth, kOrders, kLevels };
Scope scope_of(const wp_record& r) {
  if (r.venue != WP_VENUE_CME) return Scope::kBoth;
  switch (r.type) {
    case 44:
    case 53:
    case 59:
      return Scope::kOrders;
    case 38:
    case 52:
    case 61:
    case 68:
    case 69:
      return Scope::kLevels;
    default:
      return Scope::kBoth;
  }
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
    : max_orders_(checked("max_orders", options.max_orders, 1, size_t{1} << 31)),
      table_(checked("orders", options.orders, 1, max_orders_)),
      dense_(checked("dense", options.dense, 1, size_t{1} << 24), kNone),
      depth_(static_cast<uint8_t>(checked("depth", options.depth, 1, kMostLevels))),
      implied_depth_(
          static_cast<uint8_t>(checked("implied_depth", options.implied_depth, 1, kMostLevels))),
      max_offences_(checked("offences", options.offences, 0, size_t{1} << 20)) {
  checked("instruments", options.instruments, 1, size_t{1} << 24);
  orders_.reserve(options.orders);
  levels_.reserve(options.orders / 4 + 64);
  books_.reserve(options.instruments);
  best_.reserve(options.instruments);
  pending_.reserve(options.instruments);
  offences_.reserve(max_offences_);
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
        break;
      case Did::kUnknown:
        counters_.unknown_order++;
        offend(BookCheck::kUnknownOrder, r, r.instrument);
        break;
      case Did::kDuplicate:
        counters_.duplicate_order++;
        offend(BookCheck::kDuplicateOrder, r, r.instrument);
        break;
      case Did::kFull:
        counters_.full++;
        break;
    }
    Bbo* const out = bbo ? bbo + written : nullptr;
    if (announces(r, transaction_)) {
      written += announced(r, change, out);
    } else if (change.book < kEvery) {
      if (!books_[change.book].pending) written += settle(change.book, r, out);
    } else if (change.book == kEvery) {
      counters_.bbo_changes++;
      if (out) *out = stamped(r);
      written += bbo != nullptr;
    }
  }
  return written;
}

// A record of a venue that says where events end, which is where books are looked at.
size_t Books::announced(const wp_record& r, Change change, Bbo* bbo) {
  if (change.book == kEvery) {
    counters_.bbo_changes++;
    if (bbo) *bbo = stamped(r);
    return bbo != nullptr;
  }
  if (change.book != kNone) mark(change.book);
  if (r.type == kPitchBegin && r.venue == WP_VENUE_CBOE) transaction_ = true;
  if (!(r.flags & WP_FLAG_END_OF_EVENT)) return 0;
  size_t written = 0;
  // IEX's events and what recovery brings are of one instrument, all others of the channel.
  if (r.venue == WP_VENUE_IEX || (r.flags & WP_FLAG_RECOVERED && r.venue == WP_VENUE_CME)) {
    const uint32_t book = find_book(r.instrument);
    if (book == kNone || !books_[book].pending) return 0;
    books_[book].pending = false;
    pending_.erase(std::find(pending_.begin(), pending_.end(), book));
    return settle(book, r, bbo);
  }
  transaction_ = false;
  for (const uint32_t book : pending_) {
    books_[book].pending = false;
    written += settle(book, r, bbo ? bbo + written : nullptr);
  }
  pending_.clear();
  return written;
}

void Books::mark(uint32_t book) {
  if (books_[book].pending) return;
  books_[book].pending = true;
  pending_.push_back(book);
}

// A book at the end of an event: the checks, and what is best.
size_t Books::settle(uint32_t number, const wp_record& r, Bbo* bbo) {
  Book& book = books_[number];
  const Best now = best_of(book);
  const bool both = now.bid_qty != 0 && now.ask_qty != 0;
  const uint8_t crossed = !both ? 0 : now.bid > now.ask ? 1 : now.bid == now.ask ? 2 : 0;
  book.events++;
  counters_.events++;
  if (crossed != 0 && phase_of(book) <= Phase::kTrading) [[unlikely]] {
    ++(crossed == 1 ? counters_.crossed : counters_.locked);
    if (crossed != book.crossed)
      offend(crossed == 1 ? BookCheck::kCrossed : BookCheck::kLocked, r, book.instrument);
  }
  book.crossed = crossed;
  if (now == best_[number]) return 0;
  best_[number] = now;
  counters_.bbo_changes++;
  if (!bbo) return 0;
  *bbo = stamped(r);
  bbo->bid = now.bid;
  bbo->ask = now.ask;
  bbo->bid_qty = now.bid_qty;
  bbo->ask_qty = now.ask_qty;
  bbo->instrument = book.instrument;
  bbo->state = book.state;
  bbo->crossed = crossed;
  return 1;
}

void Books::offend(BookCheck check, const wp_record& r, uint32_t instrument) {
  if (offences_.size() == max_offences_) return;
  offences_.push_back(
      {r.seq, r.event_time, r.order_id, r.price, r.qty, instrument, r.type, r.action, check});
}

Books::Change Books::apply_one(const wp_record& r) {
  const bool changes = r.action >= WP_ACTION_ADD && r.action <= WP_ACTION_EXECUTE;
  if (changes && r.qty == 0 && (r.flags & WP_FLAG_SATURATED) && r.action != WP_ACTION_DELETE)
      [[unlikely]] {
    counters_.negative_size++;
    offend(BookCheck::kNegativeSize, r, r.instrument);
  }
  switch (r.action) {
    case WP_ACTION_ADD:
      if (r.order_id == 0) return without_order(r, r.qty);
      return add(r, r.order_id, 2 * book_of(r.instrument) + (r.side == 'S'));
    case WP_ACTION_MODIFY:
      if (r.order_id == 0) return without_order(r, r.qty);
      return r.venue == WP_VENUE_CME ? modify_by_priority(r) : modify(r);
    case WP_ACTION_CANCEL:
    case WP_ACTION_EXECUTE:
      return reduce(r);
    case WP_ACTION_DELETE:
      return r.order_id == 0 ? without_order(r, 0) : remove(r);
    case WP_ACTION_CLEAR:
      return clear(r);
    case WP_ACTION_STATUS:
      return status(r);
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
  if (r.venue == WP_VENUE_CME) [[unlikely]] {
    orders_[slot].priority = r.aux;
    insert_by_priority(slot, level_at(side, r.price));
  } else {
    orders_[slot].priority = 0;
    append(slot, level_at(side, r.price));
  }
  return {Did::kApplied, side / 2};
}

Books::Change Books::modify(const wp_record& r) {
  const uint32_t slot = table_.find(r.aux);
  if (slot == kNone) return {Did::kUnknown};
  Order& order = orders_[slot];
  Level& level = levels_[order.level];
  const uint32_t side = level.side;
  if (r.aux == r.order_id && level.price == r.price && r.qty != 0) {
    const bool smaller = r.qty <= order.qty && !says_priority(r.venue);
    if (smaller || (r.flags & WP_FLAG_KEEPS_PRIORITY)) {
      level.qty += uint64_t{r.qty} - order.qty;
      order.qty = r.qty;
      return {Did::kApplied, side / 2};
    }
  }
  if (r.aux != r.order_id && table_.find(r.order_id) != kNone) return {Did::kDuplicate};
  remove_order(slot);
  return r.qty == 0 ? Change{Did::kApplied, side / 2} : add(r, r.order_id, side);
}

// CME: the order keeps its number, and its place goes by its priority; what is not told stays.
Books::Change Books::modify_by_priority(const wp_record& r) {
  const uint32_t slot = table_.find(r.order_id);
  if (slot == kNone) return {Did::kUnknown};
  Order& order = orders_[slot];
  const uint32_t number = order.level, side = levels_[number].side;
  const int64_t price = r.price == WP_NO_PRICE ? levels_[number].price : r.price;
  const uint64_t priority = r.aux == 0 ? order.priority : r.aux;
  if (r.qty == 0) {
    remove_order(slot);
  } else if (price == levels_[number].price && priority == order.priority) {
    levels_[number].qty += uint64_t{r.qty} - order.qty;
    order.qty = r.qty;
  } else {
    unlink(slot);
    order.qty = r.qty;
    order.priority = priority;
    insert_by_priority(slot, level_at(side, price));
  }
  return {Did::kApplied, side / 2};
}

Books::Change Books::reduce(const wp_record& r) {
  const uint32_t slot = table_.find(r.order_id);
  if (slot == kNone) return {Did::kUnknown};
  Order& order = orders_[slot];
  const uint32_t book = levels_[order.level].side / 2;
  if (r.qty >= order.qty) {
    if (r.qty > order.qty) [[unlikely]] {
      counters_.over_reduced++;
      offend(BookCheck::kOverReduced, r, books_[book].instrument);
    }
    remove_order(slot);
  } else {
    order.qty -= r.qty;
    levels_[order.level].qty -= r.qty;
  }
  return {Did::kApplied, book};
}

Books::Change Books::remove(const wp_record& r) {
  const uint32_t slot = table_.find(r.order_id);
  if (slot == kNone) return {Did::kUnknown};
  const uint32_t book = levels_[orders_[slot].level].side / 2;
  remove_order(slot);
  return {Did::kApplied, book};
}

Books::Change Books::without_order(const wp_record& r, uint64_t qty) {
  if (r.venue == WP_VENUE_CME) return set_numbered(r);
  if (r.venue == WP_VENUE_IEX && r.type == 'Q') return set_quote(r, qty);
  return set_level(r, qty);
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

// The best of a side is all that is told of it.
Books::Change Books::set_quote(const wp_record& r, uint64_t qty) {
  const uint32_t book = book_of(r.instrument);
  const uint32_t side = 2 * book + (r.side == 'S');
  clear_ladder(ladder(side));
  if (qty != 0) levels_[level_at(side, r.price)].qty = qty;
  return {Did::kApplied, book};
}

NumberedBook& Books::numbered_of(uint32_t book) {
  uint32_t& number = books_[book].numbered;
  if (number == kNone) [[unlikely]] {
    number = static_cast<uint32_t>(numbered_.size());
    numbered_.emplace_back();
    numbered_.back().depth = depth_;
    numbered_.back().implied_depth = implied_depth_;
  }
  return numbered_[number];
}

// aux: see cme_mdp3.h.
Books::Change Books::set_numbered(const wp_record& r) {
  const size_t at = r.aux >> 32 & 0xff;
  const uint8_t update = r.aux >> 40 & 0xff, type = r.aux >> 48 & 0xff;
  const bool implied = type == 'E' || type == 'F';
  if ((!implied && type != '0' && type != '1') || update > 5) return {Did::kIgnored};
  const uint32_t book = book_of(r.instrument);
  NumberedBook& levels = numbered_of(book);
  const size_t depth = implied ? levels.implied_depth : levels.depth;
  if (at == 0 || at > depth) {
    counters_.unknown_level++;
    offend(BookCheck::kUnknownLevel, r, r.instrument);
    return {Did::kIgnored};
  }
  // A snapshot's levels stand where they say, whatever came before.
  const auto what =
      scope_of(r) == Scope::kLevels ? LevelUpdate::kOverlay : static_cast<LevelUpdate>(update);
  NumberedSide& side = levels.sides[(implied ? 2 : 0) + (r.side == 'S')];
  if (!side.apply(what, at, depth, r.price, r.qty)) {
    counters_.unknown_level++;
    offend(BookCheck::kUnknownLevel, r, r.instrument);
  }
  return {Did::kApplied, book};
}

Books::Change Books::clear(const wp_record& r) {
  if (r.instrument == 0) {
    // A PITCH unit speaks of its own instruments, as far as they are known.
    const bool unit = r.venue == WP_VENUE_CBOE;
    for (uint32_t book = 0; book < books_.size(); book++) {
      if (unit && books_[book].group != kNoGroup && books_[book].group != r.aux) continue;
      clear_book(book);
      best_[book] = {};
      books_[book].crossed = 0;
    }
    if (!unit) {
      for (const uint32_t book : pending_) books_[book].pending = false;
      pending_.clear();
      transaction_ = false;
    }
    return {Did::kApplied, kEvery};
  }
  const uint32_t book = book_of(r.instrument);
  const Scope scope = scope_of(r);
  if (scope != Scope::kLevels) clear_orders(book);
  // A snapshot of levels says that the venue publishes some, if only none just now.
  if (scope == Scope::kLevels)
    numbered_of(book).clear();
  else if (scope == Scope::kBoth && books_[book].numbered != kNone)
    numbered_[books_[book].numbered].clear();
  return {Did::kApplied, book};
}

// A halted book stays as it is, and orders go on coming and going.
Books::Change Books::status(const wp_record& r) {
  const PhaseChange change = phase_change(r);
  if (!change.tells) return {Did::kIgnored};
  const auto tell = [&](Book& book) {
    if (change.operational) {
      book.operational_halt = change.phase == Phase::kHalted;
    } else {
      book.phase = change.phase;
      book.state = static_cast<uint8_t>(r.qty);
    }
  };
  if (r.instrument != 0 || r.venue != WP_VENUE_CME) {
    tell(books_[book_of(r.instrument)]);
    return {Did::kApplied};
  }
  for (Book& book : books_)
    if (book.group == (r.aux & kGroupBytes)) tell(book);
  return {Did::kApplied};
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

// CME's priority: the lowest first, and what has none where it came.
void Books::insert_by_priority(uint32_t slot, uint32_t number) {
  const uint64_t priority = orders_[slot].priority;
  uint32_t before = levels_[number].tail;
  if (priority != 0)
    while (before != kNone && orders_[before].priority > priority)
      before = orders_[before].previous;
  append(slot, number);
  Level& level = levels_[number];
  Order& order = orders_[slot];
  if (before == order.previous) return;
  // From the tail to behind `before`.
  level.tail = order.previous;
  orders_[level.tail].next = kNone;
  const uint32_t after = before == kNone ? level.head : orders_[before].next;
  order.previous = before;
  order.next = after;
  orders_[after].previous = slot;
  (before == kNone ? level.head : orders_[before].next) = slot;
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

void Books::clear_ladder(Ladder& rungs) {
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

void Books::clear_orders(uint32_t book) {
  for (Ladder& rungs : books_[book].sides) clear_ladder(rungs);
}

void Books::clear_book(uint32_t book) {
  clear_orders(book);
  if (books_[book].numbered != kNone) numbered_[books_[book].numbered].clear();
}

void Books::clear() {
  for (uint32_t book = 0; book < books_.size(); book++) {
    clear_book(book);
    books_[book].crossed = 0;
    books_[book].pending = false;
  }
  pending_.clear();
  transaction_ = false;
  std::fill(best_.begin(), best_.end(), Best{});
}

void Books::clear(uint32_t instrument) {
  const uint32_t book = find_book(instrument);
  if (book == kNone) return;
  clear_book(book);
  best_[book] = {};
  books_[book].crossed = 0;
}

void Books::set_depth(uint32_t instrument, size_t depth, size_t implied) {
  checked("depth", depth, 1, kMostLevels);
  checked("implied", implied, 1, kMostLevels);
  NumberedBook& levels = numbered_of(book_of(instrument));
  levels.depth = static_cast<uint8_t>(depth);
  levels.implied_depth = static_cast<uint8_t>(implied);
  for (size_t side = 0; side < levels.sides.size(); side++)
    levels.sides[side].limit(side < 2 ? depth : implied);
}

void Books::set_group(uint32_t instrument, uint64_t group) {
  books_[book_of(instrument)].group = group;
}

Books::Best Books::best_of(const Book& book) const {
  Best out;
  if (book.numbered != kNone) [[unlikely]] {
    const NumberedBook& levels = numbered_[book.numbered];
    const NumberedLevel &bid = levels.sides[0][0], &ask = levels.sides[1][0];
    return {bid.price, ask.price, bid.qty, ask.qty};
  }
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

}  // namespace wp::feed
