// SPDX-License-Identifier: Apache-2.0
// Transmit, and waiting for events.
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backends/ef_vi/ef_vi_queue.h"

namespace wp::ef_vi_backend {
namespace {

constexpr uint32_t kEthernetHeader = 14;
// Polls for completions: what was received meanwhile stands in front of them.
constexpr int kRounds = 16;
// Without interrupts: how long to sleep between looks.
constexpr int64_t kNapUs = 50;

}  // namespace

// A frame of ours as rx handed it out: whole within the buffer that its handle names.
bool Queue::owns(const wp_batch& batch, uint32_t i) const noexcept {
  const uint64_t handle = batch.handle[i];
  if (handle >= vi_.frames()) return false;
  const uint8_t* start = vi_.frame(static_cast<uint32_t>(handle));
  return batch.data[i] >= start && batch.data[i] + batch.length[i] <= start + vi_.frame_size();
}

uint32_t Queue::tx(wp_batch& batch) noexcept {
  uint32_t queued = 0, pending = 0;
  uint64_t bytes = 0, full = 0, too_long = 0, invalid = 0;
  bool reaped = false;
  const auto push = [&] {
    if (pending) ef_vi_transmit_push(vi_.vi());
    pending = 0;
  };
  // Completions make room; they are looked for once a burst, or twice.
  const auto make_room = [&] {
    if (std::exchange(reaped, true)) return false;
    push();
    for (int round = 0; round < kRounds && poll() == kEvents; round++) {
    }
    return true;
  };
  if (in_tx_ > vi_.tx_ring() / 2) {
    make_room();
    reaped = false;
  }
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
    if (!own && free_.size() == 0 && (!make_room() || free_.size() == 0)) [[unlikely]] {
      full++;
      continue;
    }
    const auto id = static_cast<uint32_t>(own ? batch.handle[i] : free_.pop());
    ef_addr address = vi_.address(id);
    if (own)
      address += static_cast<uint64_t>(batch.data[i] - vi_.frame(id));
    else
      std::memcpy(vi_.frame(id), batch.data[i], length);
    const auto init = [&] {
      return ef_vi_transmit_init(vi_.vi(), address, static_cast<int>(length),
                                 static_cast<ef_request_id>(id));
    };
    if (init() != 0 && (!make_room() || init() != 0)) [[unlikely]] {
      if (!own) free_.push(id);
      full++;
      continue;
    }
    if (own) {
      batch.handle[i] = WP_NO_FRAME;
      handed_out_ -= handed_out_ != 0;
    }
    in_tx_++;
    bytes += length;
    queued++;
    pending++;
  }
  push();
  if (ready_.size() != 0 && watched_.load(std::memory_order_relaxed)) [[unlikely]]
    announce();
  counters_[kTxPackets].add(queued);
  counters_[kTxBytes].add(bytes);
  if (full | too_long | invalid) [[unlikely]] {
    counters_[kDropTxRingFull].add(full);
    counters_[kDropTxTooLong].add(too_long);
    counters_[kDropTxInvalid].add(invalid);
  }
  return queued;
}

void Queue::completed(const ef_event& event, bool error) noexcept {
  ef_request_id ids[EF_VI_TRANSMIT_BATCH];
  const int n = ef_vi_transmit_unbundle(vi_.vi(), &event, ids);
  for (int i = 0; i < n; i++) free_.push(static_cast<uint32_t>(ids[i]));
  in_tx_ -= std::min(static_cast<uint32_t>(std::max(n, 0)), in_tx_);
  counters_[error ? kDropTxError : kTxCompletions].add(static_cast<uint64_t>(std::max(n, 0)));
}

bool Queue::prime() noexcept {
  if (primed_) return true;
  primed_ = ef_vi_prime(vi_.vi(), vi_.handle(), ef_eventq_current(vi_.vi())) >= 0;
  return primed_;
}

bool Queue::wait(int64_t timeout_us) noexcept {
  if (ready_.size() != 0) return true;
  if (!interrupts_) {
    const timespec nap{0, std::min(timeout_us, kNapUs) * 1000};
    nanosleep(&nap, nullptr);
    return true;
  }
  prime();
  pollfd p{.fd = vi_.handle(), .events = POLLIN, .revents = 0};
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  return ppoll(&p, 1, &timeout, nullptr) > 0;
}

int Queue::fd() noexcept {
  if (!interrupts_) return -1;
  watched_.store(true, std::memory_order_relaxed);
  announce();
  return epoll_;
}

// Whoever waits on the descriptor hears of the next event, and of frames that came with the last.
void Queue::announce() noexcept {
  prime();
  const bool left = ready_.size() != 0;
  if (left == announced_) return;
  announced_ = left;
  eventfd_t count = 1;
  if (left)
    eventfd_write(left_over_, 1);
  else
    eventfd_read(left_over_, &count);
}

}  // namespace wp::ef_vi_backend
