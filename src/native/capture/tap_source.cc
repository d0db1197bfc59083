// SPDX-License-Identifier: Apache-2.0
#include "capture/tap_source.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "core/clock.h"
#include "core/error.h"

namespace wp::capture {
namespace {

constexpr std::string_view kPrefix = "tap/";
constexpr int kLetGoTries = 400;
constexpr timespec kLetGoNap{0, 500'000};

uint32_t next_number() noexcept {
  static std::atomic<uint32_t> last{0};
  return last.fetch_add(1) + 1;
}

bool alive(const TapCell& cell) noexcept {
  const auto pid = static_cast<pid_t>(cell.request.load() >> 32);
  return Clock::steady() - cell.heartbeat.load(std::memory_order_relaxed) <= kTapLease &&
         (kill(pid, 0) == 0 || errno != ESRCH);
}

}  // namespace

std::vector<std::string> TapSource::ports(const std::string& process) {
  std::vector<std::string> out;
  for (const TelemetryEntry& entry : Telemetry::attach(process)->entries())
    if (entry.kind == Kind::kTap) out.push_back(entry.name.substr(kPrefix.size()));
  return out;
}

TapSource::TapSource(const std::string& process, const std::string& port, uint64_t ring_bytes,
                     uint32_t snap_length, std::span<const BpfInstruction> filter)
    : telemetry_(Telemetry::attach(process, true)) {
  std::string have;
  for (const TelemetryEntry& entry : telemetry_->entries()) {
    if (entry.kind != Kind::kTap) continue;
    const std::string spec = entry.name.substr(kPrefix.size());
    if (spec == port) cell_ = entry.tap;
    have += (have.empty() ? "" : ", ") + spec;
  }
  if (!cell_)
    throw Error(ErrorKind::kConfig, "process " + process + " has no port \"" + port + "\"",
                have.empty() ? "it has no port open" : "it has: " + have);
  const auto pid = static_cast<uint32_t>(getpid());
  request_ = tap_request(pid, next_number());
  segment_ = std::make_unique<TapSegment>(
      TapSegment::create(request_, cell_->queues, ring_bytes, snap_length, filter));
  if (const unsigned user = telemetry_->user(); user != geteuid()) segment_->give_to(user);
  room_ = static_cast<uint32_t>(std::min<uint64_t>(snap_length, ring_bytes));
  for (uint32_t q = 0; q < segment_->queues(); q++) {
    rings_.push_back(segment_->ring(q));
    copies_.push_back(
        std::make_unique_for_overwrite<uint64_t[]>((sizeof(FrameRecord) + room_) / 8 + 1));
  }
  uint64_t other = cell_->request.load();
  if (other != 0 && alive(*cell_))
    throw Error(ErrorKind::kBusy,
                port + " of process " + process + " is captured by process " +
                    std::to_string(other >> 32) + " already",
                "end that one first");
  cell_->heartbeat.store(Clock::steady(), std::memory_order_relaxed);
  if (!cell_->request.compare_exchange_strong(other, request_))
    throw Error(ErrorKind::kBusy,
                port + " of process " + process + " has just been tapped by another process",
                "end that one first");
}

const FrameRecord* TapSource::peek(uint32_t stream) noexcept {
  FrameRing& ring = rings_[stream];
  const FrameRecord* record = ring.peek();
  if (!record) return nullptr;
  auto* copy = reinterpret_cast<FrameRecord*>(copies_[stream].get());
  *copy = *record;
  copy->captured = std::min(ring.captured(), room_);
  std::memcpy(copy->data(), record->data(), copy->captured);
  return copy;
}

SourceCounts TapSource::counts(uint32_t) const noexcept {
  SourceCounts out;
  for (const FrameRing& ring : rings_) {
    out.seen += ring.seen();
    out.filtered += ring.filtered();
    out.dropped += ring.dropped();
    out.broken += ring.broken();
  }
  return out;
}

bool TapSource::refused() const noexcept {
  return cell_->refused.load(std::memory_order_acquire) == request_;
}

bool TapSource::renew() noexcept {
  cell_->heartbeat.store(Clock::steady(), std::memory_order_relaxed);
  // Another one's, or nobody's: the port was closed, or we were thought dead.
  return cell_->request.load(std::memory_order_acquire) == request_ && !telemetry_->abandoned();
}

// Waits until no queue writes any more, so that what was received before is all there; not for
// ever, as a queue that nobody polls does not notice.
void TapSource::stop() noexcept {
  uint64_t mine = request_;
  if (!cell_->request.compare_exchange_strong(mine, 0)) return;
  for (int i = 0; i < kLetGoTries && segment_->followers() != 0; i++)
    nanosleep(&kLetGoNap, nullptr);
}

}  // namespace wp::capture
