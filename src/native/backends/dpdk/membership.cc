// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/membership.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace wp::dpdk {
namespace {

// Nobody to report to behind these.
constexpr std::array<std::string_view, 3> kNoNetwork{"net_ring", "net_null", "net_pcap"};

}  // namespace

void Membership::open_filter(const Settings& settings, const Steering& steering,
                             const Device& device) {
  const uint16_t port = device.port();
  const bool want = settings.promiscuous == Promiscuous::kOn ||
                    (settings.promiscuous == Promiscuous::kAuto && steering.everything);
  if (want && rte_eth_promiscuous_enable(port) == 0) {
    filter_ = "promiscuous";
    return;
  }
  if (settings.promiscuous == Promiscuous::kOn)
    throw Error(ErrorKind::kUnsupported, settings.device + " has no promiscuous mode",
                "promiscuous=auto");
  std::vector<rte_ether_addr> list;
  for (const FlowRule& rule : steering.rules) {
    if (!rule.multicast()) continue;
    net::Ip4 group4;
    std::copy_n(rule.address.begin(), 4, group4.begin());
    const net::Mac mac =
        rule.family == 4 ? net::multicast_mac(group4) : net::multicast_mac(rule.address);
    rte_ether_addr address;
    std::copy(mac.begin(), mac.end(), address.addr_bytes);
    const auto same = [&](const rte_ether_addr& have) {
      return !std::memcmp(&have, &address, sizeof address);
    };
    if (std::ranges::none_of(list, same)) list.push_back(address);
  }
  if (list.empty()) {
    filter_ = "own address";
  } else if (rte_eth_dev_set_mc_addr_list(port, list.data(), static_cast<uint32_t>(list.size())) ==
             0) {
    filter_ = std::to_string(list.size()) + " multicast addresses";
  } else if (rte_eth_allmulticast_enable(port) == 0) {
    filter_ = "all multicast";
  } else if (settings.promiscuous == Promiscuous::kAuto && rte_eth_promiscuous_enable(port) == 0) {
    filter_ = "promiscuous (the driver has no multicast filter)";
  } else {
    filter_ = "none: the driver passes everything";
  }
}

Membership::Membership(const Settings& settings, const Steering& steering, const Device& device) {
  open_filter(settings, steering, device);
  for (const FlowRule& rule : steering.rules) {
    const std::string group = rule.multicast() ? format_address(rule) : "";
    if (!group.empty() && std::ranges::find(groups_, group) == groups_.end())
      groups_.push_back(group);
  }
  if (settings.join == Join::kNo || groups_.empty()) return;
  if (settings.join == Join::kSocket && device.ifindex() == 0)
    throw Error(ErrorKind::kConfig,
                "join = socket, but " + settings.device + " has no kernel interface",
                "join=report, or join=auto");
  const bool network = std::ranges::find(kNoNetwork, std::string_view(device.info().driver_name)) ==
                       kNoNetwork.end();
  if (device.ifindex() != 0 && settings.join != Join::kReport) {
    socket_ = std::make_unique<net::Multicast>(steering, device.ifindex(), device.interface());
    how_ = "companion socket";
  } else if (network || settings.join == Join::kReport) {
    rte_ether_addr address{};
    rte_eth_macaddr_get(device.port(), &address);
    net::Mac mac;
    std::copy_n(address.addr_bytes, 6, mac.begin());
    net::Ip4 source;
    inet_pton(AF_INET, settings.join_source.c_str(), source.data());
    reports_ = net::membership_frames(steering, net::Membership::kReport, mac, source);
    leaves_ = net::membership_frames(steering, net::Membership::kLeave, mac, source);
    how_ = "IGMP and MLD reports of ours, every 60 s";
  }
}

}  // namespace wp::dpdk
