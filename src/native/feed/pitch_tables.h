/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of Cboe Multicast PITCH as one constexpr table, with the form that
 * options feeds add to some of them. Offsets are from the length byte.
 *
 * Source: Cboe US Equities/Options Multicast Depth of Book (PITCH) 2.41.
 * Little-endian, unsigned; long prices have four implied decimals, short ones two;
 * symbols are padded with spaces.
 */
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "feed/message_decoder.h"
#include "feed/message_table.h"

namespace wp::feed {

inline constexpr uint8_t kPitchTime = 0x20;
inline constexpr uint8_t kPitchSymbolMapping = 0x2E;
inline constexpr uint8_t kPitchEndOfSession = 0x2D;
inline constexpr uint8_t kPitchUnitClear = 0x97;

namespace pitch_detail {

using enum FieldKind;
inline constexpr std::string_view kP4 = "1e-4 USD";
inline constexpr std::string_view kP2 = "1e-2 USD";
inline constexpr std::string_view kQty = "shares or contracts";
inline constexpr MessageField kOffset = {"time_offset", 2, 4, kU32, "ns since the Time message"};
inline constexpr MessageField kOrder = {"order_id", 6, 8, kU64, ""};
inline constexpr MessageField kSide = {"side", 14, 1, kAlpha, ""};
inline constexpr MessageField kLongQty = {"quantity", 15, 4, kU32, kQty};
inline constexpr MessageField kShortQty = {"quantity", 15, 2, kU16, kQty};

inline constexpr MessageField kTime[] = {{"time", 2, 4, kU32, "s since midnight, New York"}};
inline constexpr MessageField kBare[] = {kOffset};
inline constexpr MessageField kAddLong[] = {
    kOffset,
    kOrder,
    kSide,
    kLongQty,
    {"symbol", 19, 6, kAlpha, ""},
    {"price", 25, 8, kPrice4, kP4},
    {"flags", 33, 1, kU8, ""},
};
inline constexpr MessageField kAddShort[] = {
    kOffset,
    kOrder,
    kSide,
    kShortQty,
    {"symbol", 17, 6, kAlpha, ""},
    {"price", 23, 2, kPrice2, kP2},
    {"flags", 25, 1, kU8, ""},
};
inline constexpr MessageField kAddExpanded[] = {
    kOffset,
    kOrder,
    kSide,
    kLongQty,
    {"symbol", 19, 8, kAlpha, ""},
    {"price", 27, 8, kPrice4, kP4},
    {"flags", 35, 1, kU8, ""},
    {"participant_id", 36, 4, kAlpha, ""},
    {"customer_indicator", 40, 1, kAlpha, ""},
    {"options_fields", 41, 9, kAlpha, ""},
};
inline constexpr MessageField kExecuted[] = {
    kOffset,
    kOrder,
    {"quantity", 14, 4, kU32, kQty},
    {"execution_id", 18, 8, kU64, ""},
    {"trade_condition", 26, 1, kAlpha, ""},
};
inline constexpr MessageField kExecutedPrice[] = {
    kOffset,
    kOrder,
    {"quantity", 14, 4, kU32, kQty},
    {"remaining_quantity", 18, 4, kU32, kQty},
    {"execution_id", 22, 8, kU64, ""},
    {"price", 30, 8, kPrice4, kP4},
    {"trade_condition", 38, 1, kAlpha, ""},
};
inline constexpr MessageField kReduceLong[] = {kOffset, kOrder, {"quantity", 14, 4, kU32, kQty}};
inline constexpr MessageField kReduceShort[] = {kOffset, kOrder, {"quantity", 14, 2, kU16, kQty}};
inline constexpr MessageField kModifyLong[] = {
    kOffset,
    kOrder,
    {"quantity", 14, 4, kU32, kQty},
    {"price", 18, 8, kPrice4, kP4},
    {"flags", 26, 1, kU8, ""},
};
inline constexpr MessageField kModifyShort[] = {
    kOffset,
    kOrder,
    {"quantity", 14, 2, kU16, kQty},
    {"price", 16, 2, kPrice2, kP2},
    {"flags", 18, 1, kU8, ""},
};
inline constexpr MessageField kDelete[] = {kOffset, kOrder};
inline constexpr MessageField kTradeLong[] = {
    kOffset,
    kOrder,
    kSide,
    kLongQty,
    {"symbol", 19, 6, kAlpha, ""},
    {"price", 25, 8, kPrice4, kP4},
    {"execution_id", 33, 8, kU64, ""},
    {"trade_condition", 41, 1, kAlpha, ""},
};
inline constexpr MessageField kTradeShort[] = {
    kOffset,
    kOrder,
    kSide,
    kShortQty,
    {"symbol", 17, 6, kAlpha, ""},
    {"price", 23, 2, kPrice2, kP2},
    {"execution_id", 25, 8, kU64, ""},
    {"trade_condition", 33, 1, kAlpha, ""},
};
inline constexpr MessageField kTradeExpanded[] = {
    kOffset,
    kOrder,
    kSide,
    kLongQty,
    {"symbol", 19, 8, kAlpha, ""},
    {"price", 27, 8, kPrice4, kP4},
    {"execution_id", 35, 8, kU64, ""},
    {"trade_condition", 43, 1, kAlpha, ""},
};
inline constexpr MessageField kBreak[] = {kOffset, {"execution_id", 6, 8, kU64, ""}};
inline constexpr MessageField kSymbolMapping[] = {
    {"symbol", 2, 6, kAlpha, ""},
    {"osi_symbol", 8, 21, kAlpha, ""},
    {"symbol_condition", 29, 1, kAlpha, ""},
};
inline constexpr MessageField kTradingStatus[] = {
    kOffset,
    {"symbol", 6, 8, kAlpha, ""},
    {"trading_status", 14, 1, kAlpha, ""},
    {"reg_sho_action", 15, 1, kAlpha, ""},
    {"reserved", 16, 2, kAlpha, ""},
};
inline constexpr MessageField kAuctionUpdate[] = {
    kOffset,
    {"symbol", 6, 8, kAlpha, ""},
    {"auction_type", 14, 1, kAlpha, ""},
    {"reference_price", 15, 8, kPrice4, kP4},
    {"buy_shares", 23, 4, kU32, "shares"},
    {"sell_shares", 27, 4, kU32, "shares"},
    {"indicative_price", 31, 8, kPrice4, kP4},
    {"auction_only_price", 39, 8, kPrice4, kP4},
};
inline constexpr MessageField kAuctionSummary[] = {
    kOffset,
    {"symbol", 6, 8, kAlpha, ""},
    {"auction_type", 14, 1, kAlpha, ""},
    {"price", 15, 8, kPrice4, kP4},
    {"shares", 23, 4, kU32, "shares"},
};
inline constexpr MessageField kRetail[] = {
    kOffset,
    {"symbol", 6, 8, kAlpha, ""},
    {"retail_price_improvement", 14, 1, kAlpha, ""},
};

inline constexpr RecordMap kAddMap = {.action = WP_ACTION_ADD,
                                      .order_id = "order_id",
                                      .aux = "symbol",
                                      .price = "price",
                                      .qty = "quantity",
                                      .side = "side"};
inline constexpr RecordMap kTradeMap = {.action = WP_ACTION_TRADE,
                                        .order_id = "order_id",
                                        .aux = "execution_id",
                                        .price = "price",
                                        .qty = "quantity",
                                        .side = "side"};
inline constexpr RecordMap kReduceMap = {
    .action = WP_ACTION_CANCEL, .order_id = "order_id", .qty = "quantity"};
inline constexpr RecordMap kModifyMap = {.action = WP_ACTION_MODIFY,
                                         .order_id = "order_id",
                                         .aux = "order_id",
                                         .price = "price",
                                         .qty = "quantity",
                                         .flag_field = "flags",
                                         .flag_bits = 2,  // maintain priority
                                         .flag = WP_FLAG_KEEPS_PRIORITY};
inline constexpr RecordMap kExecutedMap = {
    .action = WP_ACTION_EXECUTE, .order_id = "order_id", .aux = "execution_id", .qty = "quantity"};
inline constexpr RecordMap kExecutedPriceMap = {.action = WP_ACTION_EXECUTE,
                                                .order_id = "order_id",
                                                .aux = "execution_id",
                                                .price = "price",
                                                .qty = "quantity"};
inline constexpr RecordMap kOther = {};

inline constexpr RecordMap status(std::string_view qty, std::string_view price = {}) {
  return {.action = WP_ACTION_STATUS, .aux = "symbol", .price = price, .qty = qty};
}

}  // namespace pitch_detail

inline constexpr WireMessage kPitchMessages[] = {
    {kPitchTime, 6, 0, "time", pitch_detail::kTime, pitch_detail::kOther},
    {kPitchUnitClear, 6, 0, "unit_clear", pitch_detail::kBare, {.action = WP_ACTION_CLEAR}},
    {0x21, 34, 0, "add_order_long", pitch_detail::kAddLong, pitch_detail::kAddMap},
    {0x22, 26, 0, "add_order_short", pitch_detail::kAddShort, pitch_detail::kAddMap},
    {0x2F, 41, 50, "add_order_expanded", pitch_detail::kAddExpanded, pitch_detail::kAddMap},
    {0x23, 26, 27, "order_executed", pitch_detail::kExecuted, pitch_detail::kExecutedMap},
    {0x24, 38, 39, "order_executed_at_price", pitch_detail::kExecutedPrice,
     pitch_detail::kExecutedPriceMap},
    {0x25, 18, 0, "reduce_size_long", pitch_detail::kReduceLong, pitch_detail::kReduceMap},
    {0x26, 16, 0, "reduce_size_short", pitch_detail::kReduceShort, pitch_detail::kReduceMap},
    {0x27, 27, 0, "modify_order_long", pitch_detail::kModifyLong, pitch_detail::kModifyMap},
    {0x28, 19, 0, "modify_order_short", pitch_detail::kModifyShort, pitch_detail::kModifyMap},
    {0x29,
     14,
     0,
     "delete_order",
     pitch_detail::kDelete,
     {.action = WP_ACTION_DELETE, .order_id = "order_id"}},
    {0x2A, 41, 42, "trade_long", pitch_detail::kTradeLong, pitch_detail::kTradeMap},
    {0x2B, 33, 34, "trade_short", pitch_detail::kTradeShort, pitch_detail::kTradeMap},
    {0x30, 43, 44, "trade_expanded", pitch_detail::kTradeExpanded, pitch_detail::kTradeMap},
    {0x2C,
     14,
     0,
     "trade_break",
     pitch_detail::kBreak,
     {.action = WP_ACTION_BREAK, .aux = "execution_id"}},
    {kPitchEndOfSession, 6, 0, "end_of_session", pitch_detail::kBare, {.action = WP_ACTION_STATUS}},
    {kPitchSymbolMapping, 30, 0, "symbol_mapping", pitch_detail::kSymbolMapping,
     pitch_detail::status("symbol_condition")},
    {0x31, 18, 0, "trading_status", pitch_detail::kTradingStatus,
     pitch_detail::status("trading_status")},
    {0x95, 47, 0, "auction_update", pitch_detail::kAuctionUpdate,
     pitch_detail::status("buy_shares", "indicative_price")},
    {0x96, 27, 0, "auction_summary", pitch_detail::kAuctionSummary,
     pitch_detail::status("shares", "price")},
    {0x98, 15, 0, "retail_price_improvement", pitch_detail::kRetail,
     pitch_detail::status("retail_price_improvement")},
    {0xBC, 6, 0, "transaction_begin", pitch_detail::kBare, pitch_detail::kOther},
    {0xBD,
     6,
     0,
     "transaction_end",
     pitch_detail::kBare,
     {.action = WP_ACTION_OTHER, .fixed_flags = WP_FLAG_END_OF_EVENT}},
};
inline constexpr size_t kPitchTypes = std::size(kPitchMessages);
static_assert(kPitchTypes == 24 && table_is_sound(kPitchMessages, 2, {}));

}  // namespace wp::feed
