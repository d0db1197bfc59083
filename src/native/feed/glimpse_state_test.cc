// SPDX-License-Identifier: Apache-2.0
// A snapshot taken anywhere in a day makes the books that the stream before it makes, queues and
// all, and a decoder finds nothing wrong in it.
#include "feed/glimpse_state.h"

#include <doctest/doctest.h>

#include <vector>

#include "feed/book.h"
#include "feed/itch50.h"
#include "feed/itch50_writer.h"
#include "feed/itch_generator.h"

namespace wp::feed {
namespace {

struct BooksOf {
  Books books;
  Itch50Decoder decoder;

  void take(std::span<const uint8_t> message) {
    wp_record record{};
    if (decoder.decode(message.data(), message.size(), {}, record) == ItchResult::kOk)
      books.apply(&record, 1, nullptr);
  }
  std::vector<BookOrder> orders(uint32_t instrument, char side) const {
    std::vector<BookOrder> out(books.order_count(instrument, side));
    out.resize(books.orders(instrument, side, out));
    return out;
  }
};

void check_snapshot(const GlimpseState& state, const BooksOf& expected, uint32_t symbols) {
  BooksOf made;
  uint64_t messages = 0;
  state.for_each([&](std::span<const uint8_t> message) {
    made.take(message);
    messages++;
  });
  CHECK(messages == state.orders() + state.states());
  CHECK(made.decoder.counters().malformed + made.decoder.counters().unknown == 0);
  CHECK(made.books.counters().duplicate_order == 0);
  CHECK(made.books.order_count() == expected.books.order_count());
  for (uint32_t instrument = 1; instrument <= symbols; instrument++) {
    CHECK(made.books.state(instrument) == expected.books.state(instrument));
    for (const char side : {'B', 'S'}) {
      const auto want = expected.orders(instrument, side), have = made.orders(instrument, side);
      REQUIRE(have.size() == want.size());
      for (size_t i = 0; i < want.size(); i++) {
        CHECK(have[i].order_id == want[i].order_id);
        CHECK(have[i].price == want[i].price);
        CHECK(have[i].qty == want[i].qty);
      }
    }
  }
}

std::vector<uint8_t> add(uint64_t reference, uint32_t shares, uint64_t time) {
  std::vector<uint8_t> out(ItchWriter<'A'>::kLength);
  ItchWriter<'A'>(out.data(), 1, 0, time)
      .set<"order_reference">(reference)
      .set<"side">('B')
      .set<"shares">(shares)
      .set<"stock">(itch_alpha("ONE"))
      .set<"price">(10'000);
  return out;
}

}  // namespace

TEST_CASE("snapshots of a generated day make the day's books") {
  ItchGeneratorOptions options;
  options.symbols = 20;
  options.messages = 40'000;
  ItchGenerator day(options);
  GlimpseState state;
  BooksOf books;
  std::span<const uint8_t> message;
  uint64_t n = 0, most = 0;
  while (day.next(message)) {
    state.apply(message);
    books.take(message);
    most = std::max<uint64_t>(most, state.orders());
    if (++n % 4'999 == 0) check_snapshot(state, books, options.symbols);
  }
  check_snapshot(state, books, options.symbols);
  CHECK(most > 100);
}

TEST_CASE("a replaced order inherits, and goes to the end of the queue") {
  GlimpseState state;
  state.apply(add(1, 100, 5));
  state.apply(add(2, 200, 6));
  uint8_t replace[ItchWriter<'U'>::kLength];
  ItchWriter<'U'>(replace, 1, 3, 7)
      .set<"old_order_reference">(1)
      .set<"new_order_reference">(9)
      .set<"shares">(50)
      .set<"price">(20'000);
  state.apply(replace);
  uint8_t cancel[ItchWriter<'X'>::kLength];
  ItchWriter<'X'>(cancel, 1, 0, 8).set<"order_reference">(2).set<"shares">(30);
  state.apply(cancel);
  std::vector<std::vector<uint8_t>> got;
  state.for_each([&](std::span<const uint8_t> m) { got.push_back({m.begin(), m.end()}); });
  REQUIRE(got.size() == 2);
  CHECK(got[0] == add(2, 170, 6));
  std::vector<uint8_t> expected = add(9, 50, 7);
  ItchWriter<'A'>(expected.data(), 1, 3, 7).set<"price">(20'000);
  CHECK(got[1] == expected);
}

TEST_CASE("what is unknown, malformed or of no order changes nothing") {
  GlimpseState state;
  state.apply({});
  state.apply(std::vector<uint8_t>{'A', 1, 2});
  state.apply(std::vector<uint8_t>(12, 'z'));
  uint8_t erase[ItchWriter<'D'>::kLength];
  ItchWriter<'D'>(erase, 1, 0, 8).set<"order_reference">(2);
  state.apply(erase);
  CHECK(state.orders() + state.states() == 0);
}

}  // namespace wp::feed
