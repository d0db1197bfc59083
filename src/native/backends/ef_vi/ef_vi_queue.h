// SPDX-License-Identifier: Apache-2.0
// The data path of an ef_vi port: events in, descriptors out. Both receive models:
// - descriptors: every buffer is with the NIC, announced, handed out, in the transmit ring, or
//   free; the NIC's share is kept at a target for as long as there are free ones;
// - shared hardware buffers: the NIC fills its own, which are given back at once (frames are
//   copied into ours) or with the frame (handed out as they are, read-only and bounded).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "backends/ef_vi/ready_ring.h"
#include "backends/ef_vi/virtual_interface.h"
#include "core/batch.h"
#include "core/clock.h"
#include "core/packet_memory.h"
#include "core/telemetry.h"
#include "programs/steer_native.h"

namespace wp::ef_vi_backend {

enum QueueCounter : size_t {
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kTxCompletions,    // frames that the NIC said it has sent
  kHeld,             // gauge: frames handed out and not given back
  kRxUnstamped,      // handed out without the stamp of the NIC that was asked for
  kSteerFiltered,    // of other flows, brought by a filter wider than the steering
  kSteerFragments,   // of those: pieces of IP datagrams
  kRxNoDescTrunc,    // events of that name; their frames are in drop.rx_too_long
  kDropRxChecksum,   // IP, UDP or TCP
  kDropRxCrc,        // Ethernet
  kDropRxMismatch,   // a group that the NIC's hash let through
  kDropRxTruncated,  // cut short, or longer than the link allows
  kDropRxTooLong,    // scattered: longer than a packet buffer
  kDropRxError,      // rights, event queue, and what the NIC gives no reason for
  kDropRxNoBuffer,   // everything that may be held is held
  kDropTxRingFull,
  kDropTxTooLong,
  kDropTxInvalid,
  kDropTxError,  // accepted, and then refused by the NIC
  kQueueCounters
};
extern const char* const kQueueCounterNames[kQueueCounters];

// What the clock of the NIC says about itself, and whether there were stamps without it.
enum class NicClock : uint32_t { kUnknown, kFree, kSet, kInSync };

class Queue {
 public:
  struct Config {
    bool by_reference;  // hand shared buffers out as they are
    uint32_t max_held;  // of those, beyond batches
    uint32_t batch_size;
  };
  Queue(const Config& config, VirtualInterface& vi, const Steering& steering, Counter* counters,
        Clock& clock);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Once the filters are in; `recheck`: match every frame in software.
  void start(bool recheck) noexcept;

  uint32_t rx(wp_batch& batch) noexcept;
  uint32_t tx(wp_batch& batch) noexcept;
  void release(wp_batch& batch) noexcept;
  bool wait(int64_t timeout_us) noexcept;
  // Level-triggered as callers expect it: primed again with every rx from the first call on.
  int fd() noexcept;

  bool interrupts() const noexcept { return interrupts_; }
  bool by_reference() const noexcept { return by_reference_; }
  // Frames that may be out or with the NIC: what the transmit ring may take is not among them.
  uint32_t pool_frames() const noexcept {
    return by_reference_ ? most_out_ : vi_.frames() - for_tx();
  }
  bool gone() const noexcept { return gone_.load(std::memory_order_relaxed); }
  bool overflowed() const noexcept { return overflowed_.load(std::memory_order_relaxed); }
  NicClock nic_clock() const noexcept { return nic_clock_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kSharedPacket = uint64_t{1} << 32;  // handle: | packet id
  static constexpr int kEvents = 64;

  int poll() noexcept;
  void handle(const ef_event& event) noexcept;
  void merged(const ef_event& event, bool discard) noexcept;
  void frame(uint32_t id, uint32_t length) noexcept;
  void part(uint32_t id, bool first) noexcept;
  void discarded(unsigned cause, const uint8_t* data, uint32_t length) noexcept;
  void shared(uint32_t id, uint32_t length) noexcept;
  void shared_discard(uint32_t id, uint32_t length, unsigned flags) noexcept;
  void completed(const ef_event& event, bool error) noexcept;
  bool matches(const uint8_t* data, uint32_t length) noexcept;
  int64_t stamp(const void* packet, uint32_t id) noexcept;
  uint32_t for_tx() const noexcept { return std::min(vi_.tx_ring(), vi_.frames() / 2); }
  void top_up() noexcept;
  bool owns(const wp_batch& batch, uint32_t i) const noexcept;
  bool prime() noexcept;
  void announce() noexcept;

  // read on every burst
  VirtualInterface& vi_;
  Counter* counters_;
  Clock& clock_;
  ReadyRing ready_;
  FrameStack free_;
  uint32_t with_nic_ = 0;
  uint32_t target_ = 0;
  uint32_t handed_out_ = 0;
  uint32_t in_tx_ = 0;
  uint32_t most_out_;
  uint32_t max_tx_;
  bool recheck_ = true;
  bool by_reference_;
  const bool descriptors_;
  const bool stamped_;

  const programs::SteerTable steering_;
  std::atomic<NicClock> nic_clock_{NicClock::kUnknown};
  std::atomic<bool> gone_{false}, overflowed_{false};
  std::atomic<bool> watched_{false};  // somebody waits on fd()
  bool interrupts_ = false;
  bool primed_ = false;
  bool announced_ = false;  // the eventfd is readable
  int epoll_ = -1;
  int left_over_ = -1;  // eventfd: frames are ready that no event will tell of
};

}  // namespace wp::ef_vi_backend
