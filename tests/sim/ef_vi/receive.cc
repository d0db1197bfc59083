// SPDX-License-Identifier: Apache-2.0
// The NIC's receive side: filters, checksums, and both ways of putting frames into memory.
#include <algorithm>
#include <cstring>

#include "state.h"

namespace {

constexpr uint32_t kMostPerPoll = 4096;
constexpr uint64_t kLateFrames = 20, kOverflowFrames = 50;

// What the NIC writes in front of a packet: the layout is its own business.
struct Header {
  int64_t timestamp;  // 0 = none yet
  uint16_t length;
} __attribute__((packed));
static_assert(sizeof(Header) <= sim::kPrefix);

ef_event rx_event(unsigned type, const sim::RxDescriptor& d, unsigned bytes, unsigned flags,
                  unsigned subtype) {
  ef_event e{};
  e.generic.type = type;
  e.sim_rx = {0, static_cast<unsigned>(d.id), bytes, flags, subtype};
  return e;
}

}  // namespace

bool ef_sim_vi::wanted(const sim::Frame& frame) const {
  wp::net::Headers h;
  wp::net::parse_headers(frame.data, frame.kept, h);
  // The queue is shared with other applications: X3 delivers what their filters match, too.
  if (shared() && (h.layers & wp::net::kUdp)) return true;
  return std::ranges::any_of(filters, [&](const auto& f) { return f.matches(frame, h); });
}

// Everything that came is taken off the wire, whether there is room for it or not.
void ef_sim_vi::receive() {
  if (gone || filters.empty()) return;
  std::array<sim::Frame, sim::Wire::kBurst> burst;
  for (uint32_t taken = 0; taken < kMostPerPoll;) {
    const int n = wire.receive(burst);
    if (n == -ENODEV) {
      gone = true;
      ef_event e{};
      e.generic.type = EF_EVENT_TYPE_RESET;
      raise(e);
      return;
    }
    for (int i = 0; i < n && !gone; i++) deliver(burst[static_cast<size_t>(i)]);
    if (gone) return;
    taken += static_cast<uint32_t>(n);
    if (n < static_cast<int>(sim::Wire::kBurst)) return;
  }
}

void ef_sim_vi::deliver(const sim::Frame& frame) {
  if (frame.kept < 14 || !wanted(frame)) return;
  sim::Frame stamped = frame;
  frames++;
  if (config.clock == EF_SIM_CLOCK_LATE && frames <= kLateFrames) stamped.timestamp = 0;
  if (config.fault == EF_SIM_FAULT_OVERFLOW && frames == kOverflowFrames) {
    gone = true;
    ef_event e{};
    e.generic.type = EF_EVENT_TYPE_OFLOW;
    return raise(e);
  }
  const sim::Checksums sums = sim::check(frame);
  unsigned errors = 0;
  if (sums.l3_bad) errors |= EF_VI_DISCARD_RX_L3_CSUM_ERR;
  if (sums.l4_bad) errors |= EF_VI_DISCARD_RX_L4_CSUM_ERR;
  if (config.fault == EF_SIM_FAULT_CRC && frames % 10 == 0) errors = EF_VI_DISCARD_RX_ETH_FCS_ERR;
  shared() ? to_shared_buffer(stamped, errors) : to_descriptors(stamped, errors);
}

void ef_sim_vi::to_descriptors(const sim::Frame& frame, unsigned errors) {
  const uint32_t total = prefix() + frame.length;
  const uint32_t needed = (total + buffer_len - 1) / buffer_len;
  if (rx_posted - rx_filled < needed) {
    no_descriptor.fetch_add(1);
    return;
  }
  const Header header{frame.timestamp, static_cast<uint16_t>(frame.length)};
  const bool merge = flags & EF_VI_RX_EVENT_MERGE;
  const unsigned cause = errors & EF_VI_DISCARD_RX_ETH_FCS_ERR ? EF_EVENT_RX_DISCARD_CRC_BAD
                                                               : EF_EVENT_RX_DISCARD_CSUM_BAD;
  for (uint32_t part = 0, put = 0; part < needed; part++) {
    const sim::RxDescriptor& d = rx[rx_filled++ & (rx.size() - 1)];
    uint8_t* to = d.memory;
    uint32_t room = buffer_len;
    if (part == 0 && prefix() != 0) {
      std::memcpy(to, &header, sizeof header);
      to += prefix();
      room -= prefix();
    }
    const uint32_t n = std::min(room, frame.length - put);
    if (put < frame.kept) std::memcpy(to, frame.data + put, std::min(n, frame.kept - put));
    put += n;
    const bool last = part + 1 == needed;
    const unsigned f = (part == 0 ? EF_EVENT_FLAG_SOP : 0) | (last ? 0 : EF_EVENT_FLAG_CONT);
    const bool discard = last && (errors & discards) != 0;
    if (!merge) {
      raise(rx_event(discard ? EF_EVENT_TYPE_RX_DISCARD : EF_EVENT_TYPE_RX, d, prefix() + put, f,
                     cause));
      continue;
    }
    const unsigned type = discard ? EF_EVENT_TYPE_RX_MULTI_DISCARD : EF_EVENT_TYPE_RX_MULTI;
    if (raised != polled) {
      ef_event& before = event_at(raised - 1);
      if (EF_EVENT_TYPE(before) == type && before.sim_rx.flags == f &&
          before.sim_rx.subtype == cause && before.sim_rx.len < EF_VI_RECEIVE_BATCH) {
        before.sim_rx.len++;
        continue;
      }
    }
    raise(rx_event(type, d, 1, f, cause));
  }
}

void ef_sim_vi::to_shared_buffer(const sim::Frame& frame, unsigned errors) {
  if (buffers[current].filled == sim::kPacketsPerBuffer) {
    // A buffer is the NIC's again when every packet in it has been released.
    const uint32_t next = (current + 1) % static_cast<uint32_t>(buffers.size());
    if (buffers[next].filled != buffers[next].released) {
      no_descriptor.fetch_add(1);
      return;
    }
    buffers[next] = {};
    current = next;
  }
  sim::SharedBuffer& buffer = buffers[current];
  const uint32_t index = buffer.filled++;
  buffer.held[index] = true;
  uint8_t* packet = nic_memory + (size_t{current} * sim::kPacketsPerBuffer + index) * sim::kStride;
  const uint32_t n = std::min(frame.length, sim::kStride - sim::kFrameOffset);
  if (n < frame.length) errors = EF_VI_DISCARD_RX_ETH_LEN_ERR;
  const Header header{frame.timestamp, static_cast<uint16_t>(n)};
  std::memcpy(packet, &header, sizeof header);
  std::memcpy(packet + sim::kFrameOffset, frame.data, n);
  ef_event e{};
  errors &= static_cast<unsigned>(discards);
  e.generic.type = errors ? EF_EVENT_TYPE_RX_REF_DISCARD : EF_EVENT_TYPE_RX_REF;
  const uint32_t id = current << 16 | index;
  if (errors)
    e.rx_ref_discard = {n, id, 0, errors};
  else
    e.rx_ref = {n, id, 0};
  raise(e);
}

// --- descriptors ------------------------------------------------------------------------------

int ef_vi_receive_prefix_len(const ef_vi* vi) {
  return static_cast<int>(vi->sim->prefix());
}
int ef_vi_receive_buffer_len(const ef_vi* vi) {
  return static_cast<int>(vi->sim->buffer_len);
}
void ef_vi_receive_set_buffer_len(ef_vi* vi, unsigned bytes) {
  vi->sim->buffer_len = bytes;
}
int ef_vi_receive_capacity(const ef_vi* vi) {
  return static_cast<int>(vi->sim->rx.size()) - 1;
}
int ef_vi_receive_fill_level(const ef_vi* vi) {
  return static_cast<int>(vi->sim->rx_added - vi->sim->rx_removed);
}
int ef_vi_receive_space(const ef_vi* vi) {
  return ef_vi_receive_capacity(vi) - ef_vi_receive_fill_level(vi);
}

int ef_vi_receive_init(ef_vi* vi, ef_addr address, ef_request_id id) {
  ef_sim_vi& s = *vi->sim;
  if (s.shared()) return -ENOSYS;
  if (ef_vi_receive_space(vi) <= 0) return -EAGAIN;
  s.rx[s.rx_added++ & (s.rx.size() - 1)] = {s.domain.memory_at(address, s.buffer_len), id};
  return 0;
}

void ef_vi_receive_push(ef_vi* vi) {
  ef_sim_vi& s = *vi->sim;
  s.rx_posted += (s.rx_added - s.rx_posted) & ~7u;  // eights only, as EF10 does
}

int ef_vi_receive_get_bytes(ef_vi* vi, const void* packet, uint16_t* bytes) {
  SIM_REQUIRE(vi->sim->flags & EF_VI_RX_EVENT_MERGE, "lengths are in the events");
  Header header;
  std::memcpy(&header, packet, sizeof header);
  *bytes = header.length;
  return 0;
}

int ef_vi_receive_unbundle(ef_vi* vi, const ef_event* event, ef_request_id* ids) {
  ef_sim_vi& s = *vi->sim;
  const unsigned n = event->sim_rx.len;
  for (unsigned i = 0; i < n; i++) ids[i] = s.rx[s.rx_removed++ & (s.rx.size() - 1)].id;
  return static_cast<int>(n);
}

int ef_vi_receive_set_discards(ef_vi* vi, unsigned flags) {
  vi->sim->discards = flags;
  return 0;
}
uint64_t ef_vi_receive_get_discards(ef_vi* vi) {
  return vi->sim->discards;
}

int ef_sim_receive_timestamp(ef_vi* vi, const void* packet, ef_precisetime* out) {
  const ef_sim_vi& s = *vi->sim;
  SIM_REQUIRE(s.flags & EF_VI_RX_TIMESTAMPS, "timestamps are not enabled");
  const auto* at = static_cast<const uint8_t*>(packet);
  Header header;
  std::memcpy(&header, s.shared() ? at - sim::kFrameOffset : at, sizeof header);
  *out = {};
  if (header.timestamp == 0) return -ENOMSG;
  out->tv_sec = header.timestamp / 1'000'000'000;
  out->tv_nsec = static_cast<uint32_t>(header.timestamp % 1'000'000'000);
  if (s.config.clock != EF_SIM_CLOCK_FREE) out->tv_flags |= EF_VI_SYNC_FLAG_CLOCK_SET;
  if (s.config.clock == EF_SIM_CLOCK_SYNC || s.config.clock == EF_SIM_CLOCK_LATE)
    out->tv_flags |= EF_VI_SYNC_FLAG_CLOCK_IN_SYNC;
  return 0;
}

// --- shared buffers ---------------------------------------------------------------------------

static size_t place(const ef_sim_vi& s, uint32_t packet_id) {
  const uint32_t buffer = packet_id >> 16, index = packet_id & 0xffff;
  SIM_REQUIRE(s.shared() && buffer < s.buffers.size() && index < sim::kPacketsPerBuffer &&
                  s.buffers[buffer].held[index],
              "a packet that the application does not have");
  return size_t{buffer} * sim::kPacketsPerBuffer + index;
}

const void* efct_vi_rxpkt_get(ef_vi* vi, uint32_t packet_id) {
  return vi->sim->app_memory + place(*vi->sim, packet_id) * sim::kStride + sim::kFrameOffset;
}

void efct_vi_rxpkt_release(ef_vi* vi, uint32_t packet_id) {
  // What is still read after this is seen to be wrong.
  uint8_t* packet = vi->sim->nic_memory + place(*vi->sim, packet_id) * sim::kStride;
  std::memset(packet, 0xa5, 256);
  sim::SharedBuffer& buffer = vi->sim->buffers[packet_id >> 16];
  buffer.held[packet_id & 0xffff] = false;
  buffer.released++;
}
