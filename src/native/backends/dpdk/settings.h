// SPDX-License-Identifier: Apache-2.0
// Options of a dpdk port. What is not declared here is an argument of the device and goes to its
// driver as it stands; "dev_NAME" reaches the driver as NAME where one of ours has that name too.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/port.h"

namespace wp::dpdk {

enum class HugePages { kAuto, kYes, kNo };

// Of the process: EAL is started once, by the first port.
struct EalSettings {
  std::vector<int> cores;  // for EAL's own threads; empty = those of the process
  uint32_t memory_mb = 0;  // 0 = as needed
  HugePages huge_pages = HugePages::kAuto;
};

enum class Join { kAuto, kSocket, kReport, kNo };
enum class Flow { kAuto, kHardware, kSoftware };
enum class Promiscuous { kAuto, kOn, kOff };

struct Settings {
  explicit Settings(const PortConfig& config);
  static std::span<const OptionHelp> options();

  EalSettings eal;
  std::string device;     // "0000:3b:00.0", "net_memif0"
  std::string arguments;  // "role=client,socket=/run/x", as the driver gets them
  uint32_t queues = 1;    // 0 = as many as device and machine have
  uint32_t rx_ring = 0, tx_ring = 0;
  uint32_t frame_size = 0;  // bytes behind the headroom
  uint32_t max_held = 0;
  uint32_t mtu = 0;  // 0 = the device's
  Promiscuous promiscuous = Promiscuous::kAuto;
  Flow flow = Flow::kAuto;
  Join join = Join::kAuto;
  std::string join_source;  // address that reports of ours come from
  bool device_stamps = true;
  bool tx_only = false;
  int64_t link_wait_ms = 0;

  bool pci() const noexcept;
  // The driver that a virtual device's name begins with: "net_memif" of "net_memif0".
  std::string driver() const;
  // Value of one device argument, "" where it is not given.
  std::string argument(const std::string& name) const;
  // The interface of this machine that the device is about, "" where there is none to name.
  std::string interface() const;
  std::string devargs() const { return arguments.empty() ? device : device + "," + arguments; }
};

}  // namespace wp::dpdk
