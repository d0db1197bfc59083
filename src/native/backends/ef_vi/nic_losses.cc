// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/nic_losses.h"

#ifndef WP_EF_VI_SIMULATOR
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string_view>
#endif

namespace wp::ef_vi_backend {

NicLosses::~NicLosses() {
#ifndef WP_EF_VI_SIMULATOR
  if (fd_ >= 0) close(fd_);
#endif
}

Losses NicLosses::read() noexcept {
  const Losses now = query();
  return {now.no_descriptor - base_.no_descriptor, now.overrun - base_.overrun};
}

#ifdef WP_EF_VI_SIMULATOR

NicLosses::NicLosses(const VirtualInterface& vi, const net::Netdev& netdev)
    : vi_(vi), netdev_(netdev), known_(true), base_(query()) {}

Losses NicLosses::query() noexcept {
  Losses out;
  ef_sim_lost(vi_.vi(), &out.no_descriptor, &out.overrun);
  return out;
}

#else

namespace {

bool ethtool(int fd, const net::Netdev& netdev, void* command) noexcept {
  ifreq request{};
  netdev.name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(command);
  return ioctl(fd, SIOCETHTOOL, &request) == 0;
}

// As `ethtool -S` shows it: sfc today and in older kernels.
constexpr std::string_view kNames[] = {"port_rx_nodesc_drops", "rx_nodesc_drops",
                                       "rx_nodesc_drop_cnt"};

}  // namespace

NicLosses::NicLosses(const VirtualInterface& vi, const net::Netdev& netdev)
    : vi_(vi), netdev_(netdev), fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  if (fd_ < 0 || !ethtool(fd_, netdev, &driver) || driver.n_stats == 0) return;
  count_ = driver.n_stats;
  std::vector<uint64_t> names((sizeof(ethtool_gstrings) + size_t{count_} * ETH_GSTRING_LEN) / 8 +
                              1);
  auto* strings = reinterpret_cast<ethtool_gstrings*>(names.data());
  strings->cmd = ETHTOOL_GSTRINGS;
  strings->string_set = ETH_SS_STATS;
  strings->len = count_;
  if (!ethtool(fd_, netdev, strings)) return;
  for (const std::string_view wanted : kNames)
    for (uint32_t i = 0; i < count_ && !known_; i++) {
      const auto* text = reinterpret_cast<const char*>(strings->data) + size_t{i} * ETH_GSTRING_LEN;
      known_ = wanted == std::string_view(text, strnlen(text, ETH_GSTRING_LEN));
      index_ = i;
    }
  // The kernel writes as many as the driver has then, whatever was asked for.
  constexpr size_t kMoreLater = 4096;
  buffer_.resize(sizeof(ethtool_stats) / 8 + count_ + kMoreLater);
  if (known_) base_ = query();
}

Losses NicLosses::query() noexcept {
  if (!known_) return {};
  auto* stats = reinterpret_cast<ethtool_stats*>(buffer_.data());
  stats->cmd = ETHTOOL_GSTATS;
  stats->n_stats = count_;
  if (!ethtool(fd_, netdev_, stats)) return base_;
  return {stats->data[index_], 0};
}

#endif

}  // namespace wp::ef_vi_backend
