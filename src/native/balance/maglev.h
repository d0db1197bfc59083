// SPDX-License-Identifier: Apache-2.0
// Weighted Maglev tables (Eisenbud et al., "Maglev", NSDI 2016, §3.4): which server each hash
// belongs to. Depends on the names and weights alone, not on their order, so that every balancer
// with the same configuration has the same table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wp::balance {

struct MaglevServer {
  std::string name;  // what is hashed; no two are the same
  uint32_t weight = 1;
};

enum class MaglevAlgorithm {
  kWirepath,  // shares as even as whole slots allow, whatever the weights
  kCilium,    // bit for bit the tables of Cilium's agent, whose names are of its own format
};

inline constexpr uint32_t kMaglevSize = 65537;
inline constexpr uint32_t kMaglevMaxSize = 16'777'213;  // the largest prime below 2^24
inline constexpr uint32_t kMaglevMaxServers = 65'535;
inline constexpr uint32_t kMaglevMaxWeight = 1'000'000;
inline constexpr uint32_t kNoServer = UINT32_MAX;

// Where a server's walk through the table starts, and its stride.
struct MaglevWalk {
  uint32_t offset;  // [0, size)
  uint32_t skip;    // [1, size)
};
MaglevWalk maglev_walk(std::string_view name, uint32_t size, MaglevAlgorithm algorithm);

// Of each slot the index in `servers`. Servers of weight 0 get none; kNoServer everywhere where
// all have weight 0. Throws kConfig: the size is not a prime in [2, kMaglevMaxSize], a name comes
// twice, a weight or the number of servers is out of range.
std::vector<uint32_t> maglev_table(std::span<const MaglevServer> servers,
                                   uint32_t size = kMaglevSize,
                                   MaglevAlgorithm algorithm = MaglevAlgorithm::kWirepath);

}  // namespace wp::balance
