// SPDX-License-Identifier: Apache-2.0
// Onload's ef_vi headers, and what differs between the versions of them (8.1 to 9.x).
#pragma once

#include <etherfabric/capabilities.h>
#include <etherfabric/ef_vi.h>
#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/vi.h>
#ifdef WP_EF_VI_SIMULATOR
#include <etherfabric/sim.h>
#endif

#include <cstdint>

namespace wp::ef_vi_backend {

#ifdef WP_EF_VI_SIMULATOR
inline constexpr bool kSimulator = true;
inline constexpr const char* kName = "ef_vi_sim";
#else
inline constexpr bool kSimulator = false;
inline constexpr const char* kName = "ef_vi";
#endif

// How frames reach memory: the application posts a descriptor per packet (SFN8000, X2), or the
// NIC fills large buffers that many applications may share (X3 and what came after it).
inline bool has_shared_buffers(unsigned arch) noexcept {
  return arch == EF_VI_ARCH_EFCT || arch > EF_VI_ARCH_AF_XDP;
}

struct NicTime {
  int64_t ns = 0;  // since the Unix epoch
  uint32_t sync_flags = 0;
};

// `packet` is the DMA address's first byte, prefix included, or what efct_vi_rxpkt_get gave.
// 0, or a negative error: the packet has no stamp. Only until the next poll.
inline int receive_time(ef_vi* vi, const void* packet, [[maybe_unused]] uint32_t packet_id,
                        NicTime& out) noexcept {
#ifdef ef_vi_receive_get_precise_timestamp
  ef_precisetime t;
  const int failed = ef_vi_receive_get_precise_timestamp(vi, packet, &t);
  out.sync_flags = t.tv_flags;
#else
  timespec t;
  unsigned flags = 0;
  const int failed = has_shared_buffers(vi->nic_type.arch)
                         ? efct_vi_rxpkt_get_timestamp(vi, packet_id, &t, &flags)
                         : ef_vi_receive_get_timestamp_with_sync_flags(vi, packet, &t, &flags);
  out.sync_flags = flags;
#endif
  out.ns = int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  return failed;
}

}  // namespace wp::ef_vi_backend
