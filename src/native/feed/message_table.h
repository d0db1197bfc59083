/* SPDX-License-Identifier: Apache-2.0
 *
 * How a venue's messages are written down: one constexpr table per venue with the
 * fields of each type. Record decoders, raw columns and documentation are derived
 * from it.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/record.h"

namespace wp::feed {

enum class ByteOrder : uint8_t { kBig, kLittle };

/* What became of a message: decoded, its type is not in the table, or it has not its
 * type's length. */
enum class MessageResult : uint8_t { kOk, kUnknown, kMalformed };

enum class FieldKind : uint8_t {
  kAlpha,
  kU8,
  kU16,
  kU32,
  kU48,
  kU64,
  kI64,
  kPrice2,  // unsigned with so many implied decimals, as wide as the field
  kPrice4,
  kPrice8,
  kSignedPrice4,
};

struct MessageField {
  std::string_view name;
  uint16_t offset;  // from the first byte of the message
  uint16_t width;   // bytes on the wire
  FieldKind kind;
  std::string_view unit;  // empty: dimensionless, or a code
};

/* Bytes that a kind always takes; 0: any. */
constexpr uint16_t kind_width(FieldKind kind) {
  switch (kind) {
    case FieldKind::kU8:
      return 1;
    case FieldKind::kU16:
      return 2;
    case FieldKind::kU32:
      return 4;
    case FieldKind::kU48:
      return 6;
    case FieldKind::kU64:
    case FieldKind::kI64:
    case FieldKind::kSignedPrice4:
      return 8;
    default:
      return 0;
  }
}

constexpr uint64_t low_bytes(uint16_t width) {
  return width >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * width)) - 1;
}

/* What a kind of price is multiplied by to become 1e-9 units of currency. */
constexpr uint64_t price_scale(FieldKind kind) {
  switch (kind) {
    case FieldKind::kPrice2:
      return 10'000'000;
    case FieldKind::kPrice4:
    case FieldKind::kSignedPrice4:
      return 100'000;
    case FieldKind::kPrice8:
      return 10;
    default:
      return 0;
  }
}

/* Which field feeds which member of a wp_record, by field name; empty = 0. */
struct RecordMap {
  wp_action action = WP_ACTION_OTHER;
  std::string_view order_id = {};
  std::string_view aux = {};  // the field "symbol": its bytes, padded with spaces
  std::string_view price = {};
  std::string_view qty = {};         // an alpha field of one letter: its ASCII code
  std::string_view side = {};        // 'B', 'S', or IEX's '8' and '5'
  char fixed_side = 0;               // where the type of the message is the side
  uint8_t fixed_flags = 0;           // wp_record_flags that each has
  std::string_view flag_field = {};  // if any of flag_bits is set in this byte,
  uint8_t flag_bits = 0;
  uint8_t flag = 0;  // this wp_record_flags is set
};

/* One type of message of a little-endian venue. */
struct WireMessage {
  uint8_t type;
  uint16_t length;       // all of the message
  uint16_t long_length;  // another length that it may have; 0: none
  std::string_view name;
  std::span<const MessageField> fields;  // those behind `length` are in the long one only
  RecordMap record;
  RecordMap second = {};  // OTHER: the message makes one record only
};

}  // namespace wp::feed
