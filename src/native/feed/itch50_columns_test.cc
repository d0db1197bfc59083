/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw columns: layouts, and every value of random messages read back through the
 * exported layout and compared with the bytes on the wire.
 */
#include "feed/itch50_columns.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"

namespace wp::feed {
namespace {

uint64_t native(const uint8_t* p, size_t width) {
  uint64_t v = 0;
  std::memcpy(&v, p, width);
  return v;
}

uint64_t wire(const uint8_t* p, size_t width) {
  uint64_t v = 0;
  for (size_t i = 0; i < width; ++i) v = v << 8 | p[i];
  return v;
}

TEST_CASE("the layout of an add") {
  const ItchRowLayout& layout = itch50_row_layout('A');
  CHECK(layout.name == "add_order");
  CHECK(layout.itemsize == 53);
  std::string text;
  for (const ItchColumn& c : layout.columns) {
    text += c.name + " " + c.format + " @" + std::to_string(c.offset) + " " + c.unit + "\n";
  }
  CHECK(text ==
        "seq <u8 @0 sequence number\n"
        "recv_time <i8 @8 ns since the Unix epoch\n"
        "stock_locate <u2 @16 \n"
        "tracking_number <u2 @18 \n"
        "timestamp <u8 @20 ns since midnight, New York\n"
        "order_reference <u8 @28 \n"
        "side S1 @36 \n"
        "shares <u4 @37 shares\n"
        "stock S8 @41 \n"
        "price <u4 @49 1e-4 USD\n");
  CHECK(itch50_row_layouts().size() == 23);
  CHECK_THROWS_WITH_AS(itch50_row_layout('z'), doctest::Contains("type = 'z'"), Error);
}

TEST_CASE("every field of every type comes back as it was on the wire") {
  std::mt19937_64 random(23);
  Itch50Columns columns;
  std::vector<std::vector<uint8_t>> messages;
  for (size_t i = 0; i < 23 * 400; ++i) {
    const ItchMessage& m = kItch50Messages[i % kItch50Types];
    std::vector<uint8_t> bytes(m.length);
    for (uint8_t& b : bytes) b = static_cast<uint8_t>(random());
    bytes[0] = static_cast<uint8_t>(m.type);
    CHECK(columns.append(bytes.data(), bytes.size(), i, -static_cast<int64_t>(i)) ==
          ItchResult::kOk);
    messages.push_back(bytes);
  }
  for (size_t t = 0; t < kItch50Types; ++t) {
    const ItchMessage& m = kItch50Messages[t];
    const ItchRowLayout& layout = itch50_row_layout(m.type);
    REQUIRE(columns.rows(m.type) == 400);
    const std::span<const uint8_t> rows = columns.data(m.type);
    REQUIRE(rows.size() == 400 * layout.itemsize);
    REQUIRE(layout.columns.size() == 2 + std::size(kItch50Header) + m.fields.size());
    size_t wrong = 0;
    for (size_t r = 0; r < 400; ++r) {
      const size_t n = r * kItch50Types + t;
      const uint8_t* row = rows.data() + r * layout.itemsize;
      const std::vector<uint8_t>& msg = messages[n];
      wrong += native(row, 8) != n;
      wrong += static_cast<int64_t>(native(row + 8, 8)) != -static_cast<int64_t>(n);
      for (size_t c = 2; c < layout.columns.size(); ++c) {
        const size_t h = c - 2;
        const ItchField& f = h < std::size(kItch50Header) ? kItch50Header[h]
                                                          : m.fields[h - std::size(kItch50Header)];
        const ItchColumn& column = layout.columns[c];
        const size_t width =
            std::stoul(column.format.substr(column.format.find_first_of("0123456789")));
        wrong += column.name != f.name;
        if (column.format[0] == 'S') {
          wrong += width != f.width;
          wrong += std::memcmp(row + column.offset, &msg[f.offset], f.width) != 0;
        } else {
          wrong += native(row + column.offset, width) != wire(&msg[f.offset], f.width);
        }
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("kept types, taking rows, and counters") {
  Itch50Columns columns("D");
  std::vector<uint8_t> file;
  for (const char type : {'D', 'X', 'D', 'z'}) {
    const size_t length = type == 'z' ? 3 : kItch50Lengths[static_cast<uint8_t>(type)];
    file.insert(file.end(), {0, static_cast<uint8_t>(length), static_cast<uint8_t>(type)});
    file.resize(file.size() + length - 1);
  }
  uint64_t seq = 1;
  CHECK(columns.append_frames(file.data(), file.size() - 1, &seq, 0, false) == file.size() - 5);
  CHECK(columns.end() == ItchFileEnd::kTruncated);
  CHECK(seq == 4);
  CHECK(columns.append_frames(file.data() + file.size() - 5, 5, &seq, 0) == 5);
  CHECK(columns.end() == ItchFileEnd::kClean);
  CHECK(columns.rows('D') == 2);
  CHECK(columns.rows('X') == 0);
  CHECK(columns.counters().messages == 3);
  CHECK(columns.counters().unknown == 1);
  const std::vector<uint8_t> rows = columns.take('D');
  CHECK(rows.size() == 2 * itch50_row_layout('D').itemsize);
  CHECK(native(rows.data() + itch50_row_layout('D').itemsize, 8) == 3);
  CHECK(columns.rows('D') == 0);
  CHECK_THROWS_AS(Itch50Columns("Dz"), Error);
}

}  // namespace
}  // namespace wp::feed
