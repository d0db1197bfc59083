/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw columns of IEX and Cboe PITCH, from their tables of messages.
 */
#include "feed/venue_columns.h"

#include "feed/iex_tables.h"
#include "feed/pitch_tables.h"

namespace wp::feed {
namespace {

struct Iex {
  static constexpr std::span<const WireMessage, kIexTypes> kMessages{kIexMessages};
  static constexpr std::span<const MessageField> kHeader{kIexHeader};
  static constexpr std::array kStamps = {StampField::kSeq, StampField::kRecvTime,
                                         StampField::kSendTime};
  static constexpr ByteOrder kOrder = ByteOrder::kLittle;
  static constexpr size_t kTypeAt = 0;
  static constexpr bool kLetters = true;
};

struct Pitch {
  static constexpr std::span<const WireMessage, kPitchTypes> kMessages{kPitchMessages};
  static constexpr std::span<const MessageField> kHeader{};
  static constexpr std::array kStamps = {StampField::kSeq, StampField::kRecvTime, StampField::kUnit,
                                         StampField::kEventTime};
  static constexpr ByteOrder kOrder = ByteOrder::kLittle;
  static constexpr size_t kTypeAt = 1;
  static constexpr bool kLetters = false;
};

}  // namespace

const ColumnTable& iex_column_table() {
  static const ColumnTable made = column_table<Iex>();
  return made;
}

const ColumnTable& pitch_column_table() {
  static const ColumnTable made = column_table<Pitch>();
  return made;
}

}  // namespace wp::feed
