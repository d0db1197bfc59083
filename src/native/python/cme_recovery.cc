// SPDX-License-Identifier: Apache-2.0
#include "feed/cme_recovery.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "feed/cme_mdp3.h"
#include "python/bindings.h"
#include "python/feed_options.h"

namespace wp::python {
namespace {

using feed::CmeFramer;
using feed::CmeMap;
using feed::CmeMdp3;
using feed::CmeRecovery;
using feed::Packet;
using feed::SbePlan;

std::vector<uint32_t> words_of(const BytesView& bytes) {
  std::vector<uint32_t> words(bytes.size() / sizeof(uint32_t));
  if (!words.empty()) std::memcpy(words.data(), bytes.data(), words.size() * sizeof(uint32_t));
  return words;
}

const char* text(CmeRecovery::State state) {
  switch (state) {
    case CmeRecovery::State::kUnseen:
      return "unseen";
    case CmeRecovery::State::kLive:
      return "live";
    case CmeRecovery::State::kStale:
      return "stale";
  }
  return "";
}

CmeRecovery::Kind kind_of(const std::string& of) {
  if (of != "levels" && of != "orders")
    throw config_error("of", "\"" + of + "\"", "\"levels\" or \"orders\"");
  return of == "levels" ? CmeRecovery::Kind::kLevels : CmeRecovery::Kind::kOrders;
}

nb::object rows(const std::vector<wp_record>& records) {
  NewArray out = new_array(records.size(), dtype_named("RECORD"));
  if (!records.empty()) std::memcpy(out.data, records.data(), records.size() * sizeof(wp_record));
  return out.array;
}

struct PyCmeRecovery {
  CmeMdp3 decoder;
  CmeRecovery recovery;
  uint16_t channel;
  uint64_t last = 0;  // packet of the incremental feed, 64 bits wide
  uint64_t malformed = 0;
  std::vector<wp_record> records;
  std::mutex mutex;

  bool decode(const BytesView& payload, int64_t recv_time, Packet& packet) {
    records.clear();
    if (!CmeFramer::parse(payload.data(), payload.size(), packet)) {
      ++malformed;
      return false;
    }
    CmeFramer::for_each(packet, [&](const uint8_t* p, size_t n) {
      decoder.on_unit(p, n, {packet.first, recv_time, channel, 0},
                      [this] { return &records.emplace_back(); });
    });
    return true;
  }

  nb::object packet(nb::handle payload, int64_t recv_time) {
    const BytesView in(payload);
    const std::lock_guard lock(mutex);
    Packet packet;
    if (!decode(in, recv_time, packet)) return rows({});
    const auto ahead =
        static_cast<int32_t>(static_cast<uint32_t>(packet.first) - static_cast<uint32_t>(last));
    const int64_t seq =
        last == 0 ? static_cast<int64_t>(packet.first) : static_cast<int64_t>(last) + ahead;
    if (seq > static_cast<int64_t>(last)) last = static_cast<uint64_t>(seq);
    return rows(recovery.on_packet(seq < 0 ? 0 : static_cast<uint64_t>(seq), records.data(),
                                   records.size()));
  }

  nb::object snapshot(nb::handle payload, int64_t recv_time) {
    const BytesView in(payload);
    const std::lock_guard lock(mutex);
    Packet packet;
    if (!decode(in, recv_time, packet)) return rows({});
    return rows(recovery.on_snapshot(records.data(), records.size()));
  }

  nb::dict counters() {
    nb::dict out = counters_of(recovery.counters(), recovery.held_now());
    out["malformed_packets"] = malformed;
    return out;
  }
};

}  // namespace

nb::dict counters_of(const feed::CmeRecoveryCounters& c, size_t held_now) {
  nb::dict out;
  out["records"] = c.records;
  out["passed"] = c.passed;
  out["held"] = c.held;
  out["superseded"] = c.superseded;
  out["replayed"] = c.replayed;
  out["covered"] = c.covered;
  out["dropped"] = c.dropped;
  out["held_now"] = held_now;
  out["untracked"] = c.untracked;
  out["lost_packets"] = c.lost_packets;
  out["stale"] = c.stale;
  out["recovered"] = c.recovered;
  out["snapshots"] = c.snapshots;
  out["snapshots_too_old"] = c.snapshots_too_old;
  out["snapshots_unused"] = c.snapshots_unused;
  out["snapshots_broken"] = c.snapshots_broken;
  out["loops"] = c.loops;
  out["resets"] = c.resets;
  return out;
}

void bind_cme_recovery(nb::module_& m) {
  nb::class_<PyCmeRecovery>(m, "CmeRecovery",
                            "Native CME snapshot recovery; see wirepath.feed.CmeRecovery.")
      .def(
          "__init__",
          [](PyCmeRecovery* self, std::shared_ptr<SbePlan> plan, nb::handle map, uint16_t channel,
             size_t held_records, size_t instruments) {
            CmeMap read(*plan, words_of(BytesView(map)));
            const feed::CmeRecoveryOptions options{held_records, instruments};
            new (self) PyCmeRecovery{CmeMdp3(std::move(plan), std::move(read)),
                                     CmeRecovery(options),
                                     channel,
                                     0,
                                     0,
                                     {},
                                     {}};
          },
          nb::arg("plan"), nb::arg("map"), nb::arg("channel"), nb::arg("held_records"),
          nb::arg("instruments"))
      .def("packet", &PyCmeRecovery::packet, nb::arg("payload"), nb::arg("recv_time"))
      .def("snapshot", &PyCmeRecovery::snapshot, nb::arg("payload"), nb::arg("recv_time"))
      .def("reset",
           [](PyCmeRecovery& self) {
             const std::lock_guard lock(self.mutex);
             self.last = 0;
             return rows(self.recovery.on_reset());
           })
      .def(
          "state",
          [](PyCmeRecovery& self, uint32_t instrument, const std::string& of) {
            const std::lock_guard lock(self.mutex);
            return text(self.recovery.state(instrument, kind_of(of)));
          },
          nb::arg("instrument"), nb::arg("of"))
      .def_prop_ro("stale",
                   [](PyCmeRecovery& self) {
                     const std::lock_guard lock(self.mutex);
                     return self.recovery.stale();
                   })
      .def_prop_ro("wanting",
                   [](PyCmeRecovery& self) {
                     const std::lock_guard lock(self.mutex);
                     return self.recovery.wanting();
                   })
      .def_prop_ro("counters", [](PyCmeRecovery& self) {
        const std::lock_guard lock(self.mutex);
        return self.counters();
      });
}

}  // namespace wp::python
