// SPDX-License-Identifier: Apache-2.0
// Multicast for a device: the NIC's own filter lets the groups in, and somebody tells routers
// and switches: the kernel, where the device has an interface of it, else frames of ours.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/dpdk/device.h"
#include "backends/dpdk/settings.h"
#include "core/steering.h"
#include "net/group_report.h"
#include "net/multicast.h"

namespace wp::dpdk {

class Membership {
 public:
  // After the device was started. Throws kIo, kConfig.
  Membership(const Settings& settings, const Steering& steering, const Device& device);

  const std::vector<std::vector<uint8_t>>& reports() const noexcept { return reports_; }
  const std::vector<std::vector<uint8_t>>& leaves() const noexcept { return leaves_; }
  const std::vector<std::string>& groups() const noexcept { return groups_; }
  const std::string& how() const noexcept { return how_; }        // "companion socket", …
  const std::string& filter() const noexcept { return filter_; }  // what the NIC lets in

 private:
  void open_filter(const Settings& settings, const Steering& steering, const Device& device);

  std::unique_ptr<net::Multicast> socket_;
  std::vector<std::vector<uint8_t>> reports_, leaves_;
  std::vector<std::string> groups_;
  std::string how_ = "none", filter_;
};

}  // namespace wp::dpdk
