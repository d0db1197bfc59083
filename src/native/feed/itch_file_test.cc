/* SPDX-License-Identifier: Apache-2.0
 *
 * The day-file reader: frames, and each way in which a file can end.
 */
#include "feed/itch_file.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace wp::feed {
namespace {

struct Read {
  std::vector<std::string> messages;
  ItchFileEnd end;
  size_t offset;
};

Read read(const std::vector<uint8_t>& bytes) {
  ItchFileReader reader(bytes);
  CHECK(reader.end() == ItchFileEnd::kNone);
  Read r;
  std::span<const uint8_t> m;
  while (reader.next(m)) r.messages.emplace_back(m.begin(), m.end());
  CHECK_FALSE(reader.next(m));  // the end stays the end
  r.end = reader.end();
  r.offset = reader.offset();
  return r;
}

TEST_CASE("frames and ends") {
  const std::vector<uint8_t> two = {0, 1, 'a', 0, 2, 'b', 'c'};
  Read r = read(two);
  CHECK(r.messages == std::vector<std::string>{"a", "bc"});
  CHECK(r.end == ItchFileEnd::kClean);
  CHECK(r.offset == 7);

  CHECK(read({}).end == ItchFileEnd::kClean);

  std::vector<uint8_t> session = two;
  session.insert(session.end(), {0, 0, 0, 1, 'x'});
  r = read(session);
  CHECK(r.messages.size() == 2);
  CHECK(r.end == ItchFileEnd::kEndOfSession);
  CHECK(r.offset == 9);

  for (size_t cut : {4, 5, 6}) {
    r = read({two.begin(), two.begin() + static_cast<std::ptrdiff_t>(cut)});
    CHECK(r.messages == std::vector<std::string>{"a"});
    CHECK(r.end == ItchFileEnd::kTruncated);
    CHECK(r.offset == 3);
  }
}

TEST_CASE("a length above 255 and a rewind") {
  std::vector<uint8_t> bytes(2 + 258, 'x');
  bytes[0] = bytes[1] = 1;
  bytes.resize(2 + 257);
  ItchFileReader reader(bytes);
  std::span<const uint8_t> m;
  for (int i = 0; i < 2; ++i) {
    CHECK(reader.next(m));
    CHECK(m.size() == 257);
    CHECK_FALSE(reader.next(m));
    reader.rewind();
  }
}

}  // namespace
}  // namespace wp::feed
