// SPDX-License-Identifier: Apache-2.0
// Driver handles, protection domains, registered memory, capabilities.
#include <etherfabric/capabilities.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "state.h"

namespace sim {
namespace {

thread_local ef_sim_config next_config{EF_SIM_X2, EF_SIM_CLOCK_SYNC, 0, EF_SIM_FAULT_NONE};
std::mutex mutex;
std::map<ef_driver_handle, ef_sim_config> handles;
ef_addr next_base = 0x4000'0000;

}  // namespace

void broken(const char* text) {
  std::fprintf(stderr, "ef_vi simulator: %s\n", text);
  std::abort();
}

ef_sim_config config_of(ef_driver_handle handle) {
  const std::lock_guard lock(mutex);
  const auto found = handles.find(handle);
  SIM_REQUIRE(found != handles.end(), "a driver handle that is not open");
  return found->second;
}

}  // namespace sim

using sim::mutex, sim::handles;

void ef_sim_configure(const ef_sim_config* config) {
  sim::next_config = *config;
}

int ef_driver_open(ef_driver_handle* handle) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return -errno;
  const std::lock_guard lock(mutex);
  handles[fd] = sim::next_config;
  *handle = fd;
  return 0;
}

int ef_driver_close(ef_driver_handle handle) {
  const std::lock_guard lock(mutex);
  if (handles.erase(handle) == 0) return -EBADF;
  close(handle);
  return 0;
}

int ef_pd_alloc(ef_pd* pd, ef_driver_handle handle, int ifindex, ef_pd_flags) {
  sim::config_of(handle);
  char name[IF_NAMESIZE];
  if (ifindex <= 0 || !if_indextoname(static_cast<unsigned>(ifindex), name)) return -ENODEV;
  pd->sim = new ef_sim_pd{ifindex, {}};
  return 0;
}

int ef_pd_free(ef_pd* pd, ef_driver_handle) {
  SIM_REQUIRE(pd->sim->regions.empty(), "a protection domain was freed before its memory");
  delete pd->sim;
  pd->sim = nullptr;
  return 0;
}

int ef_memreg_alloc(ef_memreg* region, ef_driver_handle, ef_pd* pd, ef_driver_handle, void* memory,
                    size_t bytes) {
  if (reinterpret_cast<uintptr_t>(memory) % EF_VI_NIC_PAGE_SIZE || bytes % 2048) return -EINVAL;
  const std::lock_guard lock(mutex);
  region->sim = new ef_sim_region{static_cast<uint8_t*>(memory), bytes, sim::next_base, pd->sim};
  sim::next_base += ((bytes >> EF_VI_NIC_PAGE_SHIFT) + 3) << EF_VI_NIC_PAGE_SHIFT;
  pd->sim->regions.push_back(region->sim);
  return 0;
}

int ef_memreg_free(ef_memreg* region, ef_driver_handle) {
  std::erase(region->sim->domain->regions, region->sim);
  delete region->sim;
  region->sim = nullptr;
  return 0;
}

// Neighbouring pages change places, so that nobody counts on more than 4 KiB in a row.
ef_addr ef_memreg_dma_addr(ef_memreg* region, size_t offset) {
  SIM_REQUIRE(offset < region->sim->bytes, "the DMA address of memory that is not registered");
  return (region->sim->base + offset) ^ EF_VI_NIC_PAGE_SIZE;
}

uint8_t* ef_sim_pd::memory_at(ef_addr address, size_t bytes) const {
  SIM_REQUIRE((address >> EF_VI_NIC_PAGE_SHIFT) == (address + bytes - 1) >> EF_VI_NIC_PAGE_SHIFT,
              "a buffer that crosses 4 KiB");
  const ef_addr straight = address ^ EF_VI_NIC_PAGE_SIZE;
  for (const ef_sim_region* r : regions)
    if (straight >= r->base && straight + bytes <= r->base + r->bytes)
      return r->memory + (straight - r->base);
  sim::broken("a DMA address outside registered memory");
}

int ef_vi_capabilities_get(ef_driver_handle handle, int, ef_vi_capability capability,
                           unsigned long* value) {
  const ef_sim_config config = sim::config_of(handle);
  switch (capability) {
    case EF_VI_CAP_HW_RX_TIMESTAMPING:
      *value = config.clock != EF_SIM_CLOCK_NONE;
      return 0;
    case EF_VI_CAP_RX_MERGE:
      *value = config.nic == EF_SIM_X2;
      return 0;
    case EF_VI_CAP_RX_FORCE_EVENT_MERGING:
      *value = 0;
      return 0;
  }
  return -ENOSYS;
}

const char* ef_vi_version_str() {
  return "simulator";
}
