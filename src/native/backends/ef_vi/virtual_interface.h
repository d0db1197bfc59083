// SPDX-License-Identifier: Apache-2.0
// The resources of one ef_vi port: driver handle, protection domain, virtual interface, and
// packet buffers registered for DMA. Freed in the order that Onload asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/ef_vi/onload.h"
#include "backends/ef_vi/settings.h"
#include "core/error.h"
#include "core/packet_memory.h"
#include "net/netdev.h"

namespace wp::ef_vi_backend {

// What a negative return value of ef_vi means, with what mends it.
Error refused(const std::string& what, int code, const net::Netdev& netdev);

class VirtualInterface {
 public:
  // Throws kUnavailable (no driver, no such NIC), kPermission, kConfig (ring sizes), kIo.
  VirtualInterface(const Settings& settings, const net::Netdev& netdev, uint32_t batch_size);
  ~VirtualInterface();
  VirtualInterface(const VirtualInterface&) = delete;
  VirtualInterface& operator=(const VirtualInterface&) = delete;

  ef_vi* vi() noexcept { return &vi_; }
  const ef_vi* vi() const noexcept { return &vi_; }
  ef_driver_handle handle() const noexcept { return handle_; }

  bool shared_buffers() const noexcept { return shared_; }
  bool stamped() const noexcept { return stamped_; }
  bool merged() const noexcept { return merged_; }
  uint32_t rx_ring() const noexcept { return rx_ring_; }  // as the NIC has it; 0 = transmit only
  uint32_t tx_ring() const noexcept { return tx_ring_; }
  uint32_t event_slots() const noexcept { return event_slots_; }
  uint32_t prefix() const noexcept { return prefix_; }
  // Longest frame, without its check sequence, that link and buffers carry.
  uint32_t max_frame() const noexcept { return max_frame_; }
  std::string model() const;  // "EF10 descriptors"

  uint32_t frames() const noexcept { return frames_; }
  uint32_t frame_size() const noexcept { return frame_size_; }
  uint8_t* frame(uint32_t i) const noexcept { return memory_.data() + size_t{i} * frame_size_; }
  ef_addr address(uint32_t i) const noexcept { return addresses_[i]; }
  const uint8_t* begin() const noexcept { return memory_.data(); }
  size_t bytes() const noexcept { return size_t{frames_} * frame_size_; }

 private:
  void open(const Settings& settings, const net::Netdev& netdev);
  void allocate(const Settings& settings, const net::Netdev& netdev);
  void register_memory(const net::Netdev& netdev);
  void free() noexcept;
  unsigned long capability(ef_vi_capability which, const net::Netdev& netdev) const noexcept;

  ef_driver_handle handle_ = -1;
  ef_pd domain_{};
  ef_vi vi_{};
  ef_memreg registered_{};
  bool have_handle_ = false, have_domain_ = false, have_vi_ = false, have_memory_ = false;

  bool shared_ = false, stamped_ = false, merged_ = false;
  uint32_t rx_ring_ = 0, tx_ring_ = 0, event_slots_ = 0, prefix_ = 0, max_frame_ = 0;
  uint32_t frame_size_, frames_;
  PacketMemory memory_;
  std::vector<ef_addr> addresses_;
};

}  // namespace wp::ef_vi_backend
