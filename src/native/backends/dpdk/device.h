// SPDX-License-Identifier: Apache-2.0
// An ethdev, attached while the process runs (hotplug) and taken off again.
#pragma once

#include <rte_ethdev.h>

#include <cstdint>
#include <string>

#include "backends/dpdk/memif.h"
#include "backends/dpdk/settings.h"
#include "backends/dpdk/traces.h"

namespace wp::dpdk {

// Keeps a PCI device to one process of ours: uio lets any number drive it.
class PciLock {
 public:
  PciLock() = default;
  ~PciLock();
  PciLock(const PciLock&) = delete;
  PciLock& operator=(const PciLock&) = delete;

  void take(const std::string& address);  // throws kBusy where another process has it

 private:
  int file_ = -1;
};

class Device {
 public:
  // Throws kConfig (no such device, arguments), kBusy (bound to the kernel, open already),
  // kPermission, kUnavailable, kIo. `memif`: of a memif, else nullptr.
  Device(const Settings& settings, MemifGuard* memif);
  ~Device();  // stops, closes, detaches
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Whether it has a driver of the kernel's beneath it that translates no addresses.
  static bool physical_addresses(const Settings& settings);

  uint16_t port() const noexcept { return port_; }
  const rte_eth_dev_info& info() const noexcept { return info_; }
  std::string driver() const { return info_.driver_name; }
  int numa_node() const noexcept { return rte_eth_dev_socket_id(port_); }
  // Number and name of the kernel's interface behind it; 0 and "" where there is none.
  unsigned ifindex() const noexcept { return info_.if_index; }
  const std::string& interface() const noexcept { return interface_; }
  const std::string& interface_driver() const noexcept { return interface_driver_; }
  std::string mac() const;

  // The positive errno of a refused start, 0 = it runs.
  int start() noexcept;
  void stop();
  // Of a memif: where handshakes end, so that none is cut off that has just succeeded.
  bool stop_unless_up();
  uint64_t sent() const noexcept;  // frames, by the driver's count
  bool link_up(uint32_t* mbits = nullptr) const noexcept;

 private:
  void stop_here() noexcept;

  MemifGuard* memif_;
  PciLock lock_;
  HomeNamespace home_;
  uint16_t port_ = RTE_MAX_ETHPORTS;
  rte_eth_dev_info info_{};
  std::string interface_, interface_driver_;  // asked once: the caller's namespace may change
  bool started_ = false;
};

}  // namespace wp::dpdk
