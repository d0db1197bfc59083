// SPDX-License-Identifier: Apache-2.0
#include "feed/publisher.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/pause.h"

namespace wp::feed {
namespace {

enum : size_t {
  kPackets,
  kMessages,
  kBytes,
  kHeartbeats,
  kEndOfSession,
  kRefused,
  kDropPackets,
  kDropMessages,
  kDropTooLong,
  kPublished,
  kLostPackets,  // this and the next: sums of the lines', made when asked for
  kLostMessages,
  kCounters
};
constexpr std::array<const char*, kCounters> kNames{
    "packets",        "messages",   "bytes",        "heartbeats",
    "end_of_session", "tx_refused", "drop.packets", "drop.messages",
    "drop.too_long",  "published",  "lost.packets", "lost.messages"};

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kLongestSleep = 50 * kMillisecond;  // stop() is noticed within that
constexpr int64_t kRefusedSleep = 50'000;
constexpr uint32_t kRefusedSpins = 16;

// Checks what can be checked without the port, then what the port allows.
PublisherOptions fitted(PublisherOptions options, const std::shared_ptr<Port>& port) {
  options.validate();
  if (!port) throw config_error("port", "none", "an open port");
  const Capabilities can = port->capabilities();
  if (!can.tx)
    throw Error(ErrorKind::kUnsupported, "port " + port->spec() + " cannot transmit",
                "publish through a socket or af_xdp port");
  if (options.tx_queue >= port->queues())
    throw config_error(
        "tx_queue", std::to_string(options.tx_queue),
        "below " + std::to_string(port->queues()) + ", the queues of " + port->spec());
  size_t header = 0;
  if (options.lines.empty()) header = UdpFramer(options.flow, can.ethernet_headers).header_bytes();
  for (const PublishLineOptions& line : options.lines)
    header = std::max(header, UdpFramer(line.flow, can.ethernet_headers).header_bytes());
  if (can.max_frame != 0) {
    const uint32_t room =
        can.max_frame > header ? can.max_frame - static_cast<uint32_t>(header) : 0;
    if (options.schedule.max_payload > room)
      throw config_error("max_payload", std::to_string(options.schedule.max_payload),
                         "at most " + std::to_string(room) + " bytes on " + port->spec());
    options.schedule.max_packet = std::min(options.schedule.max_packet, room);
  }
  return options;
}

}  // namespace

int64_t PublishClock::now() noexcept {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

void PublishClock::sleep_until(int64_t deadline) noexcept {
  const timespec t{deadline / 1'000'000'000, deadline % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}

void PublishClock::spin() noexcept {
  cpu_pause();
}

void PublisherOptions::validate() const {
  schedule.validate();
  if (name.empty() || name.size() > 48)
    throw config_error("name", "\"" + name + "\"", "1 to 48 characters");
  if (cpu_core && (*cpu_core < 0 || *cpu_core >= CPU_SETSIZE))
    throw config_error("cpu_core", std::to_string(*cpu_core), "a core of this machine");
  if (lines.size() > 16) throw config_error("lines", std::to_string(lines.size()), "at most 16");
  const bool same = std::all_of(lines.begin(), lines.end(), [&](const PublishLineOptions& line) {
    return line.max_messages == lines.front().max_messages;
  });
  if (schedule.pacing == Pacing::kPackets && !same)
    throw config_error("pacing", "packets", "messages: these lines pack differently");
  for (const PublishLineOptions& line : lines) {
    line.validate();
    if (schedule.pacing == Pacing::kFast && line.skew_ns != 0)
      throw config_error("line.skew_ns", std::to_string(line.skew_ns), "0 without a pace");
  }
  if (burst < 1 || burst > 1'024) throw config_error("burst", std::to_string(burst), "1 to 1024");
  if (retry_timeout_ms < 1 || retry_timeout_ms > 3'600'000)
    throw config_error("retry_timeout_ms", std::to_string(retry_timeout_ms), "1 to 3600000");
  if (spin_ns < 0 || spin_ns > 1'000 * kMillisecond)
    throw config_error("spin_ns", std::to_string(spin_ns), "0 to 1000000000");
}

Publisher::Publisher(PublisherOptions options, std::shared_ptr<Port> port,
                     std::shared_ptr<MessageSource> source, std::shared_ptr<PublishClock> clock)
    : Publisher(fitted(std::move(options), port), port, Source(std::move(source)),
                std::move(clock)) {}

Publisher::Publisher(PublisherOptions options, std::shared_ptr<Port> port,
                     std::shared_ptr<PacketSource> source, std::shared_ptr<PublishClock> clock)
    : Publisher(fitted(std::move(options), port), port, Source(std::move(source)),
                std::move(clock)) {}

Publisher::Publisher(PublisherOptions options, std::shared_ptr<Port> port, Source source,
                     std::shared_ptr<PublishClock> clock)
    : options_(std::move(options)),
      port_(std::move(port)),
      clock_(clock ? std::move(clock) : std::make_shared<PublishClock>()),
      numbers_(options_.schedule),
      batch_(options_.burst),
      planned_(options_.burst),
      telemetry_(Telemetry::process()),
      counters_(telemetry_.counters("publisher/" + options_.name, kNames)),
      lateness_(telemetry_.histogram("publisher/" + options_.name + "/send_lateness_ns")) {
  try {
    make_lines(std::move(source));
  } catch (...) {
    release();
    throw;
  }
  for (const auto& line : lines_) frame_bytes_ = std::max(frame_bytes_, line->frame_bytes());
  frame_bytes_ = (frame_bytes_ + 63) & ~size_t{63};
  frames_.resize(options_.burst * frame_bytes_);
}

void Publisher::make_lines(Source source) {
  const bool whole = port_->capabilities().ethernet_headers;
  std::vector<PublishLineOptions> lines = options_.lines;
  if (lines.empty()) lines.push_back({.flow = options_.flow, .impairment = {}});
  auto* const messages = std::get_if<std::shared_ptr<MessageSource>>(&source);
  if (!messages && (!options_.lines.empty() || options_.history_bytes != 0))
    throw config_error(options_.lines.empty() ? "history_bytes" : "lines", "given",
                       "left out where packets go out as they are");
  if (messages && (lines.size() > 1 || options_.history_bytes != 0))
    log_ = std::make_shared<MessageLog>(*messages,
                                        std::max(options_.history_bytes, MessageLog::kLeastBytes),
                                        options_.schedule.max_payload - kMoldHeaderSize - 2);
  everywhere_.lines = static_cast<uint32_t>(lines.size());
  if (lines.size() > 1) everywhere_.log = log_;
  for (size_t i = 0; i < lines.size(); i++) {
    PublishScheduleOptions schedule = options_.schedule;
    if (lines[i].max_messages != 0) schedule.max_messages = lines[i].max_messages;
    const std::string name = "publisher/" + options_.name + "/line" + std::to_string(i);
    Counter* const counters = telemetry_.counters(name, kLineCounterNames);
    line_counters_.push_back(counters);
    PublishSchedule made =
        messages ? PublishSchedule(schedule, log_ ? std::make_shared<LogSource>(log_) : *messages)
                 : PublishSchedule(schedule, std::get<std::shared_ptr<PacketSource>>(source));
    lines_.push_back(
        std::make_unique<PublishLine>(lines[i], std::move(made), whole, everywhere_, counters));
  }
}

Publisher::~Publisher() {
  stop();
  if (thread_.joinable()) thread_.join();
  release();
}

void Publisher::release() noexcept {
  for (Counter* counters : line_counters_) telemetry_.release(counters);
  telemetry_.release(counters_);
  telemetry_.release(lateness_);
}

void Publisher::start() {
  if (started_)
    throw Error(ErrorKind::kConfig, "publisher " + options_.name + " has been started already",
                "join it, then make a new one");
  if (options_.cpu_core) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(0, sizeof allowed, &allowed);
    if (!CPU_ISSET(*options_.cpu_core, &allowed))
      throw config_error("cpu_core", std::to_string(*options_.cpu_core),
                         "a core that this process may use");
  }
  if (!port_->claim(options_.tx_queue))
    throw Error(ErrorKind::kBusy,
                "queue " + std::to_string(options_.tx_queue) + " of " + port_->spec() +
                    " is driven by a worker or another publisher",
                "stop that one, or publish by another queue");
  started_ = true;
  running_.store(true, std::memory_order_release);
  thread_ = std::thread([this] { run(); });
}

void Publisher::stop() noexcept {
  stop_.store(true, std::memory_order_release);
}

void Publisher::join() {
  if (thread_.joinable()) thread_.join();
  if (failed_) {
    failed_ = false;
    throw Error(ErrorKind::kIo, error_);
  }
}

void Publisher::fail(std::string what) noexcept {
  if (!failed_) error_ = std::move(what);
  failed_ = true;
  stop();
}

void Publisher::pin() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(*options_.cpu_core, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  CPU_ZERO(&set);
  pthread_getaffinity_np(pthread_self(), sizeof set, &set);
  if (CPU_COUNT(&set) == 1 && CPU_ISSET(*options_.cpu_core, &set))
    affinity_.store(*options_.cpu_core);
  else
    fail("the kernel did not pin publisher " + options_.name + " to core " +
         std::to_string(*options_.cpu_core));
}

void Publisher::run() noexcept {
  if (options_.cpu_core) pin();
  pthread_setname_np(pthread_self(), options_.name.substr(0, 15).c_str());
  // The kernel may round the sleeps of this thread by 50 µs otherwise.
  prctl(PR_SET_TIMERSLACK, 1UL);
  const int64_t start = clock_->now();
  for (const auto& line : lines_) line->start(start);
  while (!stop_.load(std::memory_order_relaxed)) {
    const int64_t now = clock_->now();
    const int64_t due = collect(now);
    if (collected_ != 0)
      send();
    else if (due == PublishSchedule::kNever)
      break;
    else
      wait_until(due, now);
  }
  uint64_t too_long = log_ ? log_->too_long() : 0;
  for (const auto& line : lines_) {
    too_long += line->schedule().too_long();
    counters_[kDropPackets].add(line->held());  // stopped before they left
    counters_[kDropMessages].add(line->held_messages());
    line->counters()[kLineRefusedMessages].add(line->held_messages());
  }
  counters_[kDropTooLong].set(too_long);
  if (log_ && !stop_.load(std::memory_order_relaxed)) log_->finish();
  port_->unclaim(options_.tx_queue);
  running_.store(false, std::memory_order_release);
}

// Frames everything that is due; returns when the next packet is.
int64_t Publisher::collect(int64_t now) noexcept {
  collected_ = 0;
  // Bounded: where packets are lost, none may come of many.
  for (uint32_t turn = 0; turn < 4 * options_.burst; turn++) {
    int64_t due = PublishSchedule::kNever;
    uint32_t next = 0;
    for (uint32_t i = 0; i < lines_.size(); i++) {
      const int64_t its = lines_[i]->next_due(now);
      // Of lines that are due together, the one that is behind.
      if (i != 0 && (its > due || (its == due && lines_[i]->schedule().taken() >=
                                                     lines_[next]->schedule().taken())))
        continue;
      due = its;
      next = i;
    }
    if (due > now || collected_ == options_.burst) return due;
    uint8_t* const frame = frames_.data() + collected_ * frame_bytes_;
    PlannedPacket packet;
    const bool leaves = lines_[next]->take(frame, now, packet);
    const uint64_t taken = lines_[next]->schedule().taken();
    if (taken > counters_[kPublished].value()) counters_[kPublished].set(taken);
    if (log_) log_->publish(taken);
    if (leaves) planned_[collected_++] = {packet, next};
  }
  return now;
}

// A port takes frames in order and from the first on, so those refused are the last ones.
void Publisher::send() noexcept {
  wp_batch& batch = *batch_;
  uint32_t done = 0;
  Refusal refusal{clock_->now(), 0};
  while (done < collected_) {
    batch.count = collected_ - done;
    for (uint32_t i = 0; i < batch.count; i++) {
      batch.data[i] = frames_.data() + (done + i) * frame_bytes_;
      const Planned& planned = planned_[done + i];
      batch.length[i] =
          static_cast<uint32_t>(lines_[planned.line]->header_bytes()) + planned.packet.length;
      batch.verdict[i] = WP_TX;
      batch.handle[i] = WP_NO_FRAME;
    }
    const int64_t now = clock_->now();
    const uint32_t n = std::min(port_->send(options_.tx_queue, batch), batch.count);
    count_sent(done, n, now);
    done += n;
    if (done == collected_) return;
    counters_[kRefused].add(collected_ - done);
    if (n != 0) refusal = {now, 0};
    if (options_.on_refused == OnRefused::kDrop || !back_off(refusal)) break;
  }
  counters_[kDropPackets].add(collected_ - done);
  for (; done < collected_; done++) {
    const Planned& planned = planned_[done];
    counters_[kDropMessages].add(planned.packet.messages);
    lines_[planned.line]->counters()[kLineRefusedMessages].add(planned.packet.messages);
  }
}

bool Publisher::back_off(Refusal& refusal) noexcept {
  if (stop_.load(std::memory_order_relaxed)) return false;
  const int64_t now = clock_->now();
  if (now - refusal.since > options_.retry_timeout_ms * kMillisecond) {
    fail("port " + port_->spec() + " took no packet for " +
         std::to_string(options_.retry_timeout_ms) +
         " ms (is its link up? a longer retry_timeout_ms waits longer)");
    return false;
  }
  if (refusal.attempts++ < kRefusedSpins)
    clock_->spin();
  else
    clock_->sleep_until(now + kRefusedSleep);
  return true;
}

void Publisher::count_sent(uint32_t first, uint32_t n, int64_t now) noexcept {
  uint64_t messages = 0, bytes = 0, heartbeats = 0, ends = 0;
  for (const auto& [packet, line] : std::span(planned_).subspan(first, n)) {
    Counter* const of_line = lines_[line]->counters();
    of_line[kLinePackets].add(1);
    of_line[kLineMessages].add(packet.messages);
    messages += packet.messages;
    bytes += packet.length;
    heartbeats += packet.kind == PlanKind::kHeartbeat;
    ends += packet.kind == PlanKind::kEndOfSession;
    if (packet.paced && packet.kind == PlanKind::kData) lateness_->record(now - packet.due);
  }
  counters_[kPackets].add(n);
  counters_[kMessages].add(messages);
  counters_[kBytes].add(bytes);
  if (heartbeats) counters_[kHeartbeats].add(heartbeats);
  if (ends) counters_[kEndOfSession].add(ends);
}

void Publisher::wait_until(int64_t due, int64_t now) noexcept {
  if (due - now <= options_.spin_ns)
    clock_->spin();
  else
    clock_->sleep_until(std::min(due - options_.spin_ns, now + kLongestSleep));
}

uint64_t Publisher::published_packets() const noexcept {
  return counters_[kPackets].value();
}
uint64_t Publisher::published() const noexcept {
  return counters_[kPublished].value();
}
uint64_t Publisher::published_messages() const noexcept {
  return counters_[kMessages].value();
}

std::vector<std::pair<std::string, uint64_t>> Publisher::stats() const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kNames.size(); i++) out.emplace_back(kNames[i], counters_[i].value());
  for (const Counter* line : line_counters_) {
    out[kLostPackets].second += line[kLineLostPackets].value();
    out[kLostMessages].second += line[kLineLostMessages].value();
  }
  return out;
}

std::vector<std::pair<std::string, uint64_t>> Publisher::line_stats(size_t line) const {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (size_t i = 0; i < kLineCounters; i++)
    out.emplace_back(kLineCounterNames[i], line_counters_[line][i].value());
  return out;
}

}  // namespace wp::feed
