// SPDX-License-Identifier: Apache-2.0
// One receive and one transmit queue of an ethdev: the data path of the backend. A frame's
// handle is its mbuf.
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/dpdk/device_clock.h"
#include "backends/dpdk/gate.h"
#include "backends/dpdk/pool.h"
#include "core/batch.h"
#include "core/clock.h"
#include "core/telemetry.h"
#include "programs/steer_native.h"

namespace wp::dpdk {

enum QueueCounter : size_t {
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kDropFiltered,      // another flow
  kDropFragment,      // a piece of a datagram
  kDropMultiSegment,  // longer than a buffer
  kDropTxRingFull,    // neither descriptor nor buffer free
  kDropTxLinkDown,
  kDropTxTooLong,  // than the MTU and headers
  kDropTxInvalid,  // shorter than an Ethernet header
  kDropTxNoQueue,  // the device has no transmit queue of this number
  kRxUnstamped,    // without the device's stamp that was asked for
  kHeldStalls,     // receive calls that were put off because max_held frames are held
  kNoLcore,        // threads that DPDK had no lcore number for
  kHeld,           // gauge: frames handed out and not given back
  kQueueCounters
};
extern const char* const kQueueCounterNames[kQueueCounters];

class Queue {
 public:
  struct Config {
    uint16_t port;  // DPDK's number of the device
    uint16_t id;
    bool rx, tx;
    uint32_t batch_size;
    uint32_t max_held;
    uint32_t max_tx;                     // longest frame, bytes
    const programs::SteerTable* filter;  // nullptr = everything
    const DeviceClock* device_clock;     // nullptr = stamps by the poll loop
    Gate* gate;                          // nullptr = nothing goes away under us
    const std::atomic<bool>* link_up;
  };
  Queue(const Config& config, std::unique_ptr<Pool> pool, Counter* counters, Clock& clock);

  uint32_t rx(wp_batch& batch) noexcept;
  uint32_t tx(wp_batch& batch) noexcept;
  // As tx, of frames that another port of this process received.
  uint32_t tx_lent(wp_batch& batch) noexcept;
  // So many frames of the latest burst another port has sent.
  void lent(uint32_t frames) noexcept {
    lender_ = true;
    handed_out_ -= std::min(frames, handed_out_);
  }
  void release(wp_batch& batch) noexcept;
  // Nothing here can be waited on: sleeps for a moment where the last poll found nothing.
  bool wait(int64_t timeout_us) noexcept;
  // Sends frames of ours (membership reports); by the thread that drives the queue. False = not
  // all of them.
  bool send(const std::vector<std::vector<uint8_t>>& frames) noexcept;

  const Pool& pool() const noexcept { return *pool_; }
  // Other ports' rings may have buffers of this pool: who closes the queue keeps it for them.
  bool lender() const noexcept { return lender_; }
  std::unique_ptr<Pool> take_pool() noexcept { return std::move(pool_); }

 private:
  uint32_t poll(wp_batch& batch) noexcept;
  bool fill(wp_batch& batch, uint32_t n, uint64_t& bytes) noexcept;
  uint32_t sort_out(wp_batch& batch, uint32_t n, uint64_t& bytes) noexcept;
  bool is_burst(const wp_batch& batch, uint64_t& bytes) const noexcept;
  uint32_t tx_burst(wp_batch& batch, uint64_t bytes) noexcept;
  void count_refused(uint32_t frames) noexcept;
  uint32_t transmit(rte_mbuf** frames, uint32_t n) noexcept;
  uint32_t send_each(wp_batch& batch, bool lent) noexcept;
  rte_mbuf* prepare(wp_batch& batch, uint32_t i, bool lent, bool& taken) noexcept;
  void stamp(wp_batch& batch, uint32_t n) noexcept;
  void enter_thread() noexcept;

  Config config_;
  std::unique_ptr<Pool> pool_;
  Counter* counters_;
  Clock& clock_;
  uint32_t handed_out_ = 0;
  bool lender_ = false;
  std::vector<rte_mbuf*> scratch_;   // frames to free, or to send
  std::vector<uint32_t> positions_;  // of those to send, doubled, + 1 for a frame not copied
  std::vector<uint64_t> burst_;      // handles of the latest burst received
  uint32_t burst_count_ = 0;
};

}  // namespace wp::dpdk
