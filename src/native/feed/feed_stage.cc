// SPDX-License-Identifier: Apache-2.0
#include "feed/feed_stage.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "feed/symbol_table.h"
#include "net/headers.h"

namespace wp::feed {
namespace {

constexpr std::array<const char*, 6> kNames{"frames",       "delivered",      "drop.other_flow",
                                            "drop.not_udp", "drop.ring_full", "consumed"};

}  // namespace

FeedStage::FeedStage(FeedOptions options, std::shared_ptr<Ring> ring,
                     std::vector<std::shared_ptr<Channel>> channels,
                     std::shared_ptr<LockedBooks> books)
    : options_(std::move(options)),
      channels_(std::move(channels)),
      output_(std::move(ring), std::move(books)),
      clock_(Clock::process()),
      telemetry_(Telemetry::process()),
      put_in_(kMaxBatch) {
  static_assert(kNames.size() == kCells);
  if (channels_.empty()) throw config_error("channels", "[]", "one channel at least");
  for (const auto& channel : channels_) {
    const ChannelOptions& o = channel->options();
    uint32_t line = 0;
    for (const auto* rules : {&o.lines, &o.recovery_lines}) {
      for (const FlowRule& rule : *rules) {
        flows_.add(rule, {channel.get(), line},
                   "line " + std::to_string(line) + " of channel " + o.name);
        ++line;
      }
    }
  }
  try {
    for (const auto& channel : channels_) channel->bind(&output_, options_.name);
    cells_ = telemetry_.counters("feed/" + options_.name, kNames);
    wire_to_ring_ = telemetry_.histogram("feed/" + options_.name + "/wire_to_ring_ns");
    if (output_.has_books())
      wire_to_book_ = telemetry_.histogram("feed/" + options_.name + "/wire_to_book_ns");
  } catch (...) {
    release();
    throw;
  }
}

FeedStage::~FeedStage() {
  unclaim_symbols();
  release();
}

void FeedStage::attach(const StageContext& context) {
  for (const auto& channel : channels_) {
    SymbolTable* const symbols = channel->options().symbols.get();
    if (symbols == nullptr || symbols->claim(this)) continue;
    unclaim_symbols();
    throw Error(ErrorKind::kBusy,
                "symbol_table: that of channel " + channel->name() +
                    " is in use by another worker, and only one may give numbers of it",
                "give the channels of each worker a SymbolTable of their own, or stop that worker");
  }
  polled_until_ = context.polled_until;
  // What the channels have before their first service.
  for (const auto& channel : channels_) channel->begin(polled_until_ ? *polled_until_ : INT64_MAX);
  output_.start(context.stop);
}

void FeedStage::unclaim_symbols() noexcept {
  for (const auto& channel : channels_)
    if (channel->options().symbols) channel->options().symbols->unclaim(this);
}

void FeedStage::release() noexcept {
  for (const auto& channel : channels_) channel->unbind(&output_);
  for (const void* cells :
       {static_cast<const void*>(cells_), static_cast<const void*>(wire_to_ring_),
        static_cast<const void*>(wire_to_book_)}) {
    if (cells != nullptr) telemetry_.release(cells);
  }
}

bool FeedStage::process(wp_batch& batch) noexcept {
  for (uint32_t i = 0; i < batch.count; i++) {
    if (i + 2 < batch.count) __builtin_prefetch(batch.data[i + 2]);
    put_in_[i] = 0;
    net::Headers h;
    net::parse_headers(batch.data[i], batch.length[i], h);
    if (!(h.layers & net::kUdp)) [[unlikely]] {
      not_udp_++;
      continue;
    }
    const FlowTarget* const target = flows_.find(h);
    if (target == nullptr) [[unlikely]] {
      other_flow_++;
      continue;
    }
    const uint64_t before = output_.put_at_once();
    target->channel->on_packet(target->line, batch.data[i] + h.payload_offset, h.payload_length,
                               batch.timestamp[i]);
    // One sample per message; the clock is read once per burst, at its end, for those whose
    // records are published with the burst.
    put_in_[i] = static_cast<uint32_t>(output_.put_at_once() - before);
  }
  frames_ += batch.count;
  int64_t now = clock_.now();
  if (output_.has_books()) {
    output_.apply();
    now = clock_.now();
    sample(batch, now, *wire_to_book_);
  }
  output_.flush(now);
  sample(batch, now, *wire_to_ring_);
  output_.forget_waited();
  service(now);
  cells_[kFrames].set(frames_);
  cells_[kDelivered].set(output_.delivered());
  return true;
}

void FeedStage::sample(const wp_batch& batch, int64_t now, Histogram& histogram) noexcept {
  if (!options_.latency) return;
  for (uint32_t i = 0; i < batch.count; i++)
    if (put_in_[i]) histogram.record(now - batch.timestamp[i], put_in_[i]);
  output_.sample_waited(now, histogram);
}

// Records that no frame brought, but mail or a timer.
void FeedStage::flush_waited(int64_t now) noexcept {
  output_.flush(now);
  if (options_.latency) {
    output_.sample_waited(now, *wire_to_ring_);
    if (wire_to_book_ != nullptr) output_.sample_waited(now, *wire_to_book_);
  }
  output_.forget_waited();
}

void FeedStage::service(Channel& channel, int64_t now) noexcept {
  channel.polled_until(polled_until_ ? *polled_until_ : INT64_MAX);
  channel.service(now);
}

// After a burst: what cannot wait for the next idle call.
void FeedStage::service(int64_t now) noexcept {
  for (const auto& channel : channels_) {
    if (!channel->due(now)) [[likely]]
      continue;
    service(*channel, now);
    flush_waited(now);
  }
}

bool FeedStage::idle(int64_t now) noexcept {
  for (const auto& channel : channels_) service(*channel, now);
  flush_waited(now);
  publish(now, false);
  return true;
}

// A reader may have been in the way of the last idle call.
void FeedStage::end(int64_t now) noexcept {
  for (const auto& channel : channels_) {
    do service(*channel, now);
    while (channel->has_mail());
    if (!options_.latency) channel->finish();
  }
  flush_waited(now);
  output_.stop();
  unclaim_symbols();
  polled_until_ = nullptr;
  publish(now, true);
}

void FeedStage::publish(int64_t now, bool must) noexcept {
  for (const auto& channel : channels_) channel->publish(now, must);
  cells_[kFrames].set(frames_);
  cells_[kDelivered].set(output_.delivered());
  cells_[kOtherFlow].set(other_flow_);
  cells_[kNotUdp].set(not_udp_);
  cells_[kRingFull].set(output_.ring_full());
  // Of those delivered by this stage: a ring may hold what somebody put there before.
  cells_[kConsumed].set(output_.delivered() - std::min(output_.delivered(), output_.waiting()));
  std::unique_lock lock(snapshot_mutex_, std::defer_lock);
  if (must) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return;
  }
  snapshot_ = {frames_, other_flow_, not_udp_, output_.delivered(), output_.ring_full()};
}

FeedStage::Snapshot FeedStage::snapshot() const {
  const std::lock_guard lock(snapshot_mutex_);
  return snapshot_;
}

}  // namespace wp::feed
