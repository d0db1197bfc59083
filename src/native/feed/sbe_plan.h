/* SPDX-License-Identifier: Apache-2.0
 *
 * The decode plan of a Simple Binary Encoding schema: where the header, the
 * fields, groups and variable-length data of every template are on the wire. It
 * is made from the schema's XML at load time and comes here as 32-bit words, so
 * that nothing on the data path knows a name.
 *
 * Source: FIX Simple Binary Encoding 1.0, sections 3 (message structure) and 5
 * (extension).
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "net/bytes.h"

namespace wp::feed {

/* An unsigned integer somewhere in a header. */
struct SbeNumber {
  uint8_t at = 0;
  uint8_t width = 0;  // 1, 2, 4 or 8

  uint64_t load(const uint8_t* p, bool big_endian) const {
    p += at;
    switch (width) {
      case 1:
        return *p;
      case 2:
        return big_endian ? net::load_be16(p) : net::load_le<uint16_t>(p);
      case 4:
        return big_endian ? net::load_be32(p) : net::load_le<uint32_t>(p);
      default:
        return big_endian ? net::load_be64(p) : net::load_le<uint64_t>(p);
    }
  }
};

struct SbeField {
  uint32_t offset;   // in the block
  uint32_t size;     // bytes, all elements
  uint32_t element;  // bytes that are swapped together: 1, 2, 4 or 8
  uint32_t since;    // first version of the schema that has it
};

struct SbeGroup {
  uint32_t since;
  uint32_t header_size;
  SbeNumber block_length;
  SbeNumber count;
  uint32_t block;  // index of its entries' block
};

struct SbeData {
  uint32_t since;
  uint32_t header_size;
  SbeNumber length;
};

/* The fixed part of a message or of a group's entries, and what follows it. */
struct SbeBlock {
  uint32_t message;   // index of the message that it belongs to
  uint32_t length;    // of the schema; the wire's may be another
  uint32_t required;  // end of its last field
  uint32_t newest;    // highest `since` of its fields
  bool leaf;          // neither groups nor data
  bool root;
  std::vector<SbeField> fields;
  std::vector<uint8_t> nulls;  // `length` bytes: every field null, as stored in a row
  std::vector<SbeGroup> groups;
  std::vector<SbeData> data;

  /* Bytes that a sender of this version has to put into the block. */
  uint32_t required_by(uint64_t version) const {
    if (version >= newest) [[likely]]
      return required;
    uint32_t end = 0;
    for (const SbeField& f : fields) {
      if (f.since <= version && f.offset + f.size > end) end = f.offset + f.size;
    }
    return end;
  }
};

struct SbeTemplate {
  uint32_t id;
  uint32_t root;  // its blocks are root to last_block, in the order of the schema
  uint32_t last_block;
};

enum class SbeResult : uint8_t { kOk, kUnknown, kOtherSchema, kMalformed };

/* A message whose header was read and whose every part lies within it. */
struct SbeMessage {
  uint32_t message = 0;  // index into SbePlan::messages()
  uint32_t template_id = 0;
  uint32_t version = 0;       // of the schema that the sender uses
  uint32_t block_length = 0;  // of the root block, on the wire
  const uint8_t* block = nullptr;
};

class SbePlan {
 public:
  static constexpr uint32_t kMagic = 0x31'45'42'53;  // "SBE1"
  static constexpr uint32_t kMaxBlock = 65'535;
  static constexpr uint32_t kMaxBlocks = 16'384;
  static constexpr uint32_t kMaxParts = 4'096;  // fields, groups or data of a block
  static constexpr uint32_t kMaxDepth = 8;
  static constexpr uint32_t kMaxHeader = 64;
  /* Entries of no bytes cost a sender nothing: more of them are malformed. */
  static constexpr uint32_t kMaxEmptyEntries = 65'535;

  /* The words, in this order (a block contains the blocks of its groups):
   *   magic, schema id, schema version, big-endian, header size,
   *   (offset, width) of blockLength, templateId, schemaId, version,
   *   number of messages, then for each: template id, block
   *   block: length, number of fields, (offset, size, element, since) of each,
   *     nulls packed into (length + 3) / 4 words, number of groups, for each:
   *     since, header size, (offset, width) of blockLength and numInGroup, block;
   *     number of data, for each: since, header size, (offset, width) of length
   * Throws wp::Error where the words contradict themselves. */
  explicit SbePlan(std::span<const uint32_t> words);

  /* Reads the header and checks that the whole message lies in p[0, n). Bytes
   * behind what the schema knows are what newer versions added. */
  SbeResult open(const uint8_t* p, size_t n, SbeMessage& out) const {
    if (n < header_size_ || n > UINT32_MAX) [[unlikely]]
      return SbeResult::kMalformed;
    if (schema_.load(p, big_endian_) != schema_id_) [[unlikely]]
      return SbeResult::kOtherSchema;
    const uint64_t id = template_.load(p, big_endian_);
    if (id >= index_.size() || index_[id] == 0) [[unlikely]]
      return SbeResult::kUnknown;
    const uint64_t length = block_length_.load(p, big_endian_);
    const uint64_t version = version_.load(p, big_endian_);
    out.message = index_[id] - 1u;
    out.template_id = static_cast<uint32_t>(id);
    out.version = version < UINT32_MAX ? static_cast<uint32_t>(version) : UINT32_MAX;
    out.block = p + header_size_;
    const size_t left = n - header_size_;
    uint32_t empty = 0;
    if (length > left || end_of(blocks_[messages_[out.message].root], out.block, out.block + left,
                                length, out.version, empty) == nullptr) [[unlikely]] {
      return SbeResult::kMalformed;
    }
    out.block_length = static_cast<uint32_t>(length);
    return SbeResult::kOk;
  }

  /* Walks a message that open() found right, in the order of the wire:
   *   uint64_t block(const SbeBlock&, uint32_t index, const uint8_t* p, uint32_t length,
   *                  uint64_t entry, uint64_t parent)
   *   void data(const SbeBlock&, uint32_t index, size_t i, uint64_t owner, const uint8_t*, size_t)
   * index is the block's, length the wire's, which holds all fields with since <=
   * version; what block() returns of the block around is parent or owner; the root
   * has entry and parent 0. */
  template <class Visitor>
  void visit(const SbeMessage& m, Visitor&& v) const {
    const uint32_t root = messages_[m.message].root;
    visit_block(root, m.block, m.block_length, 0, m.version, uint64_t{0}, v);
  }

  const std::vector<SbeTemplate>& messages() const { return messages_; }
  const std::vector<SbeBlock>& blocks() const { return blocks_; }
  /* Index of a template among messages(), or -1. */
  int find(uint64_t template_id) const {
    return template_id < index_.size() ? index_[template_id] - 1 : -1;
  }
  bool big_endian() const { return big_endian_; }
  uint32_t header_size() const { return header_size_; }
  uint32_t version() const { return schema_version_; }

 private:
  friend class SbePlanReader;

  const uint8_t* end_of(const SbeBlock& block, const uint8_t* at, const uint8_t* end,
                        uint64_t length, uint32_t version, uint32_t& empty) const;
  const uint8_t* end_of_group(const SbeGroup& group, const uint8_t* at, const uint8_t* end,
                              uint32_t version, uint32_t& empty) const;

  template <class Visitor>
  const uint8_t* visit_block(uint32_t index, const uint8_t* at, uint32_t length, uint64_t entry,
                             uint32_t version, uint64_t parent, Visitor& v) const;

  std::vector<SbeTemplate> messages_;
  std::vector<SbeBlock> blocks_;
  std::vector<uint16_t> index_;  // by template id: index of the message plus one
  SbeNumber block_length_, template_, schema_, version_;
  uint32_t header_size_ = 0;
  uint64_t schema_id_ = 0;
  uint32_t schema_version_ = 0;
  bool big_endian_ = false;
};

inline const uint8_t* SbePlan::end_of_group(const SbeGroup& group, const uint8_t* at,
                                            const uint8_t* end, uint32_t version,
                                            uint32_t& empty) const {
  if (static_cast<size_t>(end - at) < group.header_size) return nullptr;
  const uint64_t length = group.block_length.load(at, big_endian_);
  const uint64_t count = group.count.load(at, big_endian_);
  at += group.header_size;
  if (count == 0) return at;
  const SbeBlock& entry = blocks_[group.block];
  const size_t left = static_cast<size_t>(end - at);
  if (entry.leaf) {
    if (length < entry.required_by(version)) return nullptr;
    if (length == 0) {
      if (count > kMaxEmptyEntries - empty) return nullptr;
      empty += static_cast<uint32_t>(count);
      return at;
    }
    if (count > left / length) return nullptr;
    return at + count * length;
  }
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t* const next = end_of(entry, at, end, length, version, empty);
    if (next == nullptr || (next == at && ++empty > kMaxEmptyEntries)) return nullptr;
    at = next;
  }
  return at;
}

/* Where the block and what belongs to it ends, or nullptr: not within [at, end). */
inline const uint8_t* SbePlan::end_of(const SbeBlock& block, const uint8_t* at, const uint8_t* end,
                                      uint64_t length, uint32_t version, uint32_t& empty) const {
  if (length > static_cast<size_t>(end - at) || length < block.required_by(version)) {
    return nullptr;
  }
  at += length;
  for (const SbeGroup& group : block.groups) {
    if (group.since > version) continue;
    at = end_of_group(group, at, end, version, empty);
    if (at == nullptr) return nullptr;
  }
  for (const SbeData& data : block.data) {
    if (data.since > version) continue;
    if (static_cast<size_t>(end - at) < data.header_size) return nullptr;
    const uint64_t size = data.length.load(at, big_endian_);
    at += data.header_size;
    if (size > static_cast<size_t>(end - at)) return nullptr;
    at += size;
  }
  return at;
}

template <class Visitor>
const uint8_t* SbePlan::visit_block(uint32_t index, const uint8_t* at, uint32_t length,
                                    uint64_t entry, uint32_t version, uint64_t parent,
                                    Visitor& v) const {
  const SbeBlock& block = blocks_[index];
  const uint64_t token = v.block(block, index, at, length, entry, parent);
  at += length;
  for (const SbeGroup& group : block.groups) {
    if (group.since > version) continue;
    const auto wire_length = static_cast<uint32_t>(group.block_length.load(at, big_endian_));
    const uint64_t count = group.count.load(at, big_endian_);
    at += group.header_size;
    for (uint64_t i = 0; i < count; ++i) {
      if (blocks_[group.block].leaf) {
        v.block(blocks_[group.block], group.block, at, wire_length, i, token);
        at += wire_length;
      } else {
        at = visit_block(group.block, at, wire_length, i, version, token, v);
      }
    }
  }
  for (size_t i = 0; i < block.data.size(); ++i) {
    const SbeData& data = block.data[i];
    if (data.since > version) continue;
    const size_t size = data.length.load(at, big_endian_);
    at += data.header_size;
    v.data(block, index, i, token, at, size);
    at += size;
  }
  return at;
}

}  // namespace wp::feed
