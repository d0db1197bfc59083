/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: order books the slow and obvious way, on the
 * standard library's maps and lists, sharing nothing with the real ones.
 */
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/record.h"

namespace wp::feed::naive {

class Books {
 public:
  struct Order {
    uint64_t id;
    uint32_t qty;
    uint64_t priority = 0;
    bool operator==(const Order& other) const { return id == other.id && qty == other.qty; }
  };
  struct Level {
    std::list<Order> queue;
    uint64_t whole = 0;  // told as a whole, no orders
  };
  using Side = std::map<int64_t, Level>;
  using Numbered = std::vector<std::optional<std::pair<int64_t, uint32_t>>>;
  struct Row {
    uint32_t instrument = 0;
    int64_t bid = 0, ask = 0;
    uint64_t bid_qty = 0, ask_qty = 0;
    bool operator==(const Row&) const = default;
  };

  // What was told: one for every event that changed the best of an instrument.
  std::vector<Row> rows;
  uint64_t crossed = 0, locked = 0, over_reduced = 0, unknown_level = 0, negative = 0, events = 0;

  // 'a' applied, 'i' ignored, 'u' unknown order, 'd' duplicate
  char apply(const wp_record& r) {
    touched_ = 0;
    all_ = false;
    if (r.action >= WP_ACTION_ADD && r.action <= WP_ACTION_EXECUTE && r.action != WP_ACTION_DELETE)
      negative += r.qty == 0 && (r.flags & WP_FLAG_SATURATED);
    const char did = change(r);
    if (all_) {
      rows.push_back({});
      return did;
    }
    const bool pitch = r.venue == WP_VENUE_CBOE, cme = r.venue == WP_VENUE_CME;
    const bool level = r.venue == WP_VENUE_IEX && (r.type == '8' || r.type == '5' || r.type == 'Q');
    const bool end = (r.flags & WP_FLAG_END_OF_EVENT) != 0;
    if (pitch && r.type == 0xBC) transaction_ = true;
    const bool announced = cme || level || (pitch && (transaction_ || end));
    if (!announced) {
      if (touched_ != 0 && !pending_.count(touched_)) close(touched_);
      return did;
    }
    if (touched_ != 0) pending_.insert(touched_);
    if (end) {
      if (level || (cme && (r.flags & WP_FLAG_RECOVERED))) {
        if (pending_.count(r.instrument)) close(r.instrument);
      } else {
        transaction_ = false;
        while (!pending_.empty()) close(*pending_.begin());
      }
    }
    return did;
  }

  bool consistent(uint32_t instrument) const { return !pending_.count(instrument); }
  char phase(uint32_t instrument) const {  // 't'rading, 'a'uction, 'h'alted, 'c'losed, '?'
    if (const auto found = halted_.find(instrument); found != halted_.end() && found->second)
      return 'h';
    const auto found = phases_.find(instrument);
    return found == phases_.end() ? '?' : found->second;
  }

  // (price, id, qty) from the best price, oldest first; a whole level has id 0.
  std::vector<std::pair<int64_t, Order>> orders(uint32_t instrument, bool sell) const {
    std::vector<std::pair<int64_t, Order>> out;
    const auto found = sides_.find({instrument, sell});
    if (found == sides_.end()) return out;
    const auto take = [&](const Side::value_type& level) {
      if (level.second.whole)
        out.push_back({level.first, {0, static_cast<uint32_t>(level.second.whole)}});
      for (const Order& order : level.second.queue) out.push_back({level.first, order});
    };
    const Side& side = found->second;
    if (sell)
      for (auto at = side.begin(); at != side.end(); ++at) take(*at);
    else
      for (auto at = side.rbegin(); at != side.rend(); ++at) take(*at);
    return out;
  }

  // Up to the first level that was never told; side: bid, ask, implied bid, implied ask.
  std::vector<std::pair<int64_t, uint32_t>> numbered(uint32_t instrument, size_t side) const {
    std::vector<std::pair<int64_t, uint32_t>> out;
    const auto found = numbered_.find(instrument);
    if (found != numbered_.end())
      for (const auto& level : found->second[side]) {
        if (!level) break;
        out.push_back(*level);
      }
    return out;
  }
  bool is_numbered(uint32_t instrument) const { return numbered_.count(instrument) != 0; }

  Row best(uint32_t instrument) const {
    Row row{instrument};
    if (is_numbered(instrument)) {
      const auto bids = numbered(instrument, 0), asks = numbered(instrument, 1);
      if (!bids.empty()) std::tie(row.bid, row.bid_qty) = bids[0];
      if (!asks.empty()) std::tie(row.ask, row.ask_qty) = asks[0];
      return row;
    }
    for (const bool sell : {false, true}) {
      const auto all = orders(instrument, sell);
      for (const auto& [price, order] : all) {
        if (price != all[0].first) break;
        (sell ? row.ask : row.bid) = price;
        (sell ? row.ask_qty : row.bid_qty) += order.qty;
      }
    }
    return row;
  }

 private:
  struct Where {
    uint32_t instrument;
    bool sell;
    int64_t price;
  };

  void close(uint32_t instrument) {
    pending_.erase(instrument);
    ++events;
    const Row now = best(instrument);
    const char in = phase(instrument);
    if (now.bid_qty && now.ask_qty && (in == 't' || in == '?')) {
      crossed += now.bid > now.ask;
      locked += now.bid == now.ask;
    }
    const auto told = told_.find(instrument);
    const Row before = told == told_.end() ? Row{instrument} : told->second;
    told_[instrument] = now;
    if (!(now == before)) rows.push_back(now);
  }

  char done(uint32_t instrument) {
    touched_ = instrument;
    return 'a';
  }

  char change(const wp_record& r) {
    const bool cme = r.venue == WP_VENUE_CME;
    switch (r.action) {
      case WP_ACTION_ADD:
        return r.order_id == 0 ? set(r, r.qty) : add(r, r.order_id, r.instrument, r.side == 'S');
      case WP_ACTION_MODIFY: {
        if (r.order_id == 0) return set(r, r.qty);
        const uint64_t old = cme ? r.order_id : r.aux;
        const auto found = where_.find(old);
        if (found == where_.end()) return 'u';
        if (r.order_id != old && where_.count(r.order_id)) return 'd';
        const Where at = found->second;
        Order& order = find(old);
        wp_record next = r;
        if (cme) {
          if (r.price == WP_NO_PRICE) next.price = at.price;
          if (r.aux == 0) next.aux = order.priority;
        }
        const bool same = r.order_id == old && at.price == next.price && r.qty != 0;
        const bool told = r.venue == WP_VENUE_IEX || r.venue == WP_VENUE_CBOE;
        const bool keeps =
            cme ? next.aux == order.priority
                : (r.flags & WP_FLAG_KEEPS_PRIORITY) || (!told && r.qty <= order.qty);
        if (same && keeps) {
          order.qty = r.qty;
          return done(at.instrument);
        }
        remove(old);
        if (r.qty != 0) add(next, r.order_id, at.instrument, at.sell);
        return done(at.instrument);
      }
      case WP_ACTION_CANCEL:
      case WP_ACTION_EXECUTE: {
        if (!where_.count(r.order_id)) return 'u';
        const uint32_t instrument = where_[r.order_id].instrument;
        Order& order = find(r.order_id);
        over_reduced += r.qty > order.qty;
        if (r.qty >= order.qty)
          remove(r.order_id);
        else
          order.qty -= r.qty;
        return done(instrument);
      }
      case WP_ACTION_DELETE: {
        if (r.order_id == 0) return set(r, 0);
        if (!where_.count(r.order_id)) return 'u';
        const uint32_t instrument = where_[r.order_id].instrument;
        remove(r.order_id);
        return done(instrument);
      }
      case WP_ACTION_CLEAR: {
        const bool levels_only = cme && std::set<int>{38, 52, 61, 68, 69}.count(r.type);
        const bool orders_only = cme && std::set<int>{44, 53, 59}.count(r.type);
        if (levels_only && r.instrument != 0) numbered_[r.instrument];
        for (auto& [key, side] : sides_)
          if (r.instrument == 0 || (key.first == r.instrument && !levels_only)) wipe(side);
        for (auto& [instrument, sides] : numbered_)
          if (r.instrument == 0 || (instrument == r.instrument && !orders_only))
            for (Numbered& side : sides) side.clear();
        if (r.instrument != 0) return done(r.instrument);
        all_ = true;
        told_.clear();
        if (r.venue != WP_VENUE_CBOE) pending_.clear(), transaction_ = false;
        return 'a';
      }
      case WP_ACTION_STATUS:
        return status(r);
      default:
        return 'i';
    }
  }

  char status(const wp_record& r) {
    static const std::map<std::pair<int, int>, std::string> kLetters{
        {{WP_VENUE_NASDAQ, 'H'}, "Tt Qa Hh Ph"},
        {{WP_VENUE_IEX, 'H'}, "Tt Oa Pa Hh"},
        {{WP_VENUE_CBOE, 0x31}, "Tt Aa Qa Ra Hh Sh"}};
    static const std::map<uint32_t, char> kCme{{17, 't'}, {2, 'h'},  {15, 'a'}, {21, 'a'},
                                               {24, 'a'}, {25, 'a'}, {4, 'c'},  {18, 'c'},
                                               {26, 'c'}, {20, '?'}};
    if (r.venue == WP_VENUE_CME) {
      const auto found = kCme.find(r.qty);
      if (r.type == 60 || r.qty == 103 || r.qty == 0) return 'i';
      if (r.instrument != 0) phases_[r.instrument] = found == kCme.end() ? '?' : found->second;
      return 'a';
    }
    if ((r.venue == WP_VENUE_NASDAQ && r.type == 'h') ||
        (r.venue == WP_VENUE_IEX && r.type == 'O')) {
      halted_[r.instrument] = r.qty == (r.venue == WP_VENUE_IEX ? 'O' : 'H');
      return 'a';
    }
    const auto found = kLetters.find({r.venue, r.type});
    if (found == kLetters.end()) return 'i';
    const size_t at = found->second.find(static_cast<char>(r.qty));
    phases_[r.instrument] = at == std::string::npos ? '?' : found->second[at + 1];
    return 'a';
  }

  void wipe(Side& side) {
    for (auto& [price, level] : side)
      for (const Order& order : level.queue) where_.erase(order.id);
    side.clear();
  }
  Level& level_of(const Where& at) { return sides_[{at.instrument, at.sell}][at.price]; }
  Order& find(uint64_t id) {
    for (Order& order : level_of(where_.at(id)).queue)
      if (order.id == id) return order;
    throw id;
  }
  void remove(uint64_t id) {
    const Where at = where_.at(id);
    level_of(at).queue.remove_if([&](const Order& order) { return order.id == id; });
    if (level_of(at).queue.empty()) sides_[{at.instrument, at.sell}].erase(at.price);
    where_.erase(id);
  }
  char add(const wp_record& r, uint64_t id, uint32_t instrument, bool sell) {
    if (r.qty == 0) return 'i';
    if (where_.count(id)) return 'd';
    where_[id] = {instrument, sell, r.price};
    level_of(where_[id]).whole = 0;
    auto& queue = level_of(where_[id]).queue;
    auto at = queue.end();
    const uint64_t priority = r.venue == WP_VENUE_CME ? r.aux : 0;
    if (priority != 0)
      while (at != queue.begin() && std::prev(at)->priority > priority) --at;
    queue.insert(at, {id, r.qty, priority});
    return done(instrument);
  }
  char set(const wp_record& r, uint32_t qty) {
    if (r.venue == WP_VENUE_CME) return set_numbered(r);
    Side& side = sides_[{r.instrument, r.side == 'S'}];
    if (r.venue == WP_VENUE_IEX && r.type == 'Q') {
      wipe(side);
      if (qty != 0) side[r.price].whole = qty;
      return done(r.instrument);
    }
    const auto found = side.find(r.price);
    if (qty == 0) {
      if (found == side.end() || !found->second.queue.empty()) return 'u';
      side.erase(found);
      return done(r.instrument);
    }
    if (found != side.end() && !found->second.queue.empty()) return 'd';
    side[r.price].whole = qty;
    return done(r.instrument);
  }
  // As a list into which one inserts and from which one deletes, cut at the depth.
  char set_numbered(const wp_record& r) {
    const size_t level = r.aux >> 32 & 0xff;
    uint8_t update = r.aux >> 40 & 0xff;
    const std::string types = "01EF";
    const size_t type = types.find(static_cast<char>(r.aux >> 48 & 0xff));
    if (type == std::string::npos || update > 5) return 'i';
    const size_t depth = type < 2 ? 10 : 2;
    auto& sides = numbered_[r.instrument];
    if (level == 0 || level > depth) {
      ++unknown_level;
      return 'i';
    }
    if (std::set<int>{38, 52, 61, 68, 69}.count(r.type)) update = 5;
    Numbered& side = sides[(type < 2 ? 0 : 2) + (r.side == 'S')];
    side.resize(depth);
    const auto at = side.begin() + static_cast<ptrdiff_t>(level - 1);
    const bool known = at->has_value();
    if (update >= 1 && update <= 4) unknown_level += !known;
    if (update == 0) side.insert(at, std::pair{r.price, r.qty});
    if (update == 1 || update == 5) *at = std::pair{r.price, r.qty};
    if (update == 2) side.erase(at);
    if (update == 3) side.erase(side.begin(), at + 1);
    if (update == 4) side.erase(at, side.end());
    side.resize(depth);
    return done(r.instrument);
  }

  std::map<std::pair<uint32_t, bool>, Side> sides_;
  std::map<uint32_t, std::array<Numbered, 4>> numbered_;
  std::map<uint64_t, Where> where_;
  std::map<uint32_t, char> phases_;
  std::map<uint32_t, bool> halted_;
  std::map<uint32_t, Row> told_;
  std::set<uint32_t> pending_;
  uint32_t touched_ = 0;
  bool all_ = false;
  bool transaction_ = false;
};

}  // namespace wp::feed::naive
