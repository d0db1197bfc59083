/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzz target: a channel that is made up from the input's first bytes, of whose
 * packets and snapshots the other bytes lose, repeat or damage some. Every record is
 * in one counter, memory is bounded, and when the input is over two whole loops make
 * the books those of the publisher.
 */
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "feed/book.h"
#include "feed/cme_publisher.h"
#include "feed/cme_recovery.h"

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

constexpr uint32_t kInstruments = 4;

bool same(const wp::feed::Books& a, const wp::feed::Books& b, uint32_t instrument) {
  using namespace wp::feed;
  for (const char side : {'B', 'S'}) {
    std::vector<BookLevel> of_a(kMostLevels), of_b(kMostLevels);
    of_a.resize(a.depth(instrument, side, of_a));
    of_b.resize(b.depth(instrument, side, of_b));
    const auto equal = [](const BookLevel& x, const BookLevel& y) {
      return x.price == y.price && x.qty == y.qty;
    };
    if (!std::ranges::equal(of_a, of_b, equal)) return false;
    if (a.order_count(instrument, side) != b.order_count(instrument, side)) return false;
    std::vector<BookOrder> in_a(a.order_count(instrument, side)), in_b(in_a.size());
    a.orders(instrument, side, in_a);
    b.orders(instrument, side, in_b);
    const auto alike = [](const BookOrder& x, const BookOrder& y) {
      return x.order_id == y.order_id && x.price == y.price && x.qty == y.qty;
    };
    if (!std::ranges::equal(in_a, in_b, alike)) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wp::feed;
  if (size < 3 || size > 2000) return 0;
  test::CmePublisher publisher(static_cast<uint32_t>(data[0] | data[1] << 8), kInstruments);
  static CmeMdp3 decoder = test::cme_channel_decoder();
  const size_t room = size_t{1} + data[2];
  CmeRecovery recovery({.held_records = room, .instruments = 64});
  // Small tables: what is made anew for every input is most of its cost.
  const BookOptions small{.orders = 64, .instruments = 8, .offences = 8, .dense = 8};
  Books truth(small), books(small);
  // So that depth() is that of the levels from the start.
  for (uint32_t id = 1; id <= kInstruments; id++) {
    truth.set_depth(id, 10, 2);
    books.set_depth(id, 10, 2);
  }
  const auto check = [&](const std::vector<wp_record>& out) {
    books.apply(out.data(), out.size(), nullptr);
    const CmeRecoveryCounters& c = recovery.counters();
    require(c.records == c.passed + c.held + c.superseded, "records");
    require(c.held == c.replayed + c.covered + c.dropped + recovery.held_now(), "held");
    require(recovery.held_now() <= room, "more held than there is room for");
  };
  const auto snapshot = [&](bool of_orders, bool lost, int copies) {
    const std::vector<wp_record> records =
        test::cme_records(decoder, publisher.snapshot(of_orders));
    for (int i = 0; !lost && i < copies; i++)
      check(recovery.on_snapshot(records.data(), records.size()));
  };
  bool reset = false;
  for (size_t i = 3; i < size; i++) {
    const uint8_t what = data[i];
    // Once: a loop of before it would be of another time for its first instruments only.
    const bool resets = (what & 0xf0) == 0xf0 && !reset;
    reset |= resets;
    const std::vector<wp_record> records =
        test::cme_records(decoder, resets ? publisher.reset() : publisher.next());
    if (resets) {
      while (!publisher.loop_is_over(false)) publisher.snapshot(false);
      while (!publisher.loop_is_over(true)) publisher.snapshot(true);
    }
    truth.apply(records.data(), records.size(), nullptr);
    if (!(what & 1) || resets)
      check(recovery.on_packet(publisher.published(), records.data(), records.size()));
    if ((what & 6) == 6)
      check(recovery.on_packet(publisher.published(), records.data(), records.size()));
    if (what & 8) snapshot((what & 4) != 0, (what & 2) != 0, 1 + (what >> 7));
  }
  const std::vector<wp_record> records = test::cme_records(decoder, publisher.last());
  truth.apply(records.data(), records.size(), nullptr);
  check(recovery.on_packet(publisher.published(), records.data(), records.size()));
  for (const bool of_orders : {false, true}) {
    while (!publisher.loop_is_over(of_orders)) snapshot(of_orders, false, 1);
    do snapshot(of_orders, false, 1);
    while (!publisher.loop_is_over(of_orders));
  }
  require(recovery.stale_count() == 0 && !recovery.wanting(), "a book is stale after a whole loop");
  for (uint32_t id = 1; id <= kInstruments; id++)
    require(same(books, truth, id), "a book is not the publisher's");
  return 0;
}
