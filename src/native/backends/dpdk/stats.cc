// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/stats.h"

#include <dirent.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <rte_ethdev.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

namespace wp::dpdk {
namespace {

constexpr std::array kInterfaceNames{
    "nic.rx_packets",  "nic.rx_bytes",   "nic.rx_errors", "nic.rx_dropped", "nic.rx_missed",
    "nic.rx_overruns", "nic.tx_packets", "nic.tx_bytes",  "nic.tx_errors",  "nic.tx_dropped"};

// For these a buffer that cannot be had costs the frame; for others it waits in the ring, and
// what is lost for want of descriptors is in imissed.
constexpr std::array<std::string_view, 5> kNoBufferLosesFrame{"net_tap", "net_pcap", "mlx4_pci",
                                                              "mlx5_pci", "net_mlx5"};

int option(int fd, int level, int name) {
  int value = 0;
  socklen_t n = sizeof value;
  return getsockopt(fd, level, name, &value, &n) ? -1 : value;
}

}  // namespace

const char* const kPortCounterNames[kPortCounters] = {"drop.missed",
                                                      "drop.rx_errors",
                                                      "drop.no_buffer",
                                                      "drop.rx_ring_full",
                                                      "drop.fill_ring_empty",
                                                      "drop.rx_other",
                                                      "drop.kernel_ring_full",
                                                      "drop.tap_queue_full",
                                                      "rx_no_buffer",
                                                      "tx_errors",
                                                      "link_downs"};

std::set<int> driver_sockets() {
  std::set<int> out;
  DIR* folder = opendir("/proc/self/fd");
  if (!folder) return out;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    const int domain = fd > 2 ? option(fd, SOL_SOCKET, SO_DOMAIN) : -1;
    if (domain == AF_XDP || domain == AF_PACKET) out.insert(fd);
  }
  closedir(folder);
  return out;
}

Stats::Stats(uint16_t port, const std::string& driver, unsigned ifindex, std::set<int> sockets)
    : port_(port), driver_(driver), sockets_(std::move(sockets)) {
  if (ifindex) link_ = std::make_unique<net::LinkStats>(ifindex);
  rte_eth_stats_reset(port_);
  rte_eth_xstats_reset(port_);
  const int n = rte_eth_xstats_get_names(port_, nullptr, 0);
  if (n <= 0) return;
  std::vector<rte_eth_xstat_name> names(static_cast<size_t>(n));
  if (rte_eth_xstats_get_names(port_, names.data(), names.size()) != n) return;
  for (const rte_eth_xstat_name& name : names) {
    std::string ours = "xstat." + std::string(name.name);
    std::ranges::replace(ours, '/', '_');  // the separator of counter names
    extended_.push_back(std::move(ours));
  }
  values_.resize(extended_.size());
}

std::vector<const char*> Stats::names() const {
  std::vector<const char*> out(kPortCounterNames, kPortCounterNames + kPortCounters);
  if (interface_counts()) out.insert(out.end(), kInterfaceNames.begin(), kInterfaceNames.end());
  for (const std::string& name : extended_) out.push_back(name.c_str());
  return out;
}

void Stats::refresh(Counter* counters) noexcept {
  const bool xdp = driver_ == "net_af_xdp";
  rte_eth_stats s{};
  if (rte_eth_stats_get(port_, &s) == 0) {
    // For net_af_xdp the kernel is asked itself: it tells the reasons apart.
    counters[kDropMissed].set(xdp ? 0 : s.imissed);
    counters[kDropRxErrors].set(s.ierrors);
    const bool lost = std::ranges::find(kNoBufferLosesFrame, driver_) != kNoBufferLosesFrame.end();
    counters[lost ? kDropNoBuffer : kRxNoBuffer].set(s.rx_nombuf);
    counters[kTxErrors].set(s.oerrors);
  }
  kernel_counts(counters);
  size_t at = kPortCounters;
  const bool read = link_ && link_->read();
  const net::LinkCounts k = read ? link_->counts() : net::LinkCounts{};
  if (read && interface_counts()) {
    const std::array values{k.rx_packets,  k.rx_bytes,   k.rx_errors, k.rx_dropped, k.rx_missed,
                            k.rx_overruns, k.tx_packets, k.tx_bytes,  k.tx_errors,  k.tx_dropped};
    for (size_t i = 0; i < values.size(); i++) counters[at + i].set(values[i]);
  }
  if (read && !interface_counts()) counters[kDropTapQueue].set(k.tx_dropped);
  if (interface_counts()) at += kInterfaceNames.size();
  const int n = rte_eth_xstats_get_by_id(port_, nullptr, values_.data(),
                                         static_cast<unsigned>(values_.size()));
  if (n == static_cast<int>(values_.size()))
    for (size_t i = 0; i < values_.size(); i++) counters[at + i].set(values_[i]);
}

void Stats::kernel_counts(Counter* counters) noexcept {
  uint64_t full = 0, empty = 0, other = 0;
  for (const int fd : sockets_) {
    const int domain = option(fd, SOL_SOCKET, SO_DOMAIN);
    if (domain == AF_XDP) {
      xdp_statistics s{};
      socklen_t n = sizeof s;
      if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &s, &n)) continue;
      // A frame without a buffer counts in both of the last two.
      full += s.rx_ring_full;
      empty += s.rx_fill_ring_empty_descs;
      other += s.rx_dropped - std::min<uint64_t>(s.rx_fill_ring_empty_descs, s.rx_dropped);
    } else if (domain == AF_PACKET) {
      tpacket_stats s{};
      socklen_t n = sizeof s;
      if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &s, &n) == 0) packet_drops_ += s.tp_drops;
    }
  }
  counters[kDropRxRingFull].set(full);
  counters[kDropFillRingEmpty].set(empty);
  counters[kDropRxOther].set(other);
  counters[kDropKernelRing].set(packet_drops_);
}

}  // namespace wp::dpdk
