/* SPDX-License-Identifier: Apache-2.0
 *
 * SBE messages as raw columns: per template one packed row for each root block,
 * and per group one row for each entry, ready to be viewed as NumPy structured
 * arrays. Control side: buffers grow.
 *
 * A row is a prefix, the block with every field at its offset in the schema and
 * in native byte order, then 12 bytes for each variable-length data: where its
 * bytes begin in the template's heap (u64) and how many they are (u32). Prefix of
 * a root row: seq u64, recv_time i64, send_time i64 (ns since the Unix epoch),
 * message u64 (its number among all messages taken in), version u32. Of a
 * group's row: parent u64 (row of the block that it belongs to), entry u32.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "feed/sbe_plan.h"

namespace wp::feed {

inline constexpr size_t kSbeRootPrefix = 36;
inline constexpr size_t kSbeEntryPrefix = 12;
inline constexpr size_t kSbeDataColumn = 12;

/* What a message does not carry itself. */
struct SbeRowContext {
  uint64_t seq = 0;
  int64_t recv_time = 0;
  int64_t send_time = 0;
};

/* messages + unknown + other_schema + malformed = messages offered;
 * messages = sum of by_message. */
struct SbeCounters {
  uint64_t messages = 0;
  std::vector<uint64_t> by_message;  // by index in SbePlan::messages()
  uint64_t unknown = 0;              // template not in the schema, skipped
  uint64_t other_schema = 0;         // another schema id, skipped
  uint64_t malformed = 0;            // a part of it leaves the message, skipped

  explicit SbeCounters(const SbePlan& plan) : by_message(plan.messages().size()) {}
  void count(SbeResult result, const SbeMessage& m) {
    switch (result) {
      case SbeResult::kOk:
        ++messages;
        ++by_message[m.message];
        return;
      case SbeResult::kUnknown:
        ++unknown;
        return;
      case SbeResult::kOtherSchema:
        ++other_schema;
        return;
      case SbeResult::kMalformed:
        ++malformed;
        return;
    }
  }
};

class SbeColumns {
 public:
  /* templates: those to keep, all when empty. Throws wp::Error for an unknown one. */
  SbeColumns(std::shared_ptr<const SbePlan> plan, std::span<const uint32_t> templates = {});

  /* One message, beginning with the SBE header. Templates that are not kept are
   * checked and counted all the same. */
  SbeResult append(const uint8_t* msg, size_t len, const SbeRowContext& ctx);

  /* By block: index in SbePlan::blocks(). */
  size_t rows(uint32_t block) const { return tables_[block].used / tables_[block].row; }
  size_t row_size(uint32_t block) const { return tables_[block].row; }
  std::span<const uint8_t> data(uint32_t block) const {
    return {tables_[block].bytes.data(), tables_[block].used};
  }
  std::span<const uint8_t> heap(uint32_t message) const { return heaps_[message]; }
  /* Forgets the rows of a template, of its groups and its heap. */
  void clear(uint32_t message);

  const SbePlan& plan() const { return *plan_; }
  const SbeCounters& counters() const { return counters_; }

 private:
  struct Table {
    std::vector<uint8_t> bytes;  // grown ahead of `used`
    size_t used = 0;
    size_t row = 0;
  };
  struct Writer;

  uint8_t* grow(Table& table);
  void write(const SbeBlock& block, uint32_t version, const uint8_t* from, uint32_t length,
             uint8_t* to) const;

  std::shared_ptr<const SbePlan> plan_;
  std::vector<Table> tables_;                // by block
  std::vector<std::vector<uint8_t>> heaps_;  // by message
  std::vector<bool> kept_;                   // by message
  SbeCounters counters_;
  uint64_t offered_ = 0;
};

}  // namespace wp::feed
