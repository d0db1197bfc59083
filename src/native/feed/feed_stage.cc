// SPDX-License-Identifier: Apache-2.0
#include "feed/feed_stage.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "net/headers.h"

namespace wp::feed {
namespace {

constexpr size_t kReserve = 256;  // slots asked for at a time
// Without a record taken: how long a worker that is to stop waits for room in the ring, ns.
constexpr int64_t kConsumerGrace = 200'000'000;

constexpr std::array<const char*, 15> kNames{"frames",
                                             "delivered",
                                             "drop.other_flow",
                                             "drop.not_udp",
                                             "drop.ring_full",
                                             "drop.unknown",
                                             "drop.malformed_message",
                                             "drop.malformed_packet",
                                             "drop.duplicate",
                                             "late",
                                             "gaps",
                                             "gap_messages",
                                             "missing",
                                             "heartbeats",
                                             "drop.wrong_session"};

}  // namespace

// What the session reports, turned into records.
struct FeedStage::Sink {
  FeedStage& stage;
  uint32_t delivered = 0;

  void message(uint64_t seq, const uint8_t* data, uint16_t length, int64_t recv_time, bool late) {
    // Decoding needs a slot only for what it knows; asking first keeps the store direct.
    wp_record* slot = stage.next_slot();
    if (!slot) [[unlikely]] {
      stage.ring_full_++;
      stage.ring_->count_dropped(1);
      return;
    }
    stage.context_.seq = seq;
    stage.context_.recv_time = recv_time;
    stage.context_.flags = late ? WP_FLAG_LATE : 0;
    if (stage.decoder_.decode(data, length, stage.context_, *slot) == ItchResult::kOk) [[likely]] {
      stage.used_++;
      delivered++;
    }
  }
  void gap(uint64_t, uint64_t) {}
  void heartbeat(uint64_t) {}
  void end_of_session(uint64_t) {}
  void session_change(const MoldSession&, const MoldSession&) {}
};

FeedStage::FeedStage(FeedOptions options, std::shared_ptr<Ring> ring)
    : options_(std::move(options)),
      ring_(std::move(ring)),
      clock_(Clock::process()),
      telemetry_(Telemetry::process()),
      session_(options_.session),
      delivered_in_(kMaxBatch) {
  snapshot_.gaps.reserve(options_.session.max_gaps);
  static_assert(kNames.size() == kCells);
  context_.channel = options_.channel;
  context_.midnight_ns = options_.midnight_ns;
  cells_ = telemetry_.counters("feed/" + options_.name, kNames);
  wire_to_ring_ = telemetry_.histogram("feed/" + options_.name + "/wire_to_ring_ns");
}

FeedStage::~FeedStage() {
  telemetry_.release(cells_);
  telemetry_.release(wire_to_ring_);
}

void FeedStage::attach(const StageContext& context) {
  turn_.emplace(*ring_, Ring::Turn::kProducer);
  stop_ = context.stop;
}

// A free slot, waiting for one where the ring's policy says so; null: the record is lost.
wp_record* FeedStage::next_slot() noexcept {
  if (used_ < room_) [[likely]]
    return slots_ + used_;
  flush(clock_.now());
  room_ = ring_->reserve(kReserve, &slots_);
  if (room_ == 0) [[unlikely]]
    wait_for_room();
  return room_ == 0 ? nullptr : slots_;
}

// A worker that is to stop may stand here, in the middle of a burst. It gets its room as long as
// somebody takes records; then nobody is coming, and the rest is lost, and counted.
void FeedStage::wait_for_room() noexcept {
  if (ring_->policy() == FullPolicy::kBlock) ring_->count_blocked();
  uint64_t popped = ring_->popped();
  int64_t since = 0;
  for (uint64_t spin = 0; room_ == 0 && ring_->wait_for_room(spin); spin++) {
    room_ = ring_->reserve(kReserve, &slots_);
    if (room_ != 0 || !stop_ || !stop_->load(std::memory_order_relaxed)) continue;
    const int64_t now = Clock::steady();
    if (since == 0 || ring_->popped() != popped) {
      popped = ring_->popped();
      since = now;
    } else if (now - since > kConsumerGrace) {
      ring_->close();
    }
  }
}

void FeedStage::flush(int64_t now) noexcept {
  if (used_ != 0) {
    ring_->commit(used_, now);
    delivered_ += used_;
  }
  slots_ = nullptr;
  used_ = room_ = 0;
}

bool FeedStage::wanted(const uint8_t* frame, uint32_t length, const uint8_t** payload,
                       size_t* payload_length) noexcept {
  net::Headers h;
  net::parse_headers(frame, length, h);
  if (!(h.layers & net::kUdp)) [[unlikely]] {
    not_udp_++;
    return false;
  }
  const FlowRule& flow = options_.flow;
  if ((flow.port != 0 && flow.port != h.dst_port) ||
      (flow.family != 0 &&
       (flow.family != h.ip_version ||
        std::memcmp(flow.address.data(), h.ip_dst, flow.family == 4 ? 4 : 16) != 0))) [[unlikely]] {
    other_flow_++;
    return false;
  }
  *payload = frame + h.payload_offset;
  *payload_length = h.payload_length;
  return true;
}

bool FeedStage::process(wp_batch& batch) noexcept {
  Sink sink{*this};
  for (uint32_t i = 0; i < batch.count; i++) {
    const uint8_t* payload;
    size_t length;
    if (i + 2 < batch.count) __builtin_prefetch(batch.data[i + 2]);
    delivered_in_[i] = 0;
    if (!wanted(batch.data[i], batch.length[i], &payload, &length)) continue;
    session_.on_packet(payload, length, batch.timestamp[i], sink);
    // One sample per message; the clock is read once per burst, at its end, for those whose
    // records are published with the burst.
    delivered_in_[i] = std::exchange(sink.delivered, 0);
  }
  frames_ += batch.count;
  const int64_t now = clock_.now();
  flush(now);
  if (options_.latency)
    for (uint32_t i = 0; i < batch.count; i++)
      if (delivered_in_[i]) wire_to_ring_->record(now - batch.timestamp[i], delivered_in_[i]);
  cells_[kFrames].set(frames_);
  cells_[kDelivered].set(delivered_);
  return true;
}

bool FeedStage::idle(int64_t) noexcept {
  publish_counters();
  const std::unique_lock lock(snapshot_mutex_, std::try_to_lock);
  if (lock) take_snapshot();
  return true;
}

// A reader may have been in the way of the last idle call.
void FeedStage::end(int64_t) noexcept {
  turn_.reset();
  const std::lock_guard lock(snapshot_mutex_);
  take_snapshot();
}

void FeedStage::take_snapshot() noexcept {
  snapshot_.session = session_.counters();
  snapshot_.messages = decoder_.counters();
  const auto gaps = session_.gaps();
  // Stays within the room reserved by the constructor.
  snapshot_.gaps.assign(gaps.begin(), gaps.end());
  snapshot_.session_name = session_.session();
  snapshot_.next_sequence = session_.next_sequence();
  snapshot_.ended = session_.ended();
  snapshot_.frames = frames_;
  snapshot_.other_flow = other_flow_;
  snapshot_.not_udp = not_udp_;
  snapshot_.delivered = delivered_;
  snapshot_.ring_full = ring_full_;
}

void FeedStage::publish_counters() noexcept {
  const MoldCounters& s = session_.counters();
  const Itch50Counters& m = decoder_.counters();
  cells_[kOtherFlow].set(other_flow_);
  cells_[kNotUdp].set(not_udp_);
  cells_[kRingFull].set(ring_full_);
  cells_[kUnknown].set(m.unknown);
  cells_[kMalformedMessages].set(m.malformed);
  cells_[kMalformedPackets].set(s.malformed);
  cells_[kDuplicates].set(s.duplicates);
  cells_[kLate].set(s.late);
  cells_[kGaps].set(s.gaps);
  cells_[kGapMessages].set(s.gap_messages);
  cells_[kMissing].set(session_.missing());
  cells_[kHeartbeats].set(s.heartbeats);
  cells_[kWrongSession].set(s.wrong_session);
}

FeedStage::Snapshot FeedStage::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

}  // namespace wp::feed
