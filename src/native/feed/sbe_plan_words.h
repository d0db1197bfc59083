/* SPDX-License-Identifier: Apache-2.0
 *
 * Words of SBE plans and CME maps, made in C++: for native tests and fuzz targets,
 * which have no XML.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "feed/cme_map.h"
#include "feed/sbe_plan.h"

namespace wp::feed::test {

struct PlanField {
  uint32_t offset, size, element = 1, since = 0;
  uint8_t null = 0xff;  // every byte of it
};

/* length u16, count u8: three bytes, as CME's groupSize. */
struct PlanDimension {
  uint32_t size = 3, length_at = 0, length_width = 2, count_at = 2, count_width = 1;
};

struct PlanData {
  uint32_t since = 0, header = 2, at = 0, width = 2;
};

struct PlanBlock;

struct PlanGroup {
  uint32_t since = 0;
  PlanDimension dimension;
  std::vector<PlanBlock> block;  // one
};

struct PlanBlock {
  uint32_t length = 0;
  std::vector<PlanField> fields;
  std::vector<PlanGroup> groups;
  std::vector<PlanData> data;
};

inline PlanGroup plan_group(PlanBlock block, PlanDimension dimension = {}, uint32_t since = 0) {
  PlanGroup group{since, dimension, {}};
  group.block.push_back(std::move(block));
  return group;
}

inline void put_block(std::vector<uint32_t>& words, const PlanBlock& b) {
  words.insert(words.end(), {b.length, static_cast<uint32_t>(b.fields.size())});
  std::vector<uint32_t> nulls((b.length + 3) / 4);
  for (const PlanField& f : b.fields) {
    words.insert(words.end(), {f.offset, f.size, f.element, f.since});
    for (uint32_t i = f.offset; i < f.offset + f.size && i < b.length; ++i) {
      nulls[i / 4] |= uint32_t{f.null} << (8 * (i % 4));
    }
  }
  words.insert(words.end(), nulls.begin(), nulls.end());
  words.push_back(static_cast<uint32_t>(b.groups.size()));
  for (const PlanGroup& g : b.groups) {
    const PlanDimension& d = g.dimension;
    words.insert(words.end(),
                 {g.since, d.size, d.length_at, d.length_width, d.count_at, d.count_width});
    put_block(words, g.block[0]);
  }
  words.push_back(static_cast<uint32_t>(b.data.size()));
  for (const PlanData& d : b.data) {
    words.insert(words.end(), {d.since, d.header, d.at, d.width});
  }
}

inline std::vector<uint32_t> plan_words(
    const std::vector<std::pair<uint32_t, PlanBlock>>& templates, uint32_t version = 1,
    bool big_endian = false) {
  // blockLength, templateId, schemaId, version: u16 each, schema 1.
  std::vector<uint32_t> words{SbePlan::kMagic,
                              1,
                              version,
                              big_endian,
                              8,
                              0,
                              2,
                              2,
                              2,
                              4,
                              2,
                              6,
                              2,
                              static_cast<uint32_t>(templates.size())};
  for (const auto& [id, block] : templates) {
    words.push_back(id);
    put_block(words, block);
  }
  return words;
}

/* A field of a CmeMap: on the wire, a constant, or nothing. */
struct MapField {
  uint32_t width = 0;
  bool is_signed = false;
  bool nullable = false;
  uint32_t since = 0;
  uint32_t offset = 0;
  uint64_t value = 0;

  static MapField wire(uint32_t offset, uint32_t width, bool is_signed = false) {
    return {width, is_signed, false, 0, offset, 0};
  }
  static MapField optional(uint32_t offset, uint32_t width, uint64_t null, bool is_signed = false,
                           uint32_t since = 0) {
    return {width, is_signed, true, since, offset, null};
  }
  static MapField constant(uint64_t value) { return {0, false, true, 0, 0, value}; }
};

struct MapTemplate {
  CmeKind kind = CmeKind::kAdmin;
  MapField time, indicator, instrument, rpt_seq, last_processed, reports, chunk, chunks, status,
      price;
  MapField symbol, reason, event;
  uint32_t entries = CmeTemplate::kNone;
  MapField entry_price, entry_qty, entry_instrument, entry_rpt_seq, level, action, entry_type,
      aggressor, order_id, priority, trade_id;
  uint32_t orders = CmeTemplate::kNone;
  MapField sub_order_id, sub_priority, sub_qty, sub_reference, sub_action;
};

inline std::vector<uint32_t> map_words(const std::vector<MapTemplate>& templates,
                                       uint64_t scale = 100) {
  std::vector<uint32_t> words{CmeMap::kMagic, static_cast<uint32_t>(templates.size())};
  const auto put = [&words](std::initializer_list<const MapField*> fields) {
    for (const MapField* f : fields) {
      words.insert(words.end(),
                   {f->width, f->is_signed, f->nullable, f->since, f->offset,
                    static_cast<uint32_t>(f->value), static_cast<uint32_t>(f->value >> 32)});
    }
  };
  const auto put_scale = [&words, scale] {
    words.insert(words.end(), {static_cast<uint32_t>(scale), static_cast<uint32_t>(scale >> 32)});
  };
  for (const MapTemplate& t : templates) {
    words.push_back(static_cast<uint32_t>(t.kind));
    put({&t.time, &t.indicator, &t.instrument, &t.rpt_seq, &t.last_processed, &t.reports, &t.chunk,
         &t.chunks, &t.status, &t.price});
    put_scale();
    put({&t.symbol, &t.reason, &t.event});
    words.push_back(t.entries);
    put({&t.entry_price, &t.entry_qty, &t.entry_instrument, &t.entry_rpt_seq, &t.level, &t.action,
         &t.entry_type, &t.aggressor, &t.order_id, &t.priority, &t.trade_id});
    put_scale();
    words.push_back(t.orders);
    put({&t.sub_order_id, &t.sub_priority, &t.sub_qty, &t.sub_reference, &t.sub_action});
  }
  return words;
}

/* Two templates of CME's kind: 46, a book with orders, and 12, a heartbeat. */
inline std::vector<uint32_t> cme_plan_words() {
  PlanBlock entry{
      32, {{0, 8}, {8, 4}, {12, 4}, {16, 4}, {20, 4}, {24, 1}, {25, 1}, {26, 1}}, {}, {}};
  entry.fields.push_back({27, 4, 1, 10});
  PlanBlock order{24, {{0, 8}, {8, 8}, {16, 4}, {20, 1}, {21, 1}}, {}, {}};
  PlanBlock book{11, {{0, 8}, {8, 1}}, {}, {}};
  book.groups.push_back(plan_group(entry));
  book.groups.push_back(plan_group(order, {8, 0, 2, 7, 1}));
  return plan_words({{46, book}, {12, {}}}, 9);
}

inline std::vector<uint32_t> cme_map_words() {
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
  return map_words({book, {}});
}

}  // namespace wp::feed::test
