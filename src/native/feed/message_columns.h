/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw columns of any venue's table: per message type one packed, native-endian row
 * that keeps every field of the message as it is on the wire, ready to be viewed as
 * a NumPy structured array. Control side: buffers grow.
 *
 * A row is what is known of the message besides its bytes (RowStamp), the venue's
 * common header, then the type's fields in the order of the table. Alpha fields are
 * fixed bytes, spaces kept; 48-bit numbers become u64; prices stay integers in the
 * stated unit; fields that only the long form of a message has are 0 in the short.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "feed/message_decoder.h"
#include "feed/message_table.h"
#include "net/bytes.h"

namespace wp::feed {

struct RowColumn {
  std::string name;
  std::string format;  // NumPy type string: "<u4", "S8"
  size_t offset;       // in the row
  std::string unit;    // "shares", "1e-4 USD", …; empty: dimensionless, or a code
};

struct RowLayout {
  uint8_t type;
  std::string name;  // "add_order"
  size_t itemsize;   // bytes per row, no padding
  std::vector<RowColumn> columns;
  size_t length;       // of the message
  size_t long_length;  // another length that it may have, or 0
};

struct RowStamp {
  uint64_t seq = 0;
  int64_t recv_time = 0;   // ns since the Unix epoch
  int64_t send_time = 0;   // likewise, of the packet, by the venue
  int64_t event_time = 0;  // likewise, of the message, where its own field says less
  uint8_t unit = 0;
};

enum class StampField : uint8_t { kSeq, kRecvTime, kSendTime, kEventTime, kUnit };

using RowWriter = void (*)(const uint8_t* msg, size_t len, const RowStamp& stamp, uint8_t* row);

/* What a venue's columns need at run time; made by column_table. */
struct ColumnTable {
  std::vector<RowLayout> layouts;  // in the table's order
  std::vector<RowWriter> writers;
  std::array<int16_t, 256> index{};  // by type byte; -1: unknown
  size_t type_at = 0;
  bool letters = false;  // types are ASCII letters

  /* Throws wp::Error for a type that the venue does not have. */
  size_t index_of(uint8_t type) const;
};

class MessageColumns {
 public:
  /* types: those to keep, all when empty. Throws wp::Error for an unknown one. */
  explicit MessageColumns(const ColumnTable& table, std::span<const uint8_t> types = {});

  /* One message. Types that are not kept are checked and counted all the same. */
  MessageResult append(const uint8_t* msg, size_t len, const RowStamp& stamp);

  /* Whether append would take it: a known type of a right length. */
  bool fits(const uint8_t* msg, size_t len) const;

  size_t rows(uint8_t type) const;
  /* rows(type) * itemsize bytes; valid until the next append or take. */
  std::span<const uint8_t> data(uint8_t type) const;
  /* Hands the rows over and starts anew. */
  std::vector<uint8_t> take(uint8_t type);
  /* Starts all types anew and keeps their memory. */
  void clear();

  const ColumnTable& table() const { return *table_; }
  const MessageCounters& counters() const { return counters_; }

 private:
  struct Rows {
    std::vector<uint8_t> bytes;  // grown ahead of `used`
    size_t used = 0;
    bool kept = false;
  };

  const ColumnTable* table_;
  std::vector<Rows> rows_;
  MessageCounters counters_;
};

namespace column_detail {

struct StampColumn {
  std::string_view name;
  std::string_view format;
  std::string_view unit;
  size_t width;
};

constexpr StampColumn stamp_column(StampField field) {
  constexpr std::string_view kNs = "ns since the Unix epoch";
  switch (field) {
    case StampField::kSeq:
      return {"seq", "<u8", "sequence number", 8};
    case StampField::kRecvTime:
      return {"recv_time", "<i8", kNs, 8};
    case StampField::kSendTime:
      return {"send_time", "<i8", kNs, 8};
    case StampField::kEventTime:
      return {"event_time", "<i8", kNs, 8};
    case StampField::kUnit:
      return {"unit", "u1", "", 1};
  }
  return {};
}

template <StampField kField>
inline void copy_stamp(const RowStamp& stamp, uint8_t* to) {
  if constexpr (kField == StampField::kSeq) std::memcpy(to, &stamp.seq, 8);
  if constexpr (kField == StampField::kRecvTime) std::memcpy(to, &stamp.recv_time, 8);
  if constexpr (kField == StampField::kSendTime) std::memcpy(to, &stamp.send_time, 8);
  if constexpr (kField == StampField::kEventTime) std::memcpy(to, &stamp.event_time, 8);
  if constexpr (kField == StampField::kUnit) *to = stamp.unit;
}

constexpr size_t row_width(const MessageField& field) {
  return field.kind == FieldKind::kU48 ? sizeof(uint64_t) : field.width;
}

constexpr size_t long_length(const auto& message) {
  if constexpr (requires { message.long_length; }) return message.long_length;
  return 0;
}

template <ByteOrder kOrder, class T>
inline void copy_number(const uint8_t* from, uint8_t* to) {
  T v;
  std::memcpy(&v, from, sizeof v);
  if constexpr (kOrder == ByteOrder::kBig) {
    if constexpr (sizeof v == 2) v = __builtin_bswap16(v);
    if constexpr (sizeof v == 4) v = __builtin_bswap32(v);
    if constexpr (sizeof v == 8) v = __builtin_bswap64(v);
  }
  std::memcpy(to, &v, sizeof v);
}

template <ByteOrder kOrder, FieldKind kKind, size_t kWidth>
inline void copy_field(const uint8_t* from, uint8_t* to) {
  if constexpr (kKind == FieldKind::kAlpha || kWidth == 1) {
    std::memcpy(to, from, kWidth);
  } else if constexpr (kWidth == 2) {
    copy_number<kOrder, uint16_t>(from, to);
  } else if constexpr (kWidth == 4) {
    copy_number<kOrder, uint32_t>(from, to);
  } else if constexpr (kWidth == 6) {
    static_assert(kOrder == ByteOrder::kBig);
    const uint64_t v = net::load_be64(from - 2) & 0xffff'ffff'ffffULL;
    std::memcpy(to, &v, sizeof v);
  } else {
    static_assert(kWidth == 8);
    copy_number<kOrder, uint64_t>(from, to);
  }
}

/* V has kMessages, kHeader (fields), kStamps (StampField), kOrder, kTypeAt, kLetters. */
template <class V>
constexpr size_t stamp_offset(size_t n) {
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) at += stamp_column(V::kStamps[i]).width;
  return at;
}

constexpr size_t fields_offset(std::span<const MessageField> fields, size_t n) {
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) at += row_width(fields[i]);
  return at;
}

template <class V>
constexpr size_t kHeaderAt = stamp_offset<V>(V::kStamps.size());
template <class V>
constexpr size_t kFieldsAt = kHeaderAt<V> + fields_offset(V::kHeader, V::kHeader.size());

template <class V, size_t kMessage>
void write_row(const uint8_t* msg, size_t len, const RowStamp& stamp, uint8_t* row) {
  [&]<size_t... kI>(std::index_sequence<kI...>) {
    (copy_stamp<V::kStamps[kI]>(stamp, row + stamp_offset<V>(kI)), ...);
  }
  (std::make_index_sequence<V::kStamps.size()>());
  [&]<size_t... kI>(std::index_sequence<kI...>) {
    (copy_field<V::kOrder, V::kHeader[kI].kind, V::kHeader[kI].width>(
         msg + V::kHeader[kI].offset, row + kHeaderAt<V> + fields_offset(V::kHeader, kI)),
     ...);
  }
  (std::make_index_sequence<V::kHeader.size()>());
  [&]<size_t... kI>(std::index_sequence<kI...>) {
    const auto copy = [&]<size_t kN>(std::integral_constant<size_t, kN>) {
      constexpr const auto& kM = V::kMessages[kMessage];
      constexpr MessageField kF = kM.fields[kN];
      constexpr size_t kTo = kFieldsAt<V> + fields_offset(kM.fields, kN);
      if (kF.offset + kF.width > kM.length && len == kM.length) {
        std::memset(row + kTo, 0, row_width(kF));
      } else {
        copy_field<V::kOrder, kF.kind, kF.width>(msg + kF.offset, row + kTo);
      }
    };
    (copy(std::integral_constant<size_t, kI>()), ...);
  }
  (std::make_index_sequence<V::kMessages[kMessage].fields.size()>());
}

std::string numpy_format(const MessageField& field);

void add_columns(std::span<const MessageField> fields, RowLayout& layout);

}  // namespace column_detail

template <class V>
ColumnTable column_table() {
  ColumnTable table;
  table.index.fill(-1);
  table.type_at = V::kTypeAt;
  table.letters = V::kLetters;
  for (const auto& m : V::kMessages) {
    RowLayout layout{static_cast<uint8_t>(m.type), std::string(m.name), 0, {}, m.length,
                     column_detail::long_length(m)};
    for (StampField field : V::kStamps) {
      const column_detail::StampColumn c = column_detail::stamp_column(field);
      layout.columns.push_back(
          {std::string(c.name), std::string(c.format), layout.itemsize, std::string(c.unit)});
      layout.itemsize += c.width;
    }
    column_detail::add_columns(V::kHeader, layout);
    column_detail::add_columns(m.fields, layout);
    table.index[layout.type] = static_cast<int16_t>(table.layouts.size());
    table.layouts.push_back(std::move(layout));
  }
  [&]<size_t... kI>(std::index_sequence<kI...>) {
    table.writers = {&column_detail::write_row<V, kI>...};
  }
  (std::make_index_sequence<V::kMessages.size()>());
  return table;
}

}  // namespace wp::feed
