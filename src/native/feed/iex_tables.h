/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of IEX's feeds as one constexpr table: TOPS 1.6, DEEP 1.0 and
 * DEEP+. No type has two meanings among them, so one table serves all three.
 *
 * Source: IEX TOPS specification 1.66, DEEP 1.08, DEEP+ 1.04. Little-endian;
 * prices are signed with four implied decimals, symbols padded with spaces.
 */
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "feed/message_decoder.h"
#include "feed/message_table.h"

namespace wp::feed {

/* Common to every type, behind the type and a byte of flags or a sub-code. */
inline constexpr MessageField kIexHeader[] = {
    {"timestamp", 2, 8, FieldKind::kI64, "ns since the Unix epoch"},
};

namespace iex_detail {

using enum FieldKind;
inline constexpr std::string_view kP4 = "1e-4 USD";
inline constexpr std::string_view kShares = "shares";
inline constexpr MessageField kSymbol = {"symbol", 10, 8, kAlpha, ""};

inline constexpr MessageField kSystemEvent[] = {{"system_event", 1, 1, kAlpha, ""}};
inline constexpr MessageField kDirectory[] = {
    {"flags", 1, 1, kU8, ""},
    kSymbol,
    {"round_lot_size", 18, 4, kU32, kShares},
    {"adjusted_poc_price", 22, 8, kSignedPrice4, kP4},
    {"luld_tier", 30, 1, kU8, ""},
};
inline constexpr MessageField kTradingStatus[] = {
    {"trading_status", 1, 1, kAlpha, ""},
    kSymbol,
    {"reason", 18, 4, kAlpha, ""},
};
inline constexpr MessageField kOperationalHalt[] = {
    {"operational_halt_status", 1, 1, kAlpha, ""},
    kSymbol,
};
inline constexpr MessageField kShortSaleTest[] = {
    {"short_sale_price_test_status", 1, 1, kU8, ""},
    kSymbol,
    {"detail", 18, 1, kAlpha, ""},
};
inline constexpr MessageField kSecurityEvent[] = {{"security_event", 1, 1, kAlpha, ""}, kSymbol};
inline constexpr MessageField kRetail[] = {
    {"retail_liquidity_indicator", 1, 1, kAlpha, ""},
    kSymbol,
};
inline constexpr MessageField kPriceLevel[] = {
    {"event_flags", 1, 1, kU8, ""},
    kSymbol,
    {"size", 18, 4, kU32, kShares},
    {"price", 22, 8, kSignedPrice4, kP4},
};
inline constexpr MessageField kQuote[] = {
    {"flags", 1, 1, kU8, ""},
    kSymbol,
    {"bid_size", 18, 4, kU32, kShares},
    {"bid_price", 22, 8, kSignedPrice4, kP4},
    {"ask_price", 30, 8, kSignedPrice4, kP4},
    {"ask_size", 38, 4, kU32, kShares},
};
inline constexpr MessageField kTrade[] = {
    {"sale_condition_flags", 1, 1, kU8, ""}, kSymbol,
    {"size", 18, 4, kU32, kShares},          {"price", 22, 8, kSignedPrice4, kP4},
    {"trade_id", 30, 8, kI64, ""},
};
inline constexpr MessageField kOfficialPrice[] = {
    {"price_type", 1, 1, kAlpha, ""},
    kSymbol,
    {"official_price", 18, 8, kSignedPrice4, kP4},
};
inline constexpr MessageField kAuction[] = {
    {"auction_type", 1, 1, kAlpha, ""},
    kSymbol,
    {"paired_shares", 18, 4, kU32, kShares},
    {"reference_price", 22, 8, kSignedPrice4, kP4},
    {"indicative_clearing_price", 30, 8, kSignedPrice4, kP4},
    {"imbalance_shares", 38, 4, kU32, kShares},
    {"imbalance_side", 42, 1, kAlpha, ""},
    {"extension_number", 43, 1, kU8, "extensions"},
    {"scheduled_auction_time", 44, 4, kU32, "s since the Unix epoch"},
    {"auction_book_clearing_price", 48, 8, kSignedPrice4, kP4},
    {"collar_reference_price", 56, 8, kSignedPrice4, kP4},
    {"lower_auction_collar", 64, 8, kSignedPrice4, kP4},
    {"upper_auction_collar", 72, 8, kSignedPrice4, kP4},
};
inline constexpr MessageField kAdd[] = {
    {"side", 1, 1, kAlpha, ""},           kSymbol,
    {"order_id", 18, 8, kI64, ""},        {"size", 26, 4, kU32, kShares},
    {"price", 30, 8, kSignedPrice4, kP4},
};
inline constexpr MessageField kModify[] = {
    {"modify_flags", 1, 1, kU8, ""},      kSymbol,
    {"order_id", 18, 8, kI64, ""},        {"size", 26, 4, kU32, kShares},
    {"price", 30, 8, kSignedPrice4, kP4},
};
inline constexpr MessageField kDelete[] = {
    {"reserved", 1, 1, kU8, ""},
    kSymbol,
    {"order_id", 18, 8, kI64, ""},
};
inline constexpr MessageField kExecuted[] = {
    {"sale_condition_flags", 1, 1, kU8, ""}, kSymbol,
    {"order_id", 18, 8, kI64, ""},           {"size", 26, 4, kU32, kShares},
    {"price", 30, 8, kSignedPrice4, kP4},    {"trade_id", 38, 8, kI64, ""},
};
inline constexpr MessageField kClear[] = {{"reserved", 1, 1, kU8, ""}, kSymbol};

inline constexpr RecordMap status(std::string_view qty, std::string_view price = {},
                                  std::string_view side = {}) {
  return {.action = WP_ACTION_STATUS, .aux = "symbol", .price = price, .qty = qty, .side = side};
}

/* The level at this price holds `size` now. Event flag bit 0: the event is complete;
 * before that the book may be crossed or half done (DEEP specification, "Price Level
 * Update"). */
inline constexpr RecordMap level(char side) {
  return {.action = WP_ACTION_MODIFY,
          .aux = "symbol",
          .price = "price",
          .qty = "size",
          .fixed_side = side,
          .flag_field = "event_flags",
          .flag_bits = 1,
          .flag = WP_FLAG_END_OF_EVENT};
}

inline constexpr RecordMap kBid = {.action = WP_ACTION_MODIFY,
                                   .aux = "symbol",
                                   .price = "bid_price",
                                   .qty = "bid_size",
                                   .fixed_side = 'B'};
inline constexpr RecordMap kAsk = {.action = WP_ACTION_MODIFY,
                                   .aux = "symbol",
                                   .price = "ask_price",
                                   .qty = "ask_size",
                                   .fixed_side = 'S',
                                   .fixed_flags = WP_FLAG_END_OF_EVENT};

}  // namespace iex_detail

inline constexpr WireMessage kIexMessages[] = {
    {'S',
     10,
     0,
     "system_event",
     iex_detail::kSystemEvent,
     {.action = WP_ACTION_STATUS, .qty = "system_event"}},
    {'D', 31, 0, "security_directory", iex_detail::kDirectory,
     iex_detail::status("round_lot_size", "adjusted_poc_price")},
    {'H', 22, 0, "trading_status", iex_detail::kTradingStatus,
     iex_detail::status("trading_status")},
    {'O', 18, 0, "operational_halt", iex_detail::kOperationalHalt,
     iex_detail::status("operational_halt_status")},
    {'P', 19, 0, "short_sale_price_test", iex_detail::kShortSaleTest,
     iex_detail::status("short_sale_price_test_status")},
    {'E', 18, 0, "security_event", iex_detail::kSecurityEvent,
     iex_detail::status("security_event")},
    {'I', 18, 0, "retail_liquidity_indicator", iex_detail::kRetail,
     iex_detail::status("retail_liquidity_indicator")},
    {'8', 30, 0, "price_level_buy", iex_detail::kPriceLevel, iex_detail::level('B')},
    {'5', 30, 0, "price_level_sell", iex_detail::kPriceLevel, iex_detail::level('S')},
    {'Q', 42, 0, "quote", iex_detail::kQuote, iex_detail::kBid, iex_detail::kAsk},
    {'T',
     38,
     0,
     "trade",
     iex_detail::kTrade,
     {.action = WP_ACTION_TRADE, .aux = "trade_id", .price = "price", .qty = "size"}},
    {'B',
     38,
     0,
     "trade_break",
     iex_detail::kTrade,
     {.action = WP_ACTION_BREAK, .aux = "trade_id", .price = "price", .qty = "size"}},
    {'X', 26, 0, "official_price", iex_detail::kOfficialPrice,
     iex_detail::status("price_type", "official_price")},
    {'A', 80, 0, "auction_information", iex_detail::kAuction,
     iex_detail::status("paired_shares", "reference_price", "imbalance_side")},
    {'a',
     38,
     0,
     "add_order",
     iex_detail::kAdd,
     {.action = WP_ACTION_ADD,
      .order_id = "order_id",
      .aux = "symbol",
      .price = "price",
      .qty = "size",
      .side = "side"}},
    {'M',
     38,
     0,
     "order_modify",
     iex_detail::kModify,
     {.action = WP_ACTION_MODIFY,
      .order_id = "order_id",
      .aux = "order_id",
      .price = "price",
      .qty = "size",
      .flag_field = "modify_flags",
      .flag_bits = 1,
      .flag = WP_FLAG_KEEPS_PRIORITY}},
    {'R',
     26,
     0,
     "order_delete",
     iex_detail::kDelete,
     {.action = WP_ACTION_DELETE, .order_id = "order_id", .aux = "symbol"}},
    {'L',
     46,
     0,
     "order_executed",
     iex_detail::kExecuted,
     {.action = WP_ACTION_EXECUTE,
      .order_id = "order_id",
      .aux = "trade_id",
      .price = "price",
      .qty = "size"}},
    {'C', 18, 0, "clear_book", iex_detail::kClear, {.action = WP_ACTION_CLEAR, .aux = "symbol"}},
};
inline constexpr size_t kIexTypes = std::size(kIexMessages);
static_assert(kIexTypes == 19 && table_is_sound(kIexMessages, 1, kIexHeader));

}  // namespace wp::feed
