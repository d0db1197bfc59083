// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/ef_vi_port.h"

#include <array>

#include "core/error.h"

namespace wp {
namespace ef_vi_backend {
namespace {

// The kernel's rx_dropped of these NICs contains what drop.rx_no_desc counts, so it is left out.
enum : size_t {
  kDropRxNoDesc,
  kNicRxPackets,
  kNicRxBytes,
  kNicRxErrors,
  kNicRxOverruns,
  kNicTxPackets,
  kNicTxBytes,
  kNicTxErrors,
  kPortCounters
};
constexpr std::array<const char*, kPortCounters> kPortCounterNames{
    "drop.rx_no_desc", "nic.rx_packets", "nic.rx_bytes", "nic.rx_errors",
    "nic.rx_overruns", "nic.tx_packets", "nic.tx_bytes", "nic.tx_errors"};

net::Netdev usable(const Settings& settings, const std::string& device) {
  net::Netdev netdev = net::query_netdev(device);
  check_link(settings, netdev);
  return netdev;
}

}  // namespace

EfViPort::EfViPort(const PortConfig& config)
    : Port(config),
      settings_(config),
      netdev_(usable(settings_, config.device)),
      link_stats_(netdev_.ifindex),
      vi_(settings_, netdev_, config.batch_size),
      losses_(vi_, netdev_),
      queue_({.by_reference = settings_.zero_copy && vi_.shared_buffers(),
              .max_held = settings_.max_held,
              .batch_size = config.batch_size},
             vi_, steering(), add_counters(0, kQueueCounterNames), clock_) {
  counters_ = add_counters(-1, kPortCounterNames);
  if (!settings_.tx_only) {
    filters_ = insert_filters(steering(), vi_, netdev_);
    // Behind the filter, so that the companion socket is never flooded.
    multicast_ = std::make_unique<net::Multicast>(steering(), netdev_.ifindex, netdev_.name);
  }
  queue_.start(filters_.recheck);
}

EfViPort::~EfViPort() = default;

uint32_t EfViPort::rx(uint32_t, wp_batch& batch) noexcept {
  const uint32_t n = queue_.rx(batch);
  if (n == 0 && queue_.gone()) [[unlikely]]
    finished_.store(true, std::memory_order_release);
  return n;
}
uint32_t EfViPort::tx(uint32_t, wp_batch& batch) noexcept {
  return queue_.tx(batch);
}
void EfViPort::release(uint32_t, wp_batch& batch) noexcept {
  queue_.release(batch);
}
bool EfViPort::wait(uint32_t, int64_t timeout_us) noexcept {
  return queue_.wait(timeout_us);
}
int EfViPort::fd(uint32_t) const noexcept {
  return queue_.fd();
}

void EfViPort::refresh_stats() noexcept {
  const Losses lost = losses_.read();
  counters_[kDropRxNoDesc].set(lost.no_descriptor);
  if (!link_stats_.read()) return;
  const net::LinkCounts& n = link_stats_.counts();
  counters_[kNicRxPackets].set(n.rx_packets);
  counters_[kNicRxBytes].set(n.rx_bytes);
  counters_[kNicRxErrors].set(n.rx_errors);
  counters_[kNicRxOverruns].set(n.rx_overruns + lost.overrun);
  counters_[kNicTxPackets].set(n.tx_packets);
  counters_[kNicTxBytes].set(n.tx_bytes);
  counters_[kNicTxErrors].set(n.tx_errors);
}

Capabilities EfViPort::capabilities() const noexcept {
  return {.rx = !settings_.tx_only,
          .tx = true,
          .pass = false,
          .multi_queue = false,
          .everything = true,
          .ethernet_headers = true,
          .waitable = queue_.interrupts(),
          .finite = false,
          .writable = !queue_.by_reference(),
          .link = true,
          .shareable = true,
          .rest_to_host = !steering().everything,
          .max_frame = vi_.max_frame(),
          .pool_frames = settings_.tx_only ? 0 : queue_.pool_frames()};
}

}  // namespace ef_vi_backend

#ifdef WP_EF_VI_SIMULATOR
const Backend kEfViBackend {
  "ef_vi_sim", "a simulator of Onload's ef_vi, for tests: no NIC is driven; needs CAP_NET_RAW",
      "INTERFACE", ef_vi_backend::Settings::options(),
#else
const Backend kEfViBackend{
    "ef_vi", "Solarflare and Alveo X3 NICs through Onload's ef_vi; needs Onload's drivers",
    "INTERFACE", ef_vi_backend::Settings::options(),
#endif
      [](const PortConfig& config) -> std::unique_ptr<Port> {
        return std::make_unique<ef_vi_backend::EfViPort>(config);
      }
};

}  // namespace wp
