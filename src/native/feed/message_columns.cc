/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw columns: what does not depend on the venue.
 */
#include "feed/message_columns.h"

#include <algorithm>
#include <cstdio>

#include "core/error.h"

namespace wp::feed {
namespace column_detail {

std::string numpy_format(const MessageField& field) {
  if (field.kind == FieldKind::kAlpha) return "S" + std::to_string(field.width);
  const bool is_signed = field.kind == FieldKind::kI64 || field.kind == FieldKind::kSignedPrice4;
  std::string format = row_width(field) == 1 ? "" : "<";
  format += is_signed ? 'i' : 'u';
  return format + std::to_string(row_width(field));
}

void add_columns(std::span<const MessageField> fields, RowLayout& layout) {
  for (const MessageField& field : fields) {
    layout.columns.push_back(
        {std::string(field.name), numpy_format(field), layout.itemsize, std::string(field.unit)});
    layout.itemsize += row_width(field);
  }
}

}  // namespace column_detail

namespace {

std::string type_text(uint8_t type, bool letter) {
  if (letter) return std::string(1, static_cast<char>(type));
  char text[8];
  std::snprintf(text, sizeof text, "0x%02X", type);
  return text;
}

}  // namespace

size_t ColumnTable::index_of(uint8_t type) const {
  if (index[type] >= 0) return static_cast<size_t>(index[type]);
  std::string known;
  for (const RowLayout& layout : layouts) {
    if (!letters && !known.empty()) known += ", ";
    known += type_text(layout.type, letters);
  }
  const std::string quote = letters ? "'" : "";
  throw config_error("type", quote + type_text(type, letters) + quote, "one of " + known);
}

MessageColumns::MessageColumns(const ColumnTable& table, std::span<const uint8_t> types)
    : table_(&table), rows_(table.layouts.size()) {
  for (Rows& rows : rows_) rows.kept = types.empty();
  for (uint8_t type : types) rows_[table.index_of(type)].kept = true;
}

MessageResult MessageColumns::append(const uint8_t* msg, size_t len, const RowStamp& stamp) {
  if (len <= table_->type_at) {
    ++counters_.malformed;
    return MessageResult::kMalformed;
  }
  const uint8_t type = msg[table_->type_at];
  const int index = table_->index[type];
  if (index < 0) {
    ++counters_.unknown;
    return MessageResult::kUnknown;
  }
  const RowLayout& layout = table_->layouts[static_cast<size_t>(index)];
  if (len != layout.length && len != layout.long_length) {
    ++counters_.malformed;
    return MessageResult::kMalformed;
  }
  ++counters_.messages;
  ++counters_.by_type[type];
  Rows& rows = rows_[static_cast<size_t>(index)];
  if (!rows.kept) return MessageResult::kOk;
  if (rows.bytes.size() - rows.used < layout.itemsize) {
    rows.bytes.resize(std::max(2 * rows.bytes.size(), 256 * layout.itemsize));
  }
  table_->writers[static_cast<size_t>(index)](msg, len, stamp, rows.bytes.data() + rows.used);
  rows.used += layout.itemsize;
  ++counters_.records;
  return MessageResult::kOk;
}

bool MessageColumns::fits(const uint8_t* msg, size_t len) const {
  if (len <= table_->type_at || table_->index[msg[table_->type_at]] < 0) return false;
  const RowLayout& layout =
      table_->layouts[static_cast<size_t>(table_->index[msg[table_->type_at]])];
  return len == layout.length || len == layout.long_length;
}

size_t MessageColumns::rows(uint8_t type) const {
  const size_t index = table_->index_of(type);
  return rows_[index].used / table_->layouts[index].itemsize;
}

std::span<const uint8_t> MessageColumns::data(uint8_t type) const {
  const Rows& rows = rows_[table_->index_of(type)];
  return {rows.bytes.data(), rows.used};
}

std::vector<uint8_t> MessageColumns::take(uint8_t type) {
  Rows& rows = rows_[table_->index_of(type)];
  std::vector<uint8_t> taken = std::move(rows.bytes);
  taken.resize(rows.used);
  rows.bytes.clear();
  rows.used = 0;
  return taken;
}

void MessageColumns::clear() {
  for (Rows& rows : rows_) rows.used = 0;
}

}  // namespace wp::feed
