/* SPDX-License-Identifier: Apache-2.0
 *
 * ITCH 5.0 as raw columns: per message type one packed, native-endian row that
 * keeps every field of the message as it is on the wire, ready to be viewed as a
 * NumPy structured array. Control side: buffers grow.
 *
 * A row is seq (u64), recv_time (i64, ns since the Unix epoch), the common
 * header (stock_locate, tracking_number, timestamp), then the type's fields in
 * the order of itch50_tables.h. Alpha fields are fixed bytes, spaces kept;
 * 48-bit numbers become u64; prices stay integers in the stated unit.
 */
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "feed/itch50.h"

namespace wp::feed {

struct ItchColumn {
  std::string name;
  std::string format;  // NumPy type string: "<u4", "S8"
  size_t offset;       // in the row
  std::string unit;    // "shares", "1e-4 USD", …; empty: dimensionless, or a code
};

struct ItchRowLayout {
  char type;
  std::string name;  // "add_order"
  size_t itemsize;   // bytes per row, no padding
  std::vector<ItchColumn> columns;
};

/* All 23 types, in the table's order. */
const std::vector<ItchRowLayout>& itch50_row_layouts();
/* One of them. Throws wp::Error for a letter that is not an ITCH 5.0 type. */
const ItchRowLayout& itch50_row_layout(char type);

class Itch50Columns {
 public:
  /* types: the letters to keep, all when empty. Throws wp::Error for an unknown one. */
  explicit Itch50Columns(const std::string& types = {});

  /* One message. Types that are not kept are checked and counted all the same. */
  ItchResult append(const uint8_t* msg, size_t len, uint64_t seq, int64_t recv_time);

  /* Length-prefixed frames, numbered from *seq, which is advanced. Returns the
   * bytes consumed; see Itch50Decoder::decode_frames for `last` and end(). */
  size_t append_frames(const uint8_t* buf, size_t n, uint64_t* seq, int64_t recv_time,
                       bool last = true);

  size_t rows(char type) const;
  /* rows(type) * itemsize bytes; valid until the next append or take. */
  std::span<const uint8_t> data(char type) const;
  /* Hands the rows over and starts anew. */
  std::vector<uint8_t> take(char type);

  ItchFileEnd end() const { return end_; }
  const Itch50Counters& counters() const { return counters_; }

 private:
  struct Table {
    std::vector<uint8_t> bytes;  // grown ahead of `used`
    size_t used = 0;
    bool kept = false;
  };

  std::array<Table, kItch50Types> tables_;
  Itch50Counters counters_;
  ItchFileEnd end_ = ItchFileEnd::kNone;
};

}  // namespace wp::feed
