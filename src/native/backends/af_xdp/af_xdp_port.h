// SPDX-License-Identifier: Apache-2.0
// AF_XDP through libxdp: a steering program in the driver hands the flows asked for to one
// socket per receive queue, the rest keeps reaching the host.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backends/af_xdp/af_xdp_queue.h"
#include "backends/af_xdp/settings.h"
#include "backends/af_xdp/steer_program.h"
#include "backends/af_xdp/xdp_attach.h"
#include "core/backend.h"
#include "core/port.h"
#include "net/link_stats.h"
#include "net/multicast.h"
#include "net/netdev.h"

namespace wp {

extern const Backend kAfXdpBackend;

namespace af_xdp {

class AfXdpPort final : public Port {
 public:
  explicit AfXdpPort(const PortConfig& config);
  ~AfXdpPort() override;

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override;
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override;
  void release(uint32_t queue, wp_batch& batch) noexcept override;
  bool wait(uint32_t queue, int64_t timeout_us) noexcept override;
  int fd(uint32_t queue) const noexcept override;
  Info info() const override;
  void divert(uint32_t share, const Steering& named) override;
  void refresh_stats() noexcept override;
  Capabilities capabilities() const noexcept override;

 private:
  void attach();
  std::string timestamp_source() const;
  std::string wakeup() const;
  std::vector<std::string> tuning() const;
  std::vector<std::string> notes() const;

  const Settings settings_;
  net::Netdev netdev_;
  Patience patience_;
  uint64_t stamp_magic_ = 0;
  bool stamps_refused_ = false;  // the kernel lacks the helper
  std::unique_ptr<net::LinkStats> link_stats_;
  Counter* counters_ = nullptr;
  // Destroyed from the last to the first: sockets and their memory, groups, program.
  std::unique_ptr<SteerProgram> program_;
  std::unique_ptr<Attachment> attachment_;
  std::unique_ptr<net::Multicast> multicast_;
  std::vector<std::unique_ptr<Queue>> bound_;
};

}  // namespace af_xdp
}  // namespace wp
