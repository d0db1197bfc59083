// SPDX-License-Identifier: Apache-2.0
// The NIC's transmit side. Frames leave at the push; completions wait in the event queue.
#include <cstring>

#include "state.h"

void ef_sim_vi::transmit() {
  while (tx_sent != tx_pushed) {
    const sim::TxDescriptor& d = tx[tx_sent & (tx.size() - 1)];
    const int failed =
        config.fault == EF_SIM_FAULT_TX && tx_sent % 10 == 9
            ? -EIO
            : wire.send(shared() ? d.fifo.get() : d.memory, static_cast<uint32_t>(d.bytes));
    if (failed == -EAGAIN || failed == -ENOBUFS) return;  // again with the next poll
    tx_sent++;
    // Without a link a NIC's frames complete all the same.
    const bool error = failed && failed != -ENETDOWN && failed != -ENXIO;
    const unsigned type = error ? EF_EVENT_TYPE_TX_ERROR : EF_EVENT_TYPE_TX;
    if (raised != polled && !error && tx_sent % 16 != 0) {
      ef_event& before = event_at(raised - 1);
      if (EF_EVENT_TYPE(before) == EF_EVENT_TYPE_TX) {
        before.sim_tx.desc_id = tx_sent;
        continue;
      }
    }
    ef_event e{};
    e.generic.type = type;
    e.sim_tx.desc_id = tx_sent;
    raise(e);
  }
}

int ef_vi_transmit_capacity(const ef_vi* vi) {
  return static_cast<int>(vi->sim->tx.size()) - 1;
}

int ef_vi_transmit_init(ef_vi* vi, ef_addr address, int bytes, ef_request_id id) {
  ef_sim_vi& s = *vi->sim;
  if (s.tx_added - s.tx_removed >= s.tx.size() - 1) return -EAGAIN;
  uint8_t* memory = s.domain.memory_at(address, static_cast<size_t>(bytes));
  sim::TxDescriptor& d = s.tx[s.tx_added & (s.tx.size() - 1)];
  if (s.shared()) {
    // Written to the NIC at once: the buffer is free again, the FIFO is short.
    if (s.fifo_used + static_cast<uint32_t>(bytes) > sim::kFifoBytes) return -EAGAIN;
    s.fifo_used += static_cast<uint32_t>(bytes);
    d.fifo = std::make_unique<uint8_t[]>(static_cast<size_t>(bytes));
    std::memcpy(d.fifo.get(), memory, static_cast<size_t>(bytes));
  }
  d.id = id;
  d.bytes = bytes;
  d.memory = memory;
  s.tx_added++;
  return 0;
}

void ef_vi_transmit_push(ef_vi* vi) {
  SIM_REQUIRE(vi->sim->tx_pushed != vi->sim->tx_added, "pushed without a new descriptor");
  vi->sim->tx_pushed = vi->sim->tx_added;
  vi->sim->transmit();
}

int ef_vi_transmit_unbundle(ef_vi* vi, const ef_event* event, ef_request_id* ids) {
  ef_sim_vi& s = *vi->sim;
  int n = 0;
  for (; s.tx_removed != event->sim_tx.desc_id; n++) {
    SIM_REQUIRE(n < EF_VI_TRANSMIT_BATCH, "more completions in an event than documented");
    sim::TxDescriptor& d = s.tx[s.tx_removed++ & (s.tx.size() - 1)];
    ids[n] = d.id;
    if (s.shared()) s.fifo_used -= static_cast<uint32_t>(d.bytes);
  }
  return n;
}
