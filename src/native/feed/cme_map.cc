/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the words of a CmeMap and checks them against the plan.
 */
#include "feed/cme_map.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace wp::feed {
namespace {

class Reader {
 public:
  Reader(const SbePlan& plan, std::span<const uint32_t> words) : plan_(plan), words_(words) {}

  uint32_t word() {
    if (at_ == words_.size()) throw fault("shorter than it says");
    return words_[at_++];
  }

  CmeTemplate read(const SbeTemplate& message) {
    CmeTemplate t;
    newest_ = 0;
    const uint32_t kind = word();
    if (kind > static_cast<uint32_t>(CmeKind::kStatus)) throw fault("of a kind that is not known");
    t.kind = static_cast<CmeKind>(kind);
    const SbeBlock* block = &plan_.blocks()[message.root];
    for (CmeField* f : {&t.time, &t.indicator, &t.instrument, &t.rpt_seq, &t.last_processed,
                        &t.reports, &t.chunk, &t.chunks, &t.status, &t.price}) {
      *f = field(block);
    }
    t.price_scale = wide();
    for (CmeField* f : {&t.symbol, &t.reason, &t.event}) *f = field(block);
    t.entries = group(message, &block);
    for (CmeField* f :
         {&t.entry_price, &t.entry_qty, &t.entry_instrument, &t.entry_rpt_seq, &t.level, &t.action,
          &t.entry_type, &t.aggressor, &t.order_id, &t.priority, &t.trade_id}) {
      *f = field(block);
    }
    t.entry_price_scale = wide();
    t.orders = group(message, &block);
    for (CmeField* f :
         {&t.sub_order_id, &t.sub_priority, &t.sub_qty, &t.sub_reference, &t.sub_action}) {
      *f = field(block);
    }
    t.newest = newest_;
    if (t.kind != CmeKind::kEntries && t.kind != CmeKind::kSnapshot) {
      t.entries = t.orders = CmeTemplate::kNone;  // such a message is one record
    }
    return t;
  }

  void end() const {
    if (at_ != words_.size()) throw fault("longer than it says");
  }

  Error fault(const char* how) const {
    return config_error("CME map, word " + std::to_string(at_), how, "as Mdp3 makes it");
  }

 private:
  uint64_t wide() {
    const uint64_t low = word();
    return low | uint64_t{word()} << 32;
  }

  /* block == nullptr: there is none, so nothing may be read from it. */
  CmeField field(const SbeBlock* block) {
    CmeField f;
    const uint32_t width = word();
    const bool is_signed = word() != 0;
    const bool nullable = word() != 0;
    const uint32_t since = word(), offset = word();
    const uint64_t value = wide();
    if (width > 8) throw fault("a field of more than 8 bytes");
    if (width == 0) {
      f.present = nullable;
      if (nullable) f.fixed = value;
      f.nullable = !nullable;
      return f;
    }
    // Within one field of the plan, or open() does not promise that it is there.
    const bool inside =
        block != nullptr &&
        std::any_of(block->fields.begin(), block->fields.end(), [=](const SbeField& have) {
          return have.offset <= offset && offset + width <= have.offset + have.size &&
                 have.since <= since;
        });
    if (!inside) throw fault("a field that the plan does not have");
    f.present = true;
    f.at = static_cast<int32_t>(offset + width) - 8;
    f.shift = static_cast<uint8_t>(64 - 8 * width);
    f.mask = is_signed ? UINT64_MAX : UINT64_MAX >> f.shift;
    f.nullable = nullable;
    f.null_value = value;
    f.since = since;
    newest_ = std::max(newest_, since);
    return f;
  }

  uint32_t group(const SbeTemplate& message, const SbeBlock** block) {
    const uint32_t index = word();
    *block = nullptr;
    if (index == CmeTemplate::kNone) return index;
    const SbeBlock& root = plan_.blocks()[message.root];
    const bool known = std::any_of(root.groups.begin(), root.groups.end(),
                                   [index](const SbeGroup& group) { return group.block == index; });
    if (!known) throw fault("a group that the message does not have");
    *block = &plan_.blocks()[index];
    // Orders find their entry by its number, which needs entries of one size.
    if (!(*block)->leaf) throw fault("a group with groups or data inside");
    return index;
  }

  const SbePlan& plan_;
  std::span<const uint32_t> words_;
  size_t at_ = 0;
  uint32_t newest_ = 0;
};

}  // namespace

CmeMap::CmeMap(const SbePlan& plan, std::span<const uint32_t> words) {
  Reader reader(plan, words);
  if (plan.big_endian() || plan.header_size() < 8) throw reader.fault("not CME's byte order");
  if (reader.word() != kMagic) throw reader.fault("another thing");
  if (reader.word() != plan.messages().size()) throw reader.fault("of another plan");
  for (const SbeTemplate& message : plan.messages()) templates_.push_back(reader.read(message));
  reader.end();
}

}  // namespace wp::feed
