// SPDX-License-Identifier: Apache-2.0
// Virtual interfaces: allocation, event queue, interrupts.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "state.h"

namespace sim {
void forget(const ef_sim_vi* vi);
namespace {

constexpr int kLeastRing = 64, kLargestRing = 4096;

uint32_t ring_size(int wanted, int otherwise) {
  if (wanted == 0) return 0;
  return std::bit_ceil(
      static_cast<uint32_t>(wanted < 0 ? otherwise : std::max(wanted, kLeastRing)));
}

}  // namespace
}  // namespace sim

ef_sim_vi::ef_sim_vi(ef_driver_handle driver, ef_sim_pd& pd, int rx_slots, int tx_slots,
                     unsigned vi_flags)
    : handle(driver),
      config(sim::config_of(driver)),
      domain(pd),
      flags(vi_flags),
      wire(pd.ifindex),
      rx(sim::ring_size(rx_slots, 512)),
      discards(EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR |
               EF_VI_DISCARD_RX_ETH_FCS_ERR | EF_VI_DISCARD_RX_ETH_LEN_ERR),
      tx(sim::ring_size(tx_slots, 512)) {
  if (shared()) {
    buffers.resize(std::max<size_t>(4, rx.size() / sim::kPacketsPerBuffer));
    const int fd = memfd_create("ef_vi-simulator", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(memory_bytes()))) throw errno;
    void* nic = mmap(nullptr, memory_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* app = mmap(nullptr, memory_bytes(), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (nic == MAP_FAILED || app == MAP_FAILED) throw ENOMEM;
    nic_memory = static_cast<uint8_t*>(nic);
    app_memory = static_cast<uint8_t*>(app);
  }
  const size_t packets = shared() ? buffers.size() * sim::kPacketsPerBuffer : rx.size();
  events.resize(std::bit_ceil(packets + tx.size() + 64));
  wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event interest{.events = 0, .data = {.u64 = 0}};
  epoll_ctl(handle, EPOLL_CTL_ADD, wire.fd(), &interest);
  interest.events = EPOLLIN;
  epoll_ctl(handle, EPOLL_CTL_ADD, wakeup, &interest);
}

ef_sim_vi::~ef_sim_vi() {
  sim::forget(this);
  epoll_ctl(handle, EPOLL_CTL_DEL, wire.fd(), nullptr);
  epoll_ctl(handle, EPOLL_CTL_DEL, wakeup, nullptr);
  close(wakeup);
  if (nic_memory) munmap(nic_memory, memory_bytes());
  if (app_memory) munmap(app_memory, memory_bytes());
}

void ef_sim_vi::raise(const ef_event& event) {
  SIM_REQUIRE(raised - polled < events.size(), "the event queue has run over");
  event_at(raised++) = event;
}

int ef_sim_vi::prime(unsigned seen) {
  if (config.refuse & EF_SIM_REFUSE_INTERRUPT) return -EOPNOTSUPP;
  SIM_REQUIRE(seen == polled, "primed with another place than ef_eventq_current()");
  armed = true;
  epoll_event interest{.events = EPOLLIN, .data = {.u64 = 0}};
  epoll_ctl(handle, EPOLL_CTL_MOD, wire.fd(), &interest);
  if (raised != seen) eventfd_write(wakeup, 1);
  return 0;
}

// An interrupt is raised once; whoever polls has seen it.
void ef_sim_vi::disarm() {
  if (!armed) return;
  armed = false;
  epoll_event interest{.events = 0, .data = {.u64 = 0}};
  epoll_ctl(handle, EPOLL_CTL_MOD, wire.fd(), &interest);
  eventfd_t ignored;
  eventfd_read(wakeup, &ignored);
}

int ef_sim_vi::poll(ef_event* out, int length) {
  SIM_REQUIRE(length >= EF_VI_EVENT_POLL_MIN_EVS, "polled for fewer events than the least");
  disarm();
  transmit();
  receive();
  int n = 0;
  while (n < length && polled != raised) {
    const ef_event& event = event_at(polled++);
    const unsigned type = EF_EVENT_TYPE(event);
    if (type == EF_EVENT_TYPE_RX || type == EF_EVENT_TYPE_RX_DISCARD) rx_removed++;
    out[n++] = event;
  }
  return n;
}

int ef_vi_alloc_from_pd(ef_vi* vi, ef_driver_handle handle, ef_pd* pd, ef_driver_handle,
                        int event_slots, int rx_slots, int tx_slots, ef_vi* event_queue,
                        ef_driver_handle, ef_vi_flags flags) {
  if (event_slots != -1 || event_queue) return -EINVAL;  // not simulated
  if (rx_slots > sim::kLargestRing || tx_slots > sim::kLargestRing) return -EINVAL;
  const ef_sim_config config = sim::config_of(handle);
  if (config.clock == EF_SIM_CLOCK_NONE && (flags & EF_VI_RX_TIMESTAMPS)) return -EOPNOTSUPP;
  if (config.nic == EF_SIM_X3 && (flags & EF_VI_RX_EVENT_MERGE)) return -EOPNOTSUPP;
  try {
    vi->sim = new ef_sim_vi(handle, *pd->sim, rx_slots, tx_slots, flags);
  } catch (int error) {
    return -error;
  }
  vi->nic_type = {};
  vi->nic_type.arch = vi->sim->shared() ? EF_VI_ARCH_EFCT : EF_VI_ARCH_EF10;
  return 0;
}

int ef_vi_free(ef_vi* vi, ef_driver_handle) {
  delete vi->sim;
  vi->sim = nullptr;
  return 0;
}

unsigned ef_vi_mtu(ef_vi* vi, ef_driver_handle) {
  ifreq request{};
  char name[IF_NAMESIZE];
  if (!if_indextoname(static_cast<unsigned>(vi->sim->domain.ifindex), name)) return 0;
  std::memcpy(request.ifr_name, name, IF_NAMESIZE);
  if (ioctl(vi->sim->wire.fd(), SIOCGIFMTU, &request)) return 0;
  return static_cast<unsigned>(request.ifr_mtu) + 18;
}

int ef_vi_prime(ef_vi* vi, ef_driver_handle, unsigned current) {
  return vi->sim->prime(current);
}
int ef_eventq_poll(ef_vi* vi, ef_event* events, int length) {
  return vi->sim->poll(events, length);
}
unsigned ef_eventq_current(ef_vi* vi) {
  return vi->sim->polled;
}
int ef_eventq_capacity(ef_vi* vi) {
  return static_cast<int>(vi->sim->events.size());
}

void ef_sim_lost(const ef_vi* vi, uint64_t* no_descriptor, uint64_t* overrun) {
  *no_descriptor = vi->sim->no_descriptor.load();
  *overrun = vi->sim->wire.overruns();
}
