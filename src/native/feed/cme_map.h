/* SPDX-License-Identifier: Apache-2.0
 *
 * Which fields of which CME templates feed which members of wp_record. Made from
 * the schema by field name at load time, so that every edition of the templates
 * works; comes here as 32-bit words beside the SbePlan.
 */
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "feed/sbe_plan.h"

namespace wp::feed {

/* A number of up to 8 bytes in a block, a constant, or nothing (which is null).
 * One expression reads all three, without a branch: fields differ from template
 * to template, and a branch on what they are would miss. */
struct CmeField {
  int32_t at = -8;  // of 8 bytes that end with the field, from the block on
  uint32_t since = 0;
  uint8_t shift = 0;
  bool nullable = true;
  bool present = false;  // false: the template has no such field
  uint64_t mask = 0;     // 0: `fixed` alone counts
  uint64_t fixed = 0;
  uint64_t null_value = 0;

  struct Value {
    uint64_t number;  // sign-extended
    bool null;
  };

  /* The block is known to hold what its version has, and at least 8 bytes (the SBE
   * header) stand before it, so what is loaded is in the message. */
  Value read(const uint8_t* block) const {
    const auto word = std::bit_cast<int64_t>(net::load_le<uint64_t>(block + at));
    const uint64_t number = (static_cast<uint64_t>(word >> shift) & mask) | fixed;
    return {number, nullable && number == null_value};
  }
};

enum class CmeKind : uint8_t {
  kAdmin,     // no record
  kEntries,   // a record per entry; the entry says what it is
  kSnapshot,  // the instrument's book is void, then a record per entry
  kClear,     // all books of the channel are void
  kStatus,    // one record for the message
};

struct CmeTemplate {
  static constexpr uint32_t kNone = UINT32_MAX;
  CmeKind kind = CmeKind::kAdmin;
  // Of the root block.
  CmeField time, indicator, instrument, rpt_seq, last_processed, reports, chunk, chunks, status,
      price;
  uint64_t price_scale = 0;        // to 1e-9
  uint32_t newest = 0;             // highest `since` of all fields here
  CmeField symbol, reason, event;  // bytes of aux: from 0, 6, 7
  // Of the entries.
  uint32_t entries = kNone;  // block
  CmeField entry_price, entry_qty, entry_instrument, entry_rpt_seq, level, action, entry_type,
      aggressor, order_id, priority, trade_id;
  uint64_t entry_price_scale = 0;
  // Of orders that belong to an entry.
  uint32_t orders = kNone;  // block
  CmeField sub_order_id, sub_priority, sub_qty, sub_reference, sub_action;
};

class CmeMap {
 public:
  static constexpr uint32_t kMagic = 0x31'45'4d'43;  // "CME1"

  /* magic, number of templates, for each in the order of the plan: kind, the
   * root's fields from `time` to `price`, price scale (2 words, low first), symbol,
   * reason, event, block of the entries, their fields, price scale, block of the
   * orders, their fields. A field is 7 words: width, signed, nullable, since,
   * offset, value (2 words); width 0 with nullable 1 is a constant, with 0 nothing.
   * Throws wp::Error where that does not fit the plan. */
  CmeMap(const SbePlan& plan, std::span<const uint32_t> words);

  const CmeTemplate& operator[](size_t message) const { return templates_[message]; }

 private:
  std::vector<CmeTemplate> templates_;
};

}  // namespace wp::feed
