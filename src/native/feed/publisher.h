// SPDX-License-Identifier: Apache-2.0
// A publisher: one thread that sends a source over MoldUDP64 out of a port, to absolute
// deadlines. Far from the next deadline it sleeps, near it spins.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "core/batch_storage.h"
#include "core/port.h"
#include "feed/message_log.h"
#include "feed/publish_line.h"
#include "feed/publish_schedule.h"
#include "feed/stream_numbers.h"
#include "feed/udp_framer.h"

namespace wp::feed {

enum class OnRefused : uint8_t {
  kRetry,  // until the port takes it: what was published is exact
  kDrop,   // counted; its sequence numbers are missing from the stream
};

struct PublisherOptions {
  std::string name = "publisher";  // of its counters: publisher/<name>/…
  std::optional<int> cpu_core;     // none = no affinity
  PublishScheduleOptions schedule;
  UdpFramerOptions flow;
  // The same messages by several lines, in the place of the one to `flow`; at most 16. Not of
  // packets that go out as they are.
  std::vector<PublishLineOptions> lines;
  // Bytes of messages that are kept for servers (log()); 0: none, unless lines need them.
  size_t history_bytes = 0;
  uint32_t tx_queue = 0;
  uint32_t burst = 32;  // packets handed to the port at once, 1 to 1024
  OnRefused on_refused = OnRefused::kRetry;
  int64_t retry_timeout_ms = 5'000;  // then the publisher fails; 1 to 3600000
  // Spin instead of sleeping when the deadline is nearer than this. 0 to 1 s; the more, the more
  // punctual, and the more of a core it takes.
  int64_t spin_ns = 10'000;

  void validate() const;  // throws wp::Error naming the field
};

// The clock of the deadlines. Tests put their own in.
class PublishClock {
 public:
  virtual ~PublishClock() = default;
  virtual int64_t now() noexcept;                       // CLOCK_MONOTONIC, ns
  virtual void sleep_until(int64_t deadline) noexcept;  // absolute; may return early
  virtual void spin() noexcept;
};

class Publisher {
 public:
  // Throws wp::Error when an option is unusable or the port cannot send this flow.
  Publisher(PublisherOptions options, std::shared_ptr<Port> port,
            std::shared_ptr<MessageSource> source, std::shared_ptr<PublishClock> clock = {});
  Publisher(PublisherOptions options, std::shared_ptr<Port> port,
            std::shared_ptr<PacketSource> source, std::shared_ptr<PublishClock> clock = {});
  ~Publisher();  // stops and joins; an error not yet taken by join() is lost
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  void start();          // throws when started before, or the core does not exist
  void stop() noexcept;  // asks; what is not sent yet stays unsent, also the end of session
  void join();           // waits, then throws the first error that stopped the publisher
  bool running() const noexcept { return running_.load(std::memory_order_acquire); }

  // What the port took: data, heartbeats and ends of session; and the messages in it. Exact
  // after join(), current while running.
  uint64_t published_packets() const noexcept;
  uint64_t published_messages() const noexcept;
  // Messages of the stream that some line has come to.
  uint64_t published() const noexcept;
  // packets, messages, bytes (of UDP payload), heartbeats, end_of_session, tx_refused,
  // drop.packets, drop.messages, drop.too_long, published (messages of the stream that any line
  // has come to), lost.packets, lost.messages (by lines' impairments, on purpose).
  // messages + lost.messages + drop.messages = lines * published, once every line has ended.
  std::vector<std::pair<std::string, uint64_t>> stats() const;
  // How long after its deadline each paced data packet was handed to the port, ns.
  const Histogram& send_lateness() const noexcept { return *lateness_; }
  const PublisherOptions& options() const noexcept { return options_; }
  // The messages of the stream and their numbers, for servers; null without lines and history.
  const std::shared_ptr<MessageLog>& log() const noexcept { return log_; }
  const StreamNumbers& numbers() const noexcept { return numbers_; }
  size_t lines() const noexcept { return lines_.size(); }
  std::vector<std::pair<std::string, uint64_t>> line_stats(size_t line) const;
  // What a line lost on purpose, and what all of them lost; message numbers from 0. Not while
  // the publisher runs.
  const RangeList& lost(size_t line) const noexcept { return lines_[line]->lost(); }
  const RangeList& lost_everywhere() const noexcept { return everywhere_.ranges; }
  int affinity() const noexcept { return affinity_.load(); }  // core as read back, -1 = none

 private:
  using Source = std::variant<std::shared_ptr<MessageSource>, std::shared_ptr<PacketSource>>;
  struct Refusal {
    int64_t since;  // when the port last took a packet
    uint32_t attempts;
  };
  Publisher(PublisherOptions options, std::shared_ptr<Port> port, Source source,
            std::shared_ptr<PublishClock> clock);
  void make_lines(Source source);
  void release() noexcept;
  void run() noexcept;
  int64_t collect(int64_t now) noexcept;
  void send() noexcept;
  bool back_off(Refusal& refusal) noexcept;
  void count_sent(uint32_t first, uint32_t n, int64_t now) noexcept;
  void wait_until(int64_t due, int64_t now) noexcept;
  void pin() noexcept;
  void fail(std::string what) noexcept;

  PublisherOptions options_;
  std::shared_ptr<Port> port_;
  std::shared_ptr<PublishClock> clock_;
  struct Planned {
    PlannedPacket packet;
    uint32_t line;
  };
  StreamNumbers numbers_;
  std::shared_ptr<MessageLog> log_;
  LostEverywhere everywhere_;
  BatchStorage batch_;
  size_t frame_bytes_ = 0;
  std::vector<uint8_t> frames_;
  std::vector<Planned> planned_;
  uint32_t collected_ = 0;
  Telemetry& telemetry_;
  std::vector<std::unique_ptr<PublishLine>> lines_;
  std::vector<Counter*> line_counters_;
  Counter* counters_ = nullptr;
  Histogram* lateness_ = nullptr;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> running_{false};
  std::atomic<int> affinity_{-1};
  bool started_ = false;
  bool failed_ = false;
  std::string error_;
};

}  // namespace wp::feed
