// SPDX-License-Identifier: Apache-2.0
// DPDK's poll-mode drivers behind a Port: PCI devices and virtual ones alike.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backends/dpdk/device.h"
#include "backends/dpdk/device_clock.h"
#include "backends/dpdk/dpdk_queue.h"
#include "backends/dpdk/flow.h"
#include "backends/dpdk/gate.h"
#include "backends/dpdk/membership.h"
#include "backends/dpdk/memif.h"
#include "backends/dpdk/settings.h"
#include "backends/dpdk/stats.h"
#include "backends/dpdk/traces.h"
#include "core/backend.h"
#include "core/port.h"
#include "programs/steer_native.h"

namespace wp {

extern const Backend kDpdkBackend;

namespace dpdk {

class DpdkPort final : public Port {
 public:
  explicit DpdkPort(const PortConfig& config);
  ~DpdkPort() override;

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override;
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override;
  const void* frame_memory() const noexcept override;  // all of EAL's is one
  uint32_t tx_lent(uint32_t queue, wp_batch& batch) noexcept override;
  void lent(uint32_t queue, uint32_t frames) noexcept override;
  void release(uint32_t queue, wp_batch& batch) noexcept override;
  bool wait(uint32_t queue, int64_t timeout_us) noexcept override;
  Info info() const override;
  void refresh_stats() noexcept override;
  Capabilities capabilities() const noexcept override;

 private:
  void open(const PortConfig& config);
  void choose_queues();
  void configure();
  void add_queues(const PortConfig& config);
  void start();
  void install_flows();
  void begin_stamps();
  void unwatch() noexcept;
  void drain() const noexcept;
  void report(const std::vector<std::vector<uint8_t>>& frames) noexcept;
  void watch();          // the monitor's thread
  void look() noexcept;  // one round of it
  void reconnect() noexcept;
  bool memif_client() const;
  bool link_up(uint32_t* mbits = nullptr) const noexcept;
  uint32_t buffer_size() const;
  std::string timestamp_source() const;
  std::string steering_mode() const;
  std::vector<std::string> notes() const;
  [[noreturn]] void refuse(const std::string& what, int code, uint64_t mark) const;

  const Settings settings_;
  uint32_t mtu_ = 0;
  uint16_t rx_descriptors_ = 0, tx_descriptors_ = 0;
  uint16_t tx_queues_ = 0;
  uint64_t rss_ = 0;  // hash functions in use
  bool stamps_offered_ = false;
  bool watched_ = false;  // the device tells when it is removed
  std::atomic<bool> link_up_{false};
  std::atomic<uint64_t> link_downs_{0};
  std::atomic<bool> report_due_{false}, report_failed_{false};
  int64_t restarted_at_ = 0, reported_at_ = 0;
  Counter* counters_ = nullptr;
  DeviceClock device_clock_;
  std::unique_ptr<programs::SteerTable> filter_;

  // Destroyed from the last to the first: the device goes before its buffers do.
  std::unique_ptr<Gate> gate_;
  std::unique_ptr<MemifGuard> memif_;
  std::vector<std::unique_ptr<Queue>> bound_;
  XdpSockets xdp_sockets_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<FlowSteering> flow_;
  std::unique_ptr<Membership> membership_;
  // Monitor and control threads: a command to a NIC may be a write and a read of one register.
  mutable std::mutex command_mutex_;
  std::unique_ptr<Stats> stats_;

  std::mutex monitor_mutex_;
  std::condition_variable monitor_wakes_;
  bool monitor_ends_ = false;
  std::thread monitor_;
};

}  // namespace dpdk
}  // namespace wp
