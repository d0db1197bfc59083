// SPDX-License-Identifier: Apache-2.0
// The host's end of a port that the kernel does not have: a TAP device. What is sent to it the
// kernel receives there, and what the kernel sends there is received from it. A frame costs one
// system call (read, write), as TAP devices have none for several.
#pragma once

#include <linux/if.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/packet_memory.h"
#include "core/port.h"
#include "net/link_stats.h"

namespace wp {

struct HostPortConfig {
  std::string name;              // of the device; one that is there is taken as it is
  std::array<uint8_t, 6> mac{};  // zeros: what it has, or the kernel chooses
  uint32_t mtu = 0;              // 0: what it has, 1500 of a new one
  uint32_t queues = 1;           // one for each worker
  uint32_t rx_frames = 256;      // buffers of a queue
  uint32_t batch_size = 64;
};

class HostPort final : public Port {
 public:
  static constexpr uint32_t kMaxQueues = 256;  // the kernel's limit
  static constexpr uint32_t kMaxMtu = 9216;

  // A new device is up, and gone with the port. Throws kConfig, kPermission, kBusy, kIo.
  static std::unique_ptr<HostPort> open(const HostPortConfig& config);
  HostPort(const PortConfig& port, const HostPortConfig& config);
  ~HostPort() override;

  uint32_t rx(uint32_t queue, wp_batch& batch) noexcept override;
  uint32_t tx(uint32_t queue, wp_batch& batch) noexcept override;
  void release(uint32_t queue, wp_batch& batch) noexcept override;
  bool wait(uint32_t queue, int64_t timeout_us) noexcept override;
  int fd(uint32_t queue) const noexcept override { return states_[queue]->fd; }
  Info info() const override;
  void refresh_stats() noexcept override;
  Capabilities capabilities() const noexcept override;

  // Whether the kernel sees a link there. Control thread. Throws kIo.
  void set_carrier(bool up);
  unsigned ifindex() const noexcept { return link_->ifindex(); }

 private:
  struct alignas(64) Queue {
    explicit Queue(uint32_t frames) : free(frames) {}
    int fd = -1;
    Counter* counters = nullptr;
    FrameStack free;
    uint32_t held = 0;
  };
  void open_queue(Queue& queue, const ifreq& request);
  void set_up(const HostPortConfig& config);
  [[noreturn]] void refuse(const std::string& what, int error) const;

  std::string name_;
  bool made_ = false;
  uint32_t mtu_, stride_, frames_;
  PacketMemory memory_;
  std::vector<std::unique_ptr<Queue>> states_;
  Counter* kernel_counters_ = nullptr;
  std::unique_ptr<net::LinkStats> link_;
};

}  // namespace wp
