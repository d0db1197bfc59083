// SPDX-License-Identifier: Apache-2.0
// Steering in the NIC, from the same rules as everywhere: rte_flow in isolated mode, so that
// only what the rules name comes to us. What a driver cannot do falls to the software table,
// which looks at every frame in any case: a rule means the same on every device.
#pragma once

#include <rte_flow.h>

#include <memory>
#include <string>
#include <vector>

#include "core/steering.h"

namespace wp::dpdk {

// The pattern of one rule for one address family. Holds what its items point at.
class FlowPattern {
 public:
  FlowPattern(const FlowRule& rule, uint8_t family, bool tagged);
  FlowPattern(const FlowPattern&) = delete;
  FlowPattern& operator=(const FlowPattern&) = delete;
  const rte_flow_item* items() const noexcept { return items_.data(); }

 private:
  rte_flow_item_ipv4 ip4_{}, ip4_mask_{};
  rte_flow_item_ipv6 ip6_{}, ip6_mask_{};
  rte_flow_item_udp udp_{}, udp_mask_{};
  rte_flow_item_tcp tcp_{}, tcp_mask_{};
  std::vector<rte_flow_item> items_;
};

class FlowSteering {
 public:
  explicit FlowSteering(uint16_t port) : port_(port) {}
  ~FlowSteering();
  FlowSteering(const FlowSteering&) = delete;
  FlowSteering& operator=(const FlowSteering&) = delete;

  // Before the device is configured. False = the driver cannot; refusal() says why.
  bool isolate();
  // After it was started: the rules, or none of them.
  bool install(const Steering& steering, uint32_t queues);
  // Before another attempt, or to leave it to software.
  void remove();

  bool active() const noexcept { return !flows_.empty(); }
  bool isolated() const noexcept { return isolated_; }
  bool tagged() const noexcept { return tagged_; }  // rules for VLAN-tagged frames are in too
  size_t rules() const noexcept { return flows_.size(); }
  const std::string& refusal() const noexcept { return refusal_; }

 private:
  bool add(const FlowRule& rule, uint8_t family, bool tagged, uint32_t queues);

  uint16_t port_;
  bool isolated_ = false;
  bool tagged_ = false;
  std::vector<rte_flow*> flows_;
  std::string refusal_;
};

}  // namespace wp::dpdk
