// SPDX-License-Identifier: Apache-2.0
// The feed handler as a stage: UDP frames to the lines of channels, their messages as records in a
// Ring. What it does with each frame is counted; nothing is thrown, allocated or locked.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/ring.h"
#include "core/stage.h"
#include "core/telemetry.h"
#include "feed/channel.h"
#include "feed/flow_table.h"
#include "feed/record_output.h"

namespace wp::feed {

struct FeedOptions {
  std::string name = "feed";
  // The frames' stamps are of now: fill the latency histograms. A capture's are not: when the
  // stage ends, what its channels hold is delivered, for nothing follows.
  bool latency = true;
};

// frames = packets of all lines + other_flow + not_udp (packets of replies apart: no frames)
class FeedStage final : public Stage {
 public:
  // Ports steer, but a multicast MAC stands for 32 groups and a capture may hold anything: the
  // destination is checked here again. Throws wp::Error for a channel that another stage has and
  // for a flow that two lines have.
  FeedStage(FeedOptions options, std::shared_ptr<Ring> ring,
            std::vector<std::shared_ptr<Channel>> channels,
            std::shared_ptr<LockedBooks> books = nullptr);
  ~FeedStage() override;

  const char* name() const noexcept override { return options_.name.c_str(); }
  bool process(wp_batch& batch) noexcept override;
  bool idle(int64_t now) noexcept override;
  void end(int64_t now) noexcept override;
  // Throws wp::Error where another worker gives numbers of a channel's symbol table.
  void attach(const StageContext& context) override;
  void abandon() noexcept override { output_.ring().close(); }

  struct Snapshot {
    uint64_t frames = 0, other_flow = 0, not_udp = 0, delivered = 0, ring_full = 0;
  };
  // State as of the stage's latest idle call (at most some hundred bursts ago; exact once the
  // worker has stopped). Any thread.
  Snapshot snapshot() const;
  const std::vector<std::shared_ptr<Channel>>& channels() const noexcept { return channels_; }

  const Histogram& wire_to_ring() const noexcept { return *wire_to_ring_; }
  // Until the books know. Empty without books.
  const Histogram& wire_to_book() const noexcept {
    return wire_to_book_ != nullptr ? *wire_to_book_ : none_;
  }
  uint64_t messages_delivered() const noexcept { return cells_[kDelivered].value(); }
  uint64_t packets_received() const noexcept { return cells_[kFrames].value(); }

 private:
  enum Cell : size_t { kFrames, kDelivered, kOtherFlow, kNotUdp, kRingFull, kConsumed, kCells };

  void release() noexcept;
  void unclaim_symbols() noexcept;
  void sample(const wp_batch& batch, int64_t now, Histogram& histogram) noexcept;
  void flush_waited(int64_t now) noexcept;
  void service(Channel& channel, int64_t now) noexcept;
  void service(int64_t now) noexcept;
  void publish(int64_t now, bool must) noexcept;

  FeedOptions options_;
  std::vector<std::shared_ptr<Channel>> channels_;
  FlowTable flows_;
  RecordOutput output_;
  Clock& clock_;
  Telemetry& telemetry_;
  Counter* cells_ = nullptr;
  Histogram* wire_to_ring_ = nullptr;
  Histogram* wire_to_book_ = nullptr;
  Histogram none_;

  static constexpr size_t kMaxBatch = 4096;  // open_port allows no larger burst
  const int64_t* polled_until_ = nullptr;    // the worker's
  std::vector<uint32_t> put_in_;             // records that each frame of the burst made
  uint64_t frames_ = 0, other_flow_ = 0, not_udp_ = 0;

  mutable std::mutex snapshot_mutex_;  // the data thread only ever tries it, between bursts
  Snapshot snapshot_;
};

}  // namespace wp::feed
