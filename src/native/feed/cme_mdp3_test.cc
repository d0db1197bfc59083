// SPDX-License-Identifier: Apache-2.0
#include "feed/cme_mdp3.h"

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/cme_writer.h"
#include "feed/sbe_plan_words.h"

using namespace wp::feed;
using test::cme_book;
using test::cme_header;
using test::cme_packet;
using test::CmeBytes;

namespace {

CmeMdp3 decoder() {
  auto plan = std::make_shared<const SbePlan>(test::cme_plan_words());
  CmeMap map(*plan, test::cme_map_words());
  return {std::move(plan), std::move(map)};
}

std::vector<wp_record> decode(CmeMdp3& d, const CmeBytes& message, uint8_t flags = 0) {
  std::vector<wp_record> out;
  d.on_message(message.bytes.data(), message.bytes.size(), {42, 99, 340, flags},
               [&out] { return &out.emplace_back(); });
  return out;
}

constexpr uint8_t kEnd = 0x80;

}  // namespace

TEST_CASE("cme: an entry becomes a record") {
  CmeMdp3 d = decoder();
  const auto records = decode(
      d, cme_book(1'000, 0x84, {{-12'345'678, 9, -5, 0xfedc'ba98, 3, 1, '1'}}), WP_FLAG_LATE);
  REQUIRE(records.size() == 1);
  const wp_record& r = records[0];
  CHECK(r.seq == 42);
  CHECK(r.recv_time == 99);
  CHECK(r.event_time == 1'000);
  CHECK(r.price == -1'234'567'800);
  CHECK(r.qty == 9);
  CHECK(static_cast<int32_t>(r.instrument) == -5);
  CHECK(r.order_id == 0);
  CHECK(r.aux == (0xfedc'ba98ULL | 3ULL << 32 | 1ULL << 40 | uint64_t{'1'} << 48));
  CHECK(r.type == 46);
  CHECK(r.action == WP_ACTION_MODIFY);
  CHECK(r.side == 'S');
  CHECK(r.flags == (WP_FLAG_LATE | WP_FLAG_END_OF_EVENT));
  CHECK(r.venue == WP_VENUE_CME);
  CHECK(r.channel == 340);
}

TEST_CASE("cme: nulls, actions and types of entries") {
  CmeMdp3 d = decoder();
  const auto records = decode(d, cme_book(1, 0,
                                          {{INT64_MAX, INT32_MAX, 7, 1, 1, 2, 'E'},
                                           {0, 0, 7, 2, 1, 3, 'F'},
                                           {5, 1, 7, 3, 1, 4, '0'},
                                           {5, 1, 7, 4, 1, 5, '0'},
                                           {5, 1, 7, 5, 1, 0, 'J'},
                                           {5, 1, 7, 6, 1, 0, 'W'},
                                           {5, 1, 7, 7, 1, 9, '0'}}));
  REQUIRE(records.size() == 7);
  CHECK(records[0].price == WP_NO_PRICE);
  CHECK((records[0].flags & WP_FLAG_SATURATED) == 0);
  CHECK(records[0].qty == 0);
  CHECK(records[1].price == 0);
  const std::array<int, 7> actions{WP_ACTION_DELETE, WP_ACTION_DELETE, WP_ACTION_DELETE,
                                   WP_ACTION_MODIFY, WP_ACTION_CLEAR,  WP_ACTION_OTHER,
                                   WP_ACTION_OTHER};
  for (size_t i = 0; i < actions.size(); ++i) CHECK(records[i].action == actions[i]);
  CHECK(records[0].side == 'B');
  CHECK(records[1].side == 'S');
  CHECK(records[5].side == 0);
  for (const wp_record& r : records) CHECK((r.flags & WP_FLAG_END_OF_EVENT) == 0);
}

TEST_CASE("cme: what does not fit is the largest, and says so") {
  CmeMdp3 d = decoder();
  const auto records = decode(
      d, cme_book(1, 0, {{INT64_MAX / 100 + 1, -1}, {INT64_MIN + 1, 5}, {INT64_MAX / 100, 5}}));
  CHECK(records[0].price == INT64_MAX);
  CHECK(records[0].qty == 0);
  CHECK((records[0].flags & WP_FLAG_SATURATED) != 0);
  CHECK(records[1].price == INT64_MIN);
  CHECK((records[1].flags & WP_FLAG_SATURATED) != 0);
  CHECK(records[2].price == INT64_MAX / 100 * 100);
  CHECK((records[2].flags & WP_FLAG_SATURATED) == 0);
}

TEST_CASE("cme: orders take price, side and instrument from their entry, also a longer one") {
  for (const uint16_t more : {0, 5}) {
    CmeMdp3 d = decoder();
    const auto records =
        decode(d, cme_book(1, kEnd, {{10, 4, 7, 1, 1, 0, '0'}, {20, 6, 8, 2, 1, 0, '1'}},
                           {{100, 5, 3, 2, 0},
                            {101, UINT64_MAX, INT32_MAX, 1, 2},
                            {102, 1, 1, 3, 0},
                            {103, 1, 1, 255, 0},
                            {104, 1, 1, 1, 7}},
                           more));
    REQUIRE(records.size() == 5);
    CHECK(records[2].order_id == 100);
    CHECK(records[2].aux == 5);
    CHECK(records[2].qty == 3);
    CHECK(records[2].price == 2000);
    CHECK(records[2].side == 'S');
    CHECK(records[2].instrument == 8);
    CHECK(records[2].action == WP_ACTION_ADD);
    CHECK(records[3].order_id == 101);
    CHECK(records[3].aux == 0);
    CHECK(records[3].qty == 0);
    CHECK(records[3].price == 1000);
    CHECK(records[3].action == WP_ACTION_DELETE);
    CHECK(records[4].action == WP_ACTION_OTHER);
    CHECK(d.counters().no_reference == 2);
    // The end of the event is with the last record, and only there.
    CHECK((records[4].flags & WP_FLAG_END_OF_EVENT) != 0);
    CHECK((records[1].flags & WP_FLAG_END_OF_EVENT) == 0);
  }
}

TEST_CASE("cme: an event that ends in a message without entries has a record of its own") {
  CmeMdp3 d = decoder();
  const auto records = decode(d, cme_book(77, kEnd, {}));
  REQUIRE(records.size() == 1);
  CHECK(records[0].action == WP_ACTION_OTHER);
  CHECK(records[0].instrument == 0);
  CHECK(records[0].event_time == 77);
  CHECK(records[0].flags == WP_FLAG_END_OF_EVENT);
  CHECK(decode(d, cme_book(77, 0, {})).empty());
}

TEST_CASE("cme: every message of a unit is in exactly one counter") {
  CmeMdp3 d = decoder();
  CmeBytes broken = cme_book(1, 0, {{}});
  broken.bytes.resize(40);
  const CmeBytes packet =
      cme_packet(1, 2, {cme_book(1, 0, {{}, {}}), cme_header(0, 12), cme_header(0, 99), broken});
  size_t seen = 0;
  wp_record record{};
  d.on_unit(packet.bytes.data() + 12, packet.bytes.size() - 12, {1, 2, 3, 0}, [&] {
    ++seen;
    return &record;
  });
  const CmeCounters& c = d.counters();
  CHECK(c.messages == 2);
  CHECK(c.by_message == std::vector<uint64_t>{1, 1});
  CHECK(c.unknown == 1);
  CHECK(c.malformed == 1);
  CHECK(c.framing == 0);
  CHECK(c.records == 2);
  CHECK(seen == 2);
  d.on_unit(packet.bytes.data() + 12, packet.bytes.size() - 13, {1, 2, 3, 0},
            [&record] { return &record; });
  CHECK(c.framing == 1);
}

TEST_CASE("cme: no record of a malformed message is passed on") {
  CmeMdp3 d = decoder();
  const CmeBytes whole = cme_book(1, kEnd, {{}, {}}, {{1, 1, 1, 1, 0}});
  for (size_t n = 0; n < whole.bytes.size(); ++n) {
    CmeBytes part = whole;
    part.bytes.resize(n);
    CHECK(decode(d, part).empty());
  }
  CHECK(decode(d, whole).size() == 3);
}

TEST_CASE("cme: a reset or a status is one record, whatever entries it has") {
  const auto plan = std::make_shared<const SbePlan>(test::cme_plan_words());
  for (const CmeKind kind : {CmeKind::kClear, CmeKind::kStatus}) {
    test::MapTemplate t;
    t.kind = kind;
    t.indicator = test::MapField::wire(8, 1);
    t.entries = 1;
    t.entry_type = test::MapField::constant('J');
    CmeMdp3 d(plan, CmeMap(*plan, test::map_words({t, {}})));
    const auto records = decode(d, cme_book(1, kEnd, {{}, {}}));
    REQUIRE(records.size() == 1);
    CHECK(records[0].action == (kind == CmeKind::kClear ? WP_ACTION_CLEAR : WP_ACTION_STATUS));
    CHECK(records[0].flags == WP_FLAG_END_OF_EVENT);
  }
}

TEST_CASE("cme: decoding does not allocate") {
  CmeMdp3 d = decoder();
  const CmeBytes packet = cme_packet(1, 2, {cme_book(1, kEnd, {{}, {}}, {{1, 1, 1, 1, 0}})});
  wp_record last{};
  const uint64_t before = wp::testing::allocations();
  for (int i = 0; i < 1000; ++i) {
    d.on_unit(packet.bytes.data() + 12, packet.bytes.size() - 12, {1, 2, 3, 0},
              [&last] { return &last; });
  }
  CHECK(wp::testing::allocations() == before);
  CHECK(d.counters().records == 3000);
}

TEST_CASE("cme: a map that does not fit its plan is refused") {
  const SbePlan plan(test::cme_plan_words());
  const std::vector<uint32_t> words = test::cme_map_words();
  for (size_t n = 0; n < words.size(); ++n) {
    CHECK_THROWS_AS(CmeMap(plan, std::span(words).first(n)), wp::Error);
  }
  // A field where the plan has none, one of a version before the plan's, a wrong group.
  test::MapTemplate t;
  t.kind = CmeKind::kEntries;
  t.time = test::MapField::wire(4, 8);
  CHECK_THROWS_AS(CmeMap(plan, test::map_words({t, {}})), wp::Error);
  t.time = {};
  t.entries = 1;
  t.entry_qty = test::MapField::wire(27, 4);
  CHECK_THROWS_AS(CmeMap(plan, test::map_words({t, {}})), wp::Error);
  t.entry_qty.since = 10;
  CHECK_NOTHROW(CmeMap(plan, test::map_words({t, {}})));
  t.entries = 0;
  CHECK_THROWS_AS(CmeMap(plan, test::map_words({t, {}})), wp::Error);
  const SbePlan big(test::plan_words({{12, {}}}, 1, true));
  CHECK_THROWS_AS(CmeMap(big, test::map_words({{}})), wp::Error);
}
