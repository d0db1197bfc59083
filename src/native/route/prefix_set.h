// SPDX-License-Identifier: Apache-2.0
// What a forwarding table was told: prefix -> next hop, for the one thread that changes it. Readers
// never come here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace wp::route {

template <class Address>
class PrefixSet {
 public:
  struct Slot {
    Address prefix;
    uint32_t next_hop = 0;
    uint8_t length = kFree;
  };

  PrefixSet() : slots_(1024) {}

  size_t size() const noexcept { return size_; }
  size_t bytes() const noexcept { return slots_.capacity() * sizeof(Slot); }

  // 0 = not there.
  uint32_t find(Address prefix, uint32_t length) const noexcept {
    if (counts_[length] == 0) return 0;
    const Slot& slot = slots_[at(prefix, length)];
    return slot.length == kFree ? 0 : slot.next_hop;
  }

  // The longest prefix shorter than `length` that holds `prefix`.
  Slot covering(Address prefix, uint32_t length) const noexcept {
    for (uint32_t l = length; l-- > 0;) {
      const Address p = prefix.masked(l);
      if (const uint32_t next_hop = find(p, l)) return {p, next_hop, static_cast<uint8_t>(l)};
    }
    return {{}, 0, 0};
  }

  // The next hop before, 0 = new.
  uint32_t put(Address prefix, uint32_t length, uint32_t next_hop) {
    if ((size_ + 1) * 4 > slots_.size() * 3) grow();
    Slot& slot = slots_[at(prefix, length)];
    const uint32_t before = slot.length == kFree ? 0 : slot.next_hop;
    if (!before) {
      size_++;
      counts_[length]++;
    }
    slot = {prefix, next_hop, static_cast<uint8_t>(length)};
    return before;
  }

  // The next hop before, 0 = was not there.
  uint32_t erase(Address prefix, uint32_t length) noexcept {
    size_t hole = at(prefix, length);
    if (slots_[hole].length == kFree) return 0;
    const uint32_t before = slots_[hole].next_hop;
    size_--;
    counts_[length]--;
    // Whatever was pushed beyond the hole moves back, so that no marks of the dead are needed.
    const size_t mask = slots_.size() - 1;
    for (size_t i = (hole + 1) & mask; slots_[i].length != kFree; i = (i + 1) & mask) {
      const size_t home = start(slots_[i].prefix, slots_[i].length);
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        slots_[hole] = slots_[i];
        hole = i;
      }
    }
    slots_[hole] = Slot{};
    return before;
  }

  template <class Visit>
  void each(Visit&& visit) const {
    for (const Slot& slot : slots_)
      if (slot.length != kFree) visit(slot);
  }

 private:
  static constexpr uint8_t kFree = 0xff;

  size_t start(Address prefix, uint32_t length) const noexcept {
    const uint64_t h = prefix.hash() ^ (length * uint64_t{0xff51afd7ed558ccd});
    return (h ^ (h >> 33)) & (slots_.size() - 1);
  }
  // Where it is, or where it would go.
  size_t at(Address prefix, uint32_t length) const noexcept {
    const size_t mask = slots_.size() - 1;
    size_t i = start(prefix, length);
    while (slots_[i].length != kFree && !(slots_[i].length == length && slots_[i].prefix == prefix))
      i = (i + 1) & mask;
    return i;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.length != kFree) slots_[at(slot.prefix, slot.length)] = slot;
  }

  std::vector<Slot> slots_;  // open addressing; a power of two
  std::array<size_t, Address::kBits + 1> counts_{};
  size_t size_ = 0;
};

}  // namespace wp::route
