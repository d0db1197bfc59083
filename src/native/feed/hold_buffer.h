/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that arrived beyond a gap, copied and kept until their turn comes.
 * Bounded in messages and in bytes, and allocated once.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace wp::feed {

class HoldBuffer {
 public:
  struct Entry {
    uint64_t seq;
    int64_t recv_time;
    int64_t send_time;
    uint32_t length;
    uint16_t line;
    uint8_t flags;
    bool used;
    size_t offset;  // of its bytes' block
  };

  static constexpr size_t kMaxMessages = size_t{1} << 26;
  static constexpr size_t kMaxBytes = size_t{1} << 36;

  /* Throws wp::Error naming hold_messages or hold_bytes. */
  HoldBuffer(size_t messages, size_t bytes);

  /* Keeps a copy of length bytes under entry.seq, which must not be in here. False: no room. */
  bool put(const Entry& entry, const uint8_t* data);
  const Entry* find(uint64_t seq) const;
  const uint8_t* data(const Entry& entry) const { return bytes_.get() + entry.offset + kHeader; }
  /* Forgets an entry that find gave; other entries may move. */
  void erase(const Entry* entry);
  /* The lowest number held from seq on; false: none. Looks at the whole table. */
  bool lowest_from(uint64_t seq, uint64_t* out) const;
  void clear();

  bool empty() const { return count_ == 0; }
  size_t messages() const { return count_; }
  /* In use, with what fragmentation keeps from use. */
  size_t bytes() const { return used_; }

 private:
  // Blocks lie in a ring of bytes in the order of their arrival; each begins with its size, whose
  // lowest bit says that it was freed. The ring's end moves over freed blocks, so a block in use
  // keeps those behind it: messages are held for a short time and leave nearly in order.
  static constexpr size_t kHeader = 8;

  size_t slot_of(uint64_t seq) const {
    return static_cast<size_t>((seq * 0x9e3779b97f4a7c15) >> shift_);
  }
  uint64_t& header(size_t offset) { return *reinterpret_cast<uint64_t*>(bytes_.get() + offset); }
  bool allocate(size_t length, size_t* offset);
  void release(size_t offset);

  size_t max_messages_;
  size_t capacity_;  // of the ring, bytes
  size_t mask_;
  int shift_;
  std::unique_ptr<Entry[]> table_;
  std::unique_ptr<uint8_t[]> bytes_;
  size_t count_ = 0;
  size_t head_ = 0;  // where the next block goes
  size_t tail_ = 0;  // the oldest block
  size_t used_ = 0;
};

}  // namespace wp::feed
