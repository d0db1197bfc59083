// SPDX-License-Identifier: Apache-2.0
// The counters that driver and kernel keep of a device: what was lost in front of us, each frame
// in one counter, and DPDK's extended statistics by their names beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/telemetry.h"
#include "net/link_stats.h"

namespace wp::dpdk {

// Sockets of a kind that drivers open under the hood, as they are now: those that came in between
// are the device's own. Their kernel counters are the only ones that some losses appear in.
std::set<int> driver_sockets();

enum PortCounter : size_t {
  kDropMissed,      // imissed: the device had no descriptor
  kDropRxErrors,    // ierrors
  kDropNoBuffer,    // rx_nombuf, where the driver drops the frame then
  kDropRxRingFull,  // AF_XDP: the consumer was too slow
  kDropFillRingEmpty,
  kDropRxOther,     // AF_XDP: longer than a buffer
  kDropKernelRing,  // AF_PACKET: the ring was full
  kDropTapQueue,    // TAP: the kernel's queue was full
  kRxNoBuffer,      // rx_nombuf, where the frame waits and nothing is lost
  kTxErrors,
  kLinkDowns,
  kPortCounters
};
extern const char* const kPortCounterNames[kPortCounters];

class Stats {
 public:
  Stats(uint16_t port, const std::string& driver, unsigned ifindex, std::set<int> sockets);

  std::vector<const char*> names()
      const;  // kPortCounters, then those of the interface, then all else
  // Counts since construction.
  void refresh(Counter* counters) noexcept;
  // The interface went away.
  bool interface_gone() noexcept { return link_ && !link_->read(); }
  // True also where there is none.
  bool interface_up() const noexcept { return !link_ || link_->state() == net::LinkState::kUp; }

 private:
  void kernel_counts(Counter* counters) noexcept;
  // A TAP is seen from the other end: what its interface sends is what we receive.
  bool interface_counts() const noexcept { return link_ && driver_ != "net_tap"; }

  uint16_t port_;
  std::string driver_;
  std::set<int> sockets_;
  uint64_t packet_drops_ = 0;  // reading them sets the kernel's to zero
  std::unique_ptr<net::LinkStats> link_;
  std::vector<std::string> extended_;
  std::vector<uint64_t> values_;
};

}  // namespace wp::dpdk
