/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing: a CME channel that is made up, byte by byte. Books of
 * levels and of orders that change at random, the packets that say so, and the
 * snapshot loops of both.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "feed/cme_mdp3.h"
#include "feed/cme_writer.h"
#include "feed/sbe_plan_words.h"

namespace wp::feed::test {

/* Templates 46, 12, 47, 52, 53 and 4. */
inline std::vector<uint32_t> cme_channel_plan_words() {
  const PlanBlock entry{
      32, {{0, 8}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {24, 1}, {25, 1}, {26, 1}}, {}, {}};
  const PlanBlock order{24, {{0, 8}, {8, 8}, {16, 4}, {20, 1}, {21, 1}}, {}, {}};
  PlanBlock book{11, {{0, 8}, {8, 1}}, {}, {}};
  book.groups.push_back(plan_group(entry));
  book.groups.push_back(plan_group(order, {8, 0, 2, 7, 1}));
  const PlanBlock by_order{
      40, {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 1}, {33, 1}}, {}, {}};
  PlanBlock orders{11, {{0, 8}, {8, 1}}, {}, {}};
  orders.groups.push_back(plan_group(by_order));
  const PlanBlock level{22, {{0, 8}, {8, 4}, {16, 1}, {21, 1}}, {}, {}};
  PlanBlock snapshot{59, {{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 8}}, {}, {}};
  snapshot.groups.push_back(plan_group(level));
  const PlanBlock resting{29, {{0, 8}, {8, 8}, {16, 8}, {24, 4}, {28, 1}}, {}, {}};
  PlanBlock by_chunk{28, {{0, 4}, {4, 4}, {8, 4}, {12, 4}, {16, 4}, {20, 8}}, {}, {}};
  by_chunk.groups.push_back(plan_group(resting));
  const PlanBlock reset{9, {{0, 8}, {8, 1}}, {}, {}};
  return plan_words(
      {{46, book}, {12, {}}, {47, orders}, {52, snapshot}, {53, by_chunk}, {4, reset}}, 9);
}

inline std::vector<uint32_t> cme_channel_map_words() {
  MapTemplate book;
  book.kind = CmeKind::kEntries;
  book.time = MapField::wire(0, 8);
  book.indicator = MapField::wire(8, 1);
  book.entries = 1;
  book.entry_price = MapField::optional(0, 8, INT64_MAX, true);
  book.entry_qty = MapField::optional(8, 4, INT32_MAX, true);
  book.entry_instrument = MapField::wire(12, 4, true);
  book.entry_rpt_seq = MapField::wire(16, 4);
  book.level = MapField::wire(24, 1);
  book.action = MapField::wire(25, 1);
  book.entry_type = MapField::wire(26, 1);
  book.orders = 2;
  book.sub_order_id = MapField::wire(0, 8);
  book.sub_priority = MapField::optional(8, 8, UINT64_MAX);
  book.sub_qty = MapField::optional(16, 4, INT32_MAX, true);
  book.sub_reference = MapField::optional(20, 1, 255);
  book.sub_action = MapField::wire(21, 1);
  MapTemplate orders;
  orders.kind = CmeKind::kEntries;
  orders.time = book.time;
  orders.indicator = book.indicator;
  orders.entries = 5;
  orders.order_id = MapField::wire(0, 8);
  orders.priority = MapField::optional(8, 8, UINT64_MAX);
  orders.entry_price = MapField::optional(16, 8, INT64_MAX, true);
  orders.entry_qty = MapField::optional(24, 4, INT32_MAX, true);
  orders.entry_instrument = MapField::wire(28, 4, true);
  orders.action = MapField::wire(32, 1);
  orders.entry_type = MapField::wire(33, 1);
  MapTemplate snapshot;
  snapshot.kind = CmeKind::kSnapshot;
  snapshot.last_processed = MapField::wire(0, 4);
  snapshot.reports = MapField::wire(4, 4);
  snapshot.instrument = MapField::wire(8, 4, true);
  snapshot.rpt_seq = MapField::wire(12, 4);
  snapshot.time = MapField::wire(16, 8);
  snapshot.entries = 7;
  snapshot.entry_price = book.entry_price;
  snapshot.entry_qty = book.entry_qty;
  snapshot.level = MapField::wire(16, 1);
  snapshot.entry_type = MapField::wire(21, 1);
  MapTemplate chunk;
  chunk.kind = CmeKind::kSnapshot;
  chunk.last_processed = snapshot.last_processed;
  chunk.reports = snapshot.reports;
  chunk.instrument = snapshot.instrument;
  chunk.chunks = MapField::wire(12, 4);
  chunk.chunk = MapField::wire(16, 4);
  chunk.time = MapField::wire(20, 8);
  chunk.entries = 9;
  chunk.order_id = orders.order_id;
  chunk.priority = orders.priority;
  chunk.entry_price = orders.entry_price;
  chunk.entry_qty = orders.entry_qty;
  chunk.entry_type = MapField::wire(28, 1);
  MapTemplate reset;
  reset.kind = CmeKind::kClear;
  reset.time = book.time;
  reset.indicator = book.indicator;
  return map_words({book, {}, orders, snapshot, chunk, reset});
}

inline CmeMdp3 cme_channel_decoder() {
  auto plan = std::make_shared<const SbePlan>(cme_channel_plan_words());
  CmeMap map(*plan, cme_channel_map_words());
  return {std::move(plan), std::move(map)};
}

/* The records of a packet. */
inline std::vector<wp_record> cme_records(CmeMdp3& decoder, const std::vector<uint8_t>& bytes) {
  std::vector<wp_record> out;
  Packet packet;
  if (!CmeFramer::parse(bytes.data(), bytes.size(), packet)) return out;
  CmeFramer::for_each(packet, [&](const uint8_t* p, size_t n) {
    decoder.on_unit(p, n, {packet.first, 0, 0, 0}, [&] { return &out.emplace_back(); });
  });
  return out;
}

class CmePublisher {
 public:
  CmePublisher(uint32_t seed, uint32_t instruments) : rng_(seed), books_(instruments) {}

  uint32_t upto(uint32_t n) { return static_cast<uint32_t>(rng_() % n); }
  uint32_t published() const { return seq_; }

  /* The next packet of the incremental feed. */
  std::vector<uint8_t> next() {
    std::vector<CmeBytes> messages;
    const uint32_t count = upto(8) == 0 ? 0 : 1 + upto(3);
    for (uint32_t i = 0; i < count; i++) {
      // The last message of a packet ends an event more often than not.
      const uint8_t end = i + 1 == count && upto(3) != 0 ? 0x80 : 0;
      messages.push_back(upto(3) != 0 ? levels(end) : orders(end));
    }
    if (messages.empty()) messages.push_back(cme_header(0, 12));
    return cme_packet(++seq_, 0, messages).bytes;
  }

  /* A packet that ends the event, so that all is in order behind it. */
  std::vector<uint8_t> last() {
    ++seq_;
    return cme_packet(seq_, 0, {cme_book(seq_, 0x80, {}, {})}).bytes;
  }

  std::vector<uint8_t> reset() {
    ++seq_;
    const std::vector<uint8_t> bytes =
        cme_packet(seq_, 0, {cme_header(9, 4).put(uint64_t{seq_}).put(uint8_t{0x80})}).bytes;
    books_.assign(books_.size(), {});
    return bytes;
  }

  /* The next packet of the loop of levels, or of that of orders. */
  std::vector<uint8_t> snapshot(bool of_orders) {
    Loop& loop = loops_[of_orders];
    if (loop.packets.empty()) {
      make_loop(loop.packets, of_orders);
      std::ranges::reverse(loop.packets);
    }
    std::vector<uint8_t> out = std::move(loop.packets.back());
    loop.packets.pop_back();
    return out;
  }
  bool loop_is_over(bool of_orders) const { return loops_[of_orders].packets.empty(); }

 private:
  struct Order {
    char type;
    int64_t price;
    int32_t qty;
    uint64_t priority;
  };
  struct Book {
    std::array<std::vector<std::pair<int64_t, int32_t>>, 2> sides;
    std::map<uint64_t, Order> orders;
    uint32_t rpt_seq = 0;
  };
  struct Loop {
    std::vector<std::vector<uint8_t>> packets;
  };

  static int32_t id_of(size_t book) { return static_cast<int32_t>(book) + 1; }

  CmeBytes levels(uint8_t end) {
    std::vector<BookEntry> entries;
    for (uint32_t i = 0, n = 1 + upto(3); i < n; i++) {
      const size_t which = upto(static_cast<uint32_t>(books_.size()));
      Book& book = books_[which];
      const uint32_t side = upto(2);
      auto& levels = book.sides[side];
      const auto size = static_cast<uint32_t>(levels.size());
      uint32_t action = size == 0 ? 0 : upto(3), level = upto(size + (action == 0));
      if (action == 0 && level == 10) level = 9;
      const int64_t price = 1 + upto(1000);
      const auto qty = static_cast<int32_t>(1 + upto(50));
      const auto at = levels.begin() + static_cast<ptrdiff_t>(level);
      if (action == 0) levels.insert(at, {price, qty});
      if (action == 1) *at = {price, qty};
      if (action == 2) levels.erase(at);
      if (levels.size() > 10) levels.pop_back();
      entries.push_back({price, qty, id_of(which), ++book.rpt_seq, static_cast<uint8_t>(level + 1),
                         static_cast<uint8_t>(action), side ? '1' : '0'});
    }
    return cme_book(seq_, end, entries);
  }

  CmeBytes orders(uint8_t end) {
    const size_t which = upto(static_cast<uint32_t>(books_.size()));
    Book& book = books_[which];
    uint8_t action = book.orders.empty() ? 0 : static_cast<uint8_t>(upto(3));
    uint64_t id = ++order_ids_;
    Order order{upto(2) ? '1' : '0', 1 + upto(20), static_cast<int32_t>(1 + upto(50)), id};
    if (action != 0) {
      auto at = book.orders.begin();
      std::advance(at, upto(static_cast<uint32_t>(book.orders.size())));
      id = at->first;
      order.type = at->second.type;
      if (action == 2)
        book.orders.erase(at);
      else
        at->second = order;
    } else {
      book.orders[id] = order;
    }
    CmeBytes out = cme_header(11, 47);
    out.put(uint64_t{seq_}).put(end).put(uint16_t{0}).put(uint16_t{40}).put(uint8_t{1});
    out.put(id).put(order.priority).put(order.price).put(order.qty).put(id_of(which));
    out.put(action).put(order.type);
    for (int i = 0; i < 6; i++) out.put(uint8_t{0});
    return out;
  }

  void make_loop(std::vector<std::vector<uint8_t>>& packets, bool of_orders) {
    const auto reports = static_cast<uint32_t>(books_.size());
    for (size_t i = 0; i < books_.size(); i++) {
      const Book& book = books_[i];
      const auto add = [&](const CmeBytes& message) {
        const auto number = static_cast<uint32_t>(packets.size() + 1);
        packets.push_back(cme_packet(number, 0, {message}).bytes);
      };
      if (!of_orders) {
        CmeBytes out = cme_header(59, 52);
        out.put(seq_).put(reports).put(id_of(i)).put(book.rpt_seq).put(uint64_t{seq_});
        for (int k = 0; k < 35; k++) out.put(uint8_t{0});
        out.put(uint16_t{22})
            .put(static_cast<uint8_t>(book.sides[0].size() + book.sides[1].size()));
        for (size_t side = 0; side < 2; side++) {
          for (size_t level = 0; level < book.sides[side].size(); level++) {
            const auto& [price, qty] = book.sides[side][level];
            out.put(price).put(qty).put(int32_t{1}).put(static_cast<uint8_t>(level + 1));
            out.put(uint32_t{0}).put(side ? '1' : '0');
          }
        }
        add(out);
        continue;
      }
      constexpr size_t kChunk = 3;
      const size_t chunks = std::max<size_t>(1, (book.orders.size() + kChunk - 1) / kChunk);
      auto at = book.orders.begin();
      for (size_t chunk = 1; chunk <= chunks; chunk++) {
        CmeBytes out = cme_header(28, 53);
        out.put(seq_).put(reports).put(id_of(i));
        out.put(static_cast<uint32_t>(chunks)).put(static_cast<uint32_t>(chunk));
        out.put(uint64_t{seq_});
        const size_t left = book.orders.size() - (chunk - 1) * kChunk;
        const auto count = static_cast<uint8_t>(std::min(left, kChunk));
        out.put(uint16_t{29}).put(count);
        for (uint8_t k = 0; k < count; k++, ++at) {
          out.put(at->first).put(at->second.priority).put(at->second.price).put(at->second.qty);
          out.put(at->second.type);
        }
        add(out);
      }
    }
  }

  std::mt19937 rng_;
  std::vector<Book> books_;
  std::array<Loop, 2> loops_;
  uint32_t seq_ = 0;
  uint64_t order_ids_ = 0;
};

}  // namespace wp::feed::test
