// SPDX-License-Identifier: Apache-2.0
#include "feed/itch_generator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "feed/itch50.h"
#include "feed/itch_file.h"

using namespace wp;
using namespace wp::feed;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

// A deliberately simple order book that refuses what no exchange would send. Offsets are those
// of the specification, not of the table that the generator writes by.
class Checker {
 public:
  std::string problem;  // the first one
  uint64_t messages = 0;
  std::map<char, uint64_t> by_type;
  std::string events;
  size_t alive() const { return orders_.size(); }

  void see(std::span<const uint8_t> m) {
    messages++;
    const char type = static_cast<char>(m[0]);
    by_type[type]++;
    expect(m.size() == kItch50Lengths[m[0]], "length");
    const auto time = number(m, 5, 6);
    expect(time >= time_, "time falls");
    time_ = time;
    const uint64_t locate = number(m, 1, 2);
    switch (type) {
      case 'S':
        events += static_cast<char>(m[11]);
        expect(locate == 0, "event with a locate");
        break;
      case 'R':
        expect(locate == names_.size() + 1, "locates are dense");
        expect(name_set_.insert(text(m, 11)).second, "symbol twice");
        names_.push_back(text(m, 11));
        break;
      case 'A':
      case 'F': {
        const Order order{locate, static_cast<char>(m[19]), number(m, 20, 4), number(m, 32, 4)};
        expect(order.side == 'B' || order.side == 'S', "side");
        expect(locate >= 1 && locate <= names_.size(), "unknown symbol");
        expect(names_[locate - 1] == text(m, 24), "symbol and locate differ");
        insert(number(m, 11, 8), order);
        break;
      }
      case 'E':
      case 'C': {
        Order* order = find(m);
        if (!order) break;
        const uint64_t match = number(m, 23, 8);
        expect(match > match_, "match number");
        match_ = match;
        const auto& levels = book_[locate];
        expect(order->side == 'B' ? order->price == levels.bids.rbegin()->first
                                  : order->price == levels.asks.begin()->first,
               "not at the best price");
        reduce(number(m, 11, 8), *order, number(m, 19, 4));
        break;
      }
      case 'X': {
        Order* order = find(m);
        if (!order) break;
        expect(number(m, 19, 4) < order->shares, "a cancel of everything");
        reduce(number(m, 11, 8), *order, number(m, 19, 4));
        break;
      }
      case 'D':
        if (find(m)) erase(number(m, 11, 8));
        break;
      case 'U': {
        const Order* old = find(m);
        if (!old) break;
        const Order order{old->locate, old->side, number(m, 27, 4), number(m, 31, 4)};
        erase(number(m, 11, 8));
        insert(number(m, 19, 8), order);
        break;
      }
      case 'P':
      case 'Q': {
        const uint64_t match = number(m, type == 'P' ? 36 : 31, 8);
        expect(match > match_, "match number");
        match_ = match;
        break;
      }
      case 'B':
        expect(number(m, 11, 8) <= match_ && broken_.insert(number(m, 11, 8)).second, "break");
        break;
      default:
        break;
    }
  }

 private:
  struct Order {
    uint64_t locate;
    char side;
    uint64_t shares, price;
  };
  struct Book {
    std::map<uint64_t, uint64_t> bids, asks;  // price to orders
  };

  static uint64_t number(std::span<const uint8_t> m, size_t at, size_t width) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) value = value << 8 | m[at + i];
    return value;
  }
  static std::string text(std::span<const uint8_t> m, size_t at) {
    return {reinterpret_cast<const char*>(m.data()) + at, 8};
  }
  void expect(bool holds, const char* what) {
    if (!holds && problem.empty()) problem = what + (" at message " + std::to_string(messages));
  }
  Order* find(std::span<const uint8_t> m) {
    const auto found = orders_.find(number(m, 11, 8));
    expect(found != orders_.end(), "order is not alive");
    if (found == orders_.end()) return nullptr;
    expect(found->second.locate == number(m, 1, 2), "locate of the order");
    return &found->second;
  }
  std::map<uint64_t, uint64_t>& side_of(const Order& order) {
    Book& book = book_[order.locate];
    return order.side == 'B' ? book.bids : book.asks;
  }
  void insert(uint64_t reference, const Order& order) {
    expect(used_.insert(reference).second, "reference used before");
    expect(order.shares > 0, "no shares");
    expect(order.price >= 10'000 && order.price % 100 == 0, "price off the tick");
    orders_[reference] = order;
    side_of(order)[order.price]++;
    const Book& book = book_[order.locate];
    if (!book.bids.empty() && !book.asks.empty())
      expect(book.bids.rbegin()->first < book.asks.begin()->first, "crossed book");
  }
  void erase(uint64_t reference) {
    const auto found = orders_.find(reference);
    auto& side = side_of(found->second);
    if (--side[found->second.price] == 0) side.erase(found->second.price);
    orders_.erase(found);
  }
  void reduce(uint64_t reference, Order& order, uint64_t shares) {
    expect(shares > 0 && shares <= order.shares, "more than what is open");
    order.shares -= shares;
    if (order.shares == 0) erase(reference);
  }

  uint64_t time_ = 0, match_ = 0;
  std::vector<std::string> names_;
  std::set<std::string> name_set_;
  std::set<uint64_t> broken_;
  std::unordered_map<uint64_t, Order> orders_;
  std::unordered_map<uint64_t, Book> book_;
  std::unordered_set<uint64_t> used_;
};

std::vector<uint8_t> whole_day(const ItchGeneratorOptions& options, size_t chunk = 1 << 16) {
  ItchGenerator generator(options);
  std::vector<uint8_t> day, buffer(chunk);
  while (const size_t n = generator.generate(buffer.data(), chunk))
    day.insert(day.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(n));
  CHECK(generator.done());
  CHECK(generator.written() == options.messages);
  return day;
}

uint64_t fnv1a(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

// The largest share of a millisecond in its second, over the average one, among seconds of at
// least `busy` messages.
double worst_burst(const ItchGeneratorOptions& options, uint64_t busy) {
  ItchGenerator generator(options);
  std::map<int64_t, std::map<int64_t, uint64_t>> seconds;
  std::span<const uint8_t> m;
  while (generator.next(m)) {
    const auto time = static_cast<int64_t>(net::load_be64(m.data() + 3) & 0xffff'ffff'ffff);
    seconds[time / kSecond][time / 1'000'000]++;
  }
  double worst = 0;
  for (const auto& [second, millis] : seconds) {
    uint64_t total = 0, peak = 0;
    for (const auto& [milli, n] : millis) {
      total += n;
      peak = std::max(peak, n);
    }
    if (total >= busy)
      worst = std::max(worst, static_cast<double>(peak) * 1000 / static_cast<double>(total));
  }
  return worst;
}

}  // namespace

TEST_CASE("a generated day is consistent, message by message") {
  for (const uint64_t seed : {1u, 7u, 99u}) {
    ItchGenerator generator({.seed = seed, .symbols = 50, .messages = 300'000});
    Checker checker;
    std::span<const uint8_t> m;
    while (generator.next(m)) checker.see(m);
    CHECK(checker.problem == "");
    CHECK(checker.messages == 300'000);
    CHECK(checker.events == "OSQMEC");
    CHECK(checker.by_type['R'] == 50);
    CHECK(checker.alive() == generator.open_orders());
    CHECK(checker.alive() > 500);
  }
}

TEST_CASE("prices wander, so executions and deletions move the book") {
  ItchGenerator generator({.symbols = 1, .messages = 200'000});
  std::set<uint64_t> prices;
  std::span<const uint8_t> m;
  Checker checker;
  while (generator.next(m)) {
    checker.see(m);
    if (m[0] == 'A') prices.insert(net::load_be32(m.data() + 32));
  }
  CHECK(checker.problem == "");
  CHECK(prices.size() > 200);  // more than fit into the book at any one time
}

TEST_CASE("the mix is that of a real day, and every type appears") {
  ItchGenerator generator({.seed = 3, .messages = 2'000'000});
  std::span<const uint8_t> m;
  while (generator.next(m)) {
  }
  const auto percent = [&](char type) {
    return 100.0 * static_cast<double>(generator.by_type()[static_cast<uint8_t>(type)]) / 2e6;
  };
  CHECK(std::abs(percent('A') - 42) < 1.5);
  CHECK(std::abs(percent('D') - 41) < 1.5);
  CHECK(std::abs(percent('N') - 8) < 0.5);
  CHECK(std::abs(percent('U') - 6) < 0.5);
  CHECK(std::abs(percent('E') - 2) < 0.3);
  CHECK(std::abs(percent('X') - 1) < 0.3);
  CHECK(percent('A') + percent('D') + percent('N') + percent('U') + percent('E') + percent('X') >
        99);
  for (const ItchMessage& type : kItch50Messages) {
    CAPTURE(type.type);
    CHECK(generator.by_type()[static_cast<uint8_t>(type.type)] > 0);
  }
}

TEST_CASE("the number of messages is exact, whatever the size of the day") {
  for (const uint64_t messages : {2'016u, 2'017u, 2'500u, 10'000u, 123'457u}) {
    const ItchGeneratorOptions options{.messages = messages};
    const std::vector<uint8_t> day = whole_day(options);
    ItchFileReader reader(day);
    Checker checker;
    std::span<const uint8_t> m;
    while (reader.next(m)) checker.see(m);
    CHECK(reader.end() == ItchFileEnd::kClean);
    CHECK(checker.messages == messages);
    CHECK(checker.events == "OSQMEC");
    CHECK(checker.problem == "");
  }
}

TEST_CASE("seed and options decide every byte") {
  // Ten busy seconds around the opening, so that bursts are part of it.
  const ItchGeneratorOptions options{.seed = 42,
                                     .symbols = 100,
                                     .messages = 100'000,
                                     .start_ns = 34'195 * kSecond,
                                     .end_ns = 34'205 * kSecond};
  ItchGeneratorOptions other = options;
  other.seed = 43;
  const std::vector<uint8_t> day = whole_day(options);
  // Golden: gcc and clang, optimised and not, agree on it.
  CHECK(fnv1a(day) == 0xe8ce4db6bb64f4db);
  CHECK(whole_day(options, ItchGenerator::kMaxFrame) == day);  // one message at a time
  CHECK(whole_day(other) != day);

  ItchGenerator generator(options);
  std::vector<uint8_t> again(day.size() + 64, 0xee);
  std::span<const uint8_t> m;
  for (int i = 0; i < 54'321; i++) CHECK_UNARY(generator.next(m));
  generator.reset();
  CHECK(generator.written() == 0);
  const size_t n = generator.generate(again.data(), again.size());
  again.resize(n);
  CHECK(again == day);  // no byte depends on what stood in the buffer
  CHECK(generator.generate(again.data(), again.size()) == 0);
  CHECK_FALSE(generator.next(m));
}

TEST_CASE("the worst millisecond carries 10 to 100 times the average of its second") {
  // A busy line: 200 thousand messages a second around the opening.
  const ItchGeneratorOptions busy{
      .messages = 2'000'000, .start_ns = 34'195 * kSecond, .end_ns = 34'205 * kSecond};
  const double ratio = worst_burst(busy, 1'000);
  CHECK(ratio >= 10);
  CHECK(ratio <= 100);
  // A whole day, quiet on average.
  const double day = worst_burst({.messages = 3'000'000}, 1'000);
  CHECK(day >= 10);
  CHECK(day <= 100);
  ItchGeneratorOptions calm = busy;
  calm.burst = 1;
  CHECK(worst_burst(calm, 1'000) < 10);
}

TEST_CASE("opening and closing stand where a day has them") {
  ItchGenerator generator({.messages = 50'000});
  std::span<const uint8_t> m;
  std::map<char, int64_t> events;
  int64_t last = 0;
  while (generator.next(m)) {
    last = static_cast<int64_t>(net::load_be64(m.data() + 3) & 0xffff'ffff'ffff);
    if (m[0] == 'S') events[static_cast<char>(m[11])] = last;
  }
  CHECK(events['O'] == 4 * 3600 * kSecond);
  CHECK(events['Q'] == (9 * 3600 + 1800) * kSecond);
  CHECK(events['M'] == 16 * 3600 * kSecond);
  CHECK(events['E'] == 20 * 3600 * kSecond);
  CHECK(last == events['C']);
}

TEST_CASE("every record of the day decodes") {
  const std::vector<uint8_t> day = whole_day({.symbols = 20, .messages = 50'000});
  Itch50Decoder decoder;
  Itch50Context context;
  std::vector<wp_record> records(50'001);
  size_t consumed = 0;
  CHECK(decoder.decode_frames(day.data(), day.size(), records.data(), records.size(), &consumed,
                              context) == 50'000);
  CHECK(consumed == day.size());
  CHECK(decoder.counters().malformed + decoder.counters().unknown == 0);
}

TEST_CASE("options out of range are refused by name") {
  const auto refused = [](const ItchGeneratorOptions& options, const char* field) {
    try {
      ItchGenerator generator(options);
    } catch (const Error& e) {
      return e.kind() == ErrorKind::kConfig && std::string(e.what()).starts_with(field);
    }
    return false;
  };
  CHECK(refused({.symbols = 0}, "symbols"));
  CHECK(refused({.symbols = 20'001}, "symbols"));
  CHECK(refused({.messages = 2'015}, "messages"));
  CHECK(refused({.start_ns = -1}, "start_ns"));
  CHECK(refused({.end_ns = 14'400 * kSecond}, "end_ns"));
  CHECK(refused({.end_ns = 86'401 * kSecond}, "end_ns"));
  CHECK(refused({.burst = 0}, "burst"));
  CHECK(refused({.burst = 101}, "burst"));
  CHECK(refused({.open_orders = 10'000'001}, "open_orders"));
  uint8_t small[ItchGenerator::kMaxFrame - 1];
  ItchGenerator generator({.symbols = 1, .messages = 100});
  CHECK_THROWS_AS(generator.generate(small, sizeof small), Error);
}
