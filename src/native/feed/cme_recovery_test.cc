// SPDX-License-Identifier: Apache-2.0
#include "feed/cme_recovery.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/book.h"
#include "feed/cme_publisher.h"

namespace wp::feed {
namespace {

using Kind = CmeRecovery::Kind;
using State = CmeRecovery::State;
using test::CmePublisher;

wp_record level(uint32_t instrument, uint32_t rpt_seq, uint8_t flags = 0, uint8_t at = 1) {
  wp_record r{};
  r.venue = WP_VENUE_CME;
  r.type = 46;
  r.action = WP_ACTION_ADD;
  r.side = 'B';
  r.qty = rpt_seq;
  r.price = rpt_seq;
  r.instrument = instrument;
  r.aux = rpt_seq | uint64_t{at} << 32 | uint64_t{'0'} << 48;
  r.flags = flags;
  return r;
}

wp_record snapshot(uint32_t instrument, uint32_t rpt_seq, uint32_t covers, uint32_t reports,
                   uint64_t seq, uint16_t type = 52) {
  wp_record r{};
  r.venue = WP_VENUE_CME;
  r.type = type;
  r.action = WP_ACTION_CLEAR;
  r.instrument = instrument;
  r.qty = reports;
  r.seq = seq;
  r.aux = rpt_seq | uint64_t{covers} << 32;
  r.flags = WP_FLAG_END_OF_EVENT;
  return r;
}

std::vector<BookLevel> depth(const Books& books, uint32_t instrument, char side) {
  std::vector<BookLevel> out(kMostLevels);
  out.resize(books.depth(instrument, side, out));
  return out;
}

std::vector<BookOrder> orders(const Books& books, uint32_t instrument, char side) {
  std::vector<BookOrder> out(books.order_count(instrument, side));
  out.resize(books.orders(instrument, side, out));
  return out;
}

bool same_book(const Books& a, const Books& b, uint32_t instrument) {
  for (const char side : {'B', 'S'}) {
    const auto equal = [](const auto& x, const auto& y) {
      return x.price == y.price && x.qty == y.qty;
    };
    if (!std::ranges::equal(depth(a, instrument, side), depth(b, instrument, side), equal))
      return false;
    const auto same = [](const BookOrder& x, const BookOrder& y) {
      return x.order_id == y.order_id && x.price == y.price && x.qty == y.qty;
    };
    if (!std::ranges::equal(orders(a, instrument, side), orders(b, instrument, side), same))
      return false;
  }
  return true;
}

void check_counters(const CmeRecovery& recovery) {
  const CmeRecoveryCounters& c = recovery.counters();
  CHECK(c.records == c.passed + c.held + c.superseded);
  CHECK(c.held == c.replayed + c.covered + c.dropped + recovery.held_now());
}

// The naive view of levels: everything that came, and the newest snapshot.
struct NaiveLevels {
  std::map<uint32_t, std::set<uint64_t>> came;
  std::map<uint32_t, uint64_t> base;
  bool misses(uint32_t instrument) const {
    const auto found = came.find(instrument);
    if (found == came.end()) return false;
    const auto at = base.find(instrument);
    uint64_t expected = at == base.end() ? 1 : at->second + 1;
    for (auto it = found->second.lower_bound(expected); it != found->second.end(); ++it)
      if (*it != expected++) return true;
    return false;
  }
};

}  // namespace

TEST_CASE("cme recovery: what continues goes on, and only what is missing becomes stale") {
  CmeRecovery recovery;
  const wp_record first[] = {level(1, 1), level(2, 1)};
  CHECK(recovery.on_packet(1, first, 2).size() == 2);
  CHECK_FALSE(recovery.wanting());
  const wp_record next[] = {level(1, 2), level(2, 3, WP_FLAG_END_OF_EVENT)};  // 2 of 2 was lost
  const auto out = recovery.on_packet(3, next, 2);
  REQUIRE(out.size() == 3);
  CHECK(out[0].instrument == 1);
  CHECK(out[1].action == WP_ACTION_CLEAR);  // a stale book is no book
  CHECK(out[1].instrument == 2);
  CHECK(out[2].action == WP_ACTION_OTHER);  // the event ends all the same
  CHECK(out[2].flags == WP_FLAG_END_OF_EVENT);
  CHECK(recovery.state(1, Kind::kLevels) == State::kLive);
  CHECK(recovery.state(2, Kind::kLevels) == State::kStale);
  CHECK(recovery.stale() == std::vector<uint32_t>{2});
  CHECK(recovery.counters().lost_packets == 1);
  CHECK(recovery.wanting());
}

TEST_CASE("cme recovery: CLEAR, the snapshot, then what was held and is newer") {
  CmeRecovery recovery;
  const wp_record first[] = {level(5, 7)};  // joined late
  CHECK(recovery.on_packet(100, first, 1).empty());
  const wp_record more[] = {level(5, 8), level(5, 9, WP_FLAG_END_OF_EVENT)};
  recovery.on_packet(101, more, 2);
  wp_record loop[] = {snapshot(5, 5, 98, 1, 1), level(5, 5)};
  CHECK(recovery.on_snapshot(loop, 1).empty());  // 6 is in neither
  CHECK(recovery.counters().snapshots_too_old == 1);
  loop[0] = snapshot(5, 7, 100, 1, 1);
  loop[0].flags = 0;
  loop[1].type = 52;
  loop[1].seq = 1;
  loop[1].flags = WP_FLAG_END_OF_EVENT;
  const auto out = recovery.on_snapshot(loop, 2);
  REQUIRE(out.size() == 4);
  CHECK(out[0].action == WP_ACTION_CLEAR);
  CHECK(out[1].type == 52);
  CHECK(out[2].qty == 8);
  CHECK(out[3].qty == 9);
  for (size_t i = 0; i < 3; i++) CHECK(out[i].flags == WP_FLAG_RECOVERED);
  CHECK(out[3].flags == (WP_FLAG_RECOVERED | WP_FLAG_END_OF_EVENT));
  CHECK(recovery.position(5, Kind::kLevels) == 9);
  CHECK(recovery.counters().covered == 1);
  CHECK(recovery.counters().replayed == 2);
  CHECK(recovery.counters().loops == 2);
  CHECK_FALSE(recovery.wanting());
  check_counters(recovery);
}

TEST_CASE("cme recovery: a snapshot ahead of the feed, then what it already has") {
  CmeRecovery recovery;
  const wp_record first[] = {level(5, 7)};
  recovery.on_packet(100, first, 1);
  const wp_record ahead[] = {snapshot(5, 9, 102, 1, 1)};
  CHECK(recovery.on_snapshot(ahead, 1).size() == 1);
  const wp_record old[] = {level(5, 8), level(5, 9, WP_FLAG_END_OF_EVENT)};
  const auto out = recovery.on_packet(101, old, 2);
  REQUIRE(out.size() == 1);
  CHECK(out[0].action == WP_ACTION_OTHER);
  CHECK(recovery.counters().superseded == 2);
  const wp_record fresh[] = {level(5, 10)};
  CHECK(recovery.on_packet(102, fresh, 1).size() == 1);
}

TEST_CASE("cme recovery: a change that was lost, and nothing behind it, shows in the loop") {
  CmeRecovery recovery;
  const wp_record first[] = {level(1, 1), level(2, 1)};
  recovery.on_packet(1, first, 2);
  recovery.on_packet(3, first, 0);
  CHECK(recovery.stale_count() == 0);
  CHECK(recovery.wanting());
  const wp_record one[] = {snapshot(1, 1, 3, 2, 1)};
  CHECK(recovery.on_snapshot(one, 1).empty());
  const wp_record two[] = {snapshot(2, 2, 3, 2, 2)};
  CHECK(recovery.on_snapshot(two, 1).size() == 1);
  CHECK(recovery.position(2, Kind::kLevels) == 2);
  CHECK(recovery.counters().loops == 1);
  CHECK_FALSE(recovery.wanting());
}

TEST_CASE("cme recovery: a copy of a snapshot packet, a loop with a loss, another total") {
  CmeRecovery recovery;
  const wp_record none[] = {level(1, 5)};
  recovery.on_packet(10, none, 0);
  const auto give = [&](uint32_t instrument, uint32_t reports, uint64_t seq) {
    const wp_record r = snapshot(instrument, 1, 10, reports, seq);
    return recovery.on_snapshot(&r, 1).size();
  };
  CHECK(give(1, 3, 1) == 1);
  CHECK(give(1, 3, 1) == 0);
  CHECK(give(3, 3, 3) == 1);  // 2 is missing
  CHECK(recovery.counters().loops == 0);
  for (uint64_t i = 1; i <= 3; i++) give(static_cast<uint32_t>(i), 3, i);
  CHECK(recovery.counters().loops == 1);
  give(1, 3, 1);
  give(2, 4, 2);
  give(3, 4, 3);
  CHECK(recovery.counters().loops == 1);
}

TEST_CASE("cme recovery: a channel reset voids all, and old snapshots are of another time") {
  CmeRecovery recovery;
  const wp_record first[] = {level(1, 9)};
  recovery.on_packet(100, first, 1);
  wp_record reset = level(0, 0);
  reset.action = WP_ACTION_CLEAR;
  reset.type = 4;
  reset.aux = 0;
  CHECK(recovery.on_packet(101, &reset, 1).size() == 1);
  CHECK(recovery.stale_count() == 0);
  CHECK(recovery.held_now() == 0);
  const wp_record anew[] = {level(1, 1), level(2, 4)};
  CHECK(recovery.on_packet(102, anew, 2).size() == 1);
  const wp_record old = snapshot(2, 50, 99, 1, 1);
  CHECK(recovery.on_snapshot(&old, 1).empty());
  const wp_record fresh = snapshot(2, 4, 102, 1, 1);
  CHECK(recovery.on_snapshot(&fresh, 1).size() == 1);
  const auto out = recovery.on_reset();
  REQUIRE(out.size() == 1);
  CHECK(out[0].action == WP_ACTION_CLEAR);
  CHECK(out[0].instrument == 0);
  const wp_record again[] = {level(1, 1)};
  CHECK(recovery.on_packet(1, again, 1).size() == 1);
  check_counters(recovery);
}

TEST_CASE("cme recovery: whatever is lost, the books become the publisher's") {
  for (const size_t held : {size_t{4}, size_t{1} << 14}) {
    for (uint32_t seed = 0; seed < 30; seed++) {
      CAPTURE(held);
      CAPTURE(seed);
      CmePublisher publisher(seed, 6);
      CmeMdp3 decoder = test::cme_channel_decoder();
      CmeRecovery recovery({.held_records = held});
      Books truth, books;
      NaiveLevels naive;
      bool lossy = true;
      const uint32_t joined = publisher.upto(2) ? 30 : 0;
      const auto lose = [&](uint32_t one_in) { return lossy && publisher.upto(one_in) == 0; };
      const auto give = [&](const std::vector<wp_record>& out) {
        books.apply(out.data(), out.size(), nullptr);
      };
      const auto feed = [&](const std::vector<uint8_t>& packet) {
        const std::vector<wp_record> records = test::cme_records(decoder, packet);
        truth.apply(records.data(), records.size(), nullptr);
        const bool reset = !records.empty() && records[0].type == 4;
        if (publisher.published() <= joined || (!reset && lose(12))) return;
        if (reset) naive = {};
        for (const wp_record& r : records)
          if (r.type == 46 && r.instrument) naive.came[r.instrument].insert(r.aux & 0xffff'ffff);
        give(recovery.on_packet(publisher.published(), records.data(), records.size()));
      };
      const auto loop = [&](bool of_orders) {
        const std::vector<wp_record> records =
            test::cme_records(decoder, publisher.snapshot(of_orders));
        if (lose(10)) return;
        if (!of_orders && !records.empty()) {
          uint64_t& base = naive.base[records[0].instrument];
          base = std::max(base, records[0].aux & 0xffff'ffff);
        }
        give(recovery.on_snapshot(records.data(), records.size()));
      };
      for (int i = 0; i < 1500; i++) {
        lossy = i < 1200 && i % 400 < 250;
        // A reset when no loop of before it is under way.
        const bool reset = i % 500 == 499;
        feed(reset ? publisher.reset() : publisher.next());
        if (reset) {
          while (!publisher.loop_is_over(false)) publisher.snapshot(false);
          while (!publisher.loop_is_over(true)) publisher.snapshot(true);
        }
        if (publisher.upto(2) == 0) loop(publisher.upto(2) == 0);
        for (uint32_t id = 1; id <= 6; id++)
          if (naive.misses(id)) CHECK(recovery.state(id, Kind::kLevels) == State::kStale);
        if (!lossy && !recovery.wanting() && recovery.state(1, Kind::kOrders) == State::kLive)
          for (uint32_t id = 1; id <= 6; id++)
            if (recovery.state(id, Kind::kOrders) == State::kLive)
              CHECK(same_book(books, truth, id));
        check_counters(recovery);
      }
      lossy = false;
      feed(publisher.last());
      for (int i = 0; i < 200; i++) {
        loop(false);
        loop(true);
      }
      CHECK_FALSE(recovery.wanting());
      CHECK(recovery.stale_count() == 0);
      CHECK(recovery.held_now() == 0);
      for (uint32_t id = 1; id <= 6; id++) {
        CHECK(same_book(books, truth, id));
        CHECK(books.consistent(id));
      }
      CHECK(recovery.counters().stale > 0);
      CHECK(recovery.counters().recovered >= 6);
      CHECK(books.counters().unknown_order == 0);
      CHECK(books.counters().duplicate_order == 0);
      CHECK(books.counters().unknown_level == 0);
      if (held == 4) CHECK(recovery.counters().dropped > 0);
    }
  }
}

TEST_CASE("cme recovery: nothing is allocated, however many instruments come and are lost") {
  constexpr uint32_t kInstruments = 20'000, kHeld = 5000;
  CmeRecovery recovery({.held_records = kHeld, .instruments = kInstruments});
  std::vector<wp_record> one(1);
  size_t most = 0;
  uint64_t seq = 1;
  const uint64_t before = wp::testing::allocations();
  const auto packet = [&](const std::vector<wp_record>& records) {
    most = std::max(most, recovery.on_packet(seq++, records.data(), records.size()).size());
  };
  for (uint32_t i = 1; i <= kInstruments + 100; i++) {
    one[0] = level(i, 1);
    packet(one);
    one[0].order_id = i;
    packet(one);
  }
  seq += 1;  // every book of orders is void at once
  one[0] = level(1, 2, WP_FLAG_END_OF_EVENT);
  packet(one);
  CHECK(most >= kInstruments);
  // All that is held is of one instrument, and comes back at once.
  for (uint32_t i = 0; i < kHeld + 100; i++) {
    one[0] = level(7, 2);
    one[0].order_id = i + 1;
    packet(one);
  }
  CHECK(recovery.held_now() > 0);
  const auto covers = static_cast<uint32_t>(seq - 1);
  one[0] = snapshot(7, 0, covers - 50, 1, 1, 53);
  most = recovery.on_snapshot(one.data(), 1).size();
  CHECK(most > 40);
  CHECK(wp::testing::allocations() == before);
  CHECK(recovery.counters().untracked == 200);
  CHECK(recovery.counters().dropped > 0);
  check_counters(recovery);
}

TEST_CASE("cme recovery: parts of two loops make no book") {
  CmeRecovery recovery;
  const auto order = [](uint64_t id, uint16_t type, uint8_t flags = 0) {
    wp_record r{};
    r.venue = WP_VENUE_CME;
    r.type = type;
    r.action = WP_ACTION_ADD;
    r.order_id = id;
    r.instrument = 7;
    r.flags = flags;
    return r;
  };
  // What a packet of the loop begins with; the rest of a book in chunks comes behind it.
  const auto head = [](uint32_t covers, uint64_t packet, bool first) {
    wp_record r = snapshot(7, 0, covers, 1, packet, 53);
    r.action = first ? WP_ACTION_CLEAR : WP_ACTION_OTHER;
    r.flags = 0;
    return r;
  };
  const auto ids = [](const std::vector<wp_record>& out) {
    std::vector<uint64_t> found;
    for (const wp_record& r : out)
      if (r.order_id != 0) found.push_back(r.order_id);
    return found;
  };
  const auto take = [&](std::vector<wp_record> packet) {
    for (wp_record& r : packet) r.seq = packet[0].seq;
    return ids(recovery.on_snapshot(packet.data(), packet.size()));
  };
  const std::vector<wp_record> one{order(1, 47, WP_FLAG_END_OF_EVENT)};
  recovery.on_packet(1, one.data(), one.size());
  recovery.on_gap(11);
  REQUIRE(recovery.state(7, Kind::kOrders) == State::kStale);
  // The next packet by its number, of the next loop.
  CHECK(take({head(10, 1, true), order(100, 53)}) == std::vector<uint64_t>{100});
  CHECK(take({head(12, 2, false), order(201, 53, WP_FLAG_END_OF_EVENT)}).empty());
  CHECK(recovery.state(7, Kind::kOrders) == State::kStale);
  CHECK(recovery.counters().snapshots_broken == 1);
  // The same number, of the next loop: no copy.
  CHECK(take({head(12, 5, true), order(102, 53)}) == std::vector<uint64_t>{102});
  CHECK(take({head(13, 5, true), order(200, 53)}) == std::vector<uint64_t>{200});
  CHECK(take({head(13, 5, true), order(200, 53)}).empty());  // this one is
  CHECK(take({head(13, 6, false), order(201, 53, WP_FLAG_END_OF_EVENT)}) ==
        std::vector<uint64_t>{201});
  CHECK(recovery.state(7, Kind::kOrders) == State::kLive);
  CHECK(recovery.counters().recovered == 1);
}

TEST_CASE("cme recovery: nothing is allocated from the first packet on") {
  CmePublisher publisher(5, 8);
  CmeMdp3 decoder = test::cme_channel_decoder();
  CmeRecovery recovery({.held_records = 256});
  std::vector<std::vector<wp_record>> packets, loops;
  for (int i = 0; i < 2000; i++) {
    packets.push_back(test::cme_records(decoder, publisher.next()));
    loops.push_back(test::cme_records(decoder, publisher.snapshot(i % 2 == 0)));
  }
  uint64_t allocated = 0;
  for (size_t i = 0; i < packets.size(); i++) {
    if (i % 7 == 0) continue;  // lost
    const uint64_t before = wp::testing::allocations();
    recovery.on_packet(i + 1, packets[i].data(), packets[i].size());
    recovery.on_snapshot(loops[i].data(), loops[i].size());
    allocated += wp::testing::allocations() - before;
  }
  CHECK(allocated == 0);
  CHECK(recovery.counters().recovered > 100);
}

TEST_CASE("cme recovery: options out of range") {
  CHECK_THROWS_AS(CmeRecovery({.held_records = 0}), Error);
  CHECK_THROWS_AS(CmeRecovery({.instruments = 0}), Error);
}

}  // namespace wp::feed
