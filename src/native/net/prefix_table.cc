// SPDX-License-Identifier: Apache-2.0
#include "net/prefix_table.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>
#include <unordered_map>

#include "core/error.h"

namespace wp {
namespace {

// Prefixes by length, so that the longer ones find what is around them.
template <typename Prefix>
std::vector<uint32_t> by_length(std::span<const Prefix> prefixes, unsigned longest) {
  std::vector<uint32_t> start(longest + 2), order(prefixes.size());
  for (const Prefix& p : prefixes) {
    if (p.length > longest)
      throw config_error("length", std::to_string(p.length),
                         "a prefix length from 0 to " + std::to_string(longest));
    start[p.length + 1]++;
  }
  std::partial_sum(start.begin(), start.end(), start.begin());
  for (uint32_t i = 0; i < prefixes.size(); i++) order[start[prefixes[i].length]++] = i;
  return order;
}

struct KeyHash {
  size_t operator()(const Prefix6Table::Key& key) const noexcept {
    uint64_t h = (key.high ^ 0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd;
    h = (std::rotl(h, 29) ^ key.low) * 0xc4ceb9fe1a85ec53;
    h = (std::rotl(h, 29) ^ key.length) * 0xff51afd7ed558ccd;
    return h ^ h >> 32;
  }
};

Prefix6Table::Key cut(uint64_t high, uint64_t low, unsigned length) {
  const uint64_t all = ~uint64_t{0};
  if (length < 64) return {length == 0 ? 0 : high & all << (64 - length), 0, length};
  return {high, length == 64 ? 0 : low & all << (128 - length), length};
}

}  // namespace

uint32_t PrefixClasses::add(uint32_t of, uint32_t owner) {
  const uint64_t pair = uint64_t{of} << 32 | owner;
  if (const auto found = added_.find(pair); found != added_.end()) return found->second;
  std::vector<uint32_t> owners;
  if (which_ == PrefixOwners::kAll) owners = owners_[of];
  const auto at = std::lower_bound(owners.begin(), owners.end(), owner);
  if (at == owners.end() || *at != owner) owners.insert(at, owner);
  const auto [known, is_new] = known_.emplace(owners, static_cast<uint32_t>(owners_.size()));
  if (is_new) {
    if (owners_.size() >= Prefix4Table::kNode)
      throw Error(ErrorKind::kConfig, "too many classes of prefixes", "give fewer owners");
    owners_.push_back(std::move(owners));
  }
  added_.emplace(pair, known->second);
  return known->second;
}

Prefix4Table build_prefix4(std::span<const Prefix4> prefixes, uint32_t root_bits,
                           PrefixOwners which) {
  // 64 MiB are spent where the nodes below a small root would not be much less.
  if (root_bits == 0) root_bits = prefixes.size() > 4096 ? 24 : 16;
  if (root_bits != 16 && root_bits != 24)
    throw config_error("root_bits", std::to_string(root_bits), "16 or 24, or 0 for either");
  PrefixClasses classes(which);
  Prefix4Table out{root_bits, std::vector<uint32_t>(size_t{1} << root_bits), {}, {}};
  for (const uint32_t i : by_length(prefixes, 32)) {
    const Prefix4& p = prefixes[i];
    if (p.length < 32 && (p.address & (~uint32_t{0} >> p.length)))
      throw config_error("address", std::to_string(p.address),
                         "a prefix without a bit behind its length");
    uint32_t last = 0, last_added = classes.add(0, p.owner);
    // Shorter prefixes came first: what is filled here holds no node.
    const auto fill = [&](uint32_t* entry, size_t n) {
      for (size_t k = 0; k < n; k++) {
        if (entry[k] != last) {
          last = entry[k];
          last_added = classes.add(last, p.owner);
        }
        entry[k] = last_added;
      }
    };
    if (p.length <= root_bits) {
      fill(&out.root[p.address >> (32 - root_bits)], size_t{1} << (root_bits - p.length));
      continue;
    }
    uint32_t* entry = &out.root[p.address >> (32 - root_bits)];
    for (uint32_t bits = root_bits;; bits += 4) {
      uint32_t number = *entry & ~Prefix4Table::kNode;
      if (!(*entry & Prefix4Table::kNode)) {
        const uint32_t inside = *entry;
        number = static_cast<uint32_t>(out.nodes.size() / 16);
        *entry = Prefix4Table::kNode | number;  // before the nodes move
        out.nodes.resize(out.nodes.size() + 16, inside);
      }
      entry = &out.nodes[size_t{number} * 16 + (p.address >> (28 - bits) & 15)];
      if (p.length <= bits + 4) {
        fill(entry, size_t{1} << (bits + 4 - p.length));
        break;
      }
    }
  }
  out.classes = classes.owners();
  return out;
}

Prefix6Table build_prefix6(std::span<const Prefix6> prefixes, PrefixOwners which) {
  PrefixClasses classes(which);
  Prefix6Table out;
  const std::vector<uint32_t> order = by_length(prefixes, 128);
  for (const uint32_t i : order)
    if (out.lengths.empty() || out.lengths.back() != prefixes[i].length)
      out.lengths.push_back(prefixes[i].length);

  // The class of a key is that of the next shorter prefix around it and its own owners.
  std::unordered_map<Prefix6Table::Key, uint32_t, KeyHash> real;
  real.reserve(prefixes.size());
  const auto around = [&](uint64_t high, uint64_t low, size_t lengths) {
    while (lengths-- > 0)
      if (const auto found = real.find(cut(high, low, out.lengths[lengths])); found != real.end())
        return found->second;
    return uint32_t{0};
  };
  const auto index_of = [&](uint8_t length) {
    return static_cast<size_t>(std::lower_bound(out.lengths.begin(), out.lengths.end(), length) -
                               out.lengths.begin());
  };
  for (const uint32_t i : order) {
    const Prefix6& p = prefixes[i];
    const Prefix6Table::Key key = cut(p.high, p.low, p.length);
    if (key.high != p.high || key.low != p.low)
      throw config_error("address", std::to_string(p.high),
                         "a prefix without a bit behind its length");
    const auto found = real.find(key);
    const uint32_t of =
        found != real.end() ? found->second : around(p.high, p.low, index_of(p.length));
    real[key] = classes.add(of, p.owner);
  }

  // Marks on the way that the search takes to each length, so that it does not turn back too soon.
  auto keys = real;
  for (const auto& [key, of] : real) {
    const size_t target = index_of(static_cast<uint8_t>(key.length));
    size_t low = 0, high = out.lengths.size();
    for (size_t middle; (middle = (low + high) / 2) != target;) {
      if (middle > target) {
        high = middle;
        continue;
      }
      const Prefix6Table::Key mark = cut(key.high, key.low, out.lengths[middle]);
      if (!keys.contains(mark)) keys.emplace(mark, around(mark.high, mark.low, middle));
      low = middle + 1;
    }
  }
  out.keys.reserve(keys.size());
  out.values.reserve(keys.size());
  for (const auto& [key, of] : keys) {
    out.keys.push_back(key);
    out.values.push_back(of);
  }
  out.classes = classes.owners();
  return out;
}

}  // namespace wp
