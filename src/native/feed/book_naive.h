/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests and fuzzing only: order books the slow and obvious way, on the
 * standard library's maps and lists, sharing nothing with the real ones.
 */
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <utility>
#include <vector>

#include "core/record.h"

namespace wp::feed::naive {

class Books {
 public:
  struct Order {
    uint64_t id;
    uint32_t qty;
    bool operator==(const Order&) const = default;
  };
  struct Level {
    std::list<Order> queue;
    uint64_t whole = 0;  // told as a whole, no orders
  };
  using Side = std::map<int64_t, Level>;

  // 'a' applied, 'i' ignored, 'u' unknown order, 'd' duplicate
  char apply(const wp_record& r) {
    switch (r.action) {
      case WP_ACTION_ADD:
        return r.order_id == 0 ? set(r, r.qty) : add(r, r.order_id, r.instrument, r.side == 'S');
      case WP_ACTION_MODIFY: {
        if (r.order_id == 0) return set(r, r.qty);
        const auto found = where_.find(r.aux);
        if (found == where_.end()) return 'u';
        if (r.order_id != r.aux && where_.count(r.order_id)) return 'd';
        const Where at = found->second;
        Order& order = find(r.aux);
        if (r.order_id == r.aux && at.price == r.price && r.qty != 0 && r.qty <= order.qty) {
          order.qty = r.qty;
          return 'a';
        }
        remove(r.aux);
        if (r.qty != 0) add(r, r.order_id, at.instrument, at.sell);
        return 'a';
      }
      case WP_ACTION_CANCEL:
      case WP_ACTION_EXECUTE: {
        if (!where_.count(r.order_id)) return 'u';
        Order& order = find(r.order_id);
        if (r.qty >= order.qty)
          remove(r.order_id);
        else
          order.qty -= r.qty;
        return 'a';
      }
      case WP_ACTION_DELETE:
        if (r.order_id == 0) return set(r, 0);
        if (!where_.count(r.order_id)) return 'u';
        remove(r.order_id);
        return 'a';
      case WP_ACTION_CLEAR:
        for (auto& [key, side] : sides_) {
          if (r.instrument != 0 && key.first != r.instrument) continue;
          for (auto& [price, level] : side)
            for (const Order& order : level.queue) where_.erase(order.id);
          side.clear();
        }
        return 'a';
      case WP_ACTION_STATUS:
        return r.venue == WP_VENUE_NASDAQ && r.type == 'H' ? 'a' : 'i';
      default:
        return 'i';
    }
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

 private:
  struct Where {
    uint32_t instrument;
    bool sell;
    int64_t price;
  };

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
    level_of(where_[id]).queue.push_back({id, r.qty});
    return 'a';
  }
  char set(const wp_record& r, uint32_t qty) {
    Side& side = sides_[{r.instrument, r.side == 'S'}];
    const auto found = side.find(r.price);
    if (qty == 0) {
      if (found == side.end() || !found->second.queue.empty()) return 'u';
      side.erase(found);
      return 'a';
    }
    if (found != side.end() && !found->second.queue.empty()) return 'd';
    side[r.price].whole = qty;
    return 'a';
  }

  std::map<std::pair<uint32_t, bool>, Side> sides_;
  std::map<uint64_t, Where> where_;
};

}  // namespace wp::feed::naive
