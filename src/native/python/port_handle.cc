// SPDX-License-Identifier: Apache-2.0
#include "python/port_handle.h"

#include <nanobind/ndarray.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "core/pause.h"

namespace wp::python {
namespace {

// How long a wait may keep Ctrl-C from being seen.
constexpr int64_t kSignalPeriodUs = 100'000;
constexpr int kMaxFds = 64;

// Saturates, so that "wait for a century" does not wrap into the past.
int64_t after(int64_t now, int64_t timeout_us) {
  return timeout_us > (INT64_MAX - now) / 1000 ? INT64_MAX : now + timeout_us * 1000;
}

template <class T>
nb::object array_over(const std::shared_ptr<BatchStorage>& storage, T* data, uint32_t n) {
  auto* keep = new std::shared_ptr<BatchStorage>(storage);
  nb::capsule owner(
      keep, [](void* p) noexcept { delete static_cast<std::shared_ptr<BatchStorage>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {n}, owner));
}

}  // namespace

BatchSlot::BatchSlot(uint32_t capacity) : storage(std::make_shared<BatchStorage>(capacity)) {
  wp_batch& b = **storage;
  lengths = array_over<const uint32_t>(storage, b.length, capacity);
  timestamps = array_over<const int64_t>(storage, b.timestamp, capacity);
  hashes = array_over<const uint32_t>(storage, b.hash, capacity);
  verdicts = array_over<uint8_t>(storage, b.verdict, capacity);
  targets = array_over<uint16_t>(storage, b.target, capacity);
}

bool BatchSlot::seen_by_python() const {
  // A slice keeps its base array alive: more than our own reference means that one is out.
  return Py_REFCNT(lengths.ptr()) > 1 || Py_REFCNT(timestamps.ptr()) > 1 ||
         Py_REFCNT(hashes.ptr()) > 1 || Py_REFCNT(verdicts.ptr()) > 1 ||
         Py_REFCNT(targets.ptr()) > 1;
}

PortHandle::PortHandle(std::unique_ptr<Port> port, uint32_t batch_size, bool spin)
    : port_(std::move(port)),
      batch_size_(batch_size),
      spin_(spin),
      writable_(port_->capabilities().writable),
      drives_(port_->queues()) {}

Port& PortHandle::port() const {
  if (closed_.load()) throw Error(ErrorKind::kReleased, "the port is closed");
  return *port_;
}

std::shared_ptr<Port> PortHandle::shared() const {
  port();
  return port_;
}

void PortHandle::close() {
  if (closed_.exchange(true)) return;
  drop_user();
}

void PortHandle::drop_user() {
  if (users_.fetch_sub(1) != 1) return;
  nb::gil_scoped_release release;  // taking a program off an interface waits for the kernel
  port_.reset();
}

void PortHandle::give_back_frame(uint32_t queue, uint8_t* data, uint64_t handle) {
  port_->give_back(queue, data, handle);
  held_.fetch_sub(1);
  drop_user();
}

bool PortHandle::take_queue(uint32_t queue) noexcept {
  if (drives_[queue] == 0 && !port_->claim(queue)) return false;
  drives_[queue]++;
  return true;
}

void PortHandle::leave_queue(uint32_t queue) noexcept {
  if (--drives_[queue] == 0) port_->unclaim(queue);
}

bool PortHandle::take_queues() noexcept {
  const std::lock_guard lock(burst_mutex_);
  for (uint32_t q = 0; q < drives_.size(); q++) {
    if (take_queue(q)) continue;
    while (q-- > 0) leave_queue(q);
    return false;
  }
  return true;
}

void PortHandle::leave_queues() noexcept {
  const std::lock_guard lock(burst_mutex_);
  for (uint32_t q = 0; q < drives_.size(); q++) leave_queue(q);
}

std::unique_ptr<BatchSlot> PortHandle::take_slot() {
  users_.fetch_add(1);
  if (free_.empty()) return std::make_unique<BatchSlot>(batch_size_);
  std::unique_ptr<BatchSlot> slot = std::move(free_.back());
  free_.pop_back();
  return slot;
}

uint32_t PortHandle::poll_queues(wp_batch& batch, uint32_t* queue) noexcept {
  const std::lock_guard lock(burst_mutex_);
  const uint32_t queues = port_->queues();
  for (uint32_t q = 0; q < queues; q++) port_->collect_returned(q);
  for (uint32_t i = 0; i < queues; i++) {
    const uint32_t q = next_queue_;
    next_queue_ = q + 1 == queues ? 0 : q + 1;
    if (const uint32_t n = port_->rx(q, batch)) {
      *queue = q;
      batch.queue = static_cast<uint16_t>(q);
      if (port_->tap().on()) [[unlikely]] {
        port_->tap().received(q, batch);
        port_->tap().passed_on(q);
      }
      return n;
    }
  }
  return 0;
}

void PortHandle::wait(int64_t timeout_us) noexcept {
  for (uint32_t q = 0; q < port_->queues(); q++) port_->tap().idle(q);
  if (spin_) {
    cpu_pause();
    return;
  }
  if (port_->queues() == 1) {
    port_->wait(0, timeout_us);
    return;
  }
  pollfd fds[kMaxFds];
  nfds_t n = 0;
  for (uint32_t q = 0; q < port_->queues() && n < kMaxFds; q++) {
    const int fd = port_->fd(q);
    if (fd < 0) {
      port_->wait(q, timeout_us);
      return;
    }
    fds[n++] = {fd, POLLIN, 0};
  }
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  ppoll(fds, n, &timeout, nullptr);
}

std::unique_ptr<BatchSlot> PortHandle::receive(int64_t timeout_us, uint32_t* queue) {
  port();
  if (polling_.exchange(true))
    throw Error(ErrorKind::kBusy, "the port is being polled by another thread",
                "use one loop per port");
  struct Polling {
    std::atomic<bool>& flag;
    ~Polling() { flag.store(false); }
  } polling{polling_};
  std::unique_ptr<BatchSlot> slot = take_slot();  // keeps the port, also when it is closed
  const auto without = [&] { recycle(std::move(slot)); };
  if (!take_queues()) {
    const std::string spec = port_->spec();
    without();
    throw Error(ErrorKind::kBusy, "a worker or publisher drives " + spec, "stop it first");
  }
  const NativeWait wait_outside;
  wp_batch& batch = **slot->storage;
  Clock& clock = Clock::process();
  const auto ended = [&] {
    return port_->finished() || closed_.load(std::memory_order_relaxed) || NativeWait::ending();
  };
  int64_t deadline = 0;  // read when the first poll came back empty
  uint32_t n = 0;
  for (;;) {
    {
      nb::gil_scoped_release release;
      n = poll_queues(batch, queue);
      if (n == 0 && timeout_us != 0 && !ended()) {
        int64_t now = Clock::steady();
        if (deadline == 0 && timeout_us > 0) deadline = after(now, timeout_us);
        const int64_t signals = now + kSignalPeriodUs * 1000;
        clock.recalibrate();
        while (n == 0 && !ended() && now < signals && (timeout_us < 0 || now < deadline)) {
          int64_t left = (signals - now) / 1000;
          if (timeout_us > 0) left = std::min(left, (deadline - now) / 1000 + 1);
          wait(left);
          n = poll_queues(batch, queue);
          if (n == 0) now = Clock::steady();
        }
      }
    }
    const bool interrupted = n == 0 && PyErr_CheckSignals() != 0;
    if (n == 0 && !interrupted && !ended() && timeout_us != 0 &&
        (timeout_us < 0 || Clock::steady() < deadline))
      continue;
    leave_queues();
    if (n != 0) return slot;
    without();
    if (interrupted) throw nb::python_error();
    return nullptr;
  }
}

void PortHandle::give_back(std::unique_ptr<BatchSlot> slot, uint32_t queue) {
  wp_batch& batch = **slot->storage;
  {
    const std::lock_guard lock(burst_mutex_);
    if (take_queue(queue)) {
      port_->release(queue, batch);
      leave_queue(queue);
    } else {  // a worker was started meanwhile
      for (uint32_t i = 0; i < batch.count; i++)
        if (batch.verdict[i] != WP_KEEP && batch.handle[i] != WP_NO_FRAME)
          port_->give_back(queue, batch.data[i], batch.handle[i]);
      batch.count = 0;
    }
  }
  recycle(std::move(slot));
}

void PortHandle::recycle(std::unique_ptr<BatchSlot> slot) {
  if (!slot->seen_by_python()) free_.push_back(std::move(slot));
  drop_user();
}

uint32_t PortHandle::transmit(wp_batch& batch, uint32_t queue) {
  Port& out = port();
  if (!out.capabilities().tx) throw Error(ErrorKind::kUnsupported, out.spec() + " cannot transmit");
  if (queue >= out.queues())
    throw config_error("queue", std::to_string(queue), "below " + std::to_string(out.queues()));
  // The native port stays until this is done, also when another thread closes it meanwhile.
  struct User {
    PortHandle& handle;
    explicit User(PortHandle& h) : handle(h) { handle.users_.fetch_add(1); }
    ~User() { handle.drop_user(); }
  } user(*this);
  nb::gil_scoped_release release;
  const std::lock_guard lock(burst_mutex_);
  if (!take_queue(queue))
    throw Error(ErrorKind::kBusy,
                "queue " + std::to_string(queue) + " of " + out.spec() +
                    " is driven by a worker or publisher",
                "stop that one, send by another queue, or have the worker send (verdict TX or "
                "REDIRECT)");
  const uint32_t queued = out.send(queue, batch);
  leave_queue(queue);
  return queued;
}

}  // namespace wp::python
