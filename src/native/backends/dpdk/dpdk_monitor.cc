// SPDX-License-Identifier: Apache-2.0
// What a port does beside the data path, a few times a second: watches the link, connects a
// memif client again, has reports repeated, follows the device's clock.
#include <pthread.h>
#include <signal.h>

#include <chrono>

#include "backends/dpdk/dpdk_port.h"

namespace wp::dpdk {
namespace {

constexpr std::chrono::milliseconds kPeriod{50};
constexpr int64_t kReportNs = 60'000'000'000;    // half of what a router forgets a member after
constexpr int64_t kHandshakeNs = 1'000'000'000;  // a memif client's with its server
constexpr int64_t kRestartPatienceUs = 1'000'000;

}  // namespace

void DpdkPort::watch() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  pthread_setname_np(pthread_self(), "wp-dpdk-link");
  std::unique_lock lock(monitor_mutex_);
  while (!monitor_wakes_.wait_for(lock, kPeriod, [this] { return monitor_ends_; })) look();
}

void DpdkPort::look() noexcept {
  const int64_t now = Clock::realtime();
  const bool up = link_up();
  const bool was_up = link_up_.exchange(up);
  if (was_up && !up) link_downs_.fetch_add(1);
  const bool again = report_failed_.exchange(false) || now - reported_at_ > kReportNs;
  if (up && (again || !was_up)) {
    reported_at_ = now;
    if (!membership_->reports().empty()) report_due_.store(true);
  }
  if (memif_) memif_->revive();
  if (!up && memif_client()) reconnect();
  uint64_t ticks = 0;
  if (device_clock_.ready() && rte_eth_read_clock(device_->port(), &ticks) == 0)
    device_clock_.sample(ticks, clock_.now());
  const std::lock_guard lock(command_mutex_);
  if (stats_->interface_gone()) finished_.store(true, std::memory_order_release);
}

// The driver connects in its start function only. Until that has worked its queues are not to be
// touched, so the gate stays closed meanwhile.
void DpdkPort::reconnect() noexcept {
  const int64_t now = Clock::realtime();
  // The driver may be at it: it says that the link is down first, and takes the rings away then.
  if (gate_->closed(Gate::kInterrupt)) return;
  const bool waiting = !gate_->closed(Gate::kRestart) && now - restarted_at_ < kHandshakeNs;
  if (waiting || !gate_->close(Gate::kRestart, kRestartPatienceUs)) return;
  if (!device_->stop_unless_up()) return gate_->open(Gate::kRestart);
  restarted_at_ = now;
  if (device_->start() == 0) gate_->open(Gate::kRestart);
}

}  // namespace wp::dpdk
