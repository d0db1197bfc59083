// SPDX-License-Identifier: Apache-2.0
#include "feed/glimpse_state.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "net/bytes.h"

namespace wp::feed {
namespace {

// In the order in which a snapshot gives them: system, directory, then the states.
constexpr std::string_view kStates = "SRHYLVWKJhO";

// Offsets of itch50_tables.h: E, C and X have shares at the same place, A and F all of theirs.
constexpr size_t kReference = 11, kShares = 19, kAddShares = 20, kAddPrice = 32;
constexpr size_t kNewReference = 19, kNewShares = 27, kNewPrice = 31;

}  // namespace

void GlimpseState::apply(std::span<const uint8_t> message) {
  if (message.empty() || kItch50Lengths[message[0]] != message.size()) return;
  const uint8_t* const m = message.data();
  const char type = static_cast<char>(m[0]);
  const auto keep = [&](Text& text) {
    text.age = age_++;
    text.length = static_cast<uint8_t>(message.size());
    std::copy(message.begin(), message.end(), text.bytes.begin());
  };
  switch (type) {
    case 'A':
    case 'F':
      keep(orders_[net::load_be64(m + kReference)]);
      return;
    case 'E':
    case 'C':
    case 'X':
      return reduce(m, false);
    case 'D':
      return reduce(m, true);
    case 'U':
      return replace(m);
    default:
      break;
  }
  const size_t rank = kStates.find(type);
  if (rank == std::string_view::npos) return;
  uint32_t more = 0;
  if (type == 'L') std::memcpy(&more, m + 11, 4);  // of each participant
  if (type == 'h') more = m[19];                   // of each market
  keep(state_[{rank, net::load_be16(m + 1), more}]);
}

void GlimpseState::reduce(const uint8_t* message, bool all) {
  const auto found = orders_.find(net::load_be64(message + kReference));
  if (found == orders_.end()) return;
  uint8_t* const shares = found->second.bytes.data() + kAddShares;
  const uint32_t left = net::load_be32(shares);
  const uint32_t gone = all ? left : net::load_be32(message + kShares);
  if (gone >= left)
    orders_.erase(found);
  else
    net::store_be32(shares, left - gone);
}

// Side, stock and participant are inherited; the place in the queue is not.
void GlimpseState::replace(const uint8_t* message) {
  const auto found = orders_.find(net::load_be64(message + kReference));
  if (found == orders_.end()) return;
  Text order = found->second;
  orders_.erase(found);
  uint8_t* const m = order.bytes.data();
  std::memcpy(m + 3, message + 3, 8);  // tracking number and time
  std::memcpy(m + kReference, message + kNewReference, 8);
  std::memcpy(m + kAddShares, message + kNewShares, 4);
  std::memcpy(m + kAddPrice, message + kNewPrice, 4);
  order.age = age_++;
  orders_[net::load_be64(m + kReference)] = order;
}

std::vector<const GlimpseState::Text*> GlimpseState::by_age() const {
  std::vector<const Text*> out;
  out.reserve(orders_.size());
  for (const auto& [reference, order] : orders_) out.push_back(&order);
  std::sort(out.begin(), out.end(), [](const Text* a, const Text* b) { return a->age < b->age; });
  return out;
}

}  // namespace wp::feed
