// SPDX-License-Identifier: Apache-2.0
#include "feed/book.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/book_naive.h"
#include "feed/itch50.h"
#include "feed/itch_generator.h"

namespace wp::feed {
namespace {

constexpr int64_t kDollar = 1'000'000'000;

wp_record record(uint8_t action, uint64_t id, uint8_t side, uint32_t qty, int64_t price,
                 uint32_t instrument = 7, uint64_t aux = 0) {
  wp_record r{};
  r.action = action;
  r.order_id = id;
  r.side = side;
  r.qty = qty;
  r.price = price;
  r.instrument = instrument;
  r.aux = aux;
  return r;
}

std::vector<Bbo> apply(Books& books, const std::vector<wp_record>& records) {
  std::vector<Bbo> out(records.size());
  out.resize(books.apply(records.data(), records.size(), out.data()));
  return out;
}

std::vector<BookOrder> orders(const Books& books, uint32_t instrument, char side) {
  std::vector<BookOrder> out(books.order_count(instrument, side));
  out.resize(books.orders(instrument, side, out));
  return out;
}

// The same orders in the same places as the naive books have, and levels that add up.
void check_equal(const Books& books, const naive::Books& naive, uint32_t instrument) {
  for (const bool sell : {false, true}) {
    const char side = sell ? 'S' : 'B';
    const auto expected = naive.orders(instrument, sell);
    std::vector<BookLevel> levels(expected.size() + 1);
    levels.resize(books.depth(instrument, side, levels));
    const auto have = orders(books, instrument, side);
    size_t i = 0, order = 0;
    for (const BookLevel& level : levels) {
      uint64_t qty = 0;
      REQUIRE(i < expected.size());
      if (level.orders == 0) qty = expected[i++].second.qty;
      for (uint32_t k = 0; k < level.orders; k++, i++, order++) {
        REQUIRE(i < expected.size());
        REQUIRE(order < have.size());
        CHECK(expected[i].first == level.price);
        CHECK(expected[i].second.id == have[order].order_id);
        CHECK(expected[i].second.qty == have[order].qty);
        qty += have[order].qty;
      }
      CHECK(level.qty == qty);
    }
    CHECK(i == expected.size());
    CHECK(order == have.size());
  }
}

}  // namespace

TEST_CASE("orders queue by price and time, and the best of both sides follows") {
  Books books;
  const auto changes =
      apply(books, {record(WP_ACTION_ADD, 1, 'B', 100, 10 * kDollar),
                    record(WP_ACTION_ADD, 2, 'B', 50, 10 * kDollar),
                    record(WP_ACTION_ADD, 3, 'B', 10, 9 * kDollar),
                    record(WP_ACTION_ADD, 4, 'S', 70, 11 * kDollar),
                    record(WP_ACTION_EXECUTE, 1, 0, 100, 0), record(WP_ACTION_CANCEL, 2, 0, 20, 0),
                    record(WP_ACTION_DELETE, 2, 0, 0, 0)});
  REQUIRE(changes.size() == 6);  // the bid at 9 was not the best
  CHECK(changes[1].bid_qty == 150);
  CHECK(changes[2].ask == 11 * kDollar);
  CHECK(changes[3].bid_qty == 50);
  CHECK(changes[4].bid_qty == 30);
  CHECK(changes[5].bid == 9 * kDollar);
  CHECK(changes[5].bid_qty == 10);
  CHECK(books.counters().applied == 7);
  CHECK(books.counters().crossed == 0);
}

TEST_CASE("a smaller order at its price keeps its place, any other modification loses it") {
  Books books;
  apply(books,
        {record(WP_ACTION_ADD, 1, 'B', 100, kDollar), record(WP_ACTION_ADD, 2, 'B', 5, kDollar),
         record(WP_ACTION_MODIFY, 1, 0, 60, kDollar, 7, 1)});
  CHECK(orders(books, 7, 'B')[0].order_id == 1);
  CHECK(orders(books, 7, 'B')[0].qty == 60);
  apply(books, {record(WP_ACTION_MODIFY, 1, 0, 61, kDollar, 7, 1)});
  CHECK(orders(books, 7, 'B')[0].order_id == 2);
  apply(books, {record(WP_ACTION_MODIFY, 9, 0, 5, kDollar, 7, 2)});  // as ITCH's replace
  CHECK(orders(books, 7, 'B')[0].order_id == 1);
  CHECK(orders(books, 7, 'B')[1].order_id == 9);
}

TEST_CASE("what does not fit the book is counted and changes nothing") {
  Books books({.orders = 2, .max_orders = 2});
  apply(books,
        {record(WP_ACTION_DELETE, 1, 0, 0, 0), record(WP_ACTION_EXECUTE, 1, 0, 1, 0),
         record(WP_ACTION_MODIFY, 2, 0, 1, 1, 7, 1), record(WP_ACTION_ADD, 1, 'B', 5, kDollar),
         record(WP_ACTION_ADD, 1, 'S', 9, kDollar), record(WP_ACTION_ADD, 2, 'B', 5, kDollar),
         record(WP_ACTION_ADD, 3, 'B', 5, kDollar), record(WP_ACTION_TRADE, 0, 'B', 5, kDollar),
         record(WP_ACTION_EXECUTE, 1, 0, 6, 0)});
  const BookCounters& c = books.counters();
  CHECK(c.unknown_order == 3);
  CHECK(c.duplicate_order == 1);
  CHECK(c.full == 1);
  CHECK(c.ignored == 1);
  CHECK(c.over_reduced == 1);
  CHECK(c.records == c.applied + c.ignored + c.unknown_order + c.duplicate_order + c.full);
  CHECK(books.order_count() == 1);
}

TEST_CASE("a crossed and a locked book are told") {
  Books books;
  const auto changes = apply(books, {record(WP_ACTION_ADD, 1, 'B', 1, 2 * kDollar),
                                     record(WP_ACTION_ADD, 2, 'S', 1, kDollar),
                                     record(WP_ACTION_MODIFY, 2, 0, 1, 2 * kDollar, 7, 2)});
  CHECK(changes[1].crossed == 1);
  CHECK(changes[2].crossed == 2);
  CHECK(books.counters().crossed == 1);
  CHECK(books.counters().locked == 1);
}

TEST_CASE("clearing one book or all") {
  Books books;
  apply(books,
        {record(WP_ACTION_ADD, 1, 'B', 1, kDollar, 7), record(WP_ACTION_ADD, 2, 'B', 1, kDollar, 8),
         record(WP_ACTION_ADD, 3, 'B', 1, kDollar, 1'000'000)});
  const auto one = apply(books, {record(WP_ACTION_CLEAR, 0, 0, 0, 0, 7)});
  REQUIRE(one.size() == 1);
  CHECK(one[0].instrument == 7);
  CHECK(one[0].bid_qty == 0);
  CHECK(books.order_count() == 2);
  CHECK(books.best(1'000'000).bid_qty == 1);
  const auto all = apply(books, {record(WP_ACTION_CLEAR, 0, 0, 0, 0, 0)});
  REQUIRE(all.size() == 1);
  CHECK(all[0].instrument == 0);
  CHECK(books.order_count() == 0);
  apply(books, {record(WP_ACTION_ADD, 1, 'B', 1, kDollar, 7)});
  CHECK(books.best(7).bid_qty == 1);
}

TEST_CASE("levels that a venue publishes whole") {
  Books books;
  apply(books,
        {record(WP_ACTION_ADD, 0, 'B', 10, kDollar), record(WP_ACTION_MODIFY, 0, 'B', 30, kDollar),
         record(WP_ACTION_ADD, 0, 'B', 5, 2 * kDollar),
         record(WP_ACTION_DELETE, 0, 'B', 0, 2 * kDollar),
         record(WP_ACTION_DELETE, 0, 'B', 0, 3 * kDollar)});
  std::vector<BookLevel> levels(4);
  REQUIRE(books.depth(7, 'B', levels) == 1);
  CHECK(levels[0].qty == 30);
  CHECK(levels[0].orders == 0);
  CHECK(books.counters().unknown_order == 1);
}

TEST_CASE("options out of range") {
  CHECK_THROWS_AS(Books({.orders = 0}), Error);
  CHECK_THROWS_AS(Books({.orders = 10, .max_orders = 5}), Error);
}

TEST_CASE("the same as the naive books, whatever comes") {
  for (uint32_t seed = 0; seed < 40; seed++) {
    std::mt19937 rng(seed);
    const auto upto = [&](uint32_t n) { return static_cast<uint32_t>(rng() % n); };
    Books books({.orders = 4, .instruments = 1});
    naive::Books naive;
    const uint32_t instruments[] = {1, 2, 70'000};
    uint64_t applied = 0, unknown = 0, duplicate = 0, ignored = 0;
    for (int i = 0; i < 3000; i++) {
      const bool order = upto(12) != 0;
      const uint8_t actions[] = {WP_ACTION_ADD,     WP_ACTION_ADD,    WP_ACTION_ADD,
                                 WP_ACTION_MODIFY,  WP_ACTION_CANCEL, WP_ACTION_DELETE,
                                 WP_ACTION_EXECUTE, WP_ACTION_TRADE};
      wp_record r =
          record(actions[upto(8)], order ? 1 + upto(200) : 0, upto(2) ? 'B' : 'S', upto(40),
                 (static_cast<int64_t>(upto(30)) - 5) * kDollar, instruments[upto(3)]);
      r.aux = upto(3) ? r.order_id : 1 + upto(200);
      if (upto(500) == 0) {
        r.action = WP_ACTION_CLEAR;
        if (upto(2)) r.instrument = 0;
      }
      const char did = naive.apply(r);
      books.apply(&r, 1, nullptr);
      (did == 'a' ? applied : did == 'u' ? unknown : did == 'd' ? duplicate : ignored)++;
      if (i % 50 == 0)
        for (const uint32_t instrument : instruments) check_equal(books, naive, instrument);
    }
    for (const uint32_t instrument : instruments) check_equal(books, naive, instrument);
    CHECK(books.counters().applied == applied);
    CHECK(books.counters().unknown_order == unknown);
    CHECK(books.counters().duplicate_order == duplicate);
    CHECK(books.counters().ignored == ignored);
  }
}

TEST_CASE("a generated day: no crossed book, every order known, nothing allocated when warm") {
  ItchGenerator generator({.seed = 3, .messages = 200'000});
  std::vector<uint8_t> day(size_t{64} << 20);
  size_t size = 0;
  while (const size_t more = generator.generate(day.data() + size, day.size() - size)) size += more;
  std::vector<wp_record> records(200'001);
  Itch50Decoder decoder;
  Itch50Context context{1, 0, 0, 0, 0};
  size_t consumed = 0;
  const size_t n =
      decoder.decode_frames(day.data(), size, records.data(), records.size(), &consumed, context);
  REQUIRE(n > 190'000);
  Books books({.orders = 1 << 18});
  naive::Books naive;
  books.apply(records.data(), n, nullptr);
  for (size_t i = 0; i < n; i++) naive.apply(records[i]);
  for (const uint32_t instrument : books.instruments()) check_equal(books, naive, instrument);
  CHECK(books.counters().unknown_order == 0);
  CHECK(books.counters().duplicate_order == 0);
  CHECK(books.counters().over_reduced == 0);
  CHECK(books.counters().crossed == 0);
  CHECK(books.counters().bbo_changes > 1000);
  books.clear();
  const uint64_t before = testing::allocations();
  books.apply(records.data(), n, nullptr);
  CHECK(testing::allocations() == before);
}

}  // namespace wp::feed
