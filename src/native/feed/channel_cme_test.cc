/* SPDX-License-Identifier: Apache-2.0
 *
 * CME channels whose books come back from the snapshot loops.
 */
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "feed/alloc_counter.h"
#include "feed/channel.h"
#include "feed/cme_publisher.h"

namespace wp::feed {
namespace {

using Bytes = std::vector<uint8_t>;
using test::CmePublisher;

constexpr int64_t kNow = 1'700'000'000'000'000'000;
constexpr uint32_t kInstruments = 6;
// Lines of the channel below.
constexpr uint32_t kA = 0, kB = 1, kLevels = 2, kOrders = 3, kLevelsAgain = 4;

ChannelOptions cme_options() {
  ChannelOptions o;
  o.name = "cme";
  o.protocol = "cme";
  o.channel = 310;
  for (uint16_t i = 0; i < 5; ++i) {
    FlowRule rule;
    rule.port = static_cast<uint16_t>(9000 + i);
    (i < kLevels ? o.lines : o.recovery_lines).push_back(rule);
  }
  o.plan = std::make_shared<const SbePlan>(test::cme_channel_plan_words());
  o.map.emplace(*o.plan, test::cme_channel_map_words());
  o.snapshot_loop.emplace();
  o.arbiter.hold_ns = 5'000;
  o.arbiter.hold_messages = 1024;
  o.arbiter.hold_bytes = 1 << 20;
  return o;
}

struct Bench {
  explicit Bench(ChannelOptions options = cme_options(), bool with_books = true)
      : books(with_books ? std::make_shared<LockedBooks>(BookOptions{}) : nullptr),
        ring(std::make_shared<Ring>(uint64_t{1} << 12, FullPolicy::kDrop, "")),
        output(ring, books),
        channel(make_channel(std::move(options))) {
    channel->bind(&output, "bench");
    output.start(nullptr);
  }
  ~Bench() {
    output.stop();
    channel->unbind(&output);
  }

  void packet(uint32_t line, const Bytes& bytes) {
    now += 1000;
    channel->on_packet(line, bytes.data(), bytes.size(), now);
    settle();
  }
  // As the stage does behind a burst. What is in the ring is taken.
  void settle() {
    output.flush(now);
    if (channel->due(now)) channel->service(now);
    output.flush(now);
    wp_record records[256];
    for (size_t n = ring->pop(records, 256); n != 0; n = ring->pop(records, 256)) {
      popped += n;
      for (size_t i = 0; i < n; ++i) {
        cleared += records[i].action == WP_ACTION_CLEAR && records[i].instrument == 0;
        instruments_seen |= uint64_t{1} << (records[i].instrument & 63);
      }
    }
  }
  void wait(int64_t ns) {
    now += ns;
    channel->service(now);
    settle();
  }
  ChannelSnapshot snapshot() {
    channel->publish(now, true);
    return channel->snapshot();
  }

  std::shared_ptr<LockedBooks> books;
  std::shared_ptr<Ring> ring;
  RecordOutput output;
  std::unique_ptr<Channel> channel;
  int64_t now = kNow;
  uint64_t popped = 0, cleared = 0, instruments_seen = 0;
};

bool same_book(const Books& a, const Books& b, uint32_t instrument) {
  for (const char side : {'B', 'S'}) {
    std::vector<BookLevel> x(kMostLevels), y(kMostLevels);
    x.resize(a.depth(instrument, side, x));
    y.resize(b.depth(instrument, side, y));
    const auto level = [](const BookLevel& p, const BookLevel& q) {
      return p.price == q.price && p.qty == q.qty;
    };
    if (!std::ranges::equal(x, y, level)) return false;
    std::vector<BookOrder> u(a.order_count(instrument, side)), v(b.order_count(instrument, side));
    a.orders(instrument, side, u);
    b.orders(instrument, side, v);
    const auto order = [](const BookOrder& p, const BookOrder& q) {
      return p.order_id == q.order_id && p.price == q.price && p.qty == q.qty;
    };
    if (!std::ranges::equal(u, v, order)) return false;
  }
  return true;
}

/* The books of every packet, lost or not. */
struct Truth {
  void feed(const Bytes& packet) {
    const std::vector<wp_record> records = test::cme_records(decoder, packet);
    books.apply(records.data(), records.size(), nullptr);
  }
  CmeMdp3 decoder = test::cme_channel_decoder();
  Books books;
};

void check_counters(const ChannelSnapshot& s) {
  const CmeRecoveryCounters& c = s.loop.counters;
  CHECK(c.records == c.passed + c.held + c.superseded);
  CHECK(c.held == c.replayed + c.covered + c.dropped + s.loop.held_now);
  CHECK(s.decoded.records == s.decoded.delivered + s.decoded.ring_full);
  for (const LineCounters& line : s.lines) {
    CHECK(line.packets ==
          line.malformed + line.ignored + line.stale + line.doubted + line.data + line.unsequenced);
  }
}

void loops(Bench& bench, CmePublisher& publisher, int packets) {
  for (int i = 0; i < packets; ++i) {
    bench.packet(kLevels, publisher.snapshot(false));
    bench.packet(kOrders, publisher.snapshot(true));
  }
}

TEST_CASE("two lines that lose, and the loops: the books become the publisher's") {
  uint64_t lost_by_both = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    CmePublisher publisher(seed, kInstruments);
    Truth truth;
    Bench bench;
    uint64_t sent[5] = {}, abandoned = 0;
    const auto give = [&](uint32_t line, const Bytes& bytes) {
      bench.packet(line, bytes);
      ++sent[line];
    };
    const uint32_t joined = publisher.upto(2) ? 40 : 0;
    Bytes late;  // of the second line of levels, a packet behind the first one's
    bool first = true;
    for (int i = 0; i < 1500; ++i) {
      const bool lossy = i % 300 < 200;
      const bool reset = i % 500 == 499;
      const Bytes packet = reset ? publisher.reset() : publisher.next();
      truth.feed(packet);
      if (reset) {
        while (!publisher.loop_is_over(false)) publisher.snapshot(false);
        while (!publisher.loop_is_over(true)) publisher.snapshot(true);
      }
      if (publisher.published() <= joined) continue;
      const auto arrives = [&] { return reset || !lossy || publisher.upto(4) != 0; };
      const bool on_a = first || arrives(), on_b = arrives();
      first = false;
      if (on_a) give(kA, packet);
      if (on_b) give(kB, packet);
      abandoned += !on_a && !on_b;
      if (publisher.upto(3) == 0) {
        const Bytes levels = publisher.snapshot(false);
        if (!lossy || publisher.upto(10) != 0) give(kLevels, levels);
        if (!late.empty()) give(kLevelsAgain, late);
        late = levels;
        const Bytes orders = publisher.snapshot(true);
        if (!lossy || publisher.upto(10) != 0) give(kOrders, orders);
      }
      if (i % 100 == 99) check_counters(bench.snapshot());
    }
    const Bytes last = publisher.last();
    truth.feed(last);
    give(kA, last);
    give(kB, last);
    bench.wait(1'000'000);
    loops(bench, publisher, 200);
    const ChannelSnapshot s = bench.snapshot();
    check_counters(s);
    for (uint32_t line = 0; line < kLevels; ++line) CHECK(s.lines[line].packets == sent[line]);
    CHECK(s.lines[kLevelsAgain].packets == sent[kLevelsAgain]);
    CHECK(s.lines[kLevelsAgain].ignored == sent[kLevelsAgain]);
    CHECK(s.units[0].counters.abandoned == abandoned);
    uint64_t told = 0;
    for (const AbandonedRange& range : s.abandoned) told += range.last - range.first + 1;
    CHECK(told == abandoned);
    CHECK(s.loop.counters.lost_packets == abandoned);
    CHECK_FALSE(s.loop.wanting);
    CHECK(s.loop.stale_count == 0);
    CHECK(s.loop.stale.empty());
    CHECK(s.loop.counters.recovered >= kInstruments);
    CHECK(s.decoded.ring_full == 0);
    CHECK(bench.popped == s.decoded.delivered);
    for (uint32_t id = 1; id <= kInstruments; ++id) {
      CAPTURE(id);
      CHECK(same_book(bench.books->books, truth.books, id));
      CHECK(bench.books->books.consistent(id));
    }
    CHECK(bench.books->books.counters().unknown_order == 0);
    CHECK(bench.books->books.counters().unknown_level == 0);
    lost_by_both += abandoned;
  }
  CHECK(lost_by_both > 500);
}

TEST_CASE("instruments that are stale are told until the loops have been by") {
  CmePublisher publisher(3, kInstruments);
  Truth truth;
  Bench bench;
  for (int i = 0; i < 300; ++i) {
    const Bytes packet = publisher.next();
    truth.feed(packet);
    if (i < 100 || i >= 150) bench.packet(kA, packet);
  }
  bench.wait(1'000'000);
  ChannelSnapshot s = bench.snapshot();
  REQUIRE(s.abandoned.size() == 1);
  CHECK(s.abandoned[0].last - s.abandoned[0].first + 1 == 50);
  CHECK(s.loop.wanting);
  CHECK(s.loop.stale_count >= kInstruments);  // their orders
  std::vector<uint32_t> stale = s.loop.stale;
  std::ranges::sort(stale);
  CHECK(stale == std::vector<uint32_t>{1, 2, 3, 4, 5, 6});
  CHECK(s.loop.held_now > 0);
  loops(bench, publisher, 200);
  s = bench.snapshot();
  CHECK_FALSE(s.loop.wanting);
  CHECK(s.loop.stale.empty());
  CHECK(s.loop.held_now == 0);
  for (uint32_t id = 1; id <= kInstruments; ++id)
    CHECK(same_book(bench.books->books, truth.books, id));
}

TEST_CASE("another line brings a loop where the one that did is silent") {
  CmePublisher publisher(4, 1);
  Bench bench;
  for (int i = 0; i < 20; ++i) publisher.next();
  bench.packet(kA, publisher.next());
  bench.packet(kLevels, publisher.snapshot(false));
  bench.packet(kLevelsAgain, publisher.snapshot(false));
  CHECK(bench.snapshot().lines[kLevelsAgain].ignored == 1);
  bench.wait(1'000'000'000);
  bench.packet(kLevelsAgain, publisher.snapshot(false));
  bench.packet(kLevels, publisher.snapshot(false));
  const ChannelSnapshot s = bench.snapshot();
  CHECK(s.lines[kLevelsAgain].unsequenced == 1);
  CHECK(s.lines[kLevels].ignored == 1);
}

TEST_CASE("numbers that begin anew void every book, and the loops bring those of the new week") {
  CmePublisher before(1, kInstruments), after(2, kInstruments);
  Truth truth;
  Bench bench;
  for (int i = 0; i < 10'000; ++i) bench.packet(kA, before.next());
  for (int i = 0; i < 200; ++i) {
    const Bytes packet = after.next();
    truth.feed(packet);
    bench.packet(kA, packet);
  }
  CHECK(bench.snapshot().units[0].counters.resets == 1);
  CHECK(bench.cleared == 1);
  const Bytes last = after.last();
  truth.feed(last);
  bench.packet(kA, last);
  loops(bench, after, 200);
  CHECK_FALSE(bench.snapshot().loop.wanting);
  for (uint32_t id = 1; id <= kInstruments; ++id)
    CHECK(same_book(bench.books->books, truth.books, id));
}

TEST_CASE("only the wanted instruments come out, and theirs whole") {
  ChannelOptions o = cme_options();
  o.filter.instruments = std::vector<uint32_t>{2, 5};
  Bench bench(std::move(o));
  CmePublisher publisher(8, kInstruments);
  Truth truth;
  for (int i = 0; i < 600; ++i) {
    const Bytes packet = publisher.next();
    truth.feed(packet);
    if (i % 9 != 8) bench.packet(kA, packet);
  }
  const Bytes last = publisher.last();
  truth.feed(last);
  bench.packet(kA, last);
  bench.wait(1'000'000);
  loops(bench, publisher, 200);
  CHECK(bench.instruments_seen == (1 | 1 << 2 | 1 << 5));
  for (const uint32_t id : {2, 5}) CHECK(same_book(bench.books->books, truth.books, id));
  CHECK(bench.snapshot().decoded.filtered_records > 0);
}

TEST_CASE("nothing is allocated when warm") {
  CmePublisher publisher(5, kInstruments);
  std::vector<Bytes> packets, levels, orders;
  for (int i = 0; i < 2000; ++i) {
    packets.push_back(publisher.next());
    levels.push_back(publisher.snapshot(false));
    orders.push_back(publisher.snapshot(true));
  }
  Bench bench(cme_options(), false);  // books grow with the orders that there are
  uint64_t allocated = 0;
  for (size_t i = 0; i < packets.size(); ++i) {
    const uint64_t before = wp::testing::allocations();
    if (i % 7 != 6) bench.packet(kA, packets[i]);
    bench.packet(kLevels, levels[i]);
    bench.packet(kOrders, orders[i]);
    bench.channel->publish(bench.now, true);
    if (i > 1000) allocated += wp::testing::allocations() - before;
  }
  CHECK(allocated == 0);
  CHECK(bench.snapshot().loop.counters.recovered > 100);
}

TEST_CASE("what does not go with the snapshot loop is refused") {
  const auto refused = [](auto change, const char* what) {
    ChannelOptions o = cme_options();
    change(o);
    try {
      make_channel(std::move(o));
    } catch (const Error& error) {
      return std::string(error.what()).find(what) != std::string::npos;
    }
    return false;
  };
  CHECK(refused([](ChannelOptions& o) { o.recovery_lines.clear(); }, "recovery_lines"));
  CHECK(refused([](ChannelOptions& o) { o.arbiter.in_order = false; }, "in_order"));
  CHECK(refused([](ChannelOptions& o) { o.filter.types = {46}; }, "types"));
  CHECK(refused([](ChannelOptions& o) { o.protocol = "pitch"; }, "cme_snapshot"));
  CHECK(refused([](ChannelOptions& o) { o.snapshot_loop->held_records = 0; }, "held_records"));
  CHECK(
      refused([](ChannelOptions& o) { o.encoder = std::make_unique<MoldRequests>(); }, "recovery"));
}

}  // namespace
}  // namespace wp::feed
