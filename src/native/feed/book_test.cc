// SPDX-License-Identifier: Apache-2.0
#include "feed/book.h"

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <random>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/book_naive.h"
#include "feed/cme_mdp3.h"
#include "feed/cme_publisher.h"
#include "feed/iex.h"
#include "feed/itch50.h"
#include "feed/itch_generator.h"
#include "feed/pitch.h"

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
  std::vector<Bbo> out(records.size() + books.pending());
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
  CHECK(books.consistent(instrument) == naive.consistent(instrument));
  CHECK("?tahc"[static_cast<size_t>(books.phase(instrument))] == naive.phase(instrument));
  if (naive.is_numbered(instrument)) {
    for (size_t side = 0; side < 4; side++) {
      std::vector<BookLevel> levels(kMostLevels);
      const char letter = side % 2 ? 'S' : 'B';
      levels.resize(side < 2 ? books.depth(instrument, letter, levels)
                             : books.implied(instrument, letter, levels));
      std::vector<std::pair<int64_t, uint32_t>> have;
      for (const BookLevel& level : levels)
        have.emplace_back(level.price, static_cast<uint32_t>(level.qty));
      CHECK(have == naive.numbered(instrument, side));
    }
    for (const bool sell : {false, true}) {
      const auto expected = naive.orders(instrument, sell);
      const auto have = orders(books, instrument, sell ? 'S' : 'B');
      REQUIRE(have.size() == expected.size());
      for (size_t i = 0; i < have.size(); i++) {
        CHECK(have[i].order_id == expected[i].second.id);
        CHECK(have[i].qty == expected[i].second.qty);
        CHECK(have[i].price == expected[i].first);
      }
    }
    return;
  }
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

// What both have told and counted, too.
void check_told(const Books& books, const naive::Books& naive, const std::vector<Bbo>& told) {
  std::vector<naive::Books::Row> rows;
  for (const Bbo& b : told) rows.push_back({b.instrument, b.bid, b.ask, b.bid_qty, b.ask_qty});
  CHECK(rows.size() == naive.rows.size());
  const auto by = [](const auto& a, const auto& b) { return a.instrument < b.instrument; };
  auto expected = naive.rows;  // within an event the order of instruments is free
  std::ranges::stable_sort(rows, by);
  std::ranges::stable_sort(expected, by);
  CHECK(rows == expected);
  const BookCounters& c = books.counters();
  CHECK(c.crossed == naive.crossed);
  CHECK(c.locked == naive.locked);
  CHECK(c.over_reduced == naive.over_reduced);
  CHECK(c.unknown_level == naive.unknown_level);
  CHECK(c.negative_size == naive.negative);
  CHECK(c.events == naive.events);
  CHECK(c.bbo_changes == naive.rows.size());
  CHECK(c.records == c.applied + c.ignored + c.unknown_order + c.duplicate_order + c.full);
}

// Applies in calls of any length: an event may be in several.
std::vector<Bbo> apply_in_parts(Books& books, const std::vector<wp_record>& records,
                                std::mt19937& rng) {
  std::vector<Bbo> told;
  for (size_t at = 0; at < records.size();) {
    const size_t n = std::min<size_t>(records.size() - at, 1 + rng() % 40);
    std::vector<Bbo> out(n + books.pending());
    out.resize(books.apply(records.data() + at, n, out.data()));
    told.insert(told.end(), out.begin(), out.end());
    at += n;
  }
  return told;
}

TEST_CASE("the same as the naive books, whatever comes") {
  constexpr std::array<uint8_t, 5> kVenues{WP_VENUE_NONE, WP_VENUE_NASDAQ, WP_VENUE_IEX,
                                           WP_VENUE_CME, WP_VENUE_CBOE};
  const std::array<std::vector<uint16_t>, 5> types{{{0},
                                                    {'A', 'H', 'h'},
                                                    {'8', '5', 'Q', 'a', 'H', 'O'},
                                                    {46, 47, 52, 53, 30, 60},
                                                    {0x21, 0x31, 0xBC}}};
  for (uint32_t seed = 0; seed < 60; seed++) {
    CAPTURE(seed);
    std::mt19937 rng(seed);
    const auto upto = [&](uint32_t n) { return static_cast<uint32_t>(rng() % n); };
    Books books({.orders = 4, .instruments = 1});
    naive::Books naive;
    const size_t venue = seed % kVenues.size();
    const uint32_t instruments[] = {1, 2, 70'000};
    uint64_t applied = 0, unknown = 0, duplicate = 0, ignored = 0;
    std::vector<Bbo> told, out;
    for (int i = 0; i < 3000; i++) {
      const bool order = upto(venue == 3 ? 2 : 12) != 0;
      const uint8_t actions[] = {WP_ACTION_ADD,     WP_ACTION_ADD,    WP_ACTION_ADD,
                                 WP_ACTION_MODIFY,  WP_ACTION_CANCEL, WP_ACTION_DELETE,
                                 WP_ACTION_EXECUTE, WP_ACTION_TRADE,  WP_ACTION_OTHER};
      wp_record r =
          record(actions[upto(9)], order ? 1 + upto(200) : 0, upto(2) ? 'B' : 'S', upto(40),
                 (static_cast<int64_t>(upto(30)) - 5) * kDollar, instruments[upto(3)]);
      r.venue = kVenues[venue];
      r.type = types[venue][upto(static_cast<uint32_t>(types[venue].size()))];
      const uint8_t flags[] = {0, WP_FLAG_KEEPS_PRIORITY, WP_FLAG_END_OF_EVENT, WP_FLAG_SATURATED,
                               WP_FLAG_END_OF_EVENT | WP_FLAG_RECOVERED};
      r.flags = flags[upto(5)];
      r.aux = upto(3) ? r.order_id : 1 + upto(200);
      if (r.venue == WP_VENUE_CME && !order)
        r.aux = upto(9) | uint64_t{upto(13)} << 32 | uint64_t{upto(7)} << 40 |
                uint64_t{static_cast<uint8_t>("01EF2"[upto(5)])} << 48;
      if (r.venue == WP_VENUE_CME && order) {
        r.aux = upto(6);
        if (upto(10) == 0) r.price = WP_NO_PRICE;
        if (r.action == WP_ACTION_ADD && r.price == WP_NO_PRICE) r.price = 0;
      }
      if (upto(30) == 0) {
        r.action = WP_ACTION_STATUS;
        r.order_id = 0;
        const uint32_t states[] = {'T', 'H', 'P', 'Q', 'O', 'A', 'S', 'N', 17, 2, 21, 4, 103};
        r.qty = states[upto(13)];
      }
      if (upto(500) == 0) {
        r.action = WP_ACTION_CLEAR;
        r.order_id = r.aux = 0;
        if (upto(2)) r.instrument = 0;
      }
      const char did = naive.apply(r);
      out.resize(1 + books.pending());
      out.resize(books.apply(&r, 1, out.data()));
      told.insert(told.end(), out.begin(), out.end());
      (did == 'a' ? applied : did == 'u' ? unknown : did == 'd' ? duplicate : ignored)++;
      if (i % 50 == 0)
        for (const uint32_t instrument : instruments) check_equal(books, naive, instrument);
    }
    for (const uint32_t instrument : instruments) check_equal(books, naive, instrument);
    CHECK(books.counters().applied == applied);
    CHECK(books.counters().unknown_order == unknown);
    CHECK(books.counters().duplicate_order == duplicate);
    CHECK(books.counters().ignored == ignored);
    check_told(books, naive, told);
  }
}

TEST_CASE("streams of IEX and PITCH messages, and a CME channel with both kinds of books") {
  for (uint32_t seed = 0; seed < 12; seed++) {
    CAPTURE(seed);
    std::mt19937 rng(seed);
    const auto upto = [&](uint32_t n) { return static_cast<uint32_t>(rng() % n); };
    std::vector<wp_record> records;
    SymbolTable symbols(16);
    IexDecoder iex(symbols);
    PitchDecoder pitch(symbols);
    CmeMdp3 cme = test::cme_channel_decoder();
    test::CmePublisher channel(seed, 4);
    std::vector<uint64_t> open;  // orders that rest
    for (uint64_t i = 1; i <= 3000; i++) {
      const size_t at = open.empty() ? 0 : upto(static_cast<uint32_t>(open.size()));
      const uint32_t what = open.size() < 5 ? 0 : upto(5);
      test::CmeBytes m;
      wp_record out[kMaxRecords];
      if (seed % 3 == 0) {  // DEEP: levels in events
        const char* const symbol = upto(2) ? "AAPL    " : "MSFT    ";
        m.put(static_cast<uint8_t>(upto(2) ? '8' : '5')).put(static_cast<uint8_t>(upto(3) == 0));
        m.put(int64_t{1});
        for (int k = 0; k < 8; k++) m.put(symbol[k]);
        m.put(uint32_t{upto(4) * 100}).put(int64_t{10'000} * (1 + upto(40)));
        const size_t n = iex.decode(m.bytes.data(), m.bytes.size(), {.seq = i}, out);
        REQUIRE(n == 1);
        records.push_back(out[0]);
      } else if (seed % 3 == 1) {  // PITCH: orders, some of them in transactions
        const auto header = [&](uint8_t length, uint8_t type) {
          m.put(length).put(type).put(uint32_t{0});
        };
        if (upto(10) == 0) {
          header(6, upto(2) ? 0xBC : 0xBD);
        } else if (what == 0) {
          header(26, 0x22);
          m.put(i).put(upto(2) ? 'B' : 'S').put(static_cast<uint16_t>(1 + upto(300)));
          for (const char c : {'A', 'B', upto(2) ? 'C' : 'D', ' ', ' ', ' '}) m.put(c);
          m.put(static_cast<uint16_t>(1 + upto(50))).put(uint8_t{1});
          open.push_back(i);
        } else if (what == 1) {
          header(26, 0x23);
          m.put(open[at]).put(uint32_t{1 + upto(100)}).put(i);
        } else if (what == 2) {
          header(16, 0x26);
          m.put(open[at]).put(static_cast<uint16_t>(1 + upto(100)));
        } else if (what == 3) {
          header(19, 0x28);
          m.put(open[at]).put(static_cast<uint16_t>(1 + upto(300)));
          m.put(static_cast<uint16_t>(1 + upto(50))).put(static_cast<uint8_t>(upto(4)));
        } else {
          header(14, 0x29);
          m.put(open[at]);
          open.erase(open.begin() + static_cast<ptrdiff_t>(at));
        }
        const size_t n = pitch.decode(m.bytes.data(), m.bytes.size(), {.seq = i}, out);
        REQUIRE(n == 1);
        records.push_back(out[0]);
      } else {
        for (const wp_record& r : test::cme_records(cme, channel.next())) records.push_back(r);
      }
    }
    Books books({.orders = 1, .instruments = 1});
    naive::Books naive;
    const std::vector<Bbo> told = apply_in_parts(books, records, rng);
    for (const wp_record& r : records) naive.apply(r);
    for (uint32_t instrument = 0; instrument < 8; instrument++)
      check_equal(books, naive, instrument);
    check_told(books, naive, told);
    CHECK(books.counters().events > 500);
    CHECK(books.counters().negative_size == 0);
    if (seed % 3 == 2) {
      CHECK(books.counters().unknown_order == 0);
      CHECK(books.counters().unknown_level == 0);
    }
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
  records.resize(n);
  std::mt19937 rng(1);
  const std::vector<Bbo> told = apply_in_parts(books, records, rng);
  for (size_t i = 0; i < n; i++) naive.apply(records[i]);
  check_told(books, naive, told);
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
