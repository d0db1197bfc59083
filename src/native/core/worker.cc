// SPDX-License-Identifier: Apache-2.0
#include "core/worker.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/pause.h"

namespace wp {
namespace {

constexpr uint32_t kBurstsBetweenIdleCalls = 256;
constexpr int kMaxFds = 64;
// A host port costs a system call to look at, and is the slow path.
constexpr uint32_t kRoundsBetweenHosts = 16;

// Sending from Python takes a queue for some microseconds.
constexpr int kClaimTries = 100;
constexpr timespec kClaimNap{0, 100'000};

uint64_t next_number() noexcept {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1) + 1;
}

uint32_t checked_batch_size(uint32_t size) {
  if (size < 1 || size > 4096) throw config_error("batch_size", std::to_string(size), "1 to 4096");
  return size;
}

}  // namespace

Worker::Worker(WorkerConfig config)
    : config_(std::move(config)),
      number_(next_number()),
      batch_(checked_batch_size(config_.batch_size)),
      carrier_(config_.batch_size),
      decided_(config_.batch_size) {
  if (config_.cpu_core && (*config_.cpu_core < 0 || *config_.cpu_core >= CPU_SETSIZE))
    throw config_error("cpu_core", std::to_string(*config_.cpu_core), "a core of this machine");
}

Worker::~Worker() {
  abandon();
  if (counters_) telemetry_->release(counters_);
}

void Worker::abandon() noexcept {
  stop();
  if (running())
    for (const auto& stage : stages_) stage->abandon();
  end();
}

void Worker::end() noexcept {
  std::vector<std::shared_ptr<Port>> last;  // closed without the lock
  const std::lock_guard lock(join_mutex_);
  if (!thread_.joinable()) return;
  thread_.join();
  last.swap(ports_);
}

uint16_t Worker::add_port(std::shared_ptr<Port> port, std::vector<uint32_t> queues) {
  if (thread_.joinable())
    throw Error(ErrorKind::kConfig, "a port cannot be added to a running worker", "stop it first");
  const auto number = static_cast<uint16_t>(ports_.size());
  if (queues.empty())
    for (uint32_t q = 0; q < port->queues(); q++) queues.push_back(q);
  for (const uint32_t q : queues)
    if (q >= port->queues())
      throw config_error(
          "queue", std::to_string(q),
          "below " + std::to_string(port->queues()) + ", the queues of " + port->spec());
  for (const uint32_t q : queues) sources_.push_back({number, q});
  ends_.push_back({.queues = std::move(queues)});
  specs_.push_back(port->spec());
  ports_.push_back(std::move(port));
  return number;
}

uint16_t Worker::add_host(uint16_t number, std::shared_ptr<Port> host,
                          std::vector<uint32_t> queues) {
  if (number >= ends_.size() || ends_[number].host >= 0 || ends_[number].network >= 0)
    throw config_error("port", std::to_string(number),
                       "the number of a port that was added, and has no host's end yet");
  const size_t had = sources_.size();
  if (queues.empty()) queues = ends_[number].queues;
  const uint16_t mine = add_port(std::move(host), std::move(queues));
  for (size_t i = had; i < sources_.size(); i++) sources_[i].host = true;
  ends_[number].host = mine;
  ends_[mine].network = number;
  return mine;
}

void Worker::add_stage(std::shared_ptr<Stage> stage) {
  if (thread_.joinable())
    throw Error(ErrorKind::kConfig, "a stage cannot be added to a running worker", "stop it first");
  if (!stages_.empty() && stages_.back()->last())
    throw Error(ErrorKind::kConfig,
                std::string("stage ") + stage->name() + " cannot come after " +
                    stages_.back()->name() + ", whose verdicts are final",
                "add it before");
  stages_.push_back(std::move(stage));
}

void Worker::start() {
  if (started_)
    throw Error(ErrorKind::kConfig, "worker " + config_.name + " has been started already",
                "join it, then make a new one");
  if (sources_.empty())
    throw Error(ErrorKind::kConfig, "worker " + config_.name + " has no port",
                "add one with add_port()");
  if (config_.cpu_core) check_core();
  claim_queues();
  begin_polling(Clock::process().now());
  try {
    attach_stages();
    telemetry_ = &Telemetry::process();
    if (!counters_) counters_ = telemetry_->counters("worker/" + config_.name, kWorkerCounterNames);
    carrier_.begin(ports_, ends_, counters_);
    running_.store(true, std::memory_order_release);
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    running_.store(false, std::memory_order_release);
    for (const auto& stage : stages_) stage->unclaim(number_);
    unclaim_queues();
    throw;
  }
  started_ = true;
}

void Worker::check_core() const {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  if (CPU_ISSET(*config_.cpu_core, &allowed)) return;
  std::string list;
  for (int c = 0; c < CPU_SETSIZE; c++)
    if (CPU_ISSET(c, &allowed)) list += (list.empty() ? "" : ", ") + std::to_string(c);
  throw config_error("cpu_core", std::to_string(*config_.cpu_core),
                     "one of the cores this process may use: " + list);
}

void Worker::attach_stages() {
  holding_ = std::ranges::any_of(stages_, [](const auto& stage) { return stage->holds(); });
  for (const auto& stage : stages_) {
    if (!stage->shareable() && !stage->claim(number_))
      throw Error(ErrorKind::kBusy,
                  std::string("stage ") + stage->name() + " is another worker's already",
                  "give each worker a stage of its own");
    stage->attach({ports_, config_.batch_size, &stop_, &polled_until_});
  }
}

void Worker::claim_queues() {
  for (size_t i = 0; i < sources_.size(); i++) {
    const uint16_t port = sources_[i].port;
    const uint32_t queue = sources_[i].queue;
    bool taken = ports_[port]->claim(queue);
    for (int k = 0; !taken && k < kClaimTries; k++) {
      nanosleep(&kClaimNap, nullptr);
      taken = ports_[port]->claim(queue);
    }
    if (taken) continue;
    while (i-- > 0) ports_[sources_[i].port]->unclaim(sources_[i].queue);
    throw Error(ErrorKind::kBusy,
                "queue " + std::to_string(queue) + " of " + ports_[port]->spec() +
                    " is driven by another worker, publisher or loop",
                "stop that one, or give each worker queues of its own");
  }
}

void Worker::unclaim_queues() noexcept {
  for (const Source source : sources_) ports_[source.port]->unclaim(source.queue);
}

void Worker::stop() noexcept {
  stop_.store(true, std::memory_order_release);
}

bool Worker::wait_for_end(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(end_mutex_);
  return ended_.wait_for(lock, timeout, [this] { return !running(); });
}

void Worker::join() {
  end();
  const std::lock_guard lock(join_mutex_);
  if (!std::exchange(failed_, false)) return;
  if (const auto stage = std::exchange(failed_stage_, nullptr)) stage->raise();
  throw Error(ErrorKind::kIo, error_);
}

void Worker::fail(std::string what) noexcept {
  if (!failed_) error_ = std::move(what);
  failed_ = true;
  stop();
}

void Worker::fail(const std::shared_ptr<Stage>& stage) noexcept {
  if (!failed_) failed_stage_ = stage;
  fail(std::string());
}

std::vector<std::pair<std::string, uint32_t>> Worker::queues() const {
  std::vector<std::pair<std::string, uint32_t>> out;
  for (const Source source : sources_) out.emplace_back(specs_[source.port], source.queue);
  return out;
}

void Worker::run() noexcept {
  if (config_.cpu_core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(*config_.cpu_core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    CPU_ZERO(&set);
    pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    if (CPU_COUNT(&set) == 1 && CPU_ISSET(*config_.cpu_core, &set))
      affinity_.store(*config_.cpu_core);
    else
      fail("the kernel did not pin worker " + config_.name + " to core " +
           std::to_string(*config_.cpu_core));
  }
  pthread_setname_np(pthread_self(), config_.name.substr(0, 15).c_str());
  Clock& clock = Clock::process();
  for (const auto& stage : stages_) stage->enter();
  uint32_t since_idle = 0, round = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    uint32_t frames = 0;
    const bool hosts = ++round % kRoundsBetweenHosts == 0;
    for (Source& source : sources_) {
      if (source.host && !hosts && frames != 0) continue;
      frames += poll(source, clock);
      if (failed_) break;
    }
    note_polled();
    if (frames != 0 && ++since_idle < kBurstsBetweenIdleCalls) continue;
    since_idle = 0;
    clock.recalibrate();
    const int64_t now = clock.now();
    for (const auto& stage : stages_)
      if (!stage->idle(now)) fail(stage);
    for (const Source source : sources_) ports_[source.port]->tap().idle(source.queue);
    if (frames != 0) continue;
    counters_[kIdlePolls].add(1);
    if (config_.stop_when_finished && std::ranges::all_of(sources_, [this](const Source& source) {
          return source.host || ports_[source.port]->finished();
        }))
      break;
    wait_for_work();
  }
  for (const auto& stage : stages_)
    if (!stage->idle(clock.now())) fail(stage);
  for (const auto& stage : stages_) stage->end(clock.now());
  unclaim_queues();
  const std::lock_guard lock(end_mutex_);
  running_.store(false, std::memory_order_release);
  ended_.notify_all();
}

uint32_t Worker::poll(Source& source, Clock& clock) noexcept {
  Port& port = *ports_[source.port];
  port.collect_returned(source.queue);
  const int64_t before = clock.now();
  const uint32_t n = port.rx(source.queue, *batch_);
  if (n < source.full_burst && source.polled_until != INT64_MAX) source.polled_until = before;
  if (n == 0) return 0;
  batch_->port = source.port;
  batch_->queue = static_cast<uint16_t>(source.queue);
  if (source.host) {
    carrier_.from_host(source.port, source.queue, *batch_);
    port.release(source.queue, *batch_);
    return n;
  }
  a_frame_.store(batch_->data[0], std::memory_order_relaxed);
  if (port.tap().on()) [[unlikely]]
    process_tapped(source);
  else
    process(source);
  port.release(source.queue, *batch_);
  counters_[kBursts].add(1);
  counters_[kFrames].add(n);
  return n;
}

// Frames of a capture, or made up, wait nowhere: their stamps are all the time there is.
void Worker::begin_polling(int64_t now) noexcept {
  for (Source& source : sources_) {
    const Port& port = *ports_[source.port];
    const Capabilities can = port.capabilities();
    source.full_burst = std::min(config_.batch_size, port.full_burst());
    source.polled_until = can.finite || !can.wire || source.host ? INT64_MAX : now;
  }
  note_polled();
}

void Worker::note_polled() noexcept {
  int64_t least = INT64_MAX;
  for (const Source& source : sources_) least = std::min(least, source.polled_until);
  polled_until_ = least;
}

void Worker::process(const Source& source) noexcept {
  const bool fine = run_stages(source);  // the one that holds, the last, may not have seen them
  carrier_.carry_out(source.port, source.queue, *batch_, holding_ && fine);
}

void Worker::process_tapped(const Source& source) noexcept {
  Tap& tap = ports_[source.port]->tap();
  tap.received(source.queue, *batch_);
  const bool fine = run_stages(source);
  tap.judged(source.queue, *batch_);
  carrier_.carry_out(source.port, source.queue, *batch_, holding_ && fine);
}

bool Worker::run_stages(const Source& source) noexcept {
  bool fine = true;
  const Stage* const last = stages_.empty() ? nullptr : stages_.back().get();
  for (const auto& stage : stages_) {
    fine = stage->process(*batch_);
    if (!fine) {
      fail(stage);
      break;
    }
    if (stage->decides() && stage.get() != last && decided_.set_apart(*batch_) == 0) break;
  }
  decided_.put_back(*batch_);
  if (last && last->decides()) settle(ends_[source.port].host >= 0 ? WP_PASS : WP_DROP);
  return fine;
}

// What no stage decided is the host's, where there is one, and else done with.
void Worker::settle(uint8_t verdict) noexcept {
  uint8_t* verdicts = batch_->verdict;
  for (uint32_t i = 0; i < batch_->count; i++)
    verdicts[i] = verdicts[i] == kUndecided ? verdict : verdicts[i];
}

void Worker::wait_for_work() noexcept {
  if (config_.idle == IdlePolicy::kSpin) {
    cpu_pause();
    return;
  }
  // A port that has ended has nothing to wait for, and may answer at once.
  const auto ended = [this](Source source) { return ports_[source.port]->finished(); };
  if (sources_.size() == 1 && !ended(sources_[0])) {
    ports_[sources_[0].port]->wait(sources_[0].queue, config_.poll_timeout_us);
    return;
  }
  pollfd fds[kMaxFds];
  nfds_t n = 0;
  for (const Source source : sources_) {
    if (ended(source)) continue;
    const int fd = ports_[source.port]->fd(source.queue);
    if (fd < 0) {  // a port without a descriptor is polled, as often as it likes
      ports_[source.port]->wait(source.queue, config_.poll_timeout_us);
      return;
    }
    if (n < kMaxFds) fds[n++] = {fd, POLLIN, 0};
  }
  const timespec timeout{config_.poll_timeout_us / 1'000'000,
                         config_.poll_timeout_us % 1'000'000 * 1000};
  ppoll(fds, n, &timeout, nullptr);
}

std::vector<std::pair<std::string, uint64_t>> Worker::stats() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kWorkerCounterNames.size(); i++)
    out.emplace_back(kWorkerCounterNames[i], counters_ ? counters_[i].value() : 0);
  return out;
}

}  // namespace wp
