// SPDX-License-Identifier: Apache-2.0
// The simulated NIC: what stands behind the handles of the API. One thread drives a virtual
// interface, as documented; only the counters are read by others.
#pragma once

#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/sim.h>
#include <etherfabric/vi.h>
#include <net/if.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "net/headers.h"
#include "wire.h"

// A program that breaks the documented rules would crash or corrupt memory on a NIC: here it
// ends, and says why.
#define SIM_REQUIRE(condition, text) ((condition) ? void(0) : sim::broken(text))

namespace sim {

[[noreturn]] void broken(const char* text);
ef_sim_config config_of(ef_driver_handle handle);

constexpr uint32_t kPrefix = 14;            // EF10: in front of a packet in its buffer
constexpr uint32_t kStride = 2048;          // X3: from packet to packet of a shared buffer
constexpr uint32_t kFrameOffset = 64;       // X3: of the frame behind its header
constexpr uint32_t kPacketsPerBuffer = 64;  // X3
constexpr uint32_t kFifoBytes = 32768;      // X3: transmit
constexpr uint32_t kDefaultBufferLen = 1792;

struct Filter {
  enum Kind : unsigned { kNone, kIp4, kIp6, kMac, kUnicast, kMulticast, kSniff };
  Kind kind = kNone;
  uint8_t protocol = 0;
  std::array<uint8_t, 16> address{};  // IP, or MAC in the first six
  uint16_t port = 0;                  // host order
  bool mismatch = false;

  bool matches(const Frame& frame, const wp::net::Headers& headers) const;
  bool exclusive() const;  // a unicast flow: one owner on a NIC
  bool operator==(const Filter&) const = default;
};

struct RxDescriptor {
  uint8_t* memory;
  ef_request_id id;
};
struct TxDescriptor {
  ef_request_id id;
  int bytes;
  uint8_t* memory;                  // EF10
  std::unique_ptr<uint8_t[]> fifo;  // X3: the copy in the NIC
};

// X3: many packets, given back to the NIC when the last of them is released.
struct SharedBuffer {
  uint32_t filled = 0;
  uint32_t released = 0;
  std::array<bool, kPacketsPerBuffer> held{};
};

}  // namespace sim

struct ef_sim_region {
  uint8_t* memory;
  size_t bytes;
  ef_addr base;  // of its DMA addresses
  struct ef_sim_pd* domain;
};

struct ef_sim_pd {
  int ifindex = 0;
  std::vector<ef_sim_region*> regions;
  // Where a DMA address leads; ends the program where that is nowhere or crosses 4 KiB.
  uint8_t* memory_at(ef_addr address, size_t bytes) const;
};

struct ef_sim_vi {
  ef_sim_vi(ef_driver_handle handle, ef_sim_pd& pd, int rx_slots, int tx_slots, unsigned flags);
  ~ef_sim_vi();

  bool shared() const { return config.nic == EF_SIM_X3; }
  uint32_t prefix() const {
    return shared() || !(flags & (EF_VI_RX_TIMESTAMPS | EF_VI_RX_EVENT_MERGE)) ? 0 : sim::kPrefix;
  }
  int prime(unsigned current);
  int poll(ef_event* events, int length);

  // receive.cc
  void receive();
  void deliver(const sim::Frame& frame);
  void to_descriptors(const sim::Frame& frame, unsigned errors);
  void to_shared_buffer(const sim::Frame& frame, unsigned errors);
  bool wanted(const sim::Frame& frame) const;
  // transmit.cc
  void transmit();

  void raise(const ef_event& event);
  ef_event& event_at(uint32_t n) { return events[n & (events.size() - 1)]; }
  void disarm();

  const ef_driver_handle handle;
  const ef_sim_config config;
  ef_sim_pd& domain;
  const unsigned flags;
  sim::Wire wire;
  std::vector<sim::Filter> filters;
  bool gone = false;  // the interface
  uint64_t frames = 0;

  std::vector<ef_event> events;  // ring; the counts run freely
  uint32_t raised = 0, polled = 0;

  std::vector<sim::RxDescriptor> rx;
  uint32_t rx_added = 0, rx_posted = 0, rx_filled = 0, rx_removed = 0;
  unsigned buffer_len = sim::kDefaultBufferLen;
  uint64_t discards;

  uint8_t* nic_memory = nullptr;  // shared buffers as the NIC sees them
  uint8_t* app_memory = nullptr;  // and as the application does: it cannot write
  std::vector<sim::SharedBuffer> buffers;
  uint32_t current = 0;
  size_t memory_bytes() const { return buffers.size() * sim::kPacketsPerBuffer * sim::kStride; }

  std::vector<sim::TxDescriptor> tx;
  uint32_t tx_added = 0, tx_pushed = 0, tx_sent = 0, tx_removed = 0;
  uint32_t fifo_used = 0;

  int wakeup = -1;  // readable when events wait at a prime
  bool armed = false;
  std::atomic<uint64_t> no_descriptor{0};
};
