// SPDX-License-Identifier: Apache-2.0
#include "capture/ring_buffer_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "core/error.h"
#include "programs/tap_shared.h"

namespace wp::capture {
namespace {

// linux/bpf.h
constexpr uint32_t kBusy = 1u << 31, kDiscard = 1u << 30;
constexpr uint64_t kRecordHeader = 8;
constexpr uint32_t kCpus = 4096;

size_t page() noexcept {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Of three readings the one between which the least time passed.
int64_t monotonic_to_realtime() noexcept {
  int64_t best = INT64_MAX, offset = 0;
  for (int i = 0; i < 3; i++) {
    const int64_t before = Clock::steady(), now = Clock::realtime(), after = Clock::steady();
    if (after - before >= best) continue;
    best = after - before;
    offset = now - (before + best / 2);
  }
  return offset;
}

}  // namespace

RingBufferSource::RingBufferSource(int map_fd, uint64_t ring_bytes, uint32_t snap_length,
                                   std::vector<BpfInstruction> filter)
    : ring_bytes_(ring_bytes),
      snap_length_(snap_length),
      filter_(std::move(filter)),
      record_(std::make_unique<uint64_t[]>((sizeof(FrameRecord) + TAP_MAX_COPY) / 8 + 1)),
      lost_on_(kCpus),
      to_realtime_(monotonic_to_realtime()) {
  if (const std::string wrong = filter_.empty() ? "" : bpf_problem(filter_); !wrong.empty())
    throw Error(ErrorKind::kConfig, "the capture filter is not usable: " + wrong);
  fd_ = fcntl(map_fd, F_DUPFD_CLOEXEC, 0);
  void* consumer =
      fd_ < 0 ? MAP_FAILED : mmap(nullptr, page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  void* producer = consumer == MAP_FAILED ? MAP_FAILED
                                          : mmap(nullptr, page() + 2 * ring_bytes, PROT_READ,
                                                 MAP_SHARED, fd_, static_cast<off_t>(page()));
  if (producer == MAP_FAILED) {
    const int code = errno;
    if (consumer != MAP_FAILED) munmap(consumer, page());
    if (fd_ >= 0) close(fd_);
    throw Error(ErrorKind::kIo,
                std::string("cannot map the tap's ring buffer: ") + std::strerror(code));
  }
  consumer_ = static_cast<Position*>(consumer);
  producer_ = static_cast<Position*>(producer);
  data_ = static_cast<const uint8_t*>(producer) + page();
  at_ = consumer_->value.load(std::memory_order_relaxed);
}

RingBufferSource::~RingBufferSource() {
  munmap(consumer_, page());
  munmap(producer_, page() + 2 * ring_bytes_);
  close(fd_);
}

// A record of the program as one of ours; false: it is not wanted, or no record.
bool RingBufferSource::take(const uint8_t* bytes, uint32_t size) noexcept {
  tap_frame head;
  if (size < sizeof head) {
    broken_++;
    return false;
  }
  std::memcpy(&head, bytes, sizeof head);
  if (head.captured > size - sizeof head || head.captured > TAP_MAX_COPY || head.cpu >= kCpus) {
    broken_++;
    return false;
  }
  const uint64_t lost = head.lost - std::min<uint64_t>(head.lost, lost_on_[head.cpu]);
  lost_on_[head.cpu] += lost;
  told_ += lost;
  pending_lost_ += lost;
  seen_++;
  if (!filter_.empty() && !run_bpf(filter_, bytes + sizeof head, head.captured, head.original)) {
    filtered_++;
    return false;
  }
  auto* record = reinterpret_cast<FrameRecord*>(record_.get());
  const uint32_t captured = std::min(head.captured, snap_length_);
  *record = {.bytes = 0,
             .captured = captured,
             .original = head.original,
             .lost = static_cast<uint32_t>(std::exchange(pending_lost_, 0)),
             .timestamp = static_cast<int64_t>(head.monotonic) + to_realtime_,
             .cookie = 0,
             .queue = static_cast<uint16_t>(head.queue),
             .interface = 0,
             .direction = FrameDirection::kIn,
             .verdict = head.verdict,
             .reserved = 0};
  std::memcpy(record->data(), bytes + sizeof head, captured);
  return true;
}

const FrameRecord* RingBufferSource::peek(uint32_t) noexcept {
  const auto* handed = reinterpret_cast<const FrameRecord*>(record_.get());
  if (handed_) return handed;
  for (;;) {
    if (at_ == producer_->value.load(std::memory_order_acquire)) return nullptr;
    const uint8_t* record = data_ + (at_ & (ring_bytes_ - 1));
    const uint32_t length =
        reinterpret_cast<const std::atomic<uint32_t>*>(record)->load(std::memory_order_acquire);
    if (length & kBusy) return nullptr;  // its program is still writing it
    const uint32_t size = length & ~(kBusy | kDiscard);
    handed_ = !(length & kDiscard) && take(record + kRecordHeader, size);
    at_ += (kRecordHeader + size + 7) & ~uint64_t{7};
    // It has been copied: its room is the program's again.
    consumer_->value.store(at_, std::memory_order_release);
    if (handed_) return handed;
  }
}

void RingBufferSource::consume(uint32_t, const FrameRecord*) noexcept {
  handed_ = false;
}

SourceCounts RingBufferSource::counts(uint32_t) const noexcept {
  const uint64_t lost = std::max(lost_, told_);
  return {seen_ + lost, filtered_, lost, broken_};
}

bool RingBufferSource::renew() noexcept {
  to_realtime_ = monotonic_to_realtime();
  return !ended_;
}

}  // namespace wp::capture
