/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of types whose layout the user declares, kept as rows between the data
 * thread and one that takes them: what a record cannot hold. Bounded, allocated once;
 * what finds no room is counted.
 *
 * A row is packed: number in the sequence u64, receive time i64, send time i64, record
 * flags u8, then as many bytes of the message as were declared.
 */
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "feed/arbiter_types.h"
#include "feed/spsc.h"
#include "net/bytes.h"

namespace wp::feed {

struct DeclaredMessage {
  uint16_t type = 0;
  uint16_t size = 0;           // bytes behind the venue's header of a message, at least
  int32_t instrument_at = -1;  // offset of its number, u32 little-endian, in those; -1: none
};

class DeclaredMessages {
 public:
  static constexpr size_t kRowHeader = 25;
  static constexpr size_t kTypes = 65'536;
  static constexpr size_t kMost = 1024;  // types declared
  static constexpr size_t kLeastBytes = size_t{1} << 18;

  /* bytes: room for rows, rounded up to a power of two. Throws wp::Error naming `messages` or
   * `message_bytes`. */
  DeclaredMessages(std::vector<DeclaredMessage> types, size_t bytes);

  const std::vector<DeclaredMessage>& types() const { return types_; }
  /* Null: of a type that nobody declared. */
  const DeclaredMessage* find(uint16_t type) const {
    const uint16_t at = index_[type];
    return at == 0 ? nullptr : &types_[at - 1u];
  }

  /* Data thread. body: as long as declared at least. */
  void put(const DeclaredMessage& type, const MessageInfo& info, const uint8_t* body) noexcept {
    const Header header{info.seq, info.recv_time, info.send_time,
                        static_cast<uint16_t>(&type - types_.data()), info.flags};
    add(rows_.put(header, body, type.size) ? stored_ : lost_);
  }

  /* One other thread at a time: appends the rows that wait to rows[i] of types()[i]. */
  void take(std::vector<std::vector<uint8_t>>& rows);

  /* Any thread. */
  uint64_t stored() const noexcept { return stored_.load(std::memory_order_relaxed); }
  uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  struct Header {
    uint64_t seq;
    int64_t recv_time;
    int64_t send_time;
    uint16_t index;
    uint8_t flags;
  };

  static void add(std::atomic<uint64_t>& counter) noexcept {  // of one writer
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  std::vector<DeclaredMessage> types_;
  std::vector<uint16_t> index_;  // by type: place in types_, and one; 0: none
  SpscMessages<Header> rows_;
  uint64_t taken_ = 0;  // by the one that takes
  std::atomic<uint64_t> stored_{0}, lost_{0};
};

}  // namespace wp::feed
