// SPDX-License-Identifier: Apache-2.0
#include "load/load_sender.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/pause.h"
#include "load/probe.h"

namespace wp::load {
namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kLongestSleep = 50 * kMillisecond;  // stop() is noticed within that
constexpr uint64_t kMostPackets = uint64_t{1} << 28;
constexpr size_t kLongestCycle = size_t{1} << 24;
constexpr uint32_t kMostBytes = 65'535;

LoadSenderOptions checked(LoadSenderOptions options, const std::shared_ptr<Port>& port) {
  if (!port) throw config_error("port", "none", "an open port");
  if (!port->capabilities().tx)
    throw Error(ErrorKind::kUnsupported, "port " + port->spec() + " cannot transmit",
                "send through a socket, af_xdp or dpdk port");
  if (options.tx_queue >= port->queues())
    throw config_error(
        "tx_queue", std::to_string(options.tx_queue),
        "below " + std::to_string(port->queues()) + ", the queues of " + port->spec());
  if (options.cpu_core && (*options.cpu_core < 0 || *options.cpu_core >= CPU_SETSIZE))
    throw config_error("cpu_core", std::to_string(*options.cpu_core), "a core of this machine");
  if (options.burst < 1 || options.burst > 1'024)
    throw config_error("burst", std::to_string(options.burst), "1 to 1024");
  if (options.spin_ns < 0 || options.spin_ns > 1'000 * kMillisecond)
    throw config_error("spin_ns", std::to_string(options.spin_ns), "0 to 1000000000");
  if (options.give_up_ns < kMillisecond || options.give_up_ns > 60'000 * kMillisecond)
    throw config_error("give_up_ns", std::to_string(options.give_up_ns), "1000000 to 60000000000");
  return options;
}

uint32_t most_bytes(const Port& port) {
  const uint32_t most = port.capabilities().max_frame;
  return most == 0 ? kMostBytes : std::min(most, kMostBytes);
}

int64_t thread_cpu_ns() noexcept {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

}  // namespace

int64_t LoadClock::now() noexcept {
  return Clock::steady();
}
int64_t LoadClock::wall() noexcept {
  return Clock::realtime();
}
void LoadClock::sleep_until(int64_t deadline) noexcept {
  const timespec t{deadline / 1'000'000'000, deadline % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}
void LoadClock::spin() noexcept {
  cpu_pause();
}

LoadSender::LoadSender(LoadSenderOptions options, std::shared_ptr<Port> port,
                       std::shared_ptr<LoadClock> clock)
    : options_(checked(std::move(options), port)),
      port_(std::move(port)),
      clock_(clock ? std::move(clock) : std::make_shared<LoadClock>()),
      framer_(options_.flow, port_->capabilities().ethernet_headers),
      largest_(most_bytes(*port_)),
      batch_(options_.burst) {}

LoadSender::~LoadSender() {
  stop();
  if (thread_.joinable()) thread_.join();
}

uint32_t LoadSender::smallest_frame() const noexcept {
  return std::max<uint32_t>(static_cast<uint32_t>(framer_.header_bytes()) + Probe::kBytes, 60);
}

void LoadSender::check(const LoadPlan& plan) const {
  if (plan.due.empty() || plan.due.size() > kLongestCycle)
    throw config_error("due", std::to_string(plan.due.size()) + " packets", "1 to 2^24 packets");
  if (plan.size.size() != plan.due.size())
    throw config_error("size", std::to_string(plan.size.size()) + " packets",
                       "as many as due has: " + std::to_string(plan.due.size()));
  if (plan.due.front() < 0 || !std::ranges::is_sorted(plan.due))
    throw config_error("due", "that of this plan", "0 or more, and never decreasing");
  if (plan.period < std::max<int64_t>(plan.due.back(), 1))
    throw config_error("period", std::to_string(plan.period),
                       "at least the last packet's " + std::to_string(plan.due.back()) + " ns");
  if (plan.count < 1 || plan.count > kMostPackets)
    throw config_error("count", std::to_string(plan.count), "1 to 2^28 packets");
  const auto [least, most] = std::ranges::minmax(plan.size);
  if (least < smallest_frame() || most > largest_)
    throw config_error("size", std::to_string(least < smallest_frame() ? least : most),
                       std::to_string(smallest_frame()) + " to " + std::to_string(largest_) +
                           " bytes on " + port_->spec());
}

void LoadSender::start(LoadPlan plan, uint16_t run, int64_t start) {
  check(plan);
  if (running())
    throw Error(ErrorKind::kConfig, "the sender is at work", "join() it before the next plan");
  if (thread_.joinable()) thread_.join();
  const uint32_t most = *std::ranges::max_element(plan.size);
  stride_ = (most + 63) & ~63u;
  frames_.assign(size_t{stride_} * options_.burst, 0);
  plan_ = std::move(plan);
  run_ = run;
  start_ = start;
  // One pair of readings ties the two clocks for this plan.
  const int64_t before = clock_->now(), wall = clock_->wall(), after = clock_->now();
  start_wall_ = wall + (start - (before + (after - before) / 2));
  counts_ = {};
  counts_.planned = plan_.count;
  lateness_->reset();
  if (!port_->claim(options_.tx_queue))
    throw Error(ErrorKind::kBusy,
                "queue " + std::to_string(options_.tx_queue) + " of " + port_->spec() +
                    " is driven by somebody else",
                "one driver a queue");
  stop_.store(false);
  running_.store(true, std::memory_order_release);
  thread_ = std::thread([this] { this->run(); });
}

void LoadSender::stop() noexcept {
  stop_.store(true, std::memory_order_relaxed);
}

void LoadSender::join() {
  if (thread_.joinable()) thread_.join();
}

void LoadSender::pin() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(*options_.cpu_core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  affinity_.store(sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 &&
                          CPU_ISSET(*options_.cpu_core, &set)
                      ? *options_.cpu_core
                      : -1);
}

void LoadSender::run() noexcept {
  if (options_.cpu_core) pin();
  pthread_setname_np(pthread_self(), "wp-load");
  // The kernel may round the sleeps of this thread by 50 µs otherwise.
  prctl(PR_SET_TIMERSLACK, 1UL);
  const int64_t cpu = thread_cpu_ns();
  uint64_t next = 0;
  while (next < plan_.count && !stop_.load(std::memory_order_relaxed)) {
    const int64_t now = clock_->now();
    const int64_t due = start_ + plan_.at(next);
    if (due > now) {
      if (due - now <= options_.spin_ns)
        clock_->spin();
      else
        clock_->sleep_until(std::min(due - options_.spin_ns, now + kLongestSleep));
    } else if (now - due > options_.give_up_ns) {
      break;
    } else {
      next += send(next, now);
    }
  }
  counts_.unsent = plan_.count - next;
  counts_.cpu_ns = thread_cpu_ns() - cpu;
  port_->unclaim(options_.tx_queue);
  running_.store(false, std::memory_order_release);
}

// Everything that is due by `now`, up to a burst; returns how many packets that were. What the port
// does not take is lost here, and counted: to offer it again would be another load than planned.
uint32_t LoadSender::send(uint64_t first, int64_t now) noexcept {
  wp_batch& batch = *batch_;
  const auto header = static_cast<uint32_t>(framer_.header_bytes());
  uint32_t n = 0;
  for (; n < options_.burst && first + n < plan_.count; n++) {
    const int64_t due = plan_.at(first + n);
    if (start_ + due > now) break;
    uint8_t* frame = frames_.data() + size_t{n} * stride_;
    const uint32_t size = plan_.size[(first + n) % plan_.size.size()];
    const Probe probe{run_, static_cast<uint32_t>(first + n), start_wall_ + due};
    probe.write(frame + header);
    framer_.finish(frame, static_cast<uint16_t>(size - header));
    batch.data[n] = frame;
    batch.length[n] = size;
    batch.verdict[n] = WP_TX;
    batch.handle[n] = WP_NO_FRAME;
    counts_.bytes += size;
    lateness_->record(now - (start_ + due));
  }
  batch.count = n;
  const uint32_t taken = std::min(port_->send(options_.tx_queue, batch), n);
  counts_.sent += taken;
  counts_.refused += n - taken;
  if (counts_.first_ns == 0) counts_.first_ns = now;
  counts_.last_ns = now;
  return n;
}

}  // namespace wp::load
