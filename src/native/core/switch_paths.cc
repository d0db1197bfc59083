// SPDX-License-Identifier: Apache-2.0
// The control side of a SwitchPort: paths come and go, their counters are summed.
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/switch_port.h"

namespace wp {
namespace {

constexpr std::array<const char*, static_cast<size_t>(SwitchCount::kCount)> kNames{
    "transitions", "fall_backs",         "returns",       "refusals",     "changes",
    "troubles",    "share_basis_points", "bypass_frames", "kernel_frames"};

// What wirepath.open reads; the native port knows `queues` only.
constexpr std::array kOptions{
    OptionHelp{"policy", "af_xdp/native,socket",
               "ways to receive, the best first, the kernel's (socket) last"},
    OptionHelp{"share", "100", "percent of the flows that leave the kernel, by their hash"},
    OptionHelp{"flows", "", "GROUP:PORT, …: flows that leave the kernel whatever the share"},
    OptionHelp{"config", "", "TOML file with a table [switch], watched for changes"},
    OptionHelp{"rx_ring_size", "2048", "of each path that has a receive ring"},
    OptionHelp{"zero_copy", "prefer", "require | prefer | never, of each path that can"},
    OptionHelp{"queues", "1", "queues of this port, among which those of the paths are dealt out"},
};

using Stats = std::vector<std::pair<std::string, uint64_t>>;

uint64_t& entry(Stats& stats, const std::string& name) {
  const auto found = std::ranges::find(stats, name, &Stats::value_type::first);
  if (found != stats.end()) return found->second;
  return stats.emplace_back(name, 0).second;
}

bool of_the_nic(const std::string& name) {
  return name.starts_with("nic.");
}

}  // namespace

SwitchPort::SwitchPort(const PortConfig& config) : Port(config) {
  full_burst_ = 1;  // of several paths, one gives at a time
  queues_ = static_cast<uint32_t>(config.options.integer("queues", 1, 64));
  for (uint32_t q = 0; q < queues_; q++) {
    Queue& queue = *queue_states_.emplace_back(std::make_unique<Queue>());
    queue.epoll = ::epoll_create1(EPOLL_CLOEXEC);
    queue.plans.push_back(std::make_unique<Plan>());
    queue.plan = queue.plans.back().get();
    queue.wanted.store(queue.plan);
  }
  declared_.push_back({.rx = true});
  capabilities_.store(&declared_.back());
  counters_ = add_counters(-1, kNames, "switch");
}

SwitchPort::~SwitchPort() {
  for (const Path& path : paths_)
    for (uint32_t q = 0; path.port && q < path.port->queues(); q++) path.port->unclaim(q);
  for (const auto& queue : queue_states_)
    if (queue->epoll >= 0) ::close(queue->epoll);
}

uint32_t SwitchPort::add(std::shared_ptr<Port> port, std::string name, bool kernel) {
  const std::lock_guard lock(mutex_);
  const auto free = std::ranges::find_if(paths_, [](const Path& p) { return !p.port; });
  if (free == paths_.end())
    throw Error(ErrorKind::kConfig, spec() + " has " + std::to_string(kMaxPaths) + " paths already",
                "wait until one is gone");
  if (port->queues() > kMaxQueues * queues_)
    throw config_error("queues", std::to_string(queues_),
                       "at least " + std::to_string((port->queues() - 1) / kMaxQueues + 1) +
                           ", for the " + std::to_string(port->queues()) + " queues of " +
                           port->spec());
  for (uint32_t q = 0; q < port->queues(); q++) {
    if (port->claim(q)) continue;
    while (q-- > 0) port->unclaim(q);
    throw Error(ErrorKind::kBusy, port->spec() + " is driven by a worker, publisher or loop",
                "stop that one first");
  }
  Path& path = *free;
  const auto number = static_cast<uint32_t>(free - paths_.begin());
  path = Path{};
  path.port = std::move(port);
  path.name = std::move(name);
  path.kernel = kernel;
  for (uint32_t q = 0; q < path.port->queues(); q++) {
    const int fd = path.port->fd(q);
    epoll_event event{};
    event.events = EPOLLIN;
    const int epoll = queue_states_[q % queues_]->epoll;
    if (fd >= 0 && ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) path.watched.push_back(fd);
  }
  for (const auto& queue : queue_states_) {  // nobody writes to the cells of a free place
    queue->cells[number].frames.store(0);
    queue->cells[number].outstanding.store(0);
    queue->cells[number].empty.store(0);
  }
  count_capabilities();
  post(-1);
  return number;
}

void SwitchPort::rest(uint32_t number, bool resting, int first) {
  const std::lock_guard lock(mutex_);
  paths_.at(number).resting = resting;
  post(first);
}

void SwitchPort::take_away(uint32_t number) {
  const std::lock_guard lock(mutex_);
  Path& path = paths_.at(number);
  path.taken_away = true;
  for (const auto& queue : queue_states_)
    for (const int fd : path.watched) ::epoll_ctl(queue->epoll, EPOLL_CTL_DEL, fd, nullptr);
  path.watched.clear();
  count_capabilities();
  post(-1);
  path.since = plan_number_;
}

bool SwitchPort::gone(uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const Path& path = paths_.at(number);
  return path.taken_away && std::ranges::all_of(queue_states_, [&](const auto& queue) {
           return queue->known.load(std::memory_order_acquire) >= path.since &&
                  queue->cells[number].outstanding.load(std::memory_order_acquire) == 0;
         });
}

void SwitchPort::forget(uint32_t number) {
  if (!gone(number))
    throw Error(ErrorKind::kBusy, "frames of " + paths_.at(number).name + " are still held",
                "ask gone() first");
  Path last;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, value] : paths_[number].port->stats())
      if (!of_the_nic(name) && name != "held") entry(of_the_gone_, name) += value;
    const uint64_t frames = delivered_by(number);
    entry(delivered_gone_, paths_[number].name) += frames;
    (paths_[number].kernel ? gone_kernel_ : gone_bypass_) += frames;
    last = std::exchange(paths_[number], Path{});
    post(-1);  // its place may be another's: no plan names it any more
  }
  for (uint32_t q = 0; q < last.port->queues(); q++) last.port->unclaim(q);
}

// Gives every queue a new plan. Plans that their queue has gone past are freed.
void SwitchPort::post(int first) {
  plan_number_++;
  for (uint32_t q = 0; q < queues_; q++) {
    Queue& queue = *queue_states_[q];
    const uint64_t known = queue.known.load(std::memory_order_acquire);
    std::erase_if(queue.plans, [&](const auto& plan) { return plan->number < known; });
    auto plan = std::make_unique<Plan>();
    plan->number = plan_number_;
    for (const bool resting : {false, true}) {
      for (uint32_t k = 0; k < kMaxPaths; k++) {
        const Path& path = paths_[k];
        if (!path.port) continue;
        for (uint32_t p = q; p < path.port->queues(); p += queues_) {
          const Lane lane{path.port.get(), p, k * kMaxQueues + p / queues_};
          plan->by_tag[lane.tag] = lane;  // frames that are out come back by it
          if (path.taken_away || path.resting != resting) continue;
          if (plan->first < 0 && first == static_cast<int>(k))
            plan->first = static_cast<int>(plan->lanes.size());
          plan->lanes.push_back(lane);
        }
      }
      if (!resting) plan->active = static_cast<uint32_t>(plan->lanes.size());
    }
    const Plan* posted = queue.plans.emplace_back(std::move(plan)).get();
    queue.wanted.store(posted, std::memory_order_release);
  }
}

void SwitchPort::count_capabilities() {
  Capabilities all{.rx = true,
                   .tx = true,
                   .everything = true,
                   .waitable = true,
                   .rest_to_host = true,
                   .max_frame = UINT32_MAX};
  all.multi_queue = queues_ > 1;
  bool any = false;
  for (const Path& path : paths_) {
    if (!path.port || path.taken_away) continue;
    const Capabilities one = path.port->capabilities();
    any = true;
    all.rx = all.rx && one.rx;
    all.tx = all.tx && one.tx;
    all.everything = all.everything && one.everything;
    all.ethernet_headers = all.ethernet_headers && one.ethernet_headers;
    all.waitable = all.waitable && one.waitable;
    all.finite = all.finite || one.finite;
    all.writable = all.writable && one.writable;
    all.wire = all.wire && one.wire;
    all.link = all.link || one.link;
    all.rest_to_host = all.rest_to_host && one.rest_to_host;
    all.max_frame = std::min(all.max_frame, one.max_frame);
    if (one.pool_frames != 0)
      all.pool_frames =
          all.pool_frames ? std::min(all.pool_frames, one.pool_frames) : one.pool_frames;
  }
  if (!any) all = {.rx = true};
  // The data path may look at those declared before, so they stay; there are few different ones.
  auto known = std::ranges::find(declared_, all);
  if (known == declared_.end()) known = declared_.insert(known, all);
  capabilities_.store(&*known, std::memory_order_release);
}

uint64_t SwitchPort::delivered_by(uint32_t path) const noexcept {
  uint64_t sum = 0;
  for (const auto& queue : queue_states_)
    sum += queue->cells[path].frames.load(std::memory_order_relaxed);
  return sum;
}

std::vector<SwitchPort::PathStatus> SwitchPort::paths() const {
  const std::lock_guard lock(mutex_);
  std::vector<PathStatus> out;
  for (uint32_t k = 0; k < kMaxPaths; k++) {
    const Path& path = paths_[k];
    if (!path.port) continue;
    PathStatus& status = out.emplace_back(PathStatus{.path = k,
                                                     .name = path.name,
                                                     .spec = path.port->spec(),
                                                     .kernel = path.kernel,
                                                     .resting = path.resting,
                                                     .taken_away = path.taken_away,
                                                     .frames = delivered_by(k),
                                                     .outstanding = 0,
                                                     .empty_polls = {}});
    for (const auto& queue : queue_states_) {
      status.outstanding += queue->cells[k].outstanding.load(std::memory_order_acquire);
      status.empty_polls.push_back(queue->cells[k].empty.load(std::memory_order_relaxed));
    }
  }
  return out;
}

uint64_t SwitchPort::polls() const noexcept {
  uint64_t sum = 0;
  for (const auto& queue : queue_states_) sum += queue->polls.load(std::memory_order_relaxed);
  return sum;
}

Stats SwitchPort::delivered() const {
  const std::lock_guard lock(mutex_);
  Stats out = delivered_gone_;
  for (uint32_t k = 0; k < kMaxPaths; k++)
    if (paths_[k].port) entry(out, paths_[k].name) += delivered_by(k);
  return out;
}

void SwitchPort::refresh_stats() noexcept {
  const std::lock_guard lock(mutex_);
  uint64_t bypass = gone_bypass_, kernel = gone_kernel_;
  for (uint32_t k = 0; k < kMaxPaths; k++)
    if (paths_[k].port) (paths_[k].kernel ? kernel : bypass) += delivered_by(k);
  counters_[static_cast<size_t>(SwitchCount::kBypassFrames)].set(bypass);
  counters_[static_cast<size_t>(SwitchCount::kKernelFrames)].set(kernel);
}

Stats SwitchPort::stats() {
  Stats out = Port::stats();  // of the switch itself
  for (auto& [name, value] : out) name = "switch." + name;
  const std::lock_guard lock(mutex_);
  uint64_t& lost = entry(out, "drop.tx_no_path");
  for (const auto& queue : queue_states_) lost += queue->tx_no_path.load(std::memory_order_relaxed);
  for (const auto& [name, value] : of_the_gone_) entry(out, name) += value;
  for (const Path& path : paths_) {
    if (!path.port) continue;
    for (const auto& [name, value] : path.port->stats()) {
      uint64_t& sum = entry(out, name);
      sum = of_the_nic(name) ? std::max(sum, value) : sum + value;
    }
  }
  return out;
}

Info SwitchPort::info() const {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(mutex_);
    for (const Path& path : paths_)
      if (path.port && !path.taken_away) names.push_back(path.name);
  }
  return {{"backend", std::string("auto")},
          {"queues", int64_t{queues_}},
          {"open_paths", names},
          {"clock", std::string(clock_.source())},
          {"steering", steering().describe()}};
}

const Backend kAutoBackend{"auto",
                           "the best of several ways to receive, changed while running",
                           "INTERFACE",
                           kOptions,
                           [](const PortConfig& config) -> std::unique_ptr<Port> {
                             return std::make_unique<SwitchPort>(config);
                           },
                           "options of the paths, with the backend's name in front: "
                           "af_xdp_queues=0, socket_rx_buffer_bytes=1048576"};

}  // namespace wp
