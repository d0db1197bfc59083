// SPDX-License-Identifier: Apache-2.0
// A believable Nasdaq TotalView-ITCH 5.0 day from a seed: directory, order flow with consistent
// lifetimes, opening and closing. The same seed and options give the same bytes on any machine.
//
// What holds for every day: whatever is executed, cancelled, replaced or deleted was added and
// is still open, for no more shares than are open; order references and match numbers rise;
// within a symbol every bid is below every ask; executions take the best price, oldest first;
// timestamps never fall. The mix of types is that of a real exchange day (A 42 %, D 41 %, N 8 %,
// U 6 %, E 2 %, X 1 %, the rest under 1 %).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "feed/itch50_tables.h"
#include "feed/itch_day_clock.h"
#include "feed/random.h"

namespace wp::feed {

struct ItchGeneratorOptions {
  uint64_t seed = 1;
  uint32_t symbols = 500;                 // 1 to 20000; activity falls with the rank (Zipf)
  uint64_t messages = 1'000'000;          // exactly; at least 4 * symbols + 16
  int64_t start_ns = 14'400'000'000'000;  // 04:00, ns since midnight, New York
  int64_t end_ns = 72'000'000'000'000;    // 20:00; at least a second later, within the day
  // Peak of the largest bursts: their millisecond carries this many times the average
  // millisecond of its second. 1 (none) to 100.
  uint32_t burst = 50;
  // Open orders that the book settles at; 0 = 40 per symbol, fewer in a short day.
  uint32_t open_orders = 0;

  void validate() const;  // throws wp::Error naming the field
};

class ItchGenerator {
 public:
  // Bytes that generate() needs at least: the longest message and its length prefix.
  static constexpr size_t kMaxFrame = kItch50MaxLength + 2;

  explicit ItchGenerator(const ItchGeneratorOptions& options = {});

  // The next message, without a length prefix; valid until the next call. False at the end.
  bool next(std::span<const uint8_t>& message) noexcept {
    const size_t length = write(buffer_.data());
    message = {buffer_.data(), length};
    return length != 0;
  }

  // Fills `out` with whole frames (u16 length, message) and returns the bytes written; 0 only at
  // the end of the day. Throws wp::Error when capacity is below kMaxFrame.
  size_t generate(uint8_t* out, size_t capacity);

  void reset();  // the same day again

  bool done() const noexcept { return written_ == options_.messages; }
  uint64_t written() const noexcept { return written_; }  // messages so far
  const std::array<uint64_t, 256>& by_type() const noexcept { return by_type_; }
  size_t open_orders() const noexcept { return open_; }
  const ItchGeneratorOptions& options() const noexcept { return options_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr int32_t kReach = 63;     // ticks from the middle to the farthest order
  static constexpr uint32_t kLevels = 128;  // ring of price levels: 2 * kReach and room

  struct Order {
    uint64_t reference;
    uint32_t shares;
    int32_t tick;
    uint32_t next, previous;  // in its price level, oldest first
    uint32_t position;        // in ids_
    uint16_t symbol;
    uint8_t side;
  };
  struct Level {
    uint32_t head = kNone, tail = kNone;
  };
  // Bids stand below `middle`, asks at and above it. The middle moves by one tick, and only
  // over an empty level, so no order is ever on the wrong side.
  struct Symbol {
    uint64_t name;
    int32_t middle;  // ticks of one cent
    int8_t trend;    // +1 or -1
    char state;      // of trading: T, H, Q
    bool halted;     // operationally
    std::array<Level, kLevels> levels;
  };
  enum class Phase : uint8_t { kOpening, kFlow, kClosing, kDone };

  void build();
  size_t write(uint8_t* out) noexcept;  // one message; 0 at the end
  size_t opening(uint8_t* out) noexcept;
  size_t flow(uint8_t* out) noexcept;
  size_t flow_message(uint8_t* out) noexcept;
  size_t rare(uint8_t* out) noexcept;
  size_t system_event(uint8_t* out, char code) noexcept;
  size_t directory(uint8_t* out, uint16_t symbol) noexcept;
  size_t trading_action(uint8_t* out, uint16_t symbol, uint64_t reason) noexcept;
  size_t reg_sho(uint8_t* out, uint16_t symbol) noexcept;
  size_t position(uint8_t* out, uint16_t symbol) noexcept;
  size_t mwcb_levels(uint8_t* out) noexcept;
  size_t cross(uint8_t* out, uint16_t symbol, char type) noexcept;
  size_t noii(uint8_t* out, uint16_t symbol) noexcept;
  size_t trade(uint8_t* out, uint16_t symbol) noexcept;
  size_t retail(uint8_t* out, uint16_t symbol) noexcept;
  size_t luld_collar(uint8_t* out, uint16_t symbol) noexcept;
  size_t direct_listing(uint8_t* out, uint16_t symbol) noexcept;
  uint64_t market_maker() noexcept;
  size_t add(uint8_t* out, bool attributed) noexcept;
  size_t remove(uint8_t* out) noexcept;
  size_t replace(uint8_t* out) noexcept;
  size_t execute(uint8_t* out, bool other_price) noexcept;
  size_t cancel(uint8_t* out) noexcept;

  uint16_t random_symbol() noexcept;
  uint32_t random_order() noexcept;
  uint32_t best_order(uint16_t symbol, uint8_t side) const noexcept;
  int32_t random_tick(const Symbol& symbol, uint8_t side) noexcept;
  uint32_t random_shares() noexcept;
  uint32_t part_of(uint32_t shares) noexcept;
  uint64_t next_reference() noexcept;
  uint64_t next_match() noexcept;
  void wander(Symbol& symbol) noexcept;
  void link(uint32_t id) noexcept;
  void unlink(uint32_t id) noexcept;
  void release(uint32_t id) noexcept;
  uint16_t tracking() const noexcept { return static_cast<uint16_t>(written_ & 0xfffe); }
  uint64_t now() const noexcept { return static_cast<uint64_t>(now_); }

  ItchGeneratorOptions options_;
  uint32_t target_ = 0;  // open orders
  int64_t open_at_ = 0, close_at_ = 0, flow_at_ = 0;
  Random random_{0};
  ItchDayClock clock_{0, 0, 1, 0, 1};
  ItchDayClock opening_clock_{0, 0, 1, 0, 1};
  std::vector<Symbol> symbols_;
  // Walker's alias table: a symbol by its weight in one draw.
  struct Alias {
    uint32_t threshold;
    uint16_t other;
  };
  std::vector<Alias> aliases_;
  std::vector<Order> orders_;
  std::vector<uint32_t> ids_;  // open orders first, then the free ones
  uint32_t open_ = 0;
  uint32_t wanted_ = kNone;  // an order in the way of a moving price, to be deleted next
  uint64_t wanted_reference_ = 0;
  uint64_t reference_ = 0, match_ = 0, breakable_ = 0;
  uint64_t written_ = 0, flow_left_ = 0;
  uint32_t opening_step_ = 0;
  uint32_t crosses_ = 0, crosses_left_ = 0;
  char cross_type_ = 'O';
  uint8_t breached_ = 0;  // market-wide circuit breaker levels
  bool opened_ = false, closed_ = false;
  Phase phase_ = Phase::kOpening;
  int64_t now_ = 0;
  std::array<uint64_t, 256> by_type_{};
  std::array<uint8_t, 64> buffer_{};
};

}  // namespace wp::feed
