/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers for instruments of venues that send symbols only: 1, 2, … in order of
 * appearance, 0 for a symbol that did not fit. Allocated once; open addressing.
 */
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace wp::feed {

/* Eight bytes as they stand in a message, padded with spaces. */
inline uint64_t symbol_key(std::string_view symbol) {
  char bytes[8];
  std::memset(bytes, ' ', sizeof bytes);
  std::memcpy(bytes, symbol.data(), symbol.size() < 8 ? symbol.size() : 8);
  uint64_t key;
  std::memcpy(&key, bytes, sizeof key);
  return key;
}

class SymbolTable {
 public:
  static constexpr size_t kDefaultCapacity = 16'384;
  static constexpr size_t kMaxCapacity = size_t{1} << 24;

  explicit SymbolTable(size_t capacity = kDefaultCapacity) : capacity_(checked(capacity)) {
    slots_.resize(std::bit_ceil(2 * capacity_));
    keys_.reserve(capacity_);
    shift_ = 64 - std::countr_zero(slots_.size());
  }

  /* The number of the symbol, a new one if it has none; 0 if the table is full. */
  uint32_t intern(uint64_t key) {
    Slot* slot = find(key);
    if (slot->number == 0) [[unlikely]] {
      if (keys_.size() == capacity_) {
        ++refused_;
        return 0;
      }
      keys_.push_back(key);
      *slot = {key, static_cast<uint32_t>(keys_.size())};
    }
    return slot->number;
  }

  /* 0: it has none. */
  uint32_t number(uint64_t key) { return find(key)->number; }

  /* Numbers are given by one thread: that of `user`, until it lets go. False: of another one. */
  bool claim(const void* user) noexcept {
    const void* nobody = nullptr;
    return user_.compare_exchange_strong(nobody, user) || nobody == user;
  }
  void unclaim(const void* user) noexcept { user_.compare_exchange_strong(user, nullptr); }

  /* By number - 1, as symbol_key has them. */
  const std::vector<uint64_t>& keys() const { return keys_; }
  size_t capacity() const { return capacity_; }
  /* How often a symbol got no number because the table was full. */
  uint64_t refused() const { return refused_; }

 private:
  struct Slot {
    uint64_t key = 0;
    uint32_t number = 0;  // 0: free
  };

  static size_t checked(size_t capacity) {
    if (capacity == 0 || capacity > kMaxCapacity) {
      throw config_error("symbols", std::to_string(capacity), "1 to 16777216");
    }
    return capacity;
  }

  /* At most half of the slots are taken, so that there is always a free one. */
  Slot* find(uint64_t key) {
    size_t at = (key * 0x9e37'79b9'7f4a'7c15ULL) >> shift_;
    while (slots_[at].number != 0 && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    return &slots_[at];
  }

  size_t capacity_;
  std::vector<Slot> slots_;
  std::vector<uint64_t> keys_;
  uint64_t refused_ = 0;
  int shift_ = 0;
  std::atomic<const void*> user_{nullptr};
};

}  // namespace wp::feed
