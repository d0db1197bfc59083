/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the words of an SBE decode plan and refuses those that would lead the
 * decoder out of a block.
 */
#include "feed/sbe_plan.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/error.h"

namespace wp::feed {

class SbePlanReader {
 public:
  SbePlanReader(SbePlan& plan, std::span<const uint32_t> words) : plan_(plan), words_(words) {}

  void read() {
    if (word("magic") != SbePlan::kMagic) throw fault("magic", "another value");
    plan_.schema_id_ = word("schema id");
    plan_.schema_version_ = word("schema version");
    plan_.big_endian_ = at_most("byte order", 1) != 0;
    plan_.header_size_ = at_most("header size", SbePlan::kMaxHeader);
    plan_.block_length_ = number(plan_.header_size_);
    plan_.template_ = number(plan_.header_size_);
    plan_.schema_ = number(plan_.header_size_);
    plan_.version_ = number(plan_.header_size_);
    const uint32_t messages = at_most("number of messages", SbePlan::kMaxParts);
    for (uint32_t i = 0; i < messages; ++i) {
      const uint32_t id = at_most("template id", 65'535);
      if (id >= plan_.index_.size()) plan_.index_.resize(id + 1);
      if (plan_.index_[id] != 0) throw fault("template id", "twice");
      plan_.index_[id] = static_cast<uint16_t>(i + 1);
      const uint32_t root = block(i, 0);
      const auto last = static_cast<uint32_t>(plan_.blocks_.size() - 1);
      plan_.messages_.push_back({id, root, last});
    }
    if (at_ != words_.size()) throw fault("end", "words behind it");
  }

 private:
  Error fault(const char* what, const char* how) const {
    return config_error("SBE plan, word " + std::to_string(at_) + ": " + what, how,
                        "as SbeSchema makes it");
  }

  uint32_t word(const char* what) {
    if (at_ == words_.size()) throw fault(what, "missing");
    return words_[at_++];
  }

  uint32_t at_most(const char* what, uint32_t limit) {
    const uint32_t value = word(what);
    if (value > limit) throw fault(what, "too large");
    return value;
  }

  SbeNumber number(uint32_t header) {
    const uint32_t at = at_most("offset in a header", SbePlan::kMaxHeader);
    const uint32_t width = word("width in a header");
    if ((width != 1 && width != 2 && width != 4 && width != 8) || at + width > header) {
      throw fault("width in a header", "outside");
    }
    return {static_cast<uint8_t>(at), static_cast<uint8_t>(width)};
  }

  /* Reads a block and those inside it, returns its index: a block comes before
   * those of its groups. */
  uint32_t block(uint32_t message, uint32_t depth) {
    if (depth > SbePlan::kMaxDepth) throw fault("groups", "nested too deep");
    if (plan_.blocks_.size() >= SbePlan::kMaxBlocks) throw fault("blocks", "too many");
    const auto index = static_cast<uint32_t>(plan_.blocks_.size());
    plan_.blocks_.emplace_back();
    SbeBlock made{};
    made.message = message;
    made.root = depth == 0;
    made.length = at_most("block length", SbePlan::kMaxBlock);
    fields(made);
    nulls(made);
    const uint32_t groups = at_most("number of groups", SbePlan::kMaxParts);
    for (uint32_t i = 0; i < groups; ++i) {
      SbeGroup group{};
      group.since = word("since");
      group.header_size = at_most("dimension size", SbePlan::kMaxHeader);
      group.block_length = number(group.header_size);
      group.count = number(group.header_size);
      group.block = block(message, depth + 1);
      made.groups.push_back(group);
    }
    const uint32_t data = at_most("number of data", SbePlan::kMaxParts);
    for (uint32_t i = 0; i < data; ++i) {
      SbeData one{};
      one.since = word("since");
      one.header_size = at_most("size of a length", SbePlan::kMaxHeader);
      one.length = number(one.header_size);
      made.data.push_back(one);
    }
    made.leaf = made.groups.empty() && made.data.empty();
    plan_.blocks_[index] = std::move(made);
    return index;
  }

  void fields(SbeBlock& made) {
    const uint32_t count = at_most("number of fields", SbePlan::kMaxParts);
    for (uint32_t i = 0; i < count; ++i) {
      SbeField f{};
      f.offset = at_most("offset", SbePlan::kMaxBlock);
      f.size = at_most("size", SbePlan::kMaxBlock);
      f.element = word("element");
      f.since = word("since");
      if (f.size == 0 || f.offset + f.size > made.length) throw fault("size", "outside");
      if (f.element != 1 && f.element != 2 && f.element != 4 && f.element != 8) {
        throw fault("element", "of another size");
      }
      if (f.size % f.element != 0) throw fault("element", "no part of the size");
      made.required = std::max(made.required, f.offset + f.size);
      made.newest = std::max(made.newest, f.since);
      made.fields.push_back(f);
    }
  }

  void nulls(SbeBlock& made) {
    made.nulls.resize(made.length);
    for (uint32_t at = 0; at < made.length; at += 4) {
      const uint32_t four = word("nulls");
      std::memcpy(made.nulls.data() + at, &four, std::min<size_t>(4, made.length - at));
    }
  }

  SbePlan& plan_;
  std::span<const uint32_t> words_;
  size_t at_ = 0;
};

SbePlan::SbePlan(std::span<const uint32_t> words) {
  SbePlanReader(*this, words).read();
}

}  // namespace wp::feed
