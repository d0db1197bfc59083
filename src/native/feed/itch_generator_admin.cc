// SPDX-License-Identifier: Apache-2.0
// The messages of a generated day that leave the order book alone: opening, events, states,
// auctions, trades that the book does not show.
#include <algorithm>

#include "feed/itch50_writer.h"
#include "feed/itch_generator.h"

namespace wp::feed {
namespace {

constexpr uint16_t locate_of(uint16_t symbol) {
  return static_cast<uint16_t>(symbol + 1);
}

constexpr uint64_t price_of(int32_t tick) {
  return static_cast<uint64_t>(tick) * 100;
}

}  // namespace

// One step a message: O; then R, H, Y and L for every symbol; V; S.
size_t ItchGenerator::opening(uint8_t* out) noexcept {
  const int64_t time = opening_clock_.next();
  const uint32_t step = opening_step_++;
  if (step == 0) return system_event(out, 'O');
  now_ = time;
  const uint32_t n = options_.symbols;
  const auto symbol = static_cast<uint16_t>((step - 1) % n);
  switch ((step - 1) / n) {
    case 0:
      return directory(out, symbol);
    case 1:
      return trading_action(out, symbol, itch_alpha(""));
    case 2:
      return reg_sho(out, symbol);
    case 3:
      return position(out, symbol);
    default:
      break;
  }
  if (step == 4 * n + 1) return mwcb_levels(out);
  phase_ = Phase::kFlow;
  return system_event(out, 'S');
}

// The types that make up less than one percent together.
size_t ItchGenerator::rare(uint8_t* out) noexcept {
  const uint16_t symbol = random_symbol();
  Symbol& s = symbols_[symbol];
  auto draw = static_cast<int32_t>(random_.below(10'000));
  const auto in = [&](int32_t share) { return (draw -= share) < 0; };
  if (in(3'600)) return open_ < orders_.size() ? add(out, true) : remove(out);
  if (in(1'000) && open_ > 0) return execute(out, true);
  if (in(1'200)) return noii(out, symbol);
  if (in(400)) return position(out, symbol);
  if (in(300)) {  // halted, then quoted, then traded again
    s.state = s.state == 'T' ? 'H' : s.state == 'H' ? 'Q' : 'T';
    return trading_action(out, symbol, itch_alpha(s.state == 'H' ? "T1" : "T3"));
  }
  if (in(150)) return cross(out, symbol, 'H');
  if (in(100)) return reg_sho(out, symbol);
  if (in(80)) return luld_collar(out, symbol);
  if (in(50)) {
    s.halted = !s.halted;
    return ItchWriter<'h'>(out, locate_of(symbol), tracking(), now())
        .set<"stock">(s.name)
        .set<"market_code">('B')
        .set<"halt_action">(s.halted ? 'H' : 'T')
        .size();
  }
  if (in(50) && breakable_ != 0) {
    ItchWriter<'B'> w(out, locate_of(symbol), tracking(), now());
    w.set<"match_number">(breakable_);
    breakable_ = 0;
    return w.size();
  }
  if (in(30))
    return ItchWriter<'K'>(out, locate_of(symbol), tracking(), now())
        .set<"stock">(s.name)
        .set<"release_time">(now() / 1'000'000'000 + 900)
        .set<"release_qualifier">('A')
        .set<"ipo_price">(price_of(s.middle))
        .size();
  if (in(30)) return direct_listing(out, symbol);
  if (in(10) && breached_ < 3)
    return ItchWriter<'W'>(out, 0, tracking(), now())
        .set<"breached_level">(static_cast<uint64_t>('1' + breached_++))
        .size();
  return trade(out, symbol);
}

size_t ItchGenerator::system_event(uint8_t* out, char code) noexcept {
  return ItchWriter<'S'>(out, 0, 0, now()).set<"event_code">(static_cast<uint8_t>(code)).size();
}

size_t ItchGenerator::directory(uint8_t* out, uint16_t symbol) noexcept {
  const uint64_t bits = random_.next();
  constexpr char kCategories[] = "QGSNAPZQ";
  return ItchWriter<'R'>(out, locate_of(symbol), 0, now())
      .set<"stock">(symbols_[symbol].name)
      .set<"market_category">(static_cast<uint8_t>(kCategories[bits & 7]))
      .set<"financial_status">('N')
      .set<"round_lot_size">(100)
      .set<"round_lots_only">('N')
      .set<"issue_classification">('C')
      .set<"issue_subtype">(itch_alpha("Z"))
      .set<"authenticity">('P')
      .set<"short_sale_threshold">('N')
      .set<"ipo_flag">('N')
      .set<"luld_tier">(bits & 8 ? '1' : '2')
      .set<"etp_flag">('N')
      .set<"etp_leverage">(0)
      .set<"inverse">('N')
      .size();
}

size_t ItchGenerator::trading_action(uint8_t* out, uint16_t symbol, uint64_t reason) noexcept {
  return ItchWriter<'H'>(out, locate_of(symbol), 0, now())
      .set<"stock">(symbols_[symbol].name)
      .set<"trading_state">(static_cast<uint8_t>(symbols_[symbol].state))
      .set<"reserved">(' ')
      .set<"reason">(reason)
      .size();
}

size_t ItchGenerator::reg_sho(uint8_t* out, uint16_t symbol) noexcept {
  const uint64_t action = random_.next() & 31;
  return ItchWriter<'Y'>(out, locate_of(symbol), 0, now())
      .set<"stock">(symbols_[symbol].name)
      .set<"reg_sho_action">(action < 2 ? '1' + action : '0')
      .size();
}

uint64_t ItchGenerator::market_maker() noexcept {
  constexpr uint64_t kNames[] = {itch_alpha("MMKA"), itch_alpha("MMKB"), itch_alpha("MMKC"),
                                 itch_alpha("MMKD"), itch_alpha("MMKE"), itch_alpha("MMKF"),
                                 itch_alpha("MMKG"), itch_alpha("MMKH")};
  return kNames[random_.next() >> 61];
}

size_t ItchGenerator::position(uint8_t* out, uint16_t symbol) noexcept {
  return ItchWriter<'L'>(out, locate_of(symbol), 0, now())
      .set<"mpid">(market_maker())
      .set<"stock">(symbols_[symbol].name)
      .set<"primary_market_maker">(random_.next() >> 63 ? 'Y' : 'N')
      .set<"market_maker_mode">('N')
      .set<"participant_state">('A')
      .size();
}

size_t ItchGenerator::mwcb_levels(uint8_t* out) noexcept {
  // 7, 13 and 20 % under an index of 3000 to 5000 points, eight decimals.
  const uint64_t index = (300'000 + random_.below(200'000)) * 1'000'000;
  return ItchWriter<'V'>(out, 0, 0, now())
      .set<"level1">(index / 100 * 93)
      .set<"level2">(index / 100 * 87)
      .set<"level3">(index / 100 * 80)
      .size();
}

size_t ItchGenerator::cross(uint8_t* out, uint16_t symbol, char type) noexcept {
  return ItchWriter<'Q'>(out, locate_of(symbol), tracking(), now())
      .set<"shares">(100 * (1 + random_.below(10'000)))
      .set<"stock">(symbols_[symbol].name)
      .set<"price">(price_of(symbols_[symbol].middle))
      .set<"match_number">(next_match())
      .set<"cross_type">(static_cast<uint8_t>(type))
      .size();
}

size_t ItchGenerator::noii(uint8_t* out, uint16_t symbol) noexcept {
  const Symbol& s = symbols_[symbol];
  const uint64_t bits = random_.next();
  const uint64_t imbalance = bits & 7 ? 100 * (1 + (bits >> 3 & 1023)) : 0;
  return ItchWriter<'I'>(out, locate_of(symbol), tracking(), now())
      .set<"paired_shares">(100 * (bits >> 16 & 0xffff))
      .set<"imbalance_shares">(imbalance)
      .set<"imbalance_direction">(imbalance == 0 ? 'N'
                                  : bits >> 63   ? 'B'
                                                 : 'S')
      .set<"stock">(s.name)
      .set<"far_price">(price_of(s.middle - 2))
      .set<"near_price">(price_of(s.middle - 1))
      .set<"reference_price">(price_of(s.middle))
      .set<"cross_type">(opened_ ? 'C' : 'O')
      .set<"price_variation">('L')
      .size();
}

size_t ItchGenerator::trade(uint8_t* out, uint16_t symbol) noexcept {
  const Symbol& s = symbols_[symbol];
  breakable_ = next_match();
  return ItchWriter<'P'>(out, locate_of(symbol), tracking(), now())
      .set<"order_reference">(0)
      .set<"side">('B')
      .set<"shares">(random_shares())
      .set<"stock">(s.name)
      .set<"price">(price_of(s.middle))
      .set<"match_number">(breakable_)
      .size();
}

size_t ItchGenerator::retail(uint8_t* out, uint16_t symbol) noexcept {
  constexpr char kFlags[] = "BSAN";  // buy, sell, both, none
  return ItchWriter<'N'>(out, locate_of(symbol), tracking(), now())
      .set<"stock">(symbols_[symbol].name)
      .set<"interest_flag">(static_cast<uint8_t>(kFlags[random_.next() >> 62]))
      .size();
}

size_t ItchGenerator::luld_collar(uint8_t* out, uint16_t symbol) noexcept {
  const Symbol& s = symbols_[symbol];
  return ItchWriter<'J'>(out, locate_of(symbol), tracking(), now())
      .set<"stock">(s.name)
      .set<"reference_price">(price_of(s.middle))
      .set<"upper_price">(price_of(s.middle + s.middle / 20))
      .set<"lower_price">(price_of(s.middle - s.middle / 20))
      .set<"extension">(random_.next() >> 62)
      .size();
}

size_t ItchGenerator::direct_listing(uint8_t* out, uint16_t symbol) noexcept {
  const Symbol& s = symbols_[symbol];
  return ItchWriter<'O'>(out, locate_of(symbol), tracking(), now())
      .set<"stock">(s.name)
      .set<"open_eligibility">(random_.next() >> 63 ? 'Y' : 'N')
      .set<"minimum_price">(price_of(s.middle - s.middle / 5))
      .set<"maximum_price">(price_of(s.middle + s.middle / 2))
      .set<"near_price">(price_of(s.middle))
      .set<"near_time">(now())
      .set<"lower_collar">(price_of(s.middle - s.middle / 10))
      .set<"upper_collar">(price_of(s.middle + s.middle / 10))
      .size();
}

}  // namespace wp::feed
