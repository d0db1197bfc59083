/* SPDX-License-Identifier: Apache-2.0
 *
 * ITCH 5.0 as raw columns; see message_columns.h for rows. A row is seq, recv_time,
 * the common header (stock_locate, tracking_number, timestamp), then the type's
 * fields in the order of itch50_tables.h.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "feed/itch50.h"
#include "feed/message_columns.h"

namespace wp::feed {

using ItchColumn = RowColumn;
using ItchRowLayout = RowLayout;

/* All 23 types, in the table's order. */
const std::vector<ItchRowLayout>& itch50_row_layouts();
/* One of them. Throws wp::Error for a letter that is not an ITCH 5.0 type. */
const ItchRowLayout& itch50_row_layout(char type);

class Itch50Columns {
 public:
  /* types: the letters to keep, all when empty. Throws wp::Error for an unknown one. */
  explicit Itch50Columns(const std::string& types = {});

  /* One message. Types that are not kept are checked and counted all the same. */
  ItchResult append(const uint8_t* msg, size_t len, uint64_t seq, int64_t recv_time) {
    return columns_.append(msg, len, {.seq = seq, .recv_time = recv_time});
  }

  /* Length-prefixed frames, numbered from *seq, which is advanced. Returns the
   * bytes consumed; see Itch50Decoder::decode_frames for `last` and end(). */
  size_t append_frames(const uint8_t* buf, size_t n, uint64_t* seq, int64_t recv_time,
                       bool last = true);

  size_t rows(char type) const { return columns_.rows(static_cast<uint8_t>(type)); }
  /* rows(type) * itemsize bytes; valid until the next append or take. */
  std::span<const uint8_t> data(char type) const {
    return columns_.data(static_cast<uint8_t>(type));
  }
  /* Hands the rows over and starts anew. */
  std::vector<uint8_t> take(char type) { return columns_.take(static_cast<uint8_t>(type)); }
  /* Starts all types anew and keeps their memory. */
  void clear() { columns_.clear(); }

  ItchFileEnd end() const { return end_; }
  Itch50Counters counters() const;

 private:
  MessageColumns columns_;
  uint64_t truncated_ = 0;
  uint64_t end_of_session_ = 0;
  ItchFileEnd end_ = ItchFileEnd::kNone;
};

}  // namespace wp::feed
