// SPDX-License-Identifier: Apache-2.0
// One queue: packet buffers, AF_XDP socket, four rings. The data path of the backend.
//
// Every buffer is in one place: with the kernel (fill ring, receive ring), handed out, in the
// transmit ring, or on the stack of free ones. The kernel's share is kept at a target, so that
// buffers which are held or under way to be sent are made up for as long as there are any.
#pragma once

#include <xdp/xsk.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "backends/af_xdp/settings.h"
#include "backends/af_xdp/xdp_attach.h"
#include "core/batch.h"
#include "core/clock.h"
#include "core/packet_memory.h"
#include "core/telemetry.h"
#include "net/netdev.h"

namespace wp::af_xdp {

enum QueueCounter : size_t {
  // written by the thread that drives the queue
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kDropTxRingFull,  // neither descriptor nor buffer free
  kDropTxTooLong,   // longer than MTU and headers, or than its buffer
  kDropTxInvalid,   // shorter than an Ethernet header
  kDropTxGone,      // the interface was removed
  kDropTxNoQueue,   // the NIC has no transmit queue of this number
  kRxWakeups,       // system calls
  kTxWakeups,
  kTxWakeupErrors,
  kRxUnstamped,  // received without the driver stamp that was asked for
  kHeld,         // gauge: buffers handed out and not given back
  // the kernel's, brought by refresh_stats
  kDropRxRingFull,     // the consumer was too slow
  kDropFillRingEmpty,  // no buffer was with the kernel
  kDropRxOther,        // longer than a buffer
  kDropTxRefused,      // descriptors that the kernel found invalid
  kFillRingEmpty,      // zero-copy: how often the driver found no buffer; frames lost are the NIC's
  kQueueCounters
};
extern const char* const kQueueCounterNames[kQueueCounters];

class Queue {
 public:
  struct Config {
    const Settings& settings;
    const net::Netdev& netdev;
    uint32_t id;          // the NIC's number for it
    uint32_t batch_size;  // largest burst
    XdpMode mode;
    uint64_t stamp_magic;  // 0 = no stamps
  };
  // Retries while the queue is busy. Throws kBusy, kUnsupported (zero-copy), kPermission, kIo.
  Queue(const Config& config, Counter* counters, Clock& clock, Patience& patience);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  uint32_t rx(wp_batch& batch) noexcept;
  uint32_t tx(wp_batch& batch) noexcept;
  void release(wp_batch& batch) noexcept;
  bool wait(int64_t timeout_us) noexcept;
  void refresh_stats() noexcept;

  int fd() const noexcept { return fd_; }
  uint32_t id() const noexcept { return id_; }
  uint32_t frames() const noexcept { return frames_; }
  uint32_t fill_ring() const noexcept { return fill_size_; }
  // As read back from the kernel.
  bool zero_copy() const noexcept { return zero_copy_; }
  int busy_poll_us() const noexcept { return busy_poll_us_; }          // 0 = off
  int busy_poll_budget() const noexcept { return busy_poll_budget_; }  // as set
  // Whether there is a NAPI instance to poll; some virtual drivers name none.
  bool has_napi() const noexcept;
  uint32_t tx_budget() const noexcept { return tx_budget_; }  // frames per sendto, copy mode
  // Asked for and so far on every frame.
  bool stamped() const noexcept { return stamped_.load(std::memory_order_relaxed); }
  bool gone() const noexcept { return gone_.load(std::memory_order_relaxed); }

 private:
  struct DeleteUmem {
    void operator()(xsk_umem* umem) const { xsk_umem__delete(umem); }
  };
  struct DeleteSocket {
    void operator()(xsk_socket* socket) const { xsk_socket__delete(socket); }
  };
  int open(const Config& config);  // 0 or errno
  [[noreturn]] void fail(const Config& config, int error, const Patience& patience) const;
  void set_options(const Config& config);

  uint32_t fill(uint32_t want) noexcept;  // from the stack
  void top_up() noexcept;
  void reap() noexcept;
  void kick_tx() noexcept;
  void wake_rx() noexcept;
  void idle() noexcept;
  void refresh_tai() noexcept;
  void stamp(wp_batch& batch, uint32_t n) noexcept;
  bool owns(const wp_batch& batch, uint32_t i) const noexcept;

  // read on every burst
  uint8_t* base_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t chunk_mask_;  // clears the offset within a buffer
  Counter* counters_;
  Clock& clock_;
  uint64_t stamp_magic_;
  int64_t tai_offset_ = 0;  // ns that CLOCK_TAI is ahead of the epoch clock
  std::atomic<bool> stamped_;
  bool zero_copy_ = false;
  bool busy_poll_ = false;
  bool can_rx_ = true;
  bool can_tx_ = true;
  int fd_ = -1;
  uint32_t max_tx_;
  uint32_t with_kernel_ = 0;  // buffers in fill and receive ring
  uint32_t fill_target_ = 0;
  uint32_t handed_out_ = 0;
  uint32_t in_tx_ = 0;
  uint32_t idle_ = 0;
  int64_t looked_ = 0;
  uint32_t bursts_ = 0;

  xsk_ring_cons rx_{};
  xsk_ring_prod fill_{};
  xsk_ring_prod tx_{};
  xsk_ring_cons completion_{};

  std::atomic<bool> gone_{false};
  uint32_t id_;
  uint32_t frames_ = 0;
  uint32_t fill_size_ = 0;
  uint32_t tx_budget_ = 32;
  int busy_poll_us_ = 0, busy_poll_budget_ = 0;

  FrameStack free_;
  // The kernel reads buffers until the socket is closed: closed in reverse order.
  PacketMemory area_;
  std::unique_ptr<xsk_umem, DeleteUmem> umem_;
  std::unique_ptr<xsk_socket, DeleteSocket> socket_;
};

}  // namespace wp::af_xdp
