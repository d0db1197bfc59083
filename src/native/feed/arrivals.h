/* SPDX-License-Identifier: Apache-2.0
 *
 * When the latest messages arrived first, by packet: what another line's copy is
 * compared with to measure how far behind that line is. Lines may pack the same
 * messages differently, so a packet is looked up by a message in it.
 */
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace wp::feed {

class Arrivals {
 public:
  struct Packet {
    uint64_t first;
    uint64_t after;  // one past the last
    int64_t time;
    uint32_t line;
  };

  /* Room for at least `packets`; 0: remembers nothing. */
  explicit Arrivals(size_t packets)
      : capacity_(packets == 0 ? 0 : std::bit_ceil(packets)),
        ring_(std::make_unique<Packet[]>(capacity_)) {}

  /* Numbers above all before. */
  void add(const Packet& packet) {
    if (capacity_ == 0) [[unlikely]]
      return;
    ring_[head_++ & (capacity_ - 1)] = packet;
  }

  /* The packet that brought seq, or null. *cursor belongs to the line that asks: its packets come
   * in order, so the one wanted is mostly where it points. */
  const Packet* find(uint64_t seq, uint64_t* cursor) const {
    const uint64_t oldest = head_ > capacity_ ? head_ - capacity_ : 0;
    // Its next packet, one after a loss, or the same again where this line's packets are smaller.
    for (const uint64_t i : {*cursor, *cursor + 1, *cursor - 1}) {
      if (i < oldest || i >= head_) continue;
      const Packet& packet = at(i);
      if (seq < packet.first || seq >= packet.after) continue;
      *cursor = i + 1;
      return &packet;
    }
    if (head_ == oldest || seq < at(oldest).first || seq >= at(head_ - 1).after) return nullptr;
    uint64_t low = oldest, high = head_ - 1;  // the first whose end is above seq
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      if (at(middle).after > seq) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    *cursor = low + 1;
    return seq >= at(low).first ? &at(low) : nullptr;
  }

  void clear() { head_ = 0; }

 private:
  const Packet& at(uint64_t i) const { return ring_[i & (capacity_ - 1)]; }

  uint64_t capacity_;
  uint64_t head_ = 0;
  std::unique_ptr<Packet[]> ring_;
};

}  // namespace wp::feed
