// SPDX-License-Identifier: Apache-2.0
// What a GLIMPSE snapshot is made of: the latest directory and state messages of every instrument
// and the orders that rest, each as the ITCH 5.0 message that says it (Nasdaq GLIMPSE 5.0).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "feed/itch50_tables.h"

namespace wp::feed {

class GlimpseState {
 public:
  // The next message of the stream. What is unknown or malformed changes nothing.
  void apply(std::span<const uint8_t> message);

  // Calls f(std::span<const uint8_t>) with each message: state first, then orders, the oldest
  // first, so that queues come out right.
  template <class F>
  void for_each(F&& f) const {
    for (const auto& [key, text] : state_) f(std::span(text.bytes.data(), text.length));
    for (const Text* order : by_age()) f(std::span(order->bytes.data(), order->length));
  }
  size_t orders() const { return orders_.size(); }
  size_t states() const { return state_.size(); }

 private:
  struct Text {
    uint64_t age;
    uint8_t length;
    std::array<uint8_t, kItch50MaxLength> bytes;
  };
  // Rank of the type, locate, and what else tells two of a kind apart.
  using Key = std::tuple<size_t, uint16_t, uint32_t>;

  void reduce(const uint8_t* message, bool all);
  void replace(const uint8_t* message);
  std::vector<const Text*> by_age() const;

  std::map<Key, Text> state_;
  std::unordered_map<uint64_t, Text> orders_;
  uint64_t age_ = 0;
};

}  // namespace wp::feed
