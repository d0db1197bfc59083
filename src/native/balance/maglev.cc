// SPDX-License-Identifier: Apache-2.0
#include "balance/maglev.h"

#include <algorithm>
#include <numeric>

#include "balance/murmur3.h"
#include "core/error.h"

namespace wp::balance {
namespace {

// Any fixed number will do, as long as every balancer has the same.
constexpr uint32_t kSeed = 0x77706c62;
// The first four bytes of the seed that Cilium's agent has by default.
constexpr uint32_t kCiliumSeed = 0x24b7ef82;

bool is_prime(uint32_t n) {
  if (n < 4) return n > 1;
  if (n % 2 == 0) return false;
  for (uint32_t i = 3; static_cast<uint64_t>(i) * i <= n; i += 2)
    if (n % i == 0) return false;
  return true;
}

uint32_t next_prime(uint32_t n) {
  while (!is_prime(n)) n++;
  return n;
}

void check(std::span<const MaglevServer> servers, uint32_t size,
           const std::vector<uint32_t>& order) {
  if (size > kMaglevMaxSize || !is_prime(size))
    throw Error(
        ErrorKind::kConfig,
        "table_size = " + std::to_string(size) + " is not usable: it must be a prime from 2 to " +
            std::to_string(kMaglevMaxSize),
        "take " + std::to_string(size < kMaglevMaxSize ? next_prime(size) : kMaglevMaxSize));
  if (servers.size() > kMaglevMaxServers)
    throw Error(ErrorKind::kConfig,
                std::to_string(servers.size()) + " servers are too many for a table",
                "give it at most " + std::to_string(kMaglevMaxServers));
  for (const MaglevServer& server : servers)
    if (server.weight > kMaglevMaxWeight)
      throw Error(
          ErrorKind::kConfig,
          "weight = " + std::to_string(server.weight) + " of " + server.name + " is not usable",
          "it must be from 0 to " + std::to_string(kMaglevMaxWeight));
  for (size_t i = 1; i < order.size(); i++)
    if (servers[order[i - 1]].name == servers[order[i]].name)
      throw Error(ErrorKind::kConfig, "server " + servers[order[i]].name + " is named twice",
                  "give every server a name of its own");
}

// A table that is being filled, and where each server is on its walk through it.
class Filling {
 public:
  Filling(std::span<const MaglevServer> servers, std::span<const uint32_t> order, uint32_t size,
          MaglevAlgorithm algorithm)
      : size_(size), table_(size, kNoServer) {
    walks_.reserve(order.size());
    for (const uint32_t index : order)
      walks_.push_back(maglev_walk(servers[index].name, size, algorithm));
  }

  // The next slot of its walk that is free goes to walk number i, and with it to `server`.
  void take(size_t i, uint32_t server) {
    MaglevWalk& walk = walks_[i];
    while (table_[walk.offset] != kNoServer) step(walk);
    table_[walk.offset] = server;
    step(walk);
  }
  std::vector<uint32_t> table() && { return std::move(table_); }

 private:
  void step(MaglevWalk& walk) const {
    walk.offset += walk.skip;  // below 2^25: no overflow
    if (walk.offset >= size_) walk.offset -= size_;
  }

  uint32_t size_;
  std::vector<uint32_t> table_;
  std::vector<MaglevWalk> walks_;
};

// Rounds as in the paper. In each one a server earns its weight, and takes a slot whenever it has
// earned as much as the heaviest earns in a round: shares are off by one slot at most.
void fill(Filling& filling, std::span<const MaglevServer> servers, std::span<const uint32_t> order,
          uint32_t size) {
  uint64_t heaviest = 0;
  for (const uint32_t index : order) heaviest = std::max<uint64_t>(heaviest, servers[index].weight);
  std::vector<uint64_t> earned(order.size(), 0);
  for (uint32_t filled = 0;;) {
    for (size_t i = 0; i < order.size(); i++) {
      earned[i] += servers[order[i]].weight;
      if (earned[i] < heaviest) continue;
      earned[i] -= heaviest;
      filling.take(i, order[i]);
      if (++filled == size) return;
    }
  }
}

// Cilium's way: turns go round, and a server is passed over while it has had its share of them.
void fill_cilium(Filling& filling, std::span<const MaglevServer> servers,
                 std::span<const uint32_t> order, uint32_t size) {
  const size_t count = order.size();
  uint64_t sum = 0;
  for (const uint32_t index : order) sum += servers[index].weight;
  const bool weighted = sum / count > 1;
  std::vector<double> had(count);
  for (size_t i = 0; i < count; i++)
    had[i] = static_cast<double>(servers[order[i]].weight) / static_cast<double>(count);
  for (uint64_t n = 0; n < size; n++) {
    size_t i = n % count;
    if (weighted) {
      while (static_cast<double>((n + 1) * servers[order[i]].weight) < had[i]) i = (i + 1) % count;
      had[i] += static_cast<double>(sum);
    }
    filling.take(i, order[i]);
  }
}

}  // namespace

MaglevWalk maglev_walk(std::string_view name, uint32_t size, MaglevAlgorithm algorithm) {
  const auto [h1, h2] =
      murmur3_128(name, algorithm == MaglevAlgorithm::kCilium ? kCiliumSeed : kSeed);
  return {static_cast<uint32_t>(h1 % size), static_cast<uint32_t>(h2 % (size - 1) + 1)};
}

std::vector<uint32_t> maglev_table(std::span<const MaglevServer> servers, uint32_t size,
                                   MaglevAlgorithm algorithm) {
  std::vector<uint32_t> order(servers.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t i) { return std::string_view(servers[i].name); });
  check(servers, size, order);
  std::erase_if(order, [&](uint32_t i) { return servers[i].weight == 0; });
  if (order.empty()) return std::vector<uint32_t>(size, kNoServer);
  Filling filling(servers, order, size, algorithm);
  if (algorithm == MaglevAlgorithm::kCilium)
    fill_cilium(filling, servers, order, size);
  else
    fill(filling, servers, order, size);
  return std::move(filling).table();
}

}  // namespace wp::balance
