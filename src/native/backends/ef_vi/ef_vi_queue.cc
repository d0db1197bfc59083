// SPDX-License-Identifier: Apache-2.0
// Receive and recycling. Transmit and waiting: ef_vi_queue_tx.cc.
#include "backends/ef_vi/ef_vi_queue.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::ef_vi_backend {
namespace {

// EF10 takes receive descriptors in eights only.
constexpr uint32_t kRefill = 8;
// Polls of one rx: a flood of other flows' frames must not keep a worker from its other work.
constexpr int kRounds = 16;

uint32_t ready_slots(const VirtualInterface& vi, const Queue::Config& config) {
  // Every frame in it keeps a buffer, so that it cannot run over.
  return config.by_reference ? config.max_held + 2 * config.batch_size + EF_VI_RECEIVE_BATCH
                             : vi.frames();
}

}  // namespace

const char* const kQueueCounterNames[kQueueCounters] = {
    "rx_packets",       "rx_bytes",          "tx_packets",
    "tx_bytes",         "tx_completions",    "held",
    "rx_unstamped",     "steer.filtered",    "steer.fragments",
    "rx_no_desc_trunc", "drop.rx_checksum",  "drop.rx_crc",
    "drop.rx_mismatch", "drop.rx_truncated", "drop.rx_too_long",
    "drop.rx_error",    "drop.rx_no_buffer", "drop.tx_ring_full",
    "drop.tx_too_long", "drop.tx_invalid",   "drop.tx_error"};

Queue::Queue(const Config& config, VirtualInterface& vi, const Steering& steering,
             Counter* counters, Clock& clock)
    : vi_(vi),
      counters_(counters),
      clock_(clock),
      ready_(ready_slots(vi, config)),
      free_(vi.frames()),
      most_out_(config.max_held + 2 * config.batch_size),
      max_tx_(vi.max_frame()),
      by_reference_(config.by_reference),
      descriptors_(!vi.shared_buffers()),
      stamped_(vi.stamped()),
      steering_(steering) {
  for (uint32_t i = vi.frames(); i-- > 0;) free_.push(i);
  if (descriptors_ && vi.rx_ring() != 0) {
    target_ = std::min(vi.rx_ring() - 1, vi.frames() - for_tx()) & ~(kRefill - 1);
    top_up();
  }
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  left_over_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (epoll_ < 0 || left_over_ < 0)
    throw Error(ErrorKind::kIo, std::string("cannot make a descriptor: ") + strerror(errno));
  for (const int watched : {vi.handle(), left_over_}) {
    epoll_event interest{.events = EPOLLIN, .data = {.fd = watched}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, watched, &interest);
  }
}

void Queue::start(bool recheck) noexcept {
  recheck_ = recheck;
  interrupts_ = prime();
}

Queue::~Queue() {
  if (left_over_ >= 0) close(left_over_);
  if (epoll_ >= 0) close(epoll_);
}

uint32_t Queue::rx(wp_batch& batch) noexcept {
  for (int round = 0; round < kRounds && ready_.size() < batch.capacity; round++)
    if (poll() < kEvents) break;
  const uint32_t n = std::min(batch.capacity, ready_.size());
  uint64_t bytes = 0;
  int64_t now = 0;
  for (uint32_t i = 0; i < n; i++) {
    const Ready& r = ready_.take();
    __builtin_prefetch(r.data);
    batch.data[i] = r.data;
    batch.length[i] = r.length;
    batch.handle[i] = r.handle;
    batch.timestamp[i] = r.timestamp;
    bytes += r.length;
    if (r.timestamp == 0) [[unlikely]] {
      if (now == 0) now = clock_.now();
      batch.timestamp[i] = now;
      if (stamped_) counters_[kRxUnstamped].add(1);
    }
  }
  if (watched_.load(std::memory_order_relaxed)) [[unlikely]]
    announce();
  if (n == 0) return batch.count = 0;
  std::memset(batch.verdict, WP_DROP, n);
  std::memset(batch.hash, 0, n * sizeof batch.hash[0]);
  handed_out_ += n;
  counters_[kRxPackets].add(n);
  counters_[kRxBytes].add(bytes);
  return batch.count = n;
}

// Takes what the event queue has, as much as fits; returns how many events there were.
int Queue::poll() noexcept {
  ef_event events[kEvents];
  // An event may bring EF_VI_RECEIVE_BATCH frames where they are merged. With descriptors every
  // frame keeps one of our buffers, for which there is a slot.
  const int n = ef_eventq_poll(vi_.vi(), events, kEvents);
  primed_ = false;
  for (int i = 0; i < n; i++) handle(events[i]);
  if (descriptors_ && n > 0) top_up();
  return n;
}

void Queue::handle(const ef_event& event) noexcept {
  switch (EF_EVENT_TYPE(event)) {
    case EF_EVENT_TYPE_RX: {
      const auto id = static_cast<uint32_t>(EF_EVENT_RX_RQ_ID(event));
      with_nic_--;
      if (EF_EVENT_RX_SOP(event) && !EF_EVENT_RX_CONT(event)) [[likely]]
        frame(id, EF_EVENT_RX_BYTES(event) - vi_.prefix());
      else
        part(id, EF_EVENT_RX_SOP(event));
      break;
    }
    case EF_EVENT_TYPE_RX_REF:
      shared(event.rx_ref.pkt_id, event.rx_ref.len);
      break;
    case EF_EVENT_TYPE_RX_MULTI:
      merged(event, false);
      break;
    case EF_EVENT_TYPE_TX:
      completed(event, false);
      break;
    case EF_EVENT_TYPE_TX_ERROR:
      completed(event, true);
      break;
    case EF_EVENT_TYPE_RX_DISCARD: {
      const auto id = static_cast<uint32_t>(EF_EVENT_RX_DISCARD_RQ_ID(event));
      with_nic_--;
      // Later parts of a scattered frame are left out: its first has been counted.
      if (EF_EVENT_RX_DISCARD_SOP(event))
        discarded(EF_EVENT_RX_DISCARD_TYPE(event), vi_.frame(id) + vi_.prefix(),
                  EF_EVENT_RX_DISCARD_BYTES(event) - vi_.prefix());
      free_.push(id);
      break;
    }
    case EF_EVENT_TYPE_RX_MULTI_DISCARD:
      merged(event, true);
      break;
    case EF_EVENT_TYPE_RX_REF_DISCARD:
      shared_discard(event.rx_ref_discard.pkt_id, event.rx_ref_discard.len,
                     event.rx_ref_discard.flags);
      break;
    case EF_EVENT_TYPE_RX_NO_DESC_TRUNC:
      counters_[kRxNoDescTrunc].add(1);
      break;
    case EF_EVENT_TYPE_OFLOW:
      overflowed_.store(true, std::memory_order_relaxed);
      gone_.store(true, std::memory_order_relaxed);
      break;
    case EF_EVENT_TYPE_RESET:
      gone_.store(true, std::memory_order_relaxed);
      break;
    default:
      break;
  }
}

// --- descriptors --------------------------------------------------------------------------------

// Several frames at once; their lengths are in front of them.
void Queue::merged(const ef_event& event, bool discard) noexcept {
  ef_request_id ids[EF_VI_RECEIVE_BATCH];
  const int n = ef_vi_receive_unbundle(vi_.vi(), &event, ids);
  const bool first = EF_EVENT_RX_MULTI_SOP(event);
  const bool whole = first && !EF_EVENT_RX_MULTI_CONT(event);
  with_nic_ -= static_cast<uint32_t>(n);
  for (int i = 0; i < n; i++) {
    const auto id = static_cast<uint32_t>(ids[i]);
    uint16_t length = 0;
    if (first) ef_vi_receive_get_bytes(vi_.vi(), vi_.frame(id), &length);
    if (whole && !discard) {
      frame(id, length);
    } else if (!discard) {
      part(id, first);
    } else {
      if (first)
        discarded(EF_EVENT_RX_MULTI_DISCARD_TYPE(event), vi_.frame(id) + vi_.prefix(), length);
      free_.push(id);
    }
  }
}

void Queue::frame(uint32_t id, uint32_t length) noexcept {
  uint8_t* start = vi_.frame(id);
  uint8_t* data = start + vi_.prefix();
  if (recheck_ && !matches(data, length)) {
    free_.push(id);
    return;
  }
  ready_.put({data, id, stamp(start, 0), length});
}

// A frame in several buffers cannot be handed out in one piece: counted with its first.
void Queue::part(uint32_t id, bool first) noexcept {
  const uint8_t* data = vi_.frame(id) + vi_.prefix();
  if (first && (!recheck_ || matches(data, vi_.frame_size() - vi_.prefix())))
    counters_[kDropRxTooLong].add(1);
  free_.push(id);
}

void Queue::discarded(unsigned cause, const uint8_t* data, uint32_t length) noexcept {
  // Of another flow, that of another application perhaps: then it is no loss of ours.
  if (recheck_ && !matches(data, std::min(length, vi_.frame_size()))) return;
  switch (cause) {
    case EF_EVENT_RX_DISCARD_CSUM_BAD:
    case EF_EVENT_RX_DISCARD_INNER_CSUM_BAD:
      return counters_[kDropRxChecksum].add(1);
    case EF_EVENT_RX_DISCARD_CRC_BAD:
      return counters_[kDropRxCrc].add(1);
    case EF_EVENT_RX_DISCARD_MCAST_MISMATCH:
      return counters_[kDropRxMismatch].add(1);
    case EF_EVENT_RX_DISCARD_TRUNC:
      return counters_[kDropRxTruncated].add(1);
    default:
      return counters_[kDropRxError].add(1);
  }
}

void Queue::top_up() noexcept {
  if (with_nic_ >= target_) return;
  const uint32_t n = std::min(target_ - with_nic_, free_.size()) & ~(kRefill - 1);
  if (n == 0) return;
  for (uint32_t i = 0; i < n; i++) {
    const auto id = static_cast<uint32_t>(free_.pop());
    ef_vi_receive_init(vi_.vi(), vi_.address(id), static_cast<ef_request_id>(id));
  }
  ef_vi_receive_push(vi_.vi());
  with_nic_ += n;
}

// --- shared hardware buffers --------------------------------------------------------------------

void Queue::shared(uint32_t id, uint32_t length) noexcept {
  const auto* packet = static_cast<const uint8_t*>(efct_vi_rxpkt_get(vi_.vi(), id));
  const auto let_go = [&] { efct_vi_rxpkt_release(vi_.vi(), id); };
  if (recheck_ && !matches(packet, length)) return let_go();
  const int64_t timestamp = stamp(packet, id);
  if (by_reference_) {
    // What is held keeps whole buffers of the NIC from it: bounded.
    if (handed_out_ + ready_.size() >= most_out_) [[unlikely]] {
      counters_[kDropRxNoBuffer].add(1);
      return let_go();
    }
    return ready_.put({const_cast<uint8_t*>(packet), kSharedPacket | id, timestamp, length});
  }
  if (length > vi_.frame_size()) [[unlikely]] {
    counters_[kDropRxTooLong].add(1);
  } else if (free_.size() == 0) [[unlikely]] {
    counters_[kDropRxNoBuffer].add(1);
  } else {
    const auto to = static_cast<uint32_t>(free_.pop());
    std::memcpy(vi_.frame(to), packet, length);
    ready_.put({vi_.frame(to), to, timestamp, length});
  }
  let_go();
}

void Queue::shared_discard(uint32_t id, uint32_t length, unsigned flags) noexcept {
  constexpr unsigned kChecksums = EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_L4_CSUM_ERR |
                                  EF_VI_DISCARD_RX_INNER_L3_CSUM_ERR |
                                  EF_VI_DISCARD_RX_INNER_L4_CSUM_ERR;
  const unsigned cause = flags & EF_VI_DISCARD_RX_ETH_FCS_ERR   ? EF_EVENT_RX_DISCARD_CRC_BAD
                         : flags & EF_VI_DISCARD_RX_ETH_LEN_ERR ? EF_EVENT_RX_DISCARD_TRUNC
                         : flags & kChecksums                   ? EF_EVENT_RX_DISCARD_CSUM_BAD
                                                                : EF_EVENT_RX_DISCARD_OTHER;
  discarded(cause, static_cast<const uint8_t*>(efct_vi_rxpkt_get(vi_.vi(), id)), length);
  efct_vi_rxpkt_release(vi_.vi(), id);
}

// --- both ---------------------------------------------------------------------------------------

bool Queue::matches(const uint8_t* data, uint32_t length) noexcept {
  const steer_result result = steering_.classify(data, length);
  if (result == STEER_MATCH) [[likely]]
    return true;
  counters_[kSteerFiltered].add(1);
  if (result == STEER_FRAGMENT) counters_[kSteerFragments].add(1);
  return false;
}

int64_t Queue::stamp(const void* packet, uint32_t id) noexcept {
  if (!stamped_) return 0;
  NicTime time;
  if (receive_time(vi_.vi(), packet, id, time) != 0) [[unlikely]]
    return 0;
  const NicClock clock = time.sync_flags & EF_VI_SYNC_FLAG_CLOCK_IN_SYNC ? NicClock::kInSync
                         : time.sync_flags & EF_VI_SYNC_FLAG_CLOCK_SET   ? NicClock::kSet
                                                                         : NicClock::kFree;
  nic_clock_.store(clock, std::memory_order_relaxed);
  return time.ns;
}

void Queue::release(wp_batch& batch) noexcept {
  uint32_t back = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    const uint64_t handle = batch.handle[i];
    if (batch.verdict[i] == WP_KEEP) continue;
    if (handle < vi_.frames())
      free_.push(handle);
    else if (handle >> 32 == kSharedPacket >> 32)
      efct_vi_rxpkt_release(vi_.vi(), static_cast<uint32_t>(handle));
    else
      continue;  // never ours
    back++;
  }
  batch.count = 0;
  handed_out_ -= std::min(back, handed_out_);
  if (descriptors_) top_up();
  counters_[kHeld].set(handed_out_);
}

}  // namespace wp::ef_vi_backend
