// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/batch.h"
#include "core/error.h"
#include "feed/cme_mdp3.h"
#include "feed/sbe_columns.h"
#include "net/headers.h"
#include "python/bindings.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

using feed::CmeContext;
using feed::CmeFramer;
using feed::CmeMap;
using feed::CmeMdp3;
using feed::Packet;
using feed::SbeColumns;
using feed::SbeCounters;
using feed::SbePlan;
using feed::SbeResult;

std::vector<uint32_t> words_of(const BytesView& bytes) {
  std::vector<uint32_t> words(bytes.size() / sizeof(uint32_t));
  if (!words.empty()) std::memcpy(words.data(), bytes.data(), words.size() * sizeof(uint32_t));
  return words;
}

const char* text(SbeResult result) {
  switch (result) {
    case SbeResult::kOk:
      return "ok";
    case SbeResult::kUnknown:
      return "unknown";
    case SbeResult::kOtherSchema:
      return "other schema";
    case SbeResult::kMalformed:
      return "malformed";
  }
  return "";
}

nb::dict counters_of(const SbePlan& plan, const SbeCounters& c) {
  nb::dict by_template;
  for (size_t i = 0; i < c.by_message.size(); ++i)
    if (c.by_message[i]) by_template[nb::int_(plan.messages()[i].id)] = c.by_message[i];
  nb::dict out;
  out["messages"] = c.messages;
  out["by_template"] = by_template;
  out["unknown"] = c.unknown;
  out["other_schema"] = c.other_schema;
  out["malformed"] = c.malformed;
  return out;
}

// Pieces that stand behind each other: their lengths, and all of them within the data.
class Pieces {
 public:
  Pieces(nb::handle data, nb::handle lengths) : data_(data), lengths_(lengths) {
    uint64_t total = 0;
    for (size_t i = 0; i < size(); ++i) total += length(i);
    if (total > data_.size())
      throw config_error("lengths", std::to_string(total) + " bytes together",
                         "at most " + std::to_string(data_.size()) + ", the size of the data");
  }
  size_t size() const { return lengths_.size() / sizeof(uint32_t); }
  uint32_t length(size_t i) const {
    return net::load_le<uint32_t>(lengths_.data() + i * sizeof(uint32_t));
  }
  template <class F>
  void each(F&& f) const {
    const uint8_t* at = data_.data();
    for (size_t i = 0; i < size(); ++i) {
      f(i, at, length(i));
      at += length(i);
    }
  }

 private:
  BytesView data_;
  BytesView lengths_;
};

// Receive times beside pieces: as many, or none.
class Times {
 public:
  Times(nb::handle times, size_t pieces) : times_(times) {
    if (times_.size() != 0 && times_.size() != pieces * sizeof(int64_t))
      throw config_error("recv_times", std::to_string(times_.size() / sizeof(int64_t)) + " of them",
                         "one for each packet, or none");
  }
  int64_t operator[](size_t i) const {
    return times_.size() == 0 ? 0 : net::load_le<int64_t>(times_.data() + i * sizeof(int64_t));
  }

 private:
  BytesView times_;
};

struct PacketCounters {
  uint64_t packets = 0;    // all offered
  uint64_t malformed = 0;  // of those: skipped whole
  uint64_t not_udp = 0;    // frames of a batch without a UDP payload, skipped

  void add_to(nb::dict& out) const {
    out["packets"] = packets;
    out["malformed_packets"] = malformed;
    out["not_udp"] = not_udp;
  }
  // Calls f(packet) for a UDP payload that is a CME packet.
  template <class F>
  void payload(const uint8_t* p, size_t n, F&& f) {
    Packet packet;
    ++packets;
    if (CmeFramer::parse(p, n, packet))
      f(packet);
    else
      ++malformed;
  }
  template <class F>
  void batch(const wp_batch& b, F&& f) {
    for (uint32_t i = 0; i < b.count; ++i) {
      net::Headers h;
      net::parse_headers(b.data[i], b.length[i], h);
      if (!(h.layers & net::kUdp)) {
        ++not_udp;
        continue;
      }
      payload(b.data[i] + h.payload_offset, h.payload_length,
              [&](const Packet& packet) { f(packet, b.timestamp[i]); });
    }
  }
};

// Raw columns of any schema; CME's packets too.
struct PyColumns {
  SbeColumns columns;
  PacketCounters packets;

  void add(const Packet& packet, int64_t recv_time) {
    feed::cme_for_each_message(packet.messages, static_cast<size_t>(packet.end - packet.messages),
                               [&](const uint8_t* p, size_t n) {
                                 columns.append(p, n, {packet.first, recv_time, packet.send_time});
                               });
  }
};

struct PyMdp3 {
  CmeMdp3 decoder;
  PacketCounters packets;
  uint16_t channel;
  std::vector<wp_record> records;  // of the call that is under way

  void add(const Packet& packet, int64_t recv_time) {
    const CmeContext ctx{packet.first, recv_time, channel, 0};
    CmeFramer::for_each(packet, [&](const uint8_t* p, size_t n) {
      decoder.on_unit(p, n, ctx, [this] { return &records.emplace_back(); });
    });
  }

  // Until the packets are through, or one might not fit.
  std::pair<size_t, size_t> into(const Pieces& pieces, const Times& times, wp_record* out,
                                 size_t room) {
    wp_record* at = out;
    size_t taken = 0;
    pieces.each([&](size_t i, const uint8_t* p, size_t n) {
      const size_t left = room - static_cast<size_t>(at - out);
      if (taken != i || CmeMdp3::most_records(n) > left) return;
      ++taken;
      packets.payload(p, n, [&](const Packet& packet) {
        const CmeContext ctx{packet.first, times[i], channel, 0};
        CmeFramer::for_each(packet, [&](const uint8_t* unit, size_t size) {
          decoder.on_unit(unit, size, ctx, [&at] { return at++; });
        });
      });
    });
    return {static_cast<size_t>(at - out), taken};
  }

  nb::object take() {
    NewArray out = new_array(records.size(), dtype_named("RECORD"));
    if (!records.empty()) std::memcpy(out.data, records.data(), records.size() * sizeof(wp_record));
    records.clear();
    return out.array;
  }
};

void bind_columns(nb::module_& m) {
  nb::class_<PyColumns>(m, "SbeColumns", "Native SBE columns; see wirepath.feed.SbeDecoder.")
      .def(
          "__init__",
          [](PyColumns* self, std::shared_ptr<SbePlan> plan,
             const std::vector<uint32_t>& templates) {
            new (self) PyColumns{SbeColumns(std::move(plan), templates), {}};
          },
          nb::arg("plan"), nb::arg("templates") = std::vector<uint32_t>{})
      .def(
          "append",
          [](PyColumns& c, nb::handle message, uint64_t seq, int64_t recv_time, int64_t send_time) {
            const BytesView in(message);
            return text(c.columns.append(in.data(), in.size(), {seq, recv_time, send_time}));
          },
          nb::arg("message"), nb::arg("seq") = 0, nb::arg("recv_time") = 0,
          nb::arg("send_time") = 0)
      .def(
          "append_many",
          [](PyColumns& c, nb::handle data, nb::handle lengths, uint64_t seq, int64_t recv_time) {
            const Pieces pieces(data, lengths);
            nb::gil_scoped_release release;
            pieces.each([&](size_t i, const uint8_t* p, size_t n) {
              c.columns.append(p, n, {seq + i, recv_time, 0});
            });
            return seq + pieces.size();
          },
          nb::arg("data"), nb::arg("lengths"), nb::arg("seq"), nb::arg("recv_time"))
      .def(
          "append_packets",
          [](PyColumns& c, nb::handle data, nb::handle lengths, nb::handle recv_times) {
            const Pieces pieces(data, lengths);
            const Times times(recv_times, pieces.size());
            nb::gil_scoped_release release;
            pieces.each([&](size_t i, const uint8_t* p, size_t n) {
              c.packets.payload(p, n, [&](const Packet& packet) { c.add(packet, times[i]); });
            });
          },
          nb::arg("data"), nb::arg("lengths"), nb::arg("recv_times"))
      .def(
          "append_batch",
          [](PyColumns& c, const PyBatch& batch) {
            c.packets.batch(batch.batch(), [&](const Packet& packet, int64_t recv_time) {
              c.add(packet, recv_time);
            });
          },
          nb::arg("batch"))
      .def(
          "rows", [](const PyColumns& c, uint32_t block) { return c.columns.rows(block); },
          nb::arg("block"))
      .def(
          "take",
          [](const PyColumns& c, uint32_t block, nb::handle dtype) {
            NewArray out = new_array(c.columns.rows(block), dtype);
            const auto bytes = c.columns.data(block);
            if (nb::cast<size_t>(dtype.attr("itemsize")) != c.columns.row_size(block))
              throw config_error("dtype", "of another size", "the block's");
            if (!bytes.empty()) std::memcpy(out.data, bytes.data(), bytes.size());
            return out.array;
          },
          nb::arg("block"), nb::arg("dtype"), "A copy of a block's rows.")
      .def(
          "heap",
          [](const PyColumns& c, uint32_t message, nb::handle dtype) {
            const auto bytes = c.columns.heap(message);
            NewArray out = new_array(bytes.size(), dtype);
            if (!bytes.empty()) std::memcpy(out.data, bytes.data(), bytes.size());
            return out.array;
          },
          nb::arg("message"), nb::arg("dtype"))
      .def(
          "clear", [](PyColumns& c, uint32_t message) { c.columns.clear(message); },
          nb::arg("message"))
      .def_prop_ro("counters", [](const PyColumns& c) {
        nb::dict out = counters_of(c.columns.plan(), c.columns.counters());
        c.packets.add_to(out);
        return out;
      });
}

void bind_mdp3(nb::module_& m) {
  nb::class_<PyMdp3>(m, "CmeMdp3", "Native CME MDP 3.0 decoder; see wirepath.feed.Mdp3.")
      .def(
          "__init__",
          [](PyMdp3* self, std::shared_ptr<SbePlan> plan, nb::handle map, uint16_t channel) {
            const BytesView bytes(map);
            CmeMap made(*plan, words_of(bytes));
            new (self) PyMdp3{CmeMdp3(std::move(plan), std::move(made)), {}, channel, {}};
          },
          nb::arg("plan"), nb::arg("map"), nb::arg("channel") = 0)
      .def(
          "packets",
          [](PyMdp3& d, nb::handle data, nb::handle lengths, nb::handle recv_times) {
            const Pieces pieces(data, lengths);
            const Times times(recv_times, pieces.size());
            {
              nb::gil_scoped_release release;
              pieces.each([&](size_t i, const uint8_t* p, size_t n) {
                d.packets.payload(p, n, [&](const Packet& packet) { d.add(packet, times[i]); });
              });
            }
            return d.take();
          },
          nb::arg("data"), nb::arg("lengths"), nb::arg("recv_times"))
      .def(
          "packets_into",
          [](PyMdp3& d, nb::handle data, nb::handle lengths, nb::handle recv_times,
             nb::handle out) {
            const Pieces pieces(data, lengths);
            const Times times(recv_times, pieces.size());
            const BytesView rows(out, true);
            nb::gil_scoped_release release;
            return d.into(pieces, times, reinterpret_cast<wp_record*>(rows.data()),
                          rows.size() / sizeof(wp_record));
          },
          nb::arg("data"), nb::arg("lengths"), nb::arg("recv_times"), nb::arg("out"),
          "Returns (records written, packets taken in).")
      .def(
          "batch",
          [](PyMdp3& d, const PyBatch& batch) {
            d.packets.batch(batch.batch(), [&](const Packet& packet, int64_t recv_time) {
              d.add(packet, recv_time);
            });
            return d.take();
          },
          nb::arg("batch"))
      .def(
          "message",
          [](PyMdp3& d, nb::handle message, uint64_t seq, int64_t recv_time) {
            const BytesView in(message);
            d.decoder.on_message(in.data(), in.size(), {seq, recv_time, d.channel, 0},
                                 [&d] { return &d.records.emplace_back(); });
            return d.take();
          },
          nb::arg("message"), nb::arg("seq"), nb::arg("recv_time"))
      .def_prop_ro("counters", [](const PyMdp3& d) {
        const feed::CmeCounters& c = d.decoder.counters();
        nb::dict out = counters_of(d.decoder.plan(), c);
        out["records"] = c.records;
        out["no_reference"] = c.no_reference;
        out["framing"] = c.framing;
        d.packets.add_to(out);
        return out;
      });
}

}  // namespace

void bind_sbe(nb::module_& m) {
  nb::class_<SbePlan>(m, "SbePlan", "The native decode plan of an SBE schema.")
      .def(
          "__init__",
          [](SbePlan* self, nb::handle words) {
            const BytesView bytes(words);
            new (self) SbePlan(words_of(bytes));
          },
          nb::arg("words"))
      .def_prop_ro("version", &SbePlan::version);
  bind_columns(m);
  bind_mdp3(m);
}

}  // namespace wp::python
