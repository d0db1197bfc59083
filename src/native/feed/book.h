/* SPDX-License-Identifier: Apache-2.0
 *
 * Price-time order books of all instruments of a channel, built from normalised
 * records. Every order stands in the queue of its price level (L3); levels and
 * the best of both sides are kept with them (L2, BBO).
 *
 * Records without an order id set a whole price level: books of venues that
 * publish levels, not orders.
 *
 * Nothing is allocated for a record once pools and tables have reached the size
 * that the day needs; BookOptions reserves them from the start.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "core/record.h"
#include "feed/order_table.h"

namespace wp::feed {

/* Best of both sides after a record that changed it; `wirepath.BBO` in Python. */
struct Bbo {
  uint64_t seq;
  int64_t event_time;
  int64_t recv_time;
  int64_t bid;       // 1e-9 units of currency; 0 with bid_qty 0: none
  int64_t ask;       // as bid
  uint64_t bid_qty;  // all orders at that price
  uint64_t ask_qty;
  uint32_t instrument;
  uint16_t channel;
  uint8_t state;    // as Book::state
  uint8_t crossed;  // 1: bid above ask; 2: equal
};
static_assert(sizeof(Bbo) == 64);

struct BookLevel {
  int64_t price;
  uint64_t qty;
  uint32_t orders;  // 0 for a level that was set whole
  uint32_t reserved = 0;
};
static_assert(sizeof(BookLevel) == 24);

struct BookOrder {
  uint64_t order_id;
  int64_t price;
  uint32_t qty;
  uint8_t side;
  std::array<uint8_t, 3> reserved{};
};
static_assert(sizeof(BookOrder) == 24);

struct BookOptions {
  size_t orders = 1 << 16;       // resting at a time, to make room for
  size_t max_orders = 1 << 26;   // more are counted in `full` and left out
  size_t instruments = 1 << 14;  // to make room for
};

/* records = applied + ignored + unknown_order + duplicate_order + full. */
struct BookCounters {
  uint64_t records = 0;
  uint64_t applied = 0;
  uint64_t ignored = 0;          // trades, breaks and all else that leaves books alone
  uint64_t unknown_order = 0;    // reduces, modifies or deletes an order that is not there
  uint64_t duplicate_order = 0;  // adds one that is
  uint64_t full = 0;             // max_orders rest
  uint64_t over_reduced = 0;     // of applied: took more than rested; the order is gone
  uint64_t crossed = 0;          // of applied: left bid above ask
  uint64_t locked = 0;           // of applied: left bid equal to ask
  uint64_t bbo_changes = 0;
};

class Books {
 public:
  explicit Books(const BookOptions& options = {});

  /* Applies records in order. Each that changes a best price or its quantity
   * writes one entry to bbo, of which there are as many as records, or null;
   * one that clears every book writes one for instrument 0. Returns the entries
   * written. */
  size_t apply(const wp_record* records, size_t n, Bbo* bbo);

  /* Levels of one side, best first, at most out.size(). */
  size_t depth(uint32_t instrument, char side, std::span<BookLevel> out) const;
  /* Orders of one side, best level first, oldest first within it. */
  size_t orders(uint32_t instrument, char side, std::span<BookOrder> out) const;
  /* All zero but for the instrument where there is no book. */
  Bbo best(uint32_t instrument) const;
  /* Venue's trading state as the last status record said it (ITCH: H, P, Q, T); 0: not told. */
  uint8_t state(uint32_t instrument) const;
  std::vector<uint32_t> instruments() const;
  size_t order_count() const { return table_.size(); }
  size_t order_count(uint32_t instrument, char side) const;
  size_t level_count(uint32_t instrument, char side) const;

  void clear();
  void clear(uint32_t instrument);
  const BookCounters& counters() const { return counters_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kEvery = UINT32_MAX - 1;

  struct Order {
    uint64_t id;
    uint32_t level;
    uint32_t qty;
    uint32_t next, previous;  // in its level, oldest first; next links free slots, too
  };
  struct Level {
    int64_t price;
    uint64_t qty;
    uint32_t head, tail;
    uint32_t orders;
    uint32_t side;  // 2 * book + (0 bid, 1 ask); free: the next free level
  };
  struct Rung {
    int64_t key;  // ascending towards the best: the price, its complement for asks
    uint32_t level;
  };
  // Best at the end: what changes most is moved least.
  using Ladder = std::vector<Rung>;
  struct Book {
    std::array<Ladder, 2> sides;
    uint32_t instrument = 0;
    uint8_t state = 0;
  };
  struct Best {
    int64_t bid = 0, ask = 0;
    uint64_t bid_qty = 0, ask_qty = 0;
    bool operator==(const Best&) const = default;
  };

  // What a record did, and to which book: kNone, or kEvery one.
  enum class Did : uint8_t { kApplied, kIgnored, kUnknown, kDuplicate, kFull };
  struct Change {
    Did did;
    uint32_t book = kNone;
  };

  Change apply_one(const wp_record& r);
  Change add(const wp_record& r, uint64_t id, uint32_t side);
  Change modify(const wp_record& r);
  Change reduce(const wp_record& r);
  Change set_level(const wp_record& r, uint64_t qty);
  void remove_order(uint32_t slot);
  void unlink(uint32_t slot);
  void append(uint32_t slot, uint32_t level);
  uint32_t level_at(uint32_t side, int64_t price);
  void drop_level(uint32_t level);
  void clear_book(uint32_t book);

  uint32_t book_of(uint32_t instrument);
  uint32_t find_book(uint32_t instrument) const;
  Ladder& ladder(uint32_t side) { return books_[side / 2].sides[side % 2]; }
  static Ladder::iterator find_rung(Ladder& ladder, int64_t key);
  static int64_t key_of(uint32_t side, int64_t price) { return side % 2 ? ~price : price; }
  Best best_of(const Book& book) const;

  size_t max_orders_;
  OrderTable table_;
  std::vector<Order> orders_;
  std::vector<Level> levels_;
  uint32_t free_order_ = kNone;
  uint32_t free_level_ = kNone;
  std::vector<Book> books_;
  std::vector<Best> best_;                       // by book, as last told
  std::vector<uint32_t> dense_;                  // book by instrument, those below its size
  std::unordered_map<uint32_t, uint32_t> rest_;  // and the others
  BookCounters counters_;
};

}  // namespace wp::feed
