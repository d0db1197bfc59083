// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/pool.h"

#include <rte_errno.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include <cerrno>

#include "backends/dpdk/eal.h"
#include "backends/dpdk/errors.h"

namespace wp::dpdk {
namespace {

constexpr uint32_t kCache = 256;       // buffers per lcore
constexpr uint32_t kThreads = 4;       // that may have a cache of this pool: workers, control
constexpr uint32_t kDriverBurst = 64;  // that drivers take ahead
static_assert(kCache <= RTE_MEMPOOL_CACHE_MAX_SIZE);

// What rte_pktmbuf_pool_create does, which takes no flags.
rte_mempool* create(const std::string& name, uint32_t frames, uint16_t room, int numa_node,
                    unsigned flags) {
  rte_mempool* pool =
      rte_mempool_create_empty(name.c_str(), frames, static_cast<unsigned>(sizeof(rte_mbuf)) + room,
                               kCache, sizeof(rte_pktmbuf_pool_private), numa_node, flags);
  if (!pool) return nullptr;
  rte_pktmbuf_pool_private properties{};
  properties.mbuf_data_room_size = room;
  int code = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), nullptr);
  if (code == 0) {
    rte_pktmbuf_pool_init(pool, &properties);
    code = std::min(rte_mempool_populate_default(pool), 0);
  }
  if (code != 0 || ((flags & RTE_MEMPOOL_F_NO_IOVA_CONTIG) && pool->nb_mem_chunks != 1)) {
    rte_mempool_free(pool);
    rte_errno = code ? -code : ENOMEM;
    return nullptr;
  }
  rte_mempool_obj_iter(pool, &rte_pktmbuf_init, nullptr);
  return pool;
}

}  // namespace

uint32_t Pool::Size::frames() const noexcept {
  // A cache is flushed once it holds half as much again.
  return rx_ring + tx_ring + 2 * batch + 2 * kDriverBurst + max_held + kThreads * kCache * 3 / 2;
}

Pool::Pool(const std::string& name, const Size& size, uint32_t frame_size, int numa_node,
           bool in_a_row)
    : frames_(size.frames()) {
  const auto room = static_cast<uint16_t>(frame_size + RTE_PKTMBUF_HEADROOM);
  pool_.reset(create(name, frames_, room, numa_node, in_a_row ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0));
  if (!pool_) {
    const uint64_t bytes = uint64_t{frames_} * (room + sizeof(rte_mbuf) + 64);
    if (rte_errno == ENOMEM)
      throw no_memory("no packet buffers for " + name, Eal::huge_pages(), bytes);
    throw refusal("no packet buffers for " + name, rte_errno, "", "");
  }
  rte_mempool_mem_iter(
      pool_.get(),
      [](rte_mempool*, void* out, rte_mempool_memhdr* piece, unsigned) {
        const auto begin = reinterpret_cast<uint64_t>(piece->addr);
        static_cast<std::vector<Memory>*>(out)->push_back(
            {begin, begin + piece->len - sizeof(rte_mbuf)});
      },
      &memory_);
}

int Pool::numa_node() const noexcept {
  return pool_->socket_id;
}

}  // namespace wp::dpdk
