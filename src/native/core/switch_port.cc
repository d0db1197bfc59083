// SPDX-License-Identifier: Apache-2.0
// The data path of a SwitchPort. How paths come and go: switch_paths.cc.
#include "core/switch_port.h"

#include <poll.h>
#include <time.h>

#include <algorithm>

namespace wp {
namespace {

// A resting path has stragglers only, and a look at a socket is a system call.
constexpr int64_t kLookNs = 200'000;
constexpr uint32_t kBurstsBetweenLooks = 256;
constexpr uint32_t kMaxFds = 64;

void add_to(std::atomic<uint64_t>& cell, uint64_t n) noexcept {
  cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

void SwitchPort::adopt(Queue& queue) noexcept {
  queue.plan = queue.wanted.load(std::memory_order_acquire);
  queue.next = 0;
  queue.first_bursts = queue.plan->first < 0 ? 0 : 1024;
  queue.known.store(queue.plan->number, std::memory_order_release);
}

uint32_t SwitchPort::poll(Queue& queue, const Lane& lane, wp_batch& batch) noexcept {
  const uint32_t n = lane.port->rx(lane.queue, batch);
  Cell& cell = queue.cells[lane.tag / kMaxQueues];
  if (n == 0) {
    add_to(cell.empty, 1);
    return 0;
  }
  const uint64_t tag = uint64_t{lane.tag} << kTagShift;
  uint32_t owned = n;
  if (tag != 0)
    for (uint32_t i = 0; i < n; i++) {
      const bool none = batch.handle[i] == WP_NO_FRAME;
      batch.handle[i] |= none ? 0 : tag;
      owned -= none;
    }
  else
    for (uint32_t i = 0; i < n; i++) owned -= batch.handle[i] == WP_NO_FRAME;
  add_to(cell.frames, n);
  add_to(cell.outstanding, owned);
  return n;
}

uint32_t SwitchPort::rx(uint32_t number, wp_batch& batch) noexcept {
  Queue& queue = *queue_states_[number];
  if (queue.wanted.load(std::memory_order_acquire) != queue.plan) [[unlikely]]
    adopt(queue);
  const Plan& plan = *queue.plan;
  add_to(queue.polls, 1);
  if (queue.first_bursts != 0) [[unlikely]] {
    queue.first_bursts--;
    if (const uint32_t n = poll(queue, plan.lanes[static_cast<size_t>(plan.first)], batch))
      return n;
    queue.first_bursts = 0;
  }
  const bool look = queue.bursts >= kBurstsBetweenLooks;
  if (!look) [[likely]] {
    for (uint32_t k = 0; k < plan.active; k++) {
      const Lane& lane = plan.lanes[queue.next];
      if (++queue.next >= plan.active) queue.next = 0;
      if (const uint32_t n = poll(queue, lane, batch)) {
        queue.bursts++;
        return n;
      }
    }
    if (plan.active == plan.lanes.size()) {
      look_for_end(plan);
      return batch.count = 0;
    }
    const int64_t now = clock_.now();
    if (now - queue.looked < kLookNs && now >= queue.looked) return batch.count = 0;
    queue.looked = now;
  }
  queue.bursts = 0;
  for (size_t k = plan.active; k < plan.lanes.size(); k++)
    if (const uint32_t n = poll(queue, plan.lanes[k], batch)) return n;
  if (look)
    for (uint32_t k = 0; k < plan.active; k++)
      if (const uint32_t n = poll(queue, plan.lanes[k], batch)) return n;
  look_for_end(plan);
  return batch.count = 0;
}

// Ended when every path has: a capture was read, or the interface of all of them is gone.
void SwitchPort::look_for_end(const Plan& plan) noexcept {
  const auto ended = [](const Lane& lane) { return lane.port->finished(); };
  if (!plan.lanes.empty() && std::ranges::all_of(plan.lanes, ended)) [[unlikely]]
    finished_.store(true, std::memory_order_release);
}

// Calls `handle(run, tag)` for each run of frames from the same path and queue.
template <class Do>
void SwitchPort::each_run(wp_batch& batch, Do&& handle) noexcept {
  for (uint32_t at = 0; at < batch.count;) {
    const uint32_t tag = tag_of(batch.handle[at]);
    uint32_t end = at + 1;
    while (end < batch.count && tag_of(batch.handle[end]) == tag) end++;
    wp_batch run = batch;
    run.count = run.capacity = end - at;
    run.data += at;
    run.length += at;
    run.timestamp += at;
    run.hash += at;
    run.verdict += at;
    run.target += at;
    run.handle += at;
    handle(run, tag);
    at = end;
  }
}

void SwitchPort::give_back(Queue& queue, wp_batch& run, uint32_t tag) noexcept {
  if (tag >= kTags) return;  // no path's own
  const Lane& lane = queue.plan->by_tag[tag];
  if (!lane.port) [[unlikely]]
    return;  // a handle that was never ours
  const uint64_t mask = (uint64_t{1} << kTagShift) - 1;
  uint64_t back = 0;
  if (tag != 0)
    for (uint32_t i = 0; i < run.count; i++) run.handle[i] &= mask;
  for (uint32_t i = 0; i < run.count; i++) back += run.verdict[i] != WP_KEEP;
  lane.port->release(lane.queue, run);
  std::atomic<uint64_t>& out = queue.cells[tag / kMaxQueues].outstanding;
  out.store(out.load(std::memory_order_relaxed) - back, std::memory_order_release);
}

void SwitchPort::release(uint32_t number, wp_batch& batch) noexcept {
  Queue& queue = *queue_states_[number];
  each_run(batch, [&](wp_batch& run, uint32_t tag) { give_back(queue, run, tag); });
  batch.count = 0;
}

// Frames leave by the path that they came from, the others by the first one. A path without
// room does not keep frames of the others back; what a sender may offer again, frames that are no
// path's own, is one run.
uint32_t SwitchPort::tx(uint32_t number, wp_batch& batch) noexcept {
  Queue& queue = *queue_states_[number];
  if (queue.wanted.load(std::memory_order_acquire) != queue.plan) adopt(queue);
  uint32_t sent = 0;
  each_run(batch, [&](wp_batch& run, uint32_t tag) {
    const bool own = tag < kTags && queue.plan->by_tag[tag].port;
    if (!own && queue.plan->lanes.empty()) {
      for (uint32_t i = 0; i < run.count; i++) add_to(queue.tx_no_path, run.verdict[i] == WP_TX);
      return;
    }
    const Lane& lane = own ? queue.plan->by_tag[tag] : queue.plan->lanes[0];
    const uint64_t bits = own ? uint64_t{tag} << kTagShift : 0;
    for (uint32_t i = 0; own && i < run.count; i++) run.handle[i] &= ~bits;
    sent += lane.port->tx(lane.queue, run);
    uint64_t gone = 0;
    for (uint32_t i = 0; own && i < run.count; i++) {
      const bool left = run.handle[i] == WP_NO_FRAME;
      run.handle[i] |= left ? 0 : bits;
      gone += left;
    }
    if (own) {
      std::atomic<uint64_t>& out = queue.cells[tag / kMaxQueues].outstanding;
      out.store(out.load(std::memory_order_relaxed) - gone, std::memory_order_release);
    }
  });
  return sent;
}

bool SwitchPort::wait(uint32_t number, int64_t timeout_us) noexcept {
  Queue& queue = *queue_states_[number];
  if (queue.wanted.load(std::memory_order_acquire) != queue.plan) return true;
  const Plan& plan = *queue.plan;
  if (plan.lanes.size() == 1) return plan.lanes[0].port->wait(plan.lanes[0].queue, timeout_us);
  pollfd fds[kMaxFds];
  nfds_t n = 0;
  for (const Lane& lane : plan.lanes) {
    if (lane.port->finished()) continue;
    const int descriptor = lane.port->fd(lane.queue);
    if (descriptor < 0) return lane.port->wait(lane.queue, std::min<int64_t>(timeout_us, 1000));
    if (n < kMaxFds) fds[n++] = {descriptor, POLLIN, 0};
  }
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  if (::ppoll(fds, n, &timeout, nullptr) <= 0) return false;
  // A resting path's frames are there: the next look need not wait.
  queue.looked = 0;
  return true;
}

int SwitchPort::fd(uint32_t number) const noexcept {
  const Queue& queue = *queue_states_[number];
  return capabilities().waitable ? queue.epoll : -1;
}

Capabilities SwitchPort::capabilities() const noexcept {
  return *capabilities_.load(std::memory_order_acquire);
}

}  // namespace wp
