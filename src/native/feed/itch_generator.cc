// SPDX-License-Identifier: Apache-2.0
// The order book behind a generated day and the choice of what happens next. The messages that
// do not touch the book are in itch_generator_admin.cc.
#include "feed/itch_generator.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "feed/itch50_writer.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMarketOpen = (9 * 3600 + 30 * 60) * kSecond;
constexpr int64_t kMarketClose = 16 * 3600 * kSecond;
constexpr uint32_t kMaxSymbols = 20'000;
constexpr uint32_t kOrdersPerSymbol = 40;
constexpr uint32_t kMaxOpenOrders = 10'000'000;
// Seeds of the streams that one seed stands for: changes in one leave the others alone.
constexpr uint64_t kClockStream = 0x636c6f636b;
constexpr uint64_t kOpeningStream = 0x6f70656e;

// Nasdaq BX, 2019-12-30, in 1024ths; zero is one of the rare types.
constexpr std::array<char, 1024> kMix = [] {
  std::array<char, 1024> mix{};
  size_t at = 0;
  const auto put = [&](char type, size_t n) {
    while (n--) mix[at++] = type;
  };
  put('A', 429);
  put('D', 419);
  put('N', 81);
  put('U', 61);
  put('E', 20);
  put('X', 10);
  return mix;
}();

}  // namespace

void ItchGeneratorOptions::validate() const {
  if (symbols < 1 || symbols > kMaxSymbols)
    throw config_error("symbols", std::to_string(symbols), "1 to " + std::to_string(kMaxSymbols));
  const uint64_t least = 4 * uint64_t{symbols} + 16;
  if (messages < least)
    throw config_error("messages", std::to_string(messages),
                       "at least " + std::to_string(least) + " (4 * symbols + 16)");
  if (start_ns < 0 || start_ns > 86'399 * kSecond)
    throw config_error("start_ns", std::to_string(start_ns), "0 to 86399000000000");
  if (end_ns < start_ns + kSecond || end_ns > 86'400 * kSecond)
    throw config_error("end_ns", std::to_string(end_ns), "start_ns + 1000000000 to 86400000000000");
  if (burst < 1 || burst > 100) throw config_error("burst", std::to_string(burst), "1 to 100");
  if (open_orders > kMaxOpenOrders)
    throw config_error("open_orders", std::to_string(open_orders),
                       "0 (automatic) to " + std::to_string(kMaxOpenOrders));
}

ItchGenerator::ItchGenerator(const ItchGeneratorOptions& options) : options_(options) {
  options_.validate();
  build();
}

void ItchGenerator::reset() {
  const ItchGeneratorOptions options = options_;
  *this = ItchGenerator(options);
}

void ItchGenerator::build() {
  const uint32_t n = options_.symbols;
  random_ = Random(options_.seed);
  target_ = options_.open_orders ? options_.open_orders
                                 : static_cast<uint32_t>(std::clamp<uint64_t>(
                                       options_.messages / 50, 16, uint64_t{kOrdersPerSymbol} * n));
  orders_.resize(2 * size_t{target_} + 64);
  ids_.resize(orders_.size());
  for (uint32_t i = 0; i < ids_.size(); i++) ids_[i] = i;

  symbols_.resize(n);
  const uint32_t stride = 26 * 26 * 26 * 26 / n;
  for (uint32_t i = 0; i < n; i++) {
    // Four letters, ascending like the directory of a real day.
    auto code = static_cast<uint32_t>(i * stride + random_.below(stride));
    char name[4];
    for (int k = 3; k >= 0; k--, code /= 26) name[k] = static_cast<char>('A' + code % 26);
    Symbol& symbol = symbols_[i];
    symbol.name = itch_alpha({name, 4});
    // 3 to 500 dollars, the cheap ones more frequent.
    symbol.middle = static_cast<int32_t>(300 + random_.below(1 + random_.below(49'700)));
    symbol.trend = random_.next() & 1 ? 1 : -1;
    symbol.state = 'T';
    symbol.halted = false;
    symbol.levels.fill({});
  }

  // Weight 1 / (rank + 10), ranks dealt out at random; then Vose's construction, in integers.
  std::vector<uint64_t> weight(n);
  uint64_t total = 0;
  for (uint32_t i = 0; i < n; i++) total += weight[i] = (uint64_t{1} << 32) / (i + 10);
  for (uint32_t i = n - 1; i > 0; i--) std::swap(weight[i], weight[random_.below(i + 1)]);
  aliases_.resize(n);
  std::vector<uint16_t> small, large;
  for (uint32_t i = 0; i < n; i++) {
    weight[i] *= n;
    (weight[i] < total ? small : large).push_back(static_cast<uint16_t>(i));
  }
  while (!small.empty() && !large.empty()) {
    const uint16_t less = small.back(), more = large.back();
    small.pop_back();
    aliases_[less] = {
        static_cast<uint32_t>((static_cast<unsigned __int128>(weight[less]) << 32) / total), more};
    weight[more] -= total - weight[less];
    if (weight[more] < total) {
      large.pop_back();
      small.push_back(more);
    }
  }
  for (const auto* rest : {&small, &large})
    for (const uint16_t i : *rest) aliases_[i] = {UINT32_MAX, i};

  // O, directory, states, short sales, positions, breaker levels, S.
  const uint64_t opening = 4 * uint64_t{n} + 3;
  const int64_t duration = options_.end_ns - options_.start_ns;
  flow_at_ = options_.start_ns + std::min(60 * kSecond, duration / 20);
  open_at_ = kMarketOpen > flow_at_ && kMarketOpen < options_.end_ns ? kMarketOpen : flow_at_;
  close_at_ = kMarketClose > open_at_ && kMarketClose < options_.end_ns ? kMarketClose
                                                                        : options_.end_ns - 1;
  flow_left_ = options_.messages - opening - 2;
  opening_clock_ =
      ItchDayClock(options_.seed ^ kOpeningStream, options_.start_ns, flow_at_, opening, 1);
  clock_ = ItchDayClock(options_.seed ^ kClockStream, flow_at_, options_.end_ns, flow_left_,
                        options_.burst);
  crosses_ = static_cast<uint32_t>(std::min<uint64_t>(n, options_.messages / 4'000));
  now_ = options_.start_ns;
}

size_t ItchGenerator::generate(uint8_t* out, size_t capacity) {
  if (capacity < kMaxFrame)
    throw config_error("capacity", std::to_string(capacity),
                       "at least " + std::to_string(kMaxFrame) + " bytes");
  size_t used = 0;
  while (capacity - used >= kMaxFrame) {
    const size_t length = write(out + used + 2);
    if (length == 0) break;
    net::store_be16(out + used, static_cast<uint16_t>(length));
    used += 2 + length;
  }
  return used;
}

size_t ItchGenerator::write(uint8_t* out) noexcept {
  size_t length = 0;
  switch (phase_) {
    case Phase::kFlow:
      length = flow(out);
      break;
    case Phase::kOpening:
      length = opening(out);
      break;
    case Phase::kClosing:
      now_ = options_.end_ns;
      length = system_event(out, written_ + 2 == options_.messages ? 'E' : 'C');
      if (written_ + 1 == options_.messages) phase_ = Phase::kDone;
      break;
    case Phase::kDone:
      return 0;
  }
  written_++;
  by_type_[out[0]]++;
  return length;
}

size_t ItchGenerator::flow(uint8_t* out) noexcept {
  const int64_t time = clock_.next();
  const bool last_chance = flow_left_ <= uint64_t{!opened_} + uint64_t{!closed_};
  if (--flow_left_ == 0) phase_ = Phase::kClosing;
  if (!opened_ && (time >= open_at_ || last_chance)) [[unlikely]] {
    now_ = std::max(now_, open_at_);
    opened_ = true;
    crosses_left_ = crosses_;
    cross_type_ = 'O';
    return system_event(out, 'Q');
  }
  if (!closed_ && (time >= close_at_ || last_chance)) [[unlikely]] {
    now_ = std::max(now_, close_at_);
    closed_ = true;
    crosses_left_ = crosses_;
    cross_type_ = 'C';
    return system_event(out, 'M');
  }
  now_ = std::max(now_, time);
  if (crosses_left_) [[unlikely]]
    return cross(out, static_cast<uint16_t>(--crosses_left_), cross_type_);
  return flow_message(out);
}

size_t ItchGenerator::flow_message(uint8_t* out) noexcept {
  const uint64_t bits = random_.next();
  char type = kMix[bits & 1023];
  // The book fills up first, then small shifts between adding and deleting hold it there.
  const bool nudge = (bits >> 10 & 31) == 0;
  if (type == 'A' && open_ > target_ && (nudge || open_ == orders_.size())) type = 'D';
  if (type == 'D' && open_ < target_ && (nudge || open_ < target_ / 2)) type = 'A';
  if (open_ == 0 && (type == 'D' || type == 'U' || type == 'E' || type == 'X')) type = 'A';
  switch (type) {
    case 'A':
      return add(out, false);
    case 'D':
      return remove(out);
    case 'N':
      return retail(out, random_symbol());
    case 'U':
      return replace(out);
    case 'E':
      return execute(out, false);
    case 'X':
      return cancel(out);
    default:
      return rare(out);
  }
}

uint16_t ItchGenerator::random_symbol() noexcept {
  const uint64_t bits = random_.next();
  const uint32_t i = scale32(static_cast<uint32_t>(bits >> 32), options_.symbols);
  return static_cast<uint32_t>(bits) < aliases_[i].threshold ? static_cast<uint16_t>(i)
                                                             : aliases_[i].other;
}

// Most orders do not live long: three in four picks are among the last to come in, which is
// where the end of ids_ is.
uint32_t ItchGenerator::random_order() noexcept {
  const uint64_t bits = random_.next();
  const uint32_t span = bits & 3 ? std::min<uint32_t>(open_, 256) : open_;
  return ids_[open_ - 1 - scale32(static_cast<uint32_t>(bits >> 32), span)];
}

uint32_t ItchGenerator::best_order(uint16_t symbol, uint8_t side) const noexcept {
  const Symbol& s = symbols_[symbol];
  const int32_t step = side == 'B' ? -1 : 1;
  int32_t tick = side == 'B' ? s.middle - 1 : s.middle;
  while (s.levels[static_cast<uint32_t>(tick) % kLevels].head == kNone) tick += step;
  return s.levels[static_cast<uint32_t>(tick) % kLevels].head;
}

// Near the middle mostly, some far off.
int32_t ItchGenerator::random_tick(const Symbol& symbol, uint8_t side) noexcept {
  const uint64_t bits = random_.next();
  const int32_t distance = std::countr_zero(bits | 64) * static_cast<int32_t>(1 + (bits >> 8 & 7));
  static_assert(6 * 8 < kReach);
  return side == 'B' ? symbol.middle - 1 - distance : symbol.middle + distance;
}

uint32_t ItchGenerator::random_shares() noexcept {
  const uint64_t bits = random_.next();
  if ((bits & 7) == 0) return 1 + scale32(static_cast<uint32_t>(bits >> 32), 99);  // an odd lot
  return 100u * (1 + static_cast<uint32_t>(std::countr_zero(bits >> 3 | 1024)));
}

// 1 to shares - 1, in round lots where there are some.
uint32_t ItchGenerator::part_of(uint32_t shares) noexcept {
  const auto bits = static_cast<uint32_t>(random_.next() >> 32);
  return shares > 100 ? 100 * (1 + scale32(bits, (shares - 1) / 100))
                      : 1 + scale32(bits, shares - 1);
}

uint64_t ItchGenerator::next_reference() noexcept {
  return reference_ += 1 + (random_.next() >> 62);
}

uint64_t ItchGenerator::next_match() noexcept {
  return match_ += 1 + (random_.next() >> 63);
}

// One tick along the trend, if both levels whose side or price would change are empty. An order
// in the way is the next to be deleted.
void ItchGenerator::wander(Symbol& symbol) noexcept {
  const uint64_t bits = random_.next();
  if (bits & 3) return;
  if ((bits >> 2 & 63) == 0) symbol.trend = static_cast<int8_t>(-symbol.trend);
  if (symbol.middle < 180) symbol.trend = 1;  // no price under a dollar
  if (symbol.middle > 200'000) symbol.trend = -1;
  const bool up = symbol.trend > 0;
  const int32_t near = up ? symbol.middle : symbol.middle - 1;
  const int32_t far = up ? symbol.middle - kReach : symbol.middle + kReach;
  for (const int32_t tick : {near, far}) {
    const uint32_t head = symbol.levels[static_cast<uint32_t>(tick) % kLevels].head;
    if (head == kNone) continue;
    wanted_ = head;
    wanted_reference_ = orders_[head].reference;
    return;
  }
  symbol.middle += symbol.trend;
}

void ItchGenerator::link(uint32_t id) noexcept {
  Order& order = orders_[id];
  Level& level = symbols_[order.symbol].levels[static_cast<uint32_t>(order.tick) % kLevels];
  order.next = kNone;
  order.previous = level.tail;
  (level.tail == kNone ? level.head : orders_[level.tail].next) = id;
  level.tail = id;
}

void ItchGenerator::unlink(uint32_t id) noexcept {
  const Order& order = orders_[id];
  Level& level = symbols_[order.symbol].levels[static_cast<uint32_t>(order.tick) % kLevels];
  (order.previous == kNone ? level.head : orders_[order.previous].next) = order.next;
  (order.next == kNone ? level.tail : orders_[order.next].previous) = order.previous;
}

void ItchGenerator::release(uint32_t id) noexcept {
  unlink(id);
  Order& order = orders_[id];
  order.reference = 0;
  const uint32_t last = ids_[--open_];
  ids_[order.position] = last;
  orders_[last].position = order.position;
  ids_[open_] = id;
}

size_t ItchGenerator::add(uint8_t* out, bool attributed) noexcept {
  const uint16_t symbol = random_symbol();
  Symbol& s = symbols_[symbol];
  wander(s);
  const uint32_t id = ids_[open_];
  Order& order = orders_[id];
  order.reference = next_reference();
  order.side = random_.next() >> 63 ? 'B' : 'S';
  order.shares = random_shares();
  order.tick = random_tick(s, order.side);
  order.symbol = symbol;
  order.position = open_++;
  link(id);
  const auto fill = [&]<char kType>(ItchWriter<kType> w) {
    w.template set<"order_reference">(order.reference)
        .template set<"side">(order.side)
        .template set<"shares">(order.shares)
        .template set<"stock">(s.name)
        .template set<"price">(static_cast<uint64_t>(order.tick) * 100);
    return w;
  };
  const auto locate = static_cast<uint16_t>(symbol + 1);
  if (!attributed) return fill(ItchWriter<'A'>(out, locate, tracking(), now())).size();
  return fill(ItchWriter<'F'>(out, locate, tracking(), now())).set<"mpid">(market_maker()).size();
}

size_t ItchGenerator::remove(uint8_t* out) noexcept {
  uint32_t id = wanted_;
  if (id == kNone || orders_[id].reference != wanted_reference_) id = random_order();
  wanted_ = kNone;
  const Order& order = orders_[id];
  ItchWriter<'D'> w(out, static_cast<uint16_t>(order.symbol + 1), tracking(), now());
  w.set<"order_reference">(order.reference);
  release(id);
  return w.size();
}

size_t ItchGenerator::replace(uint8_t* out) noexcept {
  const uint32_t id = random_order();
  Order& order = orders_[id];
  const uint64_t old = order.reference;
  unlink(id);
  order.reference = next_reference();
  order.tick = random_tick(symbols_[order.symbol], order.side);
  if (random_.next() >> 62 == 0) order.shares = random_shares();
  link(id);
  return ItchWriter<'U'>(out, static_cast<uint16_t>(order.symbol + 1), tracking(), now())
      .set<"old_order_reference">(old)
      .set<"new_order_reference">(order.reference)
      .set<"shares">(order.shares)
      .set<"price">(static_cast<uint64_t>(order.tick) * 100)
      .size();
}

size_t ItchGenerator::execute(uint8_t* out, bool other_price) noexcept {
  const Order& picked = orders_[random_order()];
  const uint32_t id = best_order(picked.symbol, picked.side);
  Order& order = orders_[id];
  const uint64_t bits = random_.next();
  const uint32_t shares = bits & 1 || order.shares == 1 ? order.shares : part_of(order.shares);
  const auto locate = static_cast<uint16_t>(order.symbol + 1);
  const uint64_t reference = order.reference, match = next_match();
  const int32_t tick = order.tick + (bits & 2 ? 1 : -1);
  order.shares -= shares;
  if (order.shares == 0) release(id);
  breakable_ = match;
  if (!other_price)
    return ItchWriter<'E'>(out, locate, tracking(), now())
        .set<"order_reference">(reference)
        .set<"shares">(shares)
        .set<"match_number">(match)
        .size();
  return ItchWriter<'C'>(out, locate, tracking(), now())
      .set<"order_reference">(reference)
      .set<"shares">(shares)
      .set<"match_number">(match)
      .set<"printable">(bits & 12 ? 'Y' : 'N')
      .set<"price">(static_cast<uint64_t>(tick) * 100)
      .size();
}

size_t ItchGenerator::cancel(uint8_t* out) noexcept {
  Order& order = orders_[random_order()];
  if (order.shares == 1) return remove(out);
  const uint32_t shares = part_of(order.shares);
  order.shares -= shares;
  return ItchWriter<'X'>(out, static_cast<uint16_t>(order.symbol + 1), tracking(), now())
      .set<"order_reference">(order.reference)
      .set<"shares">(shares)
      .size();
}

}  // namespace wp::feed
