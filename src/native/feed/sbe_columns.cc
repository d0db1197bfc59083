/* SPDX-License-Identifier: Apache-2.0
 *
 * Raw SBE columns: rows of root blocks and of group entries.
 */
#include "feed/sbe_columns.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "net/bytes.h"

namespace wp::feed {
namespace {

void copy_swapped(const SbeField& f, const uint8_t* from, uint8_t* to) {
  for (uint32_t at = 0; at < f.size; at += f.element) {
    switch (f.element) {
      case 2:
        net::store_le(to + at, net::load_be16(from + at));
        break;
      case 4:
        net::store_le(to + at, net::load_be32(from + at));
        break;
      case 8:
        net::store_le(to + at, net::load_be64(from + at));
        break;
      default:
        to[at] = from[at];
    }
  }
}

}  // namespace

SbeColumns::SbeColumns(std::shared_ptr<const SbePlan> plan, std::span<const uint32_t> templates)
    : plan_(std::move(plan)),
      tables_(plan_->blocks().size()),
      heaps_(plan_->messages().size()),
      kept_(plan_->messages().size(), templates.empty()),
      counters_(*plan_) {
  for (const uint32_t id : templates) {
    const int index = plan_->find(id);
    if (index < 0) throw config_error("template", std::to_string(id), "one of the schema");
    kept_[static_cast<size_t>(index)] = true;
  }
  for (size_t i = 0; i < tables_.size(); ++i) {
    const SbeBlock& block = plan_->blocks()[i];
    tables_[i].row = (block.root ? kSbeRootPrefix : kSbeEntryPrefix) + block.length +
                     kSbeDataColumn * block.data.size();
  }
}

uint8_t* SbeColumns::grow(Table& table) {
  if (table.bytes.size() - table.used < table.row) {
    table.bytes.resize(std::max(2 * table.bytes.size(), 256 * table.row));
  }
  uint8_t* const row = table.bytes.data() + table.used;
  table.used += table.row;
  return row;
}

void SbeColumns::write(const SbeBlock& block, uint32_t version, const uint8_t* from,
                       uint32_t length, uint8_t* to) const {
  if (version >= block.newest && length >= block.length && !plan_->big_endian()) [[likely]] {
    std::memcpy(to, from, block.length);
    return;
  }
  // memcpy of an empty vector's null is undefined even for 0 bytes.
  if (block.length != 0) std::memcpy(to, block.nulls.data(), block.length);
  for (const SbeField& f : block.fields) {
    if (f.since > version) continue;
    if (plan_->big_endian()) {
      copy_swapped(f, from + f.offset, to + f.offset);
    } else {
      std::memcpy(to + f.offset, from + f.offset, f.size);
    }
  }
}

struct SbeColumns::Writer {
  SbeColumns& self;
  const SbeRowContext& ctx;
  uint32_t version;

  uint64_t block(const SbeBlock& block, uint32_t index, const uint8_t* p, uint32_t length,
                 uint64_t entry, uint64_t parent) {
    Table& table = self.tables_[index];
    const uint64_t number = table.used / table.row;
    uint8_t* at = self.grow(table);
    if (block.root) {
      net::store_le(at, ctx.seq);
      net::store_le(at + 8, ctx.recv_time);
      net::store_le(at + 16, ctx.send_time);
      net::store_le(at + 24, self.offered_);
      net::store_le(at + 32, version);
      at += kSbeRootPrefix;
    } else {
      net::store_le(at, parent);
      net::store_le(at + 8, static_cast<uint32_t>(entry));
      at += kSbeEntryPrefix;
    }
    self.write(block, version, p, length, at);
    std::memset(at + block.length, 0, kSbeDataColumn * block.data.size());
    return number;
  }

  void data(const SbeBlock& block, uint32_t index, size_t i, uint64_t owner, const uint8_t* p,
            size_t n) {
    Table& table = self.tables_[index];
    std::vector<uint8_t>& heap = self.heaps_[block.message];
    uint8_t* const at =
        table.bytes.data() + (owner + 1) * table.row - kSbeDataColumn * (block.data.size() - i);
    net::store_le(at, uint64_t{heap.size()});
    net::store_le(at + 8, static_cast<uint32_t>(n));
    heap.insert(heap.end(), p, p + n);
  }
};

SbeResult SbeColumns::append(const uint8_t* msg, size_t len, const SbeRowContext& ctx) {
  SbeMessage m;
  const SbeResult result = plan_->open(msg, len, m);
  counters_.count(result, m);
  if (result == SbeResult::kOk && kept_[m.message]) {
    plan_->visit(m, Writer{*this, ctx, m.version});
  }
  ++offered_;
  return result;
}

void SbeColumns::clear(uint32_t message) {
  const SbeTemplate& m = plan_->messages()[message];
  for (uint32_t i = m.root; i <= m.last_block; ++i) tables_[i].used = 0;
  heaps_[message].clear();
}

}  // namespace wp::feed
