// SPDX-License-Identifier: Apache-2.0
// Solarflare and Alveo X3 NICs through Onload's ef_vi: filters in the NIC bring the flows asked
// for into a virtual interface of this process, the rest keeps reaching the host.
#pragma once

#include <memory>

#include "backends/ef_vi/ef_vi_queue.h"
#include "backends/ef_vi/filters.h"
#include "backends/ef_vi/nic_losses.h"
#include "backends/ef_vi/settings.h"
#include "backends/ef_vi/virtual_interface.h"
#include "core/backend.h"
#include "core/port.h"
#include "net/link_stats.h"
#include "net/multicast.h"
#include "net/netdev.h"

namespace wp {

extern const Backend kEfViBackend;

namespace ef_vi_backend {

class EfViPort final : public Port {
 public:
  explicit EfViPort(const PortConfig& config);
  ~EfViPort() override;

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override;
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override;
  void release(uint32_t queue, wp_batch& batch) noexcept override;
  bool wait(uint32_t queue, int64_t timeout_us) noexcept override;
  int fd(uint32_t queue) const noexcept override;
  Info info() const override;
  void refresh_stats() noexcept override;
  Capabilities capabilities() const noexcept override;

 private:
  std::string mode() const;
  std::string timestamp_source() const;
  std::vector<std::string> notes() const;

  const Settings settings_;
  net::Netdev netdev_;
  net::LinkStats link_stats_;
  Counter* counters_ = nullptr;
  // Destroyed from the last to the first: groups, then the data path, then the NIC's resources.
  VirtualInterface vi_;
  NicLosses losses_;
  mutable Queue queue_;  // fd() primes the NIC
  Filters filters_;
  std::unique_ptr<net::Multicast> multicast_;
};

}  // namespace ef_vi_backend
}  // namespace wp
