/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw ITCH 5.0 columns, from the table of messages.
 */
#include "feed/itch50_columns.h"

namespace wp::feed {
namespace {

struct Venue {
  static constexpr std::span<const ItchMessage, kItch50Types> kMessages{kItch50Messages};
  static constexpr std::span<const MessageField> kHeader{kItch50Header};
  static constexpr std::array kStamps = {StampField::kSeq, StampField::kRecvTime};
  static constexpr ByteOrder kOrder = ByteOrder::kBig;
  static constexpr size_t kTypeAt = 0;
  static constexpr bool kLetters = true;
};

const ColumnTable& table() {
  static const ColumnTable made = column_table<Venue>();
  return made;
}

}  // namespace

const std::vector<ItchRowLayout>& itch50_row_layouts() {
  return table().layouts;
}

const ItchRowLayout& itch50_row_layout(char type) {
  return table().layouts[table().index_of(static_cast<uint8_t>(type))];
}

Itch50Columns::Itch50Columns(const std::string& types)
    : columns_(table(), {reinterpret_cast<const uint8_t*>(types.data()), types.size()}) {}

size_t Itch50Columns::append_frames(const uint8_t* buf, size_t n, uint64_t* seq, int64_t recv_time,
                                    bool last) {
  ItchFileReader reader(buf, n);
  std::span<const uint8_t> message;
  while (reader.next(message)) append(message.data(), message.size(), (*seq)++, recv_time);
  end_ = reader.end();
  if (end_ == ItchFileEnd::kEndOfSession) ++end_of_session_;
  if (end_ != ItchFileEnd::kTruncated || !last) return reader.offset();
  ++truncated_;
  return n;
}

Itch50Counters Itch50Columns::counters() const {
  const MessageCounters& c = columns_.counters();
  return {c.messages, c.by_type, c.unknown, c.malformed, truncated_, end_of_session_};
}

}  // namespace wp::feed
