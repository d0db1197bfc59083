/* SPDX-License-Identifier: Apache-2.0
 *
 * Nasdaq TotalView-ITCH 5.0 as one constexpr table: the 23 message types, their
 * fields, and what each contributes to the normalised record. Lengths, the
 * record decoder and the raw columns are all derived from it at compile time.
 *
 * Source: Nasdaq TotalView-ITCH 5.0 specification, sections 1.1 to 1.9
 * (editions 2023 and 2026). Big-endian, unsigned; alpha is left-justified and
 * space padded; Price(4) has four implied decimals, Price(8) eight.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/record.h"
#include "feed/message_table.h"

namespace wp::feed {

using ItchField = MessageField;

/* Which field feeds which member of wp_record, by field name; empty = 0. */
struct ItchRecordMap {
  wp_action action;
  std::string_view order_id;
  std::string_view aux;  // an alpha field goes in as its bytes, a number as a number
  std::string_view price;
  std::string_view qty;  // an alpha field of one letter goes in as its ASCII code
  std::string_view side;
  std::string_view printable;  // 'N' there sets WP_FLAG_NON_PRINTABLE
};

struct ItchMessage {
  char type;
  uint16_t length;  // with the type byte, without the frame's length prefix
  std::string_view name;
  std::span<const ItchField> fields;  // those after the common header
  ItchRecordMap record;
};

namespace itch50_detail {

using enum FieldKind;
inline constexpr std::string_view kP4 = "1e-4 USD";
inline constexpr std::string_view kP8 = "1e-8 USD";
inline constexpr std::string_view kShares = "shares";

inline constexpr ItchField kSystemEvent[] = {{"event_code", 11, 1, kAlpha, ""}};
inline constexpr ItchField kDirectory[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"market_category", 19, 1, kAlpha, ""},
    {"financial_status", 20, 1, kAlpha, ""},
    {"round_lot_size", 21, 4, kU32, kShares},
    {"round_lots_only", 25, 1, kAlpha, ""},
    {"issue_classification", 26, 1, kAlpha, ""},
    {"issue_subtype", 27, 2, kAlpha, ""},
    {"authenticity", 29, 1, kAlpha, ""},
    {"short_sale_threshold", 30, 1, kAlpha, ""},
    {"ipo_flag", 31, 1, kAlpha, ""},
    {"luld_tier", 32, 1, kAlpha, ""},
    {"etp_flag", 33, 1, kAlpha, ""},
    {"etp_leverage", 34, 4, kU32, ""},
    {"inverse", 38, 1, kAlpha, ""},
};
inline constexpr ItchField kTradingAction[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"trading_state", 19, 1, kAlpha, ""},
    {"reserved", 20, 1, kAlpha, ""},
    {"reason", 21, 4, kAlpha, ""},
};
inline constexpr ItchField kRegSho[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"reg_sho_action", 19, 1, kAlpha, ""},
};
inline constexpr ItchField kPosition[] = {
    {"mpid", 11, 4, kAlpha, ""},
    {"stock", 15, 8, kAlpha, ""},
    {"primary_market_maker", 23, 1, kAlpha, ""},
    {"market_maker_mode", 24, 1, kAlpha, ""},
    {"participant_state", 25, 1, kAlpha, ""},
};
inline constexpr ItchField kMwcbLevels[] = {
    {"level1", 11, 8, kPrice8, kP8},
    {"level2", 19, 8, kPrice8, kP8},
    {"level3", 27, 8, kPrice8, kP8},
};
inline constexpr ItchField kMwcbStatus[] = {{"breached_level", 11, 1, kAlpha, ""}};
inline constexpr ItchField kIpoQuoting[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"release_time", 19, 4, kU32, "s since midnight, New York"},
    {"release_qualifier", 23, 1, kAlpha, ""},
    {"ipo_price", 24, 4, kPrice4, kP4},
};
inline constexpr ItchField kLuldCollar[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"reference_price", 19, 4, kPrice4, kP4},
    {"upper_price", 23, 4, kPrice4, kP4},
    {"lower_price", 27, 4, kPrice4, kP4},
    {"extension", 31, 4, kU32, "extensions"},
};
inline constexpr ItchField kOperationalHalt[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"market_code", 19, 1, kAlpha, ""},
    {"halt_action", 20, 1, kAlpha, ""},
};
inline constexpr ItchField kAdd[] = {
    {"order_reference", 11, 8, kU64, ""}, {"side", 19, 1, kAlpha, ""},
    {"shares", 20, 4, kU32, kShares},     {"stock", 24, 8, kAlpha, ""},
    {"price", 32, 4, kPrice4, kP4},
};
inline constexpr ItchField kAddMpid[] = {
    {"order_reference", 11, 8, kU64, ""}, {"side", 19, 1, kAlpha, ""},
    {"shares", 20, 4, kU32, kShares},     {"stock", 24, 8, kAlpha, ""},
    {"price", 32, 4, kPrice4, kP4},       {"mpid", 36, 4, kAlpha, ""},
};
inline constexpr ItchField kExecuted[] = {
    {"order_reference", 11, 8, kU64, ""},
    {"shares", 19, 4, kU32, kShares},
    {"match_number", 23, 8, kU64, ""},
};
inline constexpr ItchField kExecutedPrice[] = {
    {"order_reference", 11, 8, kU64, ""}, {"shares", 19, 4, kU32, kShares},
    {"match_number", 23, 8, kU64, ""},    {"printable", 31, 1, kAlpha, ""},
    {"price", 32, 4, kPrice4, kP4},
};
inline constexpr ItchField kCancel[] = {
    {"order_reference", 11, 8, kU64, ""},
    {"shares", 19, 4, kU32, kShares},
};
inline constexpr ItchField kDelete[] = {{"order_reference", 11, 8, kU64, ""}};
inline constexpr ItchField kReplace[] = {
    {"old_order_reference", 11, 8, kU64, ""},
    {"new_order_reference", 19, 8, kU64, ""},
    {"shares", 27, 4, kU32, kShares},
    {"price", 31, 4, kPrice4, kP4},
};
inline constexpr ItchField kTrade[] = {
    {"order_reference", 11, 8, kU64, ""}, {"side", 19, 1, kAlpha, ""},
    {"shares", 20, 4, kU32, kShares},     {"stock", 24, 8, kAlpha, ""},
    {"price", 32, 4, kPrice4, kP4},       {"match_number", 36, 8, kU64, ""},
};
inline constexpr ItchField kCross[] = {
    {"shares", 11, 8, kU64, kShares},  {"stock", 19, 8, kAlpha, ""},
    {"price", 27, 4, kPrice4, kP4},    {"match_number", 31, 8, kU64, ""},
    {"cross_type", 39, 1, kAlpha, ""},
};
inline constexpr ItchField kBroken[] = {{"match_number", 11, 8, kU64, ""}};
inline constexpr ItchField kNoii[] = {
    {"paired_shares", 11, 8, kU64, kShares},    {"imbalance_shares", 19, 8, kU64, kShares},
    {"imbalance_direction", 27, 1, kAlpha, ""}, {"stock", 28, 8, kAlpha, ""},
    {"far_price", 36, 4, kPrice4, kP4},         {"near_price", 40, 4, kPrice4, kP4},
    {"reference_price", 44, 4, kPrice4, kP4},   {"cross_type", 48, 1, kAlpha, ""},
    {"price_variation", 49, 1, kAlpha, ""},
};
inline constexpr ItchField kRetail[] = {
    {"stock", 11, 8, kAlpha, ""},
    {"interest_flag", 19, 1, kAlpha, ""},
};
inline constexpr ItchField kDirectListing[] = {
    {"stock", 11, 8, kAlpha, ""},           {"open_eligibility", 19, 1, kAlpha, ""},
    {"minimum_price", 20, 4, kPrice4, kP4}, {"maximum_price", 24, 4, kPrice4, kP4},
    {"near_price", 28, 4, kPrice4, kP4},    {"near_time", 32, 8, kU64, "as sent by the venue"},
    {"lower_collar", 40, 4, kPrice4, kP4},  {"upper_collar", 44, 4, kPrice4, kP4},
};

}  // namespace itch50_detail

/* Common to every type. In a record: instrument = stock_locate, event_time =
 * timestamp + the session's midnight. tracking_number is in the columns only. */
inline constexpr ItchField kItch50Header[] = {
    {"stock_locate", 1, 2, FieldKind::kU16, ""},
    {"tracking_number", 3, 2, FieldKind::kU16, ""},
    {"timestamp", 5, 6, FieldKind::kU48, "ns since midnight, New York"},
};

/* The table. The last braces are the normalised record: action, order_id, aux,
 * price, qty, side, printable. For STATUS, aux is the symbol where there is one
 * and qty the state letter, or the most useful quantity where there is one:
 * R round lot, J number of extensions, I paired shares. Prices of STATUS: V
 * level 1, K IPO price, J reference, I cross reference, O near execution. I's
 * imbalance direction is the side ('B', 'S', else 0). All else: raw columns. */
inline constexpr ItchMessage kItch50Messages[] = {
    {'S',
     12,
     "system_event",
     itch50_detail::kSystemEvent,
     {WP_ACTION_STATUS, "", "", "", "event_code", "", ""}},
    {'R',
     39,
     "stock_directory",
     itch50_detail::kDirectory,
     {WP_ACTION_STATUS, "", "stock", "", "round_lot_size", "", ""}},
    {'H',
     25,
     "trading_action",
     itch50_detail::kTradingAction,
     {WP_ACTION_STATUS, "", "stock", "", "trading_state", "", ""}},
    {'Y',
     20,
     "reg_sho",
     itch50_detail::kRegSho,
     {WP_ACTION_STATUS, "", "stock", "", "reg_sho_action", "", ""}},
    {'L',
     26,
     "participant_position",
     itch50_detail::kPosition,
     {WP_ACTION_STATUS, "", "stock", "", "participant_state", "", ""}},
    {'V',
     35,
     "mwcb_levels",
     itch50_detail::kMwcbLevels,
     {WP_ACTION_STATUS, "", "", "level1", "", "", ""}},
    {'W',
     12,
     "mwcb_status",
     itch50_detail::kMwcbStatus,
     {WP_ACTION_STATUS, "", "", "", "breached_level", "", ""}},
    {'K',
     28,
     "ipo_quoting",
     itch50_detail::kIpoQuoting,
     {WP_ACTION_STATUS, "", "stock", "ipo_price", "release_qualifier", "", ""}},
    {'J',
     35,
     "luld_collar",
     itch50_detail::kLuldCollar,
     {WP_ACTION_STATUS, "", "stock", "reference_price", "extension", "", ""}},
    {'h',
     21,
     "operational_halt",
     itch50_detail::kOperationalHalt,
     {WP_ACTION_STATUS, "", "stock", "", "halt_action", "", ""}},
    {'A',
     36,
     "add_order",
     itch50_detail::kAdd,
     {WP_ACTION_ADD, "order_reference", "stock", "price", "shares", "side", ""}},
    {'F',
     40,
     "add_order_mpid",
     itch50_detail::kAddMpid,
     {WP_ACTION_ADD, "order_reference", "stock", "price", "shares", "side", ""}},
    {'E',
     31,
     "order_executed",
     itch50_detail::kExecuted,
     {WP_ACTION_EXECUTE, "order_reference", "match_number", "", "shares", "", ""}},
    {'C',
     36,
     "order_executed_price",
     itch50_detail::kExecutedPrice,
     {WP_ACTION_EXECUTE, "order_reference", "match_number", "price", "shares", "", "printable"}},
    {'X',
     23,
     "order_cancel",
     itch50_detail::kCancel,
     {WP_ACTION_CANCEL, "order_reference", "", "", "shares", "", ""}},
    {'D',
     19,
     "order_delete",
     itch50_detail::kDelete,
     {WP_ACTION_DELETE, "order_reference", "", "", "", "", ""}},
    {'U',
     35,
     "order_replace",
     itch50_detail::kReplace,
     {WP_ACTION_MODIFY, "new_order_reference", "old_order_reference", "price", "shares", "", ""}},
    {'P',
     44,
     "trade",
     itch50_detail::kTrade,
     {WP_ACTION_TRADE, "order_reference", "match_number", "price", "shares", "side", ""}},
    {'Q',
     40,
     "cross_trade",
     itch50_detail::kCross,
     {WP_ACTION_TRADE, "", "match_number", "price", "shares", "", ""}},
    {'B',
     19,
     "broken_trade",
     itch50_detail::kBroken,
     {WP_ACTION_BREAK, "", "match_number", "", "", "", ""}},
    {'I',
     50,
     "noii",
     itch50_detail::kNoii,
     {WP_ACTION_STATUS, "", "stock", "reference_price", "paired_shares", "imbalance_direction",
      ""}},
    {'N',
     20,
     "retail_interest",
     itch50_detail::kRetail,
     {WP_ACTION_STATUS, "", "stock", "", "interest_flag", "", ""}},
    {'O',
     48,
     "direct_listing",
     itch50_detail::kDirectListing,
     {WP_ACTION_STATUS, "", "stock", "near_price", "open_eligibility", "", ""}},
};
inline constexpr size_t kItch50Types = std::size(kItch50Messages);
inline constexpr size_t kItch50MaxLength = 50;

/* Length by type byte; 0 = unknown type. */
inline constexpr std::array<uint16_t, 256> kItch50Lengths = [] {
  std::array<uint16_t, 256> lengths{};
  for (const ItchMessage& m : kItch50Messages) lengths[static_cast<uint8_t>(m.type)] = m.length;
  return lengths;
}();

/* Index into kItch50Messages by type byte; -1 = unknown type. */
inline constexpr std::array<int8_t, 256> kItch50Index = [] {
  std::array<int8_t, 256> index{};
  index.fill(-1);
  for (size_t i = 0; i < kItch50Types; ++i) {
    index[static_cast<uint8_t>(kItch50Messages[i].type)] = static_cast<int8_t>(i);
  }
  return index;
}();

namespace itch50_detail {

/* Every byte after the type belongs to exactly one field. */
constexpr bool table_is_sound() {
  for (const ItchMessage& m : kItch50Messages) {
    size_t at = 1;
    for (std::span<const ItchField> part : {std::span<const ItchField>(kItch50Header), m.fields}) {
      for (const ItchField& f : part) {
        const uint16_t width = kind_width(f.kind);
        if (f.offset != at || (width != 0 && width != f.width)) return false;
        at += f.width;
      }
    }
    if (at != m.length || m.length > kItch50MaxLength) return false;
  }
  return true;
}
static_assert(table_is_sound() && kItch50Types == 23);

}  // namespace itch50_detail
}  // namespace wp::feed
