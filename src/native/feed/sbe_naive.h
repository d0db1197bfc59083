/* SPDX-License-Identifier: Apache-2.0
 *
 * A deliberately naive SBE decoder, which looks before every byte, and the
 * comparison of SbeColumns with it. For tests and the fuzz target.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "feed/sbe_columns.h"
#include "feed/sbe_plan_words.h"

namespace wp::feed::naive {

using Templates = std::vector<std::pair<uint32_t, test::PlanBlock>>;

/* A row as parts: its prefix, then every field, then every data's offset and length. */
using NaiveRow = std::vector<std::string>;

template <class T>
std::string bytes_of(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

class SbeNaive {
 public:
  using Tables = std::map<const test::PlanBlock*, std::vector<NaiveRow>>;

  SbeNaive(const Templates& templates, bool big_endian) : templates_(templates), big_(big_endian) {}

  SbeResult decode(std::span<const uint8_t> message, const SbeRowContext& ctx, uint64_t number) {
    message_ = message;
    at_ = 8;
    empty_ = 0;
    std::map<const test::PlanBlock*, size_t> rows;
    for (const auto& [block, table] : tables) rows[block] = table.size();
    std::map<uint32_t, size_t> bytes;
    for (const auto& [id, heap] : heaps) bytes[id] = heap.size();
    try {
      const uint64_t length = load(0, 2), id = load(2, 2), schema = load(4, 2);
      version_ = static_cast<uint32_t>(load(6, 2));
      if (schema != 1) return SbeResult::kOtherSchema;
      for (const auto& [template_id, root] : templates_) {
        if (template_id != id) continue;
        heap_ = &heaps[template_id];
        block(root, length,
              bytes_of(ctx.seq) + bytes_of(ctx.recv_time) + bytes_of(ctx.send_time) +
                  bytes_of(number) + bytes_of(version_));
        return SbeResult::kOk;
      }
      return SbeResult::kUnknown;
    } catch (const Left&) {
      for (auto& [block, table] : tables) table.resize(rows[block]);
      for (auto& [id, heap] : heaps) heap.resize(bytes[id]);
      return SbeResult::kMalformed;
    }
  }

  Tables tables;
  std::map<uint32_t, std::string> heaps;  // by template id

 private:
  struct Left {};  // the message ended before what it says

  uint8_t byte(size_t at) const {
    if (at >= message_.size()) throw Left{};
    return message_[at];
  }

  uint64_t load(size_t at, uint32_t width) const {
    uint64_t value = 0;
    for (uint32_t i = 0; i < width; ++i) {
      value |= uint64_t{byte(at + i)} << 8 * (big_ ? width - 1 - i : i);
    }
    return value;
  }

  void block(const test::PlanBlock& b, uint64_t wire_length, const std::string& prefix) {
    if (wire_length > message_.size() - at_) throw Left{};
    NaiveRow row{prefix};
    for (const test::PlanField& f : b.fields) {
      std::string value(f.size, static_cast<char>(f.null));
      if (f.since <= version_) {
        if (f.offset + f.size > wire_length) throw Left{};
        for (uint32_t k = 0; k < f.size; ++k) {
          const uint32_t in = k % f.element;
          value[k] =
              static_cast<char>(byte(at_ + f.offset + (big_ ? k - in + f.element - 1 - in : k)));
        }
      }
      row.push_back(value);
    }
    at_ += wire_length;
    std::vector<NaiveRow>& table = tables[&b];
    const size_t number = table.size();
    table.push_back(row);
    for (const test::PlanGroup& g : b.groups) group(g, number);
    for (const test::PlanData& d : b.data) {
      std::string value;
      if (d.since <= version_) {
        if (d.header > message_.size() - at_) throw Left{};
        const uint64_t size = load(at_ + d.at, d.width);
        at_ += d.header;
        if (size > message_.size() - at_) throw Left{};
        value = bytes_of(uint64_t{heap_->size()}) + bytes_of(static_cast<uint32_t>(size));
        heap_->append(reinterpret_cast<const char*>(message_.data()) + at_, size);
        at_ += size;
      } else {
        value.assign(kSbeDataColumn, '\0');
      }
      tables[&b][number].push_back(value);
    }
  }

  void group(const test::PlanGroup& g, uint64_t parent) {
    if (g.since > version_) return;
    const test::PlanDimension& d = g.dimension;
    if (d.size > message_.size() - at_) throw Left{};
    const uint64_t length = load(at_ + d.length_at, d.length_width);
    const uint64_t count = load(at_ + d.count_at, d.count_width);
    at_ += d.size;
    for (uint64_t i = 0; i < count; ++i) {
      const size_t before = at_;
      block(g.block[0], length, bytes_of(parent) + bytes_of(static_cast<uint32_t>(i)));
      if (at_ == before && ++empty_ > SbePlan::kMaxEmptyEntries) throw Left{};
    }
  }

  const Templates& templates_;
  bool big_;
  std::span<const uint8_t> message_;
  size_t at_ = 0;
  uint32_t version_ = 0;
  uint32_t empty_ = 0;
  std::string* heap_ = nullptr;
};

/* SbeColumns and the naive decoder on the same messages. */
class SbeDifferential {
 public:
  SbeDifferential(Templates templates, bool big_endian)
      : templates_(std::move(templates)),
        plan_(std::make_shared<SbePlan>(test::plan_words(templates_, 1, big_endian))),
        columns_(plan_),
        naive_(templates_, big_endian) {
    for (const auto& [id, block] : templates_) list(block);
  }

  /* nullptr, or in what they differ. */
  const char* on_message(std::span<const uint8_t> message) {
    const SbeRowContext ctx{7 + offered_, -3, 5};
    const SbeResult result = columns_.append(message.data(), message.size(), ctx);
    if (naive_.decode(message, ctx, offered_++) != result) return "result";
    const SbeCounters& c = columns_.counters();
    if (c.messages + c.unknown + c.other_schema + c.malformed != offered_) return "counters";
    return nullptr;
  }

  const char* rows() {
    for (uint32_t i = 0; i < blocks_.size(); ++i) {
      const std::vector<NaiveRow>& expected = naive_.tables[blocks_[i]];
      if (columns_.rows(i) != expected.size()) return "number of rows";
      for (size_t n = 0; n < expected.size(); ++n) {
        if (row(i, n) != expected[n]) return "row";
      }
    }
    for (uint32_t i = 0; i < templates_.size(); ++i) {
      const std::span<const uint8_t> heap = columns_.heap(i);
      if (std::string(heap.begin(), heap.end()) != naive_.heaps[templates_[i].first]) {
        return "bytes of data";
      }
    }
    return nullptr;
  }

  const SbeColumns& columns() const { return columns_; }

 private:
  void list(const test::PlanBlock& block) {
    blocks_.push_back(&block);
    for (const test::PlanGroup& g : block.groups) list(g.block[0]);
  }

  NaiveRow row(uint32_t index, size_t n) const {
    const test::PlanBlock& b = *blocks_[index];
    const size_t size = columns_.row_size(index);
    const std::span<const uint8_t> table = columns_.data(index);
    const char* const at = reinterpret_cast<const char*>(table.data()) + n * size;
    const size_t prefix = plan_->blocks()[index].root ? kSbeRootPrefix : kSbeEntryPrefix;
    NaiveRow out{std::string(at, prefix)};
    for (const test::PlanField& f : b.fields) out.emplace_back(at + prefix + f.offset, f.size);
    for (size_t i = 0; i < b.data.size(); ++i) {
      out.emplace_back(at + prefix + b.length + kSbeDataColumn * i, kSbeDataColumn);
    }
    return out;
  }

  Templates templates_;
  std::shared_ptr<SbePlan> plan_;
  SbeColumns columns_;
  SbeNaive naive_;
  std::vector<const test::PlanBlock*> blocks_;
  uint64_t offered_ = 0;
};

/* A schema made from bytes: whatever they are, the plan is a right one. */
class TemplatesFrom {
 public:
  explicit TemplatesFrom(std::span<const uint8_t>& bytes) : bytes_(bytes) {}

  Templates make() {
    Templates out;
    const uint32_t count = 1 + byte() % 2;
    for (uint32_t i = 0; i < count; ++i) out.emplace_back(i + 1, block(0));
    return out;
  }

  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t b = bytes_[0];
    bytes_ = bytes_.subspan(1);
    return b;
  }

 private:
  test::PlanBlock block(uint32_t depth) {
    test::PlanBlock b;
    const uint32_t fields = byte() % 5;
    for (uint32_t i = 0; i < fields; ++i) {
      const uint8_t how = byte();
      const uint32_t element = 1u << (how & 3), size = element * (1 + (how >> 2 & 1));
      const uint8_t null = byte();
      b.fields.push_back({b.length + (how >> 3 & 1), size, element, uint32_t{how} >> 4 & 3, null});
      b.length = b.fields.back().offset + size;
    }
    b.length += byte() % 3;
    static constexpr test::PlanDimension kDimensions[] = {
        {3, 0, 2, 2, 1}, {8, 0, 2, 7, 1}, {4, 2, 2, 0, 2}, {2, 1, 1, 0, 1}, {12, 4, 8, 0, 4}};
    const uint32_t groups = depth < 3 ? byte() % 3 : 0;
    for (uint32_t i = 0; i < groups; ++i) {
      const uint8_t how = byte();
      b.groups.push_back(
          test::plan_group(block(depth + 1), kDimensions[how % 5], uint32_t{how} >> 4 & 3));
    }
    static constexpr test::PlanData kData[] = {
        {0, 2, 0, 2}, {2, 1, 0, 1}, {0, 4, 0, 4}, {1, 9, 1, 8}};
    const uint32_t data = byte() % 3;
    for (uint32_t i = 0; i < data; ++i) b.data.push_back(kData[byte() % 4]);
    return b;
  }

  std::span<const uint8_t>& bytes_;
};

}  // namespace wp::feed::naive
