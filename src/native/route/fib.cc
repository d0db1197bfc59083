// SPDX-License-Identifier: Apache-2.0
#include "route/fib.h"

#include <algorithm>
#include <string>

#include "core/error.h"
#include "net/bytes.h"
#include "route/address.h"

namespace wp::route {
namespace {

void put_address(Address4 a, uint8_t* to) noexcept {
  net::store_be32(to, a.value);
}
void put_address(Address6 a, uint8_t* to) noexcept {
  net::store_be64(to, a.high);
  net::store_be64(to + 8, a.low);
}

template <class Address, class Entry>
class TrieFib final : public Fib {
  using Trie = PrefixTrie<Address, Entry>;

 public:
  explicit TrieFib(const FibOptions& options)
      : options_(options),
        trie_(options.max_prefixes, static_cast<uint32_t>(options.max_groups), options.huge_pages,
              options.place) {}

  void lookup(const uint8_t* addresses, size_t n, uint32_t* next_hops) const noexcept override {
    trie_.lookup(addresses, n, next_hops);
  }

  size_t add(const uint8_t* prefixes, const uint8_t* lengths, const uint32_t* next_hops,
             size_t n) override {
    size_t fresh = 0;
    for (size_t i = 0; i < n; i++) {
      const Address prefix = checked(prefixes, lengths, i);
      if (next_hops[i] < 1 || next_hops[i] > Trie::kMaxNextHop)
        throw config_error("next_hop[" + std::to_string(i) + "]", std::to_string(next_hops[i]),
                           "from 1 to " + std::to_string(Trie::kMaxNextHop));
      fresh += trie_.add(prefix, lengths[i], next_hops[i]) == 0;
    }
    return fresh;
  }

  size_t remove(const uint8_t* prefixes, const uint8_t* lengths, size_t n) override {
    size_t gone = 0;
    for (size_t i = 0; i < n; i++)
      gone += trie_.remove(checked(prefixes, lengths, i), lengths[i]) != 0;
    return gone;
  }

  uint32_t find(const uint8_t* prefix, uint8_t length) const override {
    return trie_.prefixes().find(checked(prefix, &length, 0), length);
  }
  Match match(const uint8_t* address) const override {
    const Address a = Address::load(address);
    if (const uint32_t own = trie_.prefixes().find(a, Address::kBits))
      return {static_cast<uint8_t>(Address::kBits), own};
    const auto slot = trie_.prefixes().covering(a, Address::kBits);
    return {slot.length, slot.next_hop};
  }
  size_t size() const noexcept override { return trie_.prefixes().size(); }
  void dump(uint8_t* prefixes, uint8_t* lengths, uint32_t* next_hops) const noexcept override {
    size_t i = 0;
    trie_.prefixes().each([&](const auto& slot) {
      put_address(slot.prefix, prefixes + i * Address::kBytes);
      lengths[i] = slot.length;
      next_hops[i++] = slot.next_hop;
    });
  }
  FibMemory memory() const override { return trie_.memory(); }
  uint32_t max_next_hop() const noexcept override { return Trie::kMaxNextHop; }
  const FibOptions& options() const noexcept override { return options_; }

 private:
  static Address checked(const uint8_t* prefixes, const uint8_t* lengths, size_t i) {
    const Address prefix = Address::load(prefixes + i * Address::kBytes);
    if (lengths[i] > Address::kBits)
      throw config_error("length[" + std::to_string(i) + "]", std::to_string(lengths[i]),
                         "from 0 to " + std::to_string(Address::kBits));
    if (!(prefix.masked(lengths[i]) == prefix))
      throw config_error("prefix[" + std::to_string(i) + "]",
                         "an address with bits beyond its length " + std::to_string(lengths[i]),
                         "0 in those bits");
    return prefix;
  }

  FibOptions options_;
  Trie trie_;
};

size_t in_range(const char* field, size_t value, size_t most) {
  if (value < 1 || value > most)
    throw config_error(field, std::to_string(value), "from 1 to " + std::to_string(most));
  return value;
}

}  // namespace

std::unique_ptr<Fib> Fib::make(FibOptions o) {
  if (o.family != 4 && o.family != 6)
    throw config_error("family", std::to_string(o.family), "4 or 6");
  if (o.entry_bytes != 2 && o.entry_bytes != 4)
    throw config_error("entry_bytes", std::to_string(o.entry_bytes), "2 or 4");
  const size_t numbered = o.entry_bytes == 2 ? 32768 : size_t{1} << 24;
  if (o.max_prefixes == 0) o.max_prefixes = o.family == 4 ? 2'000'000 : 500'000;
  if (o.max_groups == 0) o.max_groups = o.family == 4 ? 32768 : std::min(numbered, size_t{131072});
  in_range("max_prefixes", o.max_prefixes, 100'000'000);
  in_range("max_groups", o.max_groups, numbered);
  if (o.family == 4) {
    if (o.entry_bytes == 2) return std::make_unique<TrieFib<Address4, uint16_t>>(o);
    return std::make_unique<TrieFib<Address4, uint32_t>>(o);
  }
  if (o.entry_bytes == 2) return std::make_unique<TrieFib<Address6, uint16_t>>(o);
  return std::make_unique<TrieFib<Address6, uint32_t>>(o);
}

}  // namespace wp::route
