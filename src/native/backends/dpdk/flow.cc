// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/flow.h"

#include <rte_byteorder.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace wp::dpdk {
namespace {

std::string reason(const rte_flow_error& error, int code) {
  return error.message ? error.message : rte_strerror(code < 0 ? -code : code);
}

bool any_address(const FlowRule& rule) {
  return rule.family == 0 ||
         std::ranges::all_of(rule.address, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

FlowPattern::FlowPattern(const FlowRule& rule, uint8_t family, bool tagged) {
  const auto add = [&](rte_flow_item_type type, const void* spec, const void* mask) {
    items_.push_back({.type = type, .spec = spec, .last = nullptr, .mask = mask});
  };
  const bool address = !any_address(rule);
  add(RTE_FLOW_ITEM_TYPE_ETH, nullptr, nullptr);
  if (tagged) add(RTE_FLOW_ITEM_TYPE_VLAN, nullptr, nullptr);
  if (family == 4) {
    std::memcpy(&ip4_.hdr.dst_addr, rule.address.data(), 4);
    std::memset(&ip4_mask_.hdr.dst_addr, 0xff, 4);
    add(RTE_FLOW_ITEM_TYPE_IPV4, address ? &ip4_ : nullptr, address ? &ip4_mask_ : nullptr);
  } else {
    std::memcpy(&ip6_.hdr.dst_addr, rule.address.data(), 16);
    std::memset(&ip6_mask_.hdr.dst_addr, 0xff, 16);
    add(RTE_FLOW_ITEM_TYPE_IPV6, address ? &ip6_ : nullptr, address ? &ip6_mask_ : nullptr);
  }
  const bool port = rule.port != 0;
  if (rule.protocol == Protocol::kUdp) {
    udp_.hdr.dst_port = rte_cpu_to_be_16(rule.port);
    udp_mask_.hdr.dst_port = 0xffff;
    add(RTE_FLOW_ITEM_TYPE_UDP, port ? &udp_ : nullptr, port ? &udp_mask_ : nullptr);
  } else if (rule.protocol == Protocol::kTcp) {
    tcp_.hdr.dst_port = rte_cpu_to_be_16(rule.port);
    tcp_mask_.hdr.dst_port = 0xffff;
    add(RTE_FLOW_ITEM_TYPE_TCP, port ? &tcp_ : nullptr, port ? &tcp_mask_ : nullptr);
  }
  add(RTE_FLOW_ITEM_TYPE_END, nullptr, nullptr);
}

FlowSteering::~FlowSteering() {
  remove();
}

void FlowSteering::remove() {
  rte_flow_error error{};
  for (rte_flow* flow : flows_) rte_flow_destroy(port_, flow, &error);
  flows_.clear();
  if (isolated_) rte_flow_isolate(port_, 0, &error);
  isolated_ = false;
  tagged_ = false;
}

bool FlowSteering::isolate() {
  rte_flow_error error{};
  const int code = rte_flow_isolate(port_, 1, &error);
  if (code) refusal_ = "no isolated mode: " + reason(error, code);
  isolated_ = code == 0;
  return isolated_;
}

bool FlowSteering::add(const FlowRule& rule, uint8_t family, bool tagged, uint32_t queues) {
  const FlowPattern pattern(rule, family, tagged);
  const rte_flow_attr attributes{
      .group = 0, .priority = 0, .ingress = 1, .egress = 0, .transfer = 0, .reserved = 0};
  std::vector<uint16_t> list(queues);
  std::iota(list.begin(), list.end(), uint16_t{0});
  const rte_flow_action_queue queue{.index = 0};
  rte_flow_action_rss spread{};
  spread.types = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;
  spread.queue_num = queues;
  spread.queue = list.data();
  const rte_flow_action actions[] = {queues == 1
                                         ? rte_flow_action{RTE_FLOW_ACTION_TYPE_QUEUE, &queue}
                                         : rte_flow_action{RTE_FLOW_ACTION_TYPE_RSS, &spread},
                                     {RTE_FLOW_ACTION_TYPE_END, nullptr}};
  rte_flow_error error{};
  rte_flow* flow = rte_flow_create(port_, &attributes, pattern.items(), actions, &error);
  if (!flow) {
    refusal_ = "a rule was refused: " + reason(error, rte_errno);
    return false;
  }
  flows_.push_back(flow);
  return true;
}

bool FlowSteering::install(const Steering& steering, uint32_t queues) {
  for (const FlowRule& rule : steering.rules) {
    // Ports without a protocol would take a pattern for each; software does that.
    if (rule.protocol == Protocol::kAny && rule.port != 0) {
      refusal_ = "a rule names a port without a protocol";
      remove();
      return false;
    }
    for (const uint8_t family : {uint8_t{4}, uint8_t{6}}) {
      if (rule.family != 0 && rule.family != family) continue;
      if (!add(rule, family, false, queues)) {
        remove();
        return false;
      }
    }
  }
  const std::string kept = refusal_;
  tagged_ = true;
  for (const FlowRule& rule : steering.rules)
    for (const uint8_t family : {uint8_t{4}, uint8_t{6}})
      if (rule.family == 0 || rule.family == family)
        tagged_ = tagged_ && add(rule, family, true, queues);
  refusal_ = kept;
  return true;
}

}  // namespace wp::dpdk
