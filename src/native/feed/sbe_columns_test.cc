// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/sbe_columns.h"
#include "feed/sbe_plan_words.h"
#include "net/bytes.h"

using namespace wp::feed;
using test::plan_group;
using test::PlanBlock;

namespace {

// Root: u32; a group of u16 entries; a text.
std::shared_ptr<const SbePlan> plan() {
  PlanBlock entry{2, {{0, 2, 2}}, {}, {}};
  PlanBlock root{4, {{0, 4, 4}}, {plan_group(entry)}, {{}}};
  return std::make_shared<const SbePlan>(test::plan_words({{1, root}, {2, {}}}));
}

const std::string kMessage(
    "\x04\0\x01\0\x01\0\x01\0"
    "abcd"
    "\x03\0\x02"
    "EFxGHx"
    "\x02\0hi",
    25);

SbeResult append(SbeColumns& c, const std::string& message, uint64_t seq) {
  return c.append(reinterpret_cast<const uint8_t*>(message.data()), message.size(),
                  {seq, 100, 200});
}

template <class T>
T at(std::span<const uint8_t> bytes, size_t offset) {
  return wp::net::load_le<T>(bytes.data() + offset);
}

}  // namespace

TEST_CASE("sbe: rows, entries and data of a message are where the layout says") {
  SbeColumns c(plan());
  REQUIRE(append(c, kMessage, 9) == SbeResult::kOk);
  REQUIRE(append(c, kMessage, 10) == SbeResult::kOk);
  REQUIRE(c.rows(0) == 2);
  CHECK(c.row_size(0) == kSbeRootPrefix + 4 + kSbeDataColumn);
  const auto root = c.data(0).subspan(c.row_size(0));
  CHECK(at<uint64_t>(root, 0) == 10);
  CHECK(at<int64_t>(root, 8) == 100);
  CHECK(at<int64_t>(root, 16) == 200);
  CHECK(at<uint64_t>(root, 24) == 1);
  CHECK(at<uint32_t>(root, 32) == 1);
  CHECK(std::memcmp(root.data() + 36, "abcd", 4) == 0);
  CHECK(at<uint64_t>(root, 40) == 2);
  CHECK(at<uint32_t>(root, 48) == 2);
  REQUIRE(c.rows(1) == 4);
  const auto last = c.data(1).subspan(3 * c.row_size(1));
  CHECK(at<uint64_t>(last, 0) == 1);  // of the second message
  CHECK(at<uint32_t>(last, 8) == 1);  // its second entry
  CHECK(std::memcmp(last.data() + 12, "GH", 2) == 0);
  const auto heap = c.heap(0);
  CHECK(std::string(heap.begin(), heap.end()) == "hihi");
}

TEST_CASE("sbe: a malformed message leaves no row behind, and is counted") {
  SbeColumns c(plan());
  for (size_t n = 0; n < kMessage.size(); ++n) {
    CHECK(append(c, kMessage.substr(0, n), 1) == SbeResult::kMalformed);
  }
  CHECK(c.rows(0) == 0);
  CHECK(c.rows(1) == 0);
  CHECK(c.heap(0).empty());
  CHECK(c.counters().malformed == kMessage.size());
  std::string other = kMessage;
  other[2] = 3;
  CHECK(append(c, other, 1) == SbeResult::kUnknown);
  other[4] = 3;
  CHECK(append(c, other, 1) == SbeResult::kOtherSchema);
  CHECK(append(c, kMessage, 1) == SbeResult::kOk);
  CHECK(at<uint64_t>(c.data(0), 24) == kMessage.size() + 2);  // counts what was skipped
}

TEST_CASE("sbe: templates that are not kept are checked and counted, not stored") {
  SbeColumns c(plan(), std::vector<uint32_t>{2});
  CHECK(append(c, kMessage, 1) == SbeResult::kOk);
  CHECK(c.rows(0) == 0);
  CHECK(c.rows(1) == 0);
  CHECK(c.counters().by_message == std::vector<uint64_t>{1, 0});
  CHECK_THROWS_AS(SbeColumns(plan(), std::vector<uint32_t>{3}), wp::Error);
}

TEST_CASE("sbe: clearing a template begins its rows, groups and heap anew") {
  SbeColumns c(plan());
  append(c, kMessage, 1);
  c.clear(0);
  CHECK(c.rows(0) == 0);
  CHECK(c.rows(1) == 0);
  append(c, kMessage, 2);
  CHECK(at<uint64_t>(c.data(1), 0) == 0);
  CHECK(at<uint64_t>(c.data(0), 40) == 0);
}
