// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/dpdk_queue.h"

#include <rte_ethdev.h>
#include <rte_mbuf_dyn.h>
#include <time.h>

#include <algorithm>
#include <cstring>

#include "backends/dpdk/eal.h"

namespace wp::dpdk {
namespace {

constexpr uint32_t kEthernetHeader = 14;
constexpr int64_t kLongestNapUs = 50;  // between two empty polls

static_assert(sizeof(rte_mbuf*) == sizeof(uint64_t), "a handle holds an mbuf's address");

rte_mbuf** mbufs_of(wp_batch& batch) noexcept {
  return reinterpret_cast<rte_mbuf**>(batch.handle);
}

}  // namespace

const char* const kQueueCounterNames[kQueueCounters] = {"rx_packets",
                                                        "rx_bytes",
                                                        "tx_packets",
                                                        "tx_bytes",
                                                        "drop.filtered",
                                                        "drop.fragment",
                                                        "drop.multi_segment",
                                                        "drop.tx_ring_full",
                                                        "drop.tx_link_down",
                                                        "drop.tx_too_long",
                                                        "drop.tx_invalid",
                                                        "drop.tx_no_queue",
                                                        "rx_unstamped",
                                                        "held_stalls",
                                                        "threads_without_lcore",
                                                        "held"};

Queue::Queue(const Config& config, std::unique_ptr<Pool> pool, Counter* counters, Clock& clock)
    : config_(config),
      pool_(std::move(pool)),
      counters_(counters),
      clock_(clock),
      scratch_(std::max<size_t>(config.batch_size, 4096)),
      positions_(scratch_.size()),
      burst_(scratch_.size()) {}

// Mempool caches are per lcore, so every thread that comes by takes a number, once.
void Queue::enter_thread() noexcept {
  thread_local bool seen = false;
  if (seen) [[likely]]
    return;
  seen = true;
  if (!register_thread()) counters_[kNoLcore].add(1);
}

// --- receive ------------------------------------------------------------------------------------

uint32_t Queue::rx(wp_batch& batch) noexcept {
  batch.count = 0;
  if (!config_.rx) return 0;
  enter_thread();
  // Rings stay full whatever is held: the rest of the pool is theirs, and the batch's.
  if (handed_out_ >= config_.max_held) [[unlikely]] {
    counters_[kHeldStalls].add(1);
    return 0;
  }
  if (!config_.gate) return poll(batch);
  if (!config_.gate->enter(config_.id)) return 0;
  const uint32_t n = poll(batch);
  config_.gate->leave(config_.id);
  return n;
}

uint32_t Queue::poll(wp_batch& batch) noexcept {
  const auto room = static_cast<uint16_t>(std::min(batch.capacity, config_.batch_size));
  const uint32_t got = rte_eth_rx_burst(config_.port, config_.id, mbufs_of(batch), room);
  burst_count_ = 0;
  if (got == 0) return 0;
  uint64_t bytes = 0;
  uint32_t n = got;
  const bool whole = fill(batch, got, bytes);
  if (!whole || config_.filter) n = sort_out(batch, got, bytes);
  counters_[kRxBytes].add(bytes);
  if (n == 0) return 0;
  if (config_.device_clock && config_.device_clock->ready()) {
    stamp(batch, n);
  } else {
    std::fill_n(batch.timestamp, n, clock_.now());
  }
  std::memset(batch.verdict, WP_DROP, n);
  std::memcpy(burst_.data(), batch.handle, n * sizeof(uint64_t));
  burst_count_ = n;
  counters_[kRxPackets].add(n);
  handed_out_ += n;
  return batch.count = n;
}

// Fills the arrays; false = a frame is in several pieces. Frames are only fetched here, not looked
// at, so that the misses of a burst overlap.
bool Queue::fill(wp_batch& batch, uint32_t n, uint64_t& bytes) noexcept {
  rte_mbuf** frames = mbufs_of(batch);
  uint32_t pieces = 1;
  for (uint32_t i = 0; i < n; i++) {
    const rte_mbuf* m = frames[i];
    auto* data = rte_pktmbuf_mtod(m, uint8_t*);
    rte_prefetch0(data);
    batch.data[i] = data;
    batch.length[i] = m->data_len;
    batch.hash[i] = m->ol_flags & RTE_MBUF_F_RX_RSS_HASH ? m->hash.rss : 0;
    bytes += m->data_len;
    pieces |= m->nb_segs;
  }
  return pieces == 1;
}

// Frees the frames that are not wanted and moves the others together.
uint32_t Queue::sort_out(wp_batch& batch, uint32_t n, uint64_t& bytes) noexcept {
  rte_mbuf** frames = mbufs_of(batch);
  uint32_t kept = 0, unwanted = 0, filtered = 0, fragments = 0, pieces = 0;
  for (uint32_t i = 0; i < n; i++) {
    rte_mbuf* m = frames[i];
    const uint32_t length = batch.length[i];
    bool wanted = m->nb_segs == 1;
    if (!wanted) [[unlikely]] {
      pieces++;
    } else if (config_.filter) {
      const auto what = config_.filter->classify(batch.data[i], length);
      wanted = what == STEER_MATCH;
      if (!wanted) (what == STEER_FRAGMENT ? fragments : filtered)++;
    }
    if (!wanted) [[unlikely]] {
      scratch_[unwanted++] = m;
      bytes -= length;
      continue;
    }
    frames[kept] = m;
    batch.data[kept] = batch.data[i];
    batch.length[kept] = length;
    batch.hash[kept] = batch.hash[i];
    kept++;
  }
  if (unwanted) [[unlikely]] {
    rte_pktmbuf_free_bulk(scratch_.data(), unwanted);
    counters_[kDropFiltered].add(filtered);
    counters_[kDropFragment].add(fragments);
    counters_[kDropMultiSegment].add(pieces);
  }
  return kept;
}

void Queue::stamp(wp_batch& batch, uint32_t n) noexcept {
  const DeviceClock& device = *config_.device_clock;
  rte_mbuf** frames = mbufs_of(batch);
  uint32_t without = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (frames[i]->ol_flags & device.flag) [[likely]] {
      batch.timestamp[i] =
          device.to_ns(*RTE_MBUF_DYNFIELD(frames[i], device.offset, const rte_mbuf_timestamp_t*));
    } else {
      batch.timestamp[i] = clock_.now();
      without++;
    }
  }
  counters_[kRxUnstamped].add(without);
}

bool Queue::wait(int64_t timeout_us) noexcept {
  const timespec nap{0, std::min(timeout_us, kLongestNapUs) * 1000};
  nanosleep(&nap, nullptr);
  return true;
}

void Queue::release(wp_batch& batch) noexcept {
  const uint32_t n = batch.count;
  batch.count = 0;
  burst_count_ = 0;
  if (handed_out_ == 0) return;  // all of them were sent
  rte_mbuf** frames = mbufs_of(batch);
  uint32_t back = 0;
  for (uint32_t i = 0; i < n; i++) {
    scratch_[back] = frames[i];
    back += static_cast<uint32_t>(batch.verdict[i] != WP_KEEP) &
            static_cast<uint32_t>(batch.handle[i] != WP_NO_FRAME);
  }
  if (back) rte_pktmbuf_free_bulk(scratch_.data(), back);
  handed_out_ -= std::min(back, handed_out_);
  counters_[kHeld].set(handed_out_);
}

// --- transmit -----------------------------------------------------------------------------------

namespace {

// The mbuf of another port of ours, if the frame lies in it.
rte_mbuf* borrowed(uint64_t handle, const uint8_t* data, uint32_t length) noexcept {
  if (handle == WP_NO_FRAME) return nullptr;
  auto* m = reinterpret_cast<rte_mbuf*>(handle);
  const auto* buffer = static_cast<const uint8_t*>(m->buf_addr);
  const bool whole = data >= buffer && data + length <= buffer + m->buf_len;
  return whole && RTE_MBUF_DIRECT(m) ? m : nullptr;
}

}  // namespace

// The frame as an mbuf that the driver may have: our own, or one that was lent, as it is; any other
// as a copy.
inline rte_mbuf* Queue::prepare(wp_batch& batch, uint32_t i, bool lent, bool& taken) noexcept {
  const uint32_t length = batch.length[i];
  rte_mbuf* m = lent ? borrowed(batch.handle[i], batch.data[i], length)
                     : pool_->owned(batch.handle[i], batch.data[i], length);
  taken = m != nullptr;
  if (taken) [[likely]] {
    m->data_off = static_cast<uint16_t>(batch.data[i] - static_cast<uint8_t*>(m->buf_addr));
    m->ol_flags = 0;
  } else {
    m = rte_pktmbuf_alloc(pool_->get());
    if (!m) [[unlikely]]
      return nullptr;
    std::memcpy(rte_pktmbuf_mtod(m, void*), batch.data[i], length);
  }
  m->data_len = static_cast<uint16_t>(length);
  m->pkt_len = length;
  return m;
}

// As many as the ring takes, in order. A driver may take a part of a burst and more at once.
uint32_t Queue::transmit(rte_mbuf** frames, uint32_t n) noexcept {
  if (config_.gate && !config_.gate->enter(config_.id)) return 0;
  uint32_t sent = 0;
  while (sent < n) {
    const uint16_t more =
        rte_eth_tx_burst(config_.port, config_.id, frames + sent, static_cast<uint16_t>(n - sent));
    if (more == 0) break;
    sent += more;
  }
  if (config_.gate) config_.gate->leave(config_.id);
  return sent;
}

// Whether the batch is the latest burst as it was received, all of it to be sent: then the driver
// may have its mbufs as they are. `bytes`: of the whole burst.
bool Queue::is_burst(const wp_batch& batch, uint64_t& bytes) const noexcept {
  const uint32_t n = batch.count;
  if (n == 0 || n != burst_count_ || !config_.tx) return false;
  if (batch.verdict[0] != WP_TX || std::memcmp(batch.verdict, batch.verdict + 1, n - 1) != 0)
    return false;
  if (std::memcmp(batch.handle, burst_.data(), n * sizeof(uint64_t)) != 0) return false;
  uint64_t sum = 0;
  bool same = true;
  for (uint32_t i = 0; i < n; i++) {
    const auto* m = reinterpret_cast<const rte_mbuf*>(batch.handle[i]);
    const uint32_t length = batch.length[i];
    same &= batch.data[i] == rte_pktmbuf_mtod(m, const uint8_t*) && length == m->data_len &&
            length >= kEthernetHeader && length <= config_.max_tx;
    sum += length;
  }
  bytes = sum;
  return same;
}

uint32_t Queue::tx_burst(wp_batch& batch, uint64_t bytes) noexcept {
  const uint32_t n = batch.count;
  const uint32_t sent = transmit(reinterpret_cast<rte_mbuf**>(burst_.data()), n);
  std::fill_n(batch.handle, sent, WP_NO_FRAME);
  burst_count_ = 0;  // what is left may be offered again, frame by frame
  handed_out_ -= std::min(sent, handed_out_);
  if (sent != n) [[unlikely]] {
    for (uint32_t i = sent; i < n; i++) bytes -= batch.length[i];
    count_refused(n - sent);
  }
  counters_[kTxPackets].add(sent);
  counters_[kTxBytes].add(bytes);
  return sent;
}

void Queue::count_refused(uint32_t frames) noexcept {
  const bool up = config_.link_up->load(std::memory_order_relaxed);
  counters_[up ? kDropTxRingFull : kDropTxLinkDown].add(frames);
}

uint32_t Queue::tx(wp_batch& batch) noexcept {
  enter_thread();
  if (uint64_t all = 0; is_burst(batch, all)) return tx_burst(batch, all);
  return send_each(batch, false);
}

uint32_t Queue::tx_lent(wp_batch& batch) noexcept {
  enter_thread();
  return send_each(batch, true);
}

uint32_t Queue::send_each(wp_batch& batch, bool lent) noexcept {
  uint32_t n = 0, full = 0, too_long = 0, invalid = 0, no_queue = 0, own_frames = 0;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_TX) continue;
    const uint32_t length = batch.length[i];
    if (!config_.tx || length < kEthernetHeader || length > config_.max_tx || full != 0)
        [[unlikely]] {
      // What is queued are the first frames, so that the rest can be offered again: none after
      // one that found no room.
      (!config_.tx ? no_queue : length < kEthernetHeader ? invalid : full ? full : too_long)++;
      continue;
    }
    bool taken = false;
    rte_mbuf* m = prepare(batch, i, lent, taken);
    if (!m) [[unlikely]] {
      full++;
      continue;
    }
    if (taken) batch.handle[i] = WP_NO_FRAME;
    own_frames += taken && !lent;
    bytes += length;
    scratch_[n] = m;
    positions_[n++] = i << 1 | static_cast<uint32_t>(taken);
  }
  const uint32_t sent = n ? transmit(scratch_.data(), n) : 0;
  // Those that found no room are as they were: with their handle, copies gone.
  for (uint32_t k = sent; k < n; k++) {
    const uint32_t i = positions_[k] >> 1;
    bytes -= batch.length[i];
    if (positions_[k] & 1) {
      batch.handle[i] = reinterpret_cast<uint64_t>(scratch_[k]);
      own_frames -= !lent;
    } else {
      rte_pktmbuf_free(scratch_[k]);
    }
  }
  handed_out_ -= std::min(own_frames, handed_out_);
  counters_[kTxPackets].add(sent);
  counters_[kTxBytes].add(bytes);
  if ((n - sent) | full | too_long | invalid | no_queue) [[unlikely]] {
    count_refused(n - sent);
    counters_[kDropTxRingFull].add(full);
    counters_[kDropTxTooLong].add(too_long);
    counters_[kDropTxInvalid].add(invalid);
    counters_[kDropTxNoQueue].add(no_queue);
  }
  return sent;
}

bool Queue::send(const std::vector<std::vector<uint8_t>>& frames) noexcept {
  for (const std::vector<uint8_t>& frame : frames) {
    rte_mbuf* m = config_.tx ? rte_pktmbuf_alloc(pool_->get()) : nullptr;
    if (!m) return false;
    std::memcpy(rte_pktmbuf_mtod(m, void*), frame.data(), frame.size());
    m->data_len = static_cast<uint16_t>(frame.size());
    m->pkt_len = static_cast<uint32_t>(frame.size());
    if (transmit(&m, 1) == 0) {
      rte_pktmbuf_free(m);
      return false;
    }
  }
  return true;
}

}  // namespace wp::dpdk
