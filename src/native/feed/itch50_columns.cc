/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw ITCH 5.0 columns: row layouts and row writers, both unrolled from the
 * table of messages.
 */
#include "feed/itch50_columns.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

constexpr size_t kFirstField = sizeof(uint64_t) + sizeof(int64_t);  // after seq, recv_time

constexpr size_t row_width(const ItchField& field) {
  return field.kind == ItchKind::kU48 ? sizeof(uint64_t) : field.width;
}

constexpr size_t kHeaderEnd = [] {
  size_t at = kFirstField;
  for (const ItchField& field : kItch50Header) at += row_width(field);
  return at;
}();

constexpr size_t row_offset(std::span<const ItchField> fields, size_t n, size_t start) {
  size_t at = start;
  for (size_t i = 0; i < n; ++i) at += row_width(fields[i]);
  return at;
}

constexpr size_t row_size(const ItchMessage& m) {
  return row_offset(m.fields, m.fields.size(), kHeaderEnd);
}

template <ItchKind kKind, size_t kWidth>
void copy_field(const uint8_t* from, uint8_t* to) {
  if constexpr (kKind == ItchKind::kAlpha || kWidth == 1) {
    std::memcpy(to, from, kWidth);
  } else if constexpr (kWidth == 2) {
    const uint16_t v = net::load_be16(from);
    std::memcpy(to, &v, sizeof v);
  } else if constexpr (kWidth == 4) {
    const uint32_t v = net::load_be32(from);
    std::memcpy(to, &v, sizeof v);
  } else if constexpr (kWidth == 6) {
    const uint64_t v = net::load_be64(from - 2) & 0xffff'ffff'ffffULL;
    std::memcpy(to, &v, sizeof v);
  } else {
    static_assert(kWidth == 8);
    const uint64_t v = net::load_be64(from);
    std::memcpy(to, &v, sizeof v);
  }
}

template <const auto& kFields, size_t kStart, size_t... kI>
void copy_fields(const uint8_t* msg, uint8_t* row, std::index_sequence<kI...>) {
  (copy_field<kFields[kI].kind, kFields[kI].width>(msg + kFields[kI].offset,
                                                   row + row_offset(kFields, kI, kStart)),
   ...);
}

template <size_t kMessage>
constexpr std::span<const ItchField> kFieldsOf = kItch50Messages[kMessage].fields;

template <size_t kMessage>
void write_row(const uint8_t* msg, uint8_t* row) {
  copy_fields<kItch50Header, kFirstField>(msg, row,
                                          std::make_index_sequence<std::size(kItch50Header)>());
  copy_fields<kFieldsOf<kMessage>, kHeaderEnd>(
      msg, row, std::make_index_sequence<kFieldsOf<kMessage>.size()>());
}

struct RowWriter {
  void (*write)(const uint8_t* msg, uint8_t* row);
  size_t size;
};

constexpr auto kWriters = []<size_t... kI>(std::index_sequence<kI...>) {
  return std::array<RowWriter, kItch50Types>{
      RowWriter{&write_row<kI>, row_size(kItch50Messages[kI])}...};
}
(std::make_index_sequence<kItch50Types>());

std::string numpy_format(const ItchField& field) {
  std::string format = field.kind == ItchKind::kAlpha ? "S" : field.width == 1 ? "u" : "<u";
  format += std::to_string(row_width(field));
  return format;
}

ItchRowLayout make_layout(const ItchMessage& m) {
  ItchRowLayout layout{m.type, std::string(m.name), row_size(m), {}};
  layout.columns.push_back({"seq", "<u8", 0, "sequence number"});
  layout.columns.push_back({"recv_time", "<i8", 8, "ns since the Unix epoch"});
  size_t at = kFirstField;
  for (std::span<const ItchField> part : {std::span<const ItchField>(kItch50Header), m.fields}) {
    for (const ItchField& field : part) {
      layout.columns.push_back(
          {std::string(field.name), numpy_format(field), at, std::string(field.unit)});
      at += row_width(field);
    }
  }
  return layout;
}

size_t index_of(char type) {
  const int index = kItch50Index[static_cast<uint8_t>(type)];
  if (index < 0) {
    std::string known;
    for (const ItchMessage& m : kItch50Messages) known += m.type;
    throw config_error("type", "'" + std::string(1, type) + "'", "one of " + known);
  }
  return static_cast<size_t>(index);
}

}  // namespace

const std::vector<ItchRowLayout>& itch50_row_layouts() {
  static const std::vector<ItchRowLayout> layouts = [] {
    std::vector<ItchRowLayout> all;
    for (const ItchMessage& m : kItch50Messages) all.push_back(make_layout(m));
    return all;
  }();
  return layouts;
}

const ItchRowLayout& itch50_row_layout(char type) {
  return itch50_row_layouts()[index_of(type)];
}

Itch50Columns::Itch50Columns(const std::string& types) {
  for (Table& table : tables_) table.kept = types.empty();
  for (char type : types) tables_[index_of(type)].kept = true;
}

ItchResult Itch50Columns::append(const uint8_t* msg, size_t len, uint64_t seq, int64_t recv_time) {
  const int index = len == 0 ? -1 : kItch50Index[msg[0]];
  if (index < 0 && len != 0) {
    ++counters_.unknown;
    return ItchResult::kUnknown;
  }
  if (len == 0 || kItch50Lengths[msg[0]] != len) {
    ++counters_.malformed;
    return ItchResult::kMalformed;
  }
  ++counters_.messages;
  ++counters_.by_type[msg[0]];
  Table& table = tables_[static_cast<size_t>(index)];
  if (!table.kept) return ItchResult::kOk;
  const RowWriter& writer = kWriters[static_cast<size_t>(index)];
  if (table.bytes.size() - table.used < writer.size) {
    table.bytes.resize(std::max(2 * table.bytes.size(), 256 * writer.size));
  }
  uint8_t* const row = table.bytes.data() + table.used;
  std::memcpy(row, &seq, sizeof seq);
  std::memcpy(row + sizeof seq, &recv_time, sizeof recv_time);
  writer.write(msg, row);
  table.used += writer.size;
  return ItchResult::kOk;
}

size_t Itch50Columns::append_frames(const uint8_t* buf, size_t n, uint64_t* seq, int64_t recv_time,
                                    bool last) {
  ItchFileReader reader(buf, n);
  std::span<const uint8_t> message;
  while (reader.next(message)) append(message.data(), message.size(), (*seq)++, recv_time);
  end_ = reader.end();
  if (end_ == ItchFileEnd::kEndOfSession) ++counters_.end_of_session;
  if (end_ != ItchFileEnd::kTruncated || !last) return reader.offset();
  ++counters_.truncated;
  return n;
}

size_t Itch50Columns::rows(char type) const {
  const size_t index = index_of(type);
  return tables_[index].used / kWriters[index].size;
}

std::span<const uint8_t> Itch50Columns::data(char type) const {
  const Table& table = tables_[index_of(type)];
  return {table.bytes.data(), table.used};
}

std::vector<uint8_t> Itch50Columns::take(char type) {
  Table& table = tables_[index_of(type)];
  std::vector<uint8_t> rows = std::move(table.bytes);
  rows.resize(table.used);
  table.bytes.clear();
  table.used = 0;
  return rows;
}

}  // namespace wp::feed
