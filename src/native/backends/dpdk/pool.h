// SPDX-License-Identifier: Apache-2.0
// The packet buffers of one queue: a mempool on the device's NUMA node, large enough that the
// rings are full while bursts are under way and the allowed number of frames is held.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace wp::dpdk {

class Pool {
 public:
  struct Size {
    uint32_t rx_ring, tx_ring, batch, max_held;
    uint32_t frames() const noexcept;
  };
  // in_a_row: buffer behind buffer, without the gaps that keep each within a page. Throws kIo where
  // there is no memory for it.
  Pool(const std::string& name, const Size& size, uint32_t frame_size, int numa_node,
       bool in_a_row);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  rte_mempool* get() const noexcept { return pool_.get(); }
  uint32_t frames() const noexcept { return frames_; }
  int numa_node() const noexcept;

  // The buffer that `handle` names if it is one of this pool's and the frame lies within it, else
  // nullptr. Handles of other ports are any numbers: nothing is read outside of the pool's memory,
  // and of what is in there only an mbuf that its buffer follows, as all of this pool's have it,
  // is taken for one. (A driver's own buffer attached to an mbuf of ours is thus copied.)
  rte_mbuf* owned(uint64_t handle, const uint8_t* data, uint32_t length) const noexcept {
    for (const Memory& memory : memory_) {
      if (handle < memory.first || handle > memory.last || handle % alignof(rte_mbuf) != 0)
        continue;
      auto* m = reinterpret_cast<rte_mbuf*>(handle);
      const auto* buffer = reinterpret_cast<const uint8_t*>(m + 1);
      if (m->pool != pool_.get() || m->buf_addr != buffer) return nullptr;
      const bool whole = data >= buffer && data + length <= buffer + m->buf_len;
      return whole ? m : nullptr;
    }
    return nullptr;
  }

 private:
  struct Memory {
    uint64_t first, last;  // addresses that an mbuf may have in one piece of memory
  };
  struct Free {
    void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
  };
  uint32_t frames_;
  std::unique_ptr<rte_mempool, Free> pool_;
  std::vector<Memory> memory_;
};

}  // namespace wp::dpdk
