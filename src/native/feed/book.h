/* SPDX-License-Identifier: Apache-2.0
 *
 * Price-time order books of all instruments of a channel, built from normalised
 * records. Every order stands in the queue of its price level (L3); levels and
 * the best of both sides are kept with them (L2, BBO).
 *
 * Records without an order id are those of venues that publish levels, not orders:
 * they set the level at a price (IEX DEEP), the best of a side (IEX TOPS), or a
 * numbered level (CME, beside the orders where it publishes both).
 *
 * Venues that announce the end of an event (IEX DEEP and TOPS, CME, PITCH inside a
 * transaction) may leave a book in any state before it: best prices and the checks
 * wait for the end. All others end an event with every message.
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
#include "feed/book_checks.h"
#include "feed/book_levels.h"
#include "feed/order_table.h"
#include "feed/trading_phase.h"

namespace wp::feed {

/* Best of both sides after an event that changed it; `wirepath.BBO` in Python. */
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
  size_t offences = 64;          // to remember, the first ones
  size_t depth = 10;             // numbered levels of an instrument, until set_depth
  size_t implied_depth = 2;
  size_t dense = 1 << 16;  // instruments below this number are found without a hash
};

class Books {
 public:
  explicit Books(const BookOptions& options = {});

  /* Applies records in order. An event that changes a best price or its quantity
   * writes one entry to bbo for each instrument, of which there are n + pending(),
   * or null; one that clears every book writes one for instrument 0. Returns the
   * entries written. */
  size_t apply(const wp_record* records, size_t n, Bbo* bbo);

  /* Books that an event has changed which is not at its end. */
  size_t pending() const { return pending_.size(); }
  /* False while such an event is under way for this instrument. */
  bool consistent(uint32_t instrument) const;
  /* Ends of events that changed this instrument's book. */
  uint64_t events(uint32_t instrument) const;

  /* Levels of one side, best first, at most out.size(); numbered levels where the
   * venue publishes them, else those that the orders make. */
  size_t depth(uint32_t instrument, char side, std::span<BookLevel> out) const;
  /* Numbered levels that other instruments' orders imply. */
  size_t implied(uint32_t instrument, char side, std::span<BookLevel> out) const;
  /* Orders of one side, best level first, oldest first within it. */
  size_t orders(uint32_t instrument, char side, std::span<BookOrder> out) const;
  /* All zero but for the instrument where there is no book. */
  Bbo best(uint32_t instrument) const;
  /* Venue's trading state as the last status record said it (ITCH: H, P, Q, T; CME:
   * SecurityTradingStatus); 0: not told. */
  uint8_t state(uint32_t instrument) const;
  /* What that means; halted also where the venue itself is (ITCH h, IEX O). */
  Phase phase(uint32_t instrument) const;
  std::vector<uint32_t> instruments() const;
  size_t order_count() const { return table_.size(); }
  size_t order_count(uint32_t instrument, char side) const;
  /* At least as many as depth() gives. */
  size_t level_count(uint32_t instrument, char side) const;

  void clear();
  void clear(uint32_t instrument);

  /* Numbered levels that the venue keeps (CME: MarketDepth of the definition). */
  void set_depth(uint32_t instrument, size_t depth, size_t implied);
  /* What a record without an instrument speaks of: the unit of a PITCH instrument, or
   * the bytes of a CME SecurityGroup. */
  void set_group(uint32_t instrument, uint64_t group);

  const BookCounters& counters() const { return counters_; }
  /* The first records that broke a rule of the venue. */
  std::span<const BookOffence> offences() const { return offences_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kEvery = UINT32_MAX - 1;
  static constexpr uint64_t kNoGroup = UINT64_MAX;

  struct Order {
    uint64_t id;
    uint64_t priority;  // lower is served first; 0: by time
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
    uint64_t events = 0;
    uint64_t group = kNoGroup;
    uint32_t instrument = 0;
    uint32_t numbered = kNone;  // its NumberedBook
    uint8_t state = 0;
    Phase phase = Phase::kUnknown;
    bool operational_halt = false;
    bool pending = false;
    uint8_t crossed = 0;  // as in Bbo, at the last end of an event
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
  Change modify_by_priority(const wp_record& r);
  Change reduce(const wp_record& r);
  Change remove(const wp_record& r);
  Change set_level(const wp_record& r, uint64_t qty);
  Change set_quote(const wp_record& r, uint64_t qty);
  NumberedBook& numbered_of(uint32_t book);
  Change set_numbered(const wp_record& r);
  Change without_order(const wp_record& r, uint64_t qty);
  Change clear(const wp_record& r);
  Change status(const wp_record& r);

  // Of the ends of events.
  void mark(uint32_t book);
  size_t announced(const wp_record& r, Change change, Bbo* bbo);
  size_t settle(uint32_t book, const wp_record& r, Bbo* bbo);
  void offend(BookCheck check, const wp_record& r, uint32_t instrument);

  void remove_order(uint32_t slot);
  void unlink(uint32_t slot);
  void append(uint32_t slot, uint32_t level);
  void insert_by_priority(uint32_t slot, uint32_t level);
  uint32_t level_at(uint32_t side, int64_t price);
  void drop_level(uint32_t level);
  void clear_ladder(Ladder& rungs);
  void clear_orders(uint32_t book);
  void clear_book(uint32_t book);

  uint32_t book_of(uint32_t instrument);
  uint32_t find_book(uint32_t instrument) const;
  Ladder& ladder(uint32_t side) { return books_[side / 2].sides[side % 2]; }
  static Ladder::iterator find_rung(Ladder& ladder, int64_t key);
  static int64_t key_of(uint32_t side, int64_t price) { return side % 2 ? ~price : price; }
  Best best_of(const Book& book) const;
  static Phase phase_of(const Book& book) {
    return book.operational_halt ? Phase::kHalted : book.phase;
  }
  static size_t numbered_levels(const NumberedSide& side, std::span<BookLevel> out);

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
  std::vector<NumberedBook> numbered_;
  uint8_t depth_, implied_depth_;
  std::vector<uint32_t> pending_;  // books with pending set
  bool transaction_ = false;       // PITCH: between begin and end
  BookCounters counters_;
  size_t max_offences_;
  std::vector<BookOffence> offences_;
};

}  // namespace wp::feed
