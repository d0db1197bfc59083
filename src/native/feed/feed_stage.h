// SPDX-License-Identifier: Apache-2.0
// The feed handler as a stage: UDP payload → MoldUDP64 → ITCH 5.0 → records in a Ring. What it
// does with each packet and message is counted; nothing is thrown, allocated or locked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/ring.h"
#include "core/stage.h"
#include "core/steering.h"
#include "core/telemetry.h"
#include "feed/itch50.h"
#include "feed/mold_udp64.h"

namespace wp::feed {

struct FeedOptions {
  std::string name = "feed";
  MoldOptions session;
  uint16_t channel = 0;
  int64_t midnight_ns = 0;  // see Itch50Context
  // Destination that a frame must have. Ports steer, but a multicast MAC stands for 32 groups
  // and a capture may hold anything: checked again here. port 0 = any UDP frame is the feed's.
  FlowRule flow;
  bool latency = true;  // fill the wire-to-ring histogram
};

// received packets = session.packets + other_flow + not_udp
// session.messages = delivered + unknown + malformed + ring_full
class FeedStage final : public Stage {
 public:
  FeedStage(FeedOptions options, std::shared_ptr<Ring> ring);
  ~FeedStage() override;

  const char* name() const noexcept override { return options_.name.c_str(); }
  bool process(wp_batch& batch) noexcept override;
  bool idle(int64_t now) noexcept override;
  void end(int64_t now) noexcept override;
  void attach(const StageContext& context) override;
  void abandon() noexcept override { ring_->close(); }

  struct Snapshot {
    MoldCounters session;
    Itch50Counters messages;
    std::vector<SequenceRange> gaps;
    std::array<char, kMoldSessionSize> session_name{};
    uint64_t next_sequence = 0;
    bool ended = false;
    uint64_t frames = 0, other_flow = 0, not_udp = 0, delivered = 0, ring_full = 0;
  };
  // State as of the stage's latest idle call (at most some hundred bursts ago; exact once the
  // worker has stopped). Any thread.
  Snapshot snapshot() const;

  const Histogram& wire_to_ring() const noexcept { return *wire_to_ring_; }
  uint64_t messages_delivered() const noexcept { return cells_[kDelivered].value(); }
  uint64_t packets_received() const noexcept { return cells_[kFrames].value(); }

 private:
  enum Cell : size_t {
    kFrames,
    kDelivered,
    kOtherFlow,
    kNotUdp,
    kRingFull,
    kUnknown,
    kMalformedMessages,
    kMalformedPackets,
    kDuplicates,
    kLate,
    kGaps,
    kGapMessages,
    kMissing,
    kHeartbeats,
    kWrongSession,
    kCells
  };
  struct Sink;

  wp_record* next_slot() noexcept;
  void wait_for_room() noexcept;
  void flush(int64_t now) noexcept;
  bool wanted(const uint8_t* frame, uint32_t length, const uint8_t** payload,
              size_t* payload_length) noexcept;
  void publish_counters() noexcept;
  void take_snapshot() noexcept;

  FeedOptions options_;
  std::shared_ptr<Ring> ring_;
  std::optional<Ring::Turn> turn_;           // the ring's producer, from start to end
  const std::atomic<bool>* stop_ = nullptr;  // the worker's, while it runs
  Clock& clock_;
  Telemetry& telemetry_;
  MoldUDP64 session_;
  Itch50Decoder decoder_;
  Itch50Context context_;
  Counter* cells_;
  Histogram* wire_to_ring_;

  static constexpr size_t kMaxBatch = 4096;  // open_port allows no larger burst
  std::vector<uint32_t> delivered_in_;       // messages of each frame of the burst

  wp_record* slots_ = nullptr;  // reserved in the ring, not yet committed
  size_t room_ = 0;
  size_t used_ = 0;
  uint64_t frames_ = 0, other_flow_ = 0, not_udp_ = 0, delivered_ = 0, ring_full_ = 0;

  mutable std::mutex snapshot_mutex_;  // the data thread only ever tries it, between bursts
  Snapshot snapshot_;
};

}  // namespace wp::feed
