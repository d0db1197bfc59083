// SPDX-License-Identifier: Apache-2.0
#include "core/tap.h"

#include <algorithm>
#include <cstring>

#include "core/clock.h"
#include "core/telemetry.h"

namespace wp {
namespace {
constexpr uint32_t kBurstsBetweenLeaseChecks = 1024;
constexpr uint32_t kMaxBurst = 4096;  // what ports and workers allow
}  // namespace

enum class Tap::Fate : uint8_t { kUnwanted, kRecorded, kNoRoom };

// What the driver of one queue keeps to itself.
struct alignas(64) Tap::Queue {
  uint64_t request = 0;               // that it followed last, fulfilled or not
  std::optional<TapSegment> segment;  // none: off, or refused
  FrameRing ring;
  uint32_t bursts = 0;        // since the lease was looked at
  std::vector<Fate> leaving;  // of the burst that is being sent

  ~Queue() { let_go(); }
  void let_go() noexcept {
    if (segment) segment->follow(false);
    segment.reset();
  }
};

Tap::Tap() = default;

Tap::~Tap() {
  if (telemetry_) telemetry_->release(cell_);
}

void Tap::open(Telemetry& telemetry, const std::string& spec, uint32_t queues) {
  queues_ = std::vector<Queue>(queues);
  cell_ = telemetry.tap(spec);
  cell_->queues = queues;
  telemetry_ = &telemetry;
}

uint64_t Tap::followed(uint32_t queue) const noexcept {
  return queues_.empty() ? 0 : queues_[queue].request;
}

// The one place with system calls: to map a capturer's rings when it comes, to let go when it
// goes.
void Tap::follow(uint32_t queue) noexcept {
  Queue& q = queues_[queue];
  q.let_go();
  q.request = cell_->request.load(std::memory_order_acquire);
  if (q.request == 0) return;
  try {
    TapSegment segment = TapSegment::attach(q.request);
    if (queue < segment.queues()) {
      q.ring = segment.ring(queue);
      q.bursts = 0;
      q.leaving.reserve(kMaxBurst);
      segment.follow(true);
      q.segment.emplace(std::move(segment));
      return;
    }
  } catch (const std::exception&) {
    // Told to the one who asked, below.
  }
  cell_->refused.store(q.request, std::memory_order_release);
}

void Tap::check_lease(uint32_t queue) noexcept {
  Queue& q = queues_[queue];
  if (Clock::steady() - cell_->heartbeat.load(std::memory_order_relaxed) <= kTapLease) return;
  uint64_t dead = q.request;
  cell_->request.compare_exchange_strong(dead, 0);
  follow(queue);
}

Tap::Queue* Tap::ready(uint32_t queue) noexcept {
  if (queues_.empty()) return nullptr;
  Queue& q = queues_[queue];
  if (cell_->request.load(std::memory_order_relaxed) != q.request) [[unlikely]]
    follow(queue);
  else if (++q.bursts >= kBurstsBetweenLeaseChecks) {
    q.bursts = 0;
    check_lease(queue);
  }
  return q.segment ? &q : nullptr;
}

bool Tap::add(Queue& q, uint32_t queue, const wp_batch& batch, uint32_t i, FrameDirection way,
              int64_t timestamp) noexcept {
  const uint32_t captured = std::min(batch.length[i], q.segment->snap_length());
  FrameRecord* record = q.ring.reserve(captured);
  if (!record) return false;
  record->original = batch.length[i];
  record->timestamp = timestamp;
  record->cookie = reinterpret_cast<uint64_t>(batch.data[i]);
  record->queue = static_cast<uint16_t>(queue);
  record->interface = 0;
  record->direction = way;
  record->verdict = FrameRecord::kNoVerdict;
  record->reserved = 0;
  std::memcpy(record->data(), batch.data[i], captured);
  return true;
}

bool Tap::wants(const Queue& q, const wp_batch& batch, uint32_t i) noexcept {
  const auto& filter = q.segment->filter();
  return filter.empty() || run_bpf(filter, batch.data[i], batch.length[i], batch.length[i]) != 0;
}

void Tap::received(uint32_t queue, const wp_batch& batch) noexcept {
  Queue* q = ready(queue);
  if (!q) return;
  uint64_t unwanted = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (!wants(*q, batch, i))
      unwanted++;
    else if (!add(*q, queue, batch, i, FrameDirection::kIn, batch.timestamp[i]))
      q->ring.lose(1);
  }
  q->ring.count(batch.count, unwanted);
}

void Tap::judged(uint32_t queue, const wp_batch& batch) noexcept {
  if (queues_.empty() || !queues_[queue].segment) return;
  FrameRing& ring = queues_[queue].ring;
  // Stages may have taken frames out of the batch, or moved those that were decided early behind
  // the others: both parts keep their order, so that one of two places is the right one.
  uint32_t near = 0, far = 0;
  for (FrameRecord* record = ring.first(); record; record = ring.next(record)) {
    const auto is = [&](uint32_t i) {
      return i < batch.count && reinterpret_cast<uint64_t>(batch.data[i]) == record->cookie;
    };
    uint32_t i = near;
    if (is(near)) {
      near++;
    } else {
      i = far;
      if (!is(i))
        for (i = 0; i < batch.count && !is(i);) i++;
      far = i + 1;
    }
    record->verdict = i < batch.count ? batch.verdict[i] : static_cast<uint8_t>(WP_KEEP);
    record->cookie = 0;
  }
  ring.publish();
}

void Tap::passed_on(uint32_t queue) noexcept {
  if (queues_.empty() || !queues_[queue].segment) return;
  FrameRing& ring = queues_[queue].ring;
  for (FrameRecord* record = ring.first(); record; record = ring.next(record)) record->cookie = 0;
  ring.publish();
}

void Tap::sending(uint32_t queue, const wp_batch& batch, int64_t now) noexcept {
  Queue* q = ready(queue);
  if (!q) return;
  q->leaving.clear();
  bool room = true;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_TX) continue;
    Fate fate = Fate::kUnwanted;
    // Whether a frame that found no room was lost is known once the port has taken it.
    if (wants(*q, batch, i)) {
      room = room && add(*q, queue, batch, i, FrameDirection::kOut, now);
      fate = room ? Fate::kRecorded : Fate::kNoRoom;
    }
    q->leaving.push_back(fate);  // within what follow() reserved
  }
}

void Tap::sent(uint32_t queue, uint32_t frames) noexcept {
  if (queues_.empty() || !queues_[queue].segment) return;
  Queue& q = queues_[queue];
  uint32_t unwanted = 0, no_room = 0;
  FrameRecord* record = q.ring.first();
  for (uint32_t i = 0; i < q.leaving.size() && i < frames; i++) {
    unwanted += q.leaving[i] == Fate::kUnwanted;
    no_room += q.leaving[i] == Fate::kNoRoom;
    if (q.leaving[i] != Fate::kRecorded || !record) continue;  // none: the ring was tampered with
    record->cookie = 0;
    record = q.ring.next(record);
  }
  if (record) q.ring.take_back(record);
  q.ring.publish();
  if (no_room != 0) q.ring.lose(no_room);
  q.ring.count(std::min<uint64_t>(frames, q.leaving.size()), unwanted);
}

}  // namespace wp
