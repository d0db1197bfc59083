// SPDX-License-Identifier: Apache-2.0
// Receive, transmit and recycling of one queue. How it is opened: af_xdp_queue_open.cc.
#include "backends/af_xdp/af_xdp_queue.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/timex.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "programs/steer_shared.h"

namespace wp::af_xdp {
namespace {

constexpr uint32_t kEthernetHeader = 14;
// Things that change slowly are looked at this often: few empty polls of a port that sleeps in
// between, many of one that spins.
constexpr uint32_t kIdlePolls = 16;
constexpr int64_t kIdleNs = 20'000'000;
constexpr uint32_t kBurstPeriod = 65536;  // bursts between looks at the TAI offset

uint32_t load_acquire(const uint32_t* p) noexcept {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

}  // namespace

const char* const kQueueCounterNames[kQueueCounters] = {"rx_packets",        "rx_bytes",
                                                        "tx_packets",        "tx_bytes",
                                                        "drop.tx_ring_full", "drop.tx_too_long",
                                                        "drop.tx_invalid",   "drop.tx_gone",
                                                        "drop.tx_no_queue",  "rx_wakeups",
                                                        "tx_wakeups",        "tx_wakeup_errors",
                                                        "rx_unstamped",      "held",
                                                        "drop.rx_ring_full", "drop.fill_ring_empty",
                                                        "drop.rx_other",     "drop.tx_refused",
                                                        "fill_ring_empty"};

// --- receive ------------------------------------------------------------------------------------

uint32_t Queue::rx(wp_batch& batch) noexcept {
  uint32_t at = 0;
  const uint32_t n = can_rx_ ? xsk_ring_cons__peek(&rx_, batch.capacity, &at) : 0;
  if (n == 0) {
    idle();
    return batch.count = 0;
  }
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) {
    const xdp_desc* d = xsk_ring_cons__rx_desc(&rx_, at + i);
    uint8_t* data = base_ + d->addr;
    __builtin_prefetch(data);
    batch.data[i] = data;
    batch.length[i] = d->len;
    batch.handle[i] = d->addr;
    bytes += d->len;
  }
  xsk_ring_cons__release(&rx_, n);
  with_kernel_ -= n;
  handed_out_ += n;
  std::memset(batch.verdict, WP_DROP, n);
  std::memset(batch.hash, 0, n * sizeof batch.hash[0]);
  if (stamped_.load(std::memory_order_relaxed)) {
    stamp(batch, n);
  } else {
    std::fill_n(batch.timestamp, n, clock_.now());
    if (stamp_magic_ != 0) counters_[kRxUnstamped].add(n);
  }
  counters_[kRxPackets].add(n);
  counters_[kRxBytes].add(bytes);
  if (++bursts_ % kBurstPeriod == 0) refresh_tai();
  return batch.count = n;
}

// The stamp stands right in front of the frame. A driver either makes room for metadata or it
// does not: at the first frame without, the queue goes over to poll-loop stamps for good, which
// info() then says.
void Queue::stamp(wp_batch& batch, uint32_t n) noexcept {
  for (uint32_t i = 0; i < n; i++) {
    steer_stamp s;
    std::memcpy(&s, batch.data[i] - sizeof s, sizeof s);
    if (s.magic != stamp_magic_) [[unlikely]] {
      stamped_.store(false, std::memory_order_relaxed);
      std::fill_n(batch.timestamp + i, n - i, clock_.now());
      counters_[kRxUnstamped].add(n - i);
      return;
    }
    batch.timestamp[i] = static_cast<int64_t>(s.tai_ns) - tai_offset_;
  }
}

// CLOCK_TAI is ahead of UTC by whole seconds, which the kernel knows only where an NTP or PTP
// daemon told it; otherwise both are the same.
void Queue::refresh_tai() noexcept {
  timex state{};
  if (adjtimex(&state) >= 0) tai_offset_ = state.tai * 1'000'000'000LL;
}

void Queue::idle() noexcept {
  if (busy_poll_ || xsk_ring_prod__needs_wakeup(&fill_)) wake_rx();
  if (free_.size() != 0 && with_kernel_ < fill_target_) top_up();
  if (++idle_ % kIdlePolls != 0) return;
  const int64_t now = clock_.now();
  if (now - looked_ < kIdleNs) return;
  looked_ = now;
  wake_rx();  // the one thing that says whether the interface is still there
  refresh_tai();
  // Some kernels name the NAPI instance with the first frame only.
  if (busy_poll_us_ != 0) busy_poll_ = has_napi();
}

void Queue::wake_rx() noexcept {
  counters_[kRxWakeups].add(1);
  if (recvfrom(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, nullptr) < 0 && errno == ENXIO)
    gone_.store(true, std::memory_order_relaxed);
}

bool Queue::wait(int64_t timeout_us) noexcept {
  const auto ready = [&] { return can_rx_ && load_acquire(rx_.producer) != rx_.cached_cons; };
  if (ready()) return true;
  if (busy_poll_) {
    wake_rx();
    if (ready()) return true;
  }
  // poll() also wakes the driver, for both directions.
  pollfd p{.fd = fd_, .events = POLLIN, .revents = 0};
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  return ppoll(&p, 1, &timeout, nullptr) > 0;
}

// --- buffers ------------------------------------------------------------------------------------

uint32_t Queue::fill(uint32_t want) noexcept {
  uint32_t at = 0;
  want = std::min(want, free_.size());
  want = std::min(want, xsk_prod_nb_free(&fill_, want));
  if (want == 0 || xsk_ring_prod__reserve(&fill_, want, &at) == 0) return 0;
  for (uint32_t i = 0; i < want; i++) *xsk_ring_prod__fill_addr(&fill_, at + i) = free_.pop();
  xsk_ring_prod__submit(&fill_, want);
  with_kernel_ += want;
  return want;
}

void Queue::top_up() noexcept {
  if (with_kernel_ < fill_target_) fill(fill_target_ - with_kernel_);
}

void Queue::release(wp_batch& batch) noexcept {
  const uint32_t n = batch.count;
  batch.count = 0;
  uint32_t back = 0, at = 0;
  if (with_kernel_ + n <= fill_target_ && xsk_ring_prod__reserve(&fill_, n, &at) == n) [[likely]] {
    for (uint32_t i = 0; i < n; i++) {
      const uint64_t address = batch.handle[i];
      *xsk_ring_prod__fill_addr(&fill_, at + back) = address & chunk_mask_;
      // A handle past the end was never ours.
      back += batch.verdict[i] != WP_KEEP && address < bytes_;
    }
    fill_.cached_prod -= n - back;
    xsk_ring_prod__submit(&fill_, back);
    with_kernel_ += back;
  } else {
    for (uint32_t i = 0; i < n; i++) {
      const uint64_t address = batch.handle[i];
      if (batch.verdict[i] == WP_KEEP || address >= bytes_) continue;
      free_.push(address & chunk_mask_);
      back++;
    }
  }
  handed_out_ -= std::min(back, handed_out_);
  // Makes up for what was sent or is held.
  if (free_.size() != 0) top_up();
  counters_[kHeld].set(handed_out_);
}

// --- transmit -----------------------------------------------------------------------------------

void Queue::reap() noexcept {
  if (in_tx_ == 0) return;
  uint32_t at = 0;
  const uint32_t n = xsk_ring_cons__peek(&completion_, completion_.size, &at);
  if (n == 0) return;
  for (uint32_t i = 0; i < n; i++)
    free_.push(*xsk_ring_cons__comp_addr(&completion_, at + i) & chunk_mask_);
  xsk_ring_cons__release(&completion_, n);
  in_tx_ -= std::min(n, in_tx_);
}

// A frame of ours as rx handed it out: whole within the buffer that its handle names.
bool Queue::owns(const wp_batch& batch, uint32_t i) const noexcept {
  const uint64_t handle = batch.handle[i];
  const auto offset = static_cast<uint64_t>(batch.data[i] - base_);
  return handle < bytes_ && offset < bytes_ && ((offset ^ handle) & chunk_mask_) == 0 &&
         (((offset + batch.length[i] - 1) ^ handle) & chunk_mask_) == 0;
}

uint32_t Queue::tx(wp_batch& batch) noexcept {
  uint32_t queued = 0, pending = 0;
  uint64_t bytes = 0, full = 0, too_long = 0, invalid = 0;
  bool kicked = false;
  const auto flush = [&] {
    if (pending) xsk_ring_prod__submit(&tx_, pending);
    in_tx_ += pending;
    pending = 0;
    kick_tx();
    reap();
  };
  if (!can_tx_) {
    for (uint32_t i = 0; i < batch.count; i++)
      if (batch.verdict[i] == WP_TX) counters_[kDropTxNoQueue].add(1);
    return 0;
  }
  reap();
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_TX) continue;
    const uint32_t length = batch.length[i];
    if (length < kEthernetHeader) [[unlikely]] {
      invalid++;
      continue;
    }
    if (length > max_tx_) [[unlikely]] {
      too_long++;
      continue;
    }
    // Once a frame found no room the later ones are not tried: what is queued are the first
    // frames, so that a caller can send the rest again.
    if (full != 0) [[unlikely]] {
      full++;
      continue;
    }
    const bool own = owns(batch, i);
    uint32_t at = 0;
    const auto no_room = [&] { return xsk_prod_nb_free(&tx_, 1) < 1 || (!own && !free_.size()); };
    if (no_room()) [[unlikely]] {
      if (!kicked) flush();
      kicked = true;
      if (no_room()) {
        full++;
        continue;
      }
    }
    xsk_ring_prod__reserve(&tx_, 1, &at);
    xdp_desc* d = xsk_ring_prod__tx_desc(&tx_, at);
    if (own) {
      d->addr = static_cast<uint64_t>(batch.data[i] - base_);
      batch.handle[i] = WP_NO_FRAME;
      handed_out_ -= handed_out_ != 0;
    } else {
      d->addr = free_.pop();
      std::memcpy(base_ + d->addr, batch.data[i], length);
    }
    d->len = length;
    d->options = 0;
    bytes += length;
    queued++;
    pending++;
  }
  if (pending) flush();
  if (gone()) [[unlikely]] {  // none of them will leave
    counters_[kDropTxGone].add(queued + full);
    queued = full = 0;
    bytes = 0;
  }
  counters_[kTxPackets].add(queued);
  counters_[kTxBytes].add(bytes);
  if (full | too_long | invalid) [[unlikely]] {
    counters_[kDropTxRingFull].add(full);
    counters_[kDropTxTooLong].add(too_long);
    counters_[kDropTxInvalid].add(invalid);
  }
  return queued;
}

// In copy mode the kernel sends from within sendto, a bounded number of frames at a time, and
// says EAGAIN while there are more (EBUSY after one that the device dropped): again, as long as
// it gets on. What is left when it does not goes out with the next call.
void Queue::kick_tx() noexcept {
  if (!busy_poll_ && !xsk_ring_prod__needs_wakeup(&tx_)) return;
  constexpr int kFruitless = 4;
  uint32_t before = load_acquire(tx_.consumer);
  const uint32_t rounds = tx_.size / tx_budget_ + kFruitless;
  for (uint32_t round = 0, fruitless = 0; round < rounds; round++) {
    counters_[kTxWakeups].add(1);
    if (sendto(fd_, nullptr, 0, MSG_DONTWAIT, nullptr, 0) >= 0) return;
    if (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS) {
      counters_[kTxWakeupErrors].add(1);
      if (errno == ENXIO) gone_.store(true, std::memory_order_relaxed);
      return;
    }
    const uint32_t now = load_acquire(tx_.consumer);
    fruitless = now == before ? fruitless + 1 : 0;
    if (fruitless >= kFruitless) return;
    before = now;
  }
}

// --- counters -----------------------------------------------------------------------------------

void Queue::refresh_stats() noexcept {
  xdp_statistics s{};
  socklen_t length = sizeof s;
  if (getsockopt(fd_, SOL_XDP, XDP_STATISTICS, &s, &length)) return;
  // In copy mode a frame for which there is no buffer counts in rx_dropped and in
  // rx_fill_ring_empty_descs, so that the rest of rx_dropped is the frames too long for one. In
  // zero-copy mode the driver takes buffers ahead of frames: an empty fill ring is no lost frame.
  const uint64_t empty = zero_copy_ ? 0 : s.rx_fill_ring_empty_descs;
  counters_[kDropRxRingFull].set(s.rx_ring_full);
  counters_[kDropFillRingEmpty].set(empty);
  counters_[kDropRxOther].set(s.rx_dropped - std::min<uint64_t>(empty, s.rx_dropped));
  counters_[kDropTxRefused].set(s.tx_invalid_descs);
  counters_[kFillRingEmpty].set(zero_copy_ ? s.rx_fill_ring_empty_descs : 0);
}

}  // namespace wp::af_xdp
