// SPDX-License-Identifier: Apache-2.0
// Sessions, decoders and raw columns of IEX, Cboe PITCH, NYSE Pillar and raw datagrams.
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/error.h"
#include "feed/iex.h"
#include "feed/iex_tp.h"
#include "feed/pillar.h"
#include "feed/pitch.h"
#include "feed/pitch_units.h"
#include "feed/venue_columns.h"
#include "feed/venue_reader.h"
#include "net/headers.h"
#include "python/bindings.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

using feed::FramedSession;
using feed::MessageContext;
using feed::MessageCounters;
using feed::Packet;
using feed::SessionName;
using feed::SessionOptions;
using feed::SymbolTable;

using Symbols = std::shared_ptr<SymbolTable>;

nb::dict counters_of(const feed::SessionCounters& c) {
  nb::dict out;
  out["packets"] = c.packets;
  out["data"] = c.data;
  out["heartbeats"] = c.heartbeats;
  out["end_of_session"] = c.end_of_session;
  out["resets"] = c.resets;
  out["unsequenced_packets"] = c.unsequenced_packets;
  out["ignored"] = c.ignored;
  out["malformed"] = c.malformed;
  out["messages"] = c.messages;
  out["late"] = c.late;
  out["retransmitted"] = c.retransmitted;
  out["unsequenced"] = c.unsequenced;
  out["empty"] = c.empty;
  out["duplicates"] = c.duplicates;
  out["session_changes"] = c.session_changes;
  out["restarts"] = c.restarts;
  out["gaps"] = c.gaps;
  out["gap_messages"] = c.gap_messages;
  out["gap_filled"] = c.gap_filled;
  out["gap_open"] = c.gap_open;
  out["gaps_forgotten"] = c.gaps_forgotten;
  out["lost"] = c.lost;
  return out;
}

// Types as users name them: letters where the venue's are, else numbers.
nb::object type_name(uint8_t type, bool letter) {
  if (letter) return nb::str(std::string(1, static_cast<char>(type)).c_str());
  return nb::int_(type);
}

nb::dict counters_of(const MessageCounters& c, bool letters) {
  nb::dict by_type, out;
  for (size_t t = 0; t < c.by_type.size(); t++)
    if (c.by_type[t]) by_type[type_name(static_cast<uint8_t>(t), letters)] = c.by_type[t];
  out["messages"] = c.messages;
  out["by_type"] = by_type;
  out["records"] = c.records;
  out["unknown"] = c.unknown;
  out["malformed"] = c.malformed;
  out["untimed"] = c.untimed;
  return out;
}

// IEX: protocol, channel and session; the others have no sessions.
std::string session_text(const SessionName& name) {
  if (name == SessionName{}) return "";
  const auto* p = reinterpret_cast<const uint8_t*>(name.data());
  char text[48];
  std::snprintf(text, sizeof text, "0x%04x/%u/%u", net::load_le<uint16_t>(p),
                net::load_le<uint32_t>(p + 2), net::load_le<uint32_t>(p + 6));
  return text;
}

// Session events as the tuples of wirepath.feed.events.
struct EventSink {
  int64_t recv_time;
  nb::list events;
  nb::object types = nb::module_::import_("wirepath.feed.events");

  void message(const Packet& p, uint64_t seq, const uint8_t* data, size_t len, bool late) {
    events.append(types.attr("Message")(seq, nb::bytes(reinterpret_cast<const char*>(data), len),
                                        recv_time, late, p.unit, p.retransmitted));
  }
  void gap(uint32_t unit, uint64_t first, uint64_t last) {
    events.append(types.attr("Gap")(first, last, unit));
  }
  void heartbeat(uint32_t unit, uint64_t next) {
    events.append(types.attr("Heartbeat")(next, unit));
  }
  void end_of_session(uint32_t unit, uint64_t next) {
    events.append(types.attr("EndOfSession")(next, unit));
  }
  void reset(uint32_t unit, uint64_t next, bool announced) {
    events.append(types.attr("Reset")(next, announced ? "announced" : "heartbeat", unit));
  }
  void session_change(const SessionName& from, const SessionName& to) {
    events.append(types.attr("SessionChange")(session_text(from), session_text(to)));
  }
};

template <class Framer>
uint32_t checked_unit(uint32_t unit) {
  if (unit >= Framer::kUnits)
    throw config_error("unit", std::to_string(unit),
                       "from 0 to " + std::to_string(Framer::kUnits - 1));
  return unit;
}

// What a session says of itself, for sessions and for readers that have one.
template <class T, class Framer, class Get>
void bind_session_state(nb::class_<T>& c, Get get) {
  c.def_prop_ro("counters", [get](T& s) { return counters_of(get(s).counters()); })
      .def_prop_ro("session", [get](T& s) { return session_text(get(s).session()); })
      .def_prop_ro(
          "missing", [get](T& s) { return get(s).missing(); },
          "Messages known to exist and not received.")
      .def(
          "next_sequence",
          [get](T& s, uint32_t unit) { return get(s).next_sequence(checked_unit<Framer>(unit)); },
          nb::arg("unit") = 0, "Number of the next message of a unit; 0: none seen.")
      .def(
          "gaps",
          [get](T& s, uint32_t unit) {
            nb::list out;
            for (const auto& r : get(s).gaps(checked_unit<Framer>(unit)))
              out.append(nb::make_tuple(r.first, r.last));
            return out;
          },
          nb::arg("unit") = 0, "Open gaps of a unit: list of (first, last), both inclusive.");
}

template <class Framer>
void bind_session(nb::module_& m, const char* name, const char* doc) {
  using Session = FramedSession<Framer>;
  nb::class_<Session> c(m, name, doc);
  c.def(
       "__init__",
       [](Session* self, uint64_t next_sequence, size_t max_gaps) {
         new (self) Session(SessionOptions{next_sequence, max_gaps});
       },
       nb::arg("next_sequence") = 0, nb::arg("max_gaps") = 64)
      .def(
          "on_packet",
          [](Session& s, nb::handle packet, int64_t recv_time) {
            const BytesView view(packet);
            EventSink sink{recv_time, {}};
            s.on_datagram(view.data(), view.size(), sink);
            return sink.events;
          },
          nb::arg("packet"), nb::arg("recv_time") = 0,
          "One UDP payload; returns the list of events (wirepath.feed.events) that it caused.");
  bind_session_state<Session, Framer>(c, [](Session& s) -> Session& { return s; });
}

// A reader of venue_reader.h with what it holds on to, and room for what it makes of a batch.
template <class Reader>
struct Held {
  Symbols symbols;
  Reader reader;
  uint64_t not_udp = 0;
  std::vector<uint8_t> scratch = {};

  uint8_t* room_for(size_t used, size_t more) {
    if (scratch.size() < used + more) scratch.resize(2 * (used + more));
    return scratch.data() + used;
  }
};

template <class T>
class Numbers {  // of an array of T, or nothing
 public:
  explicit Numbers(nb::handle object) {
    if (!object.is_none()) view_ = std::make_unique<BytesView>(object);
  }
  explicit operator bool() const { return view_ != nullptr; }
  size_t size() const { return view_->size() / sizeof(T); }
  T operator[](size_t i) const {
    T v;
    std::memcpy(&v, view_->data() + i * sizeof v, sizeof v);
    return v;
  }

 private:
  std::unique_ptr<BytesView> view_;
};

// Datagrams within `data`, as many as `out` has room for: (items written, datagrams done).
template <class Reader>
nb::tuple read_into(Held<Reader>& held, nb::handle data, nb::handle offset_array,
                    nb::handle length_array, nb::handle time_array, int64_t recv_time, size_t begin,
                    nb::handle out) {
  const BytesView in(data);
  const BytesView rows(out, true);
  const Numbers<uint64_t> offsets(offset_array), lengths(length_array);
  const Numbers<int64_t> times(time_array);
  if (offsets.size() != lengths.size() || (times && times.size() != offsets.size()))
    throw config_error("offsets, lengths, recv_times",
                       std::to_string(offsets.size()) + ", " + std::to_string(lengths.size()) +
                           (times ? ", " + std::to_string(times.size()) : "") + " items",
                       "as many of each");
  const size_t n = offsets.size();
  for (size_t i = begin; i < n; i++)
    if (offsets[i] > in.size() || lengths[i] > in.size() - offsets[i])
      throw config_error("offsets[" + std::to_string(i) + "]", std::to_string(offsets[i]),
                         "within the " + std::to_string(in.size()) + " bytes of data");
  Reader& reader = held.reader;
  const size_t item = reader.item_size();
  size_t room = rows.size() / item, done = begin;
  uint8_t* at = rows.data();
  {
    nb::gil_scoped_release release;
    for (; done < n; done++) {
      const uint8_t* const p = in.data() + offsets[done];
      Packet packet;
      if (!reader.session().parse(p, lengths[done], packet)) continue;
      if (Reader::room(packet) > room) break;
      const size_t made = reader.read(packet, times ? times[done] : recv_time, at);
      at += made * item;
      room -= made;
    }
  }
  return nb::make_tuple(static_cast<size_t>(at - rows.data()) / item, done);
}

template <class Reader>
size_t read_one(Held<Reader>& held, const uint8_t* p, size_t n, int64_t recv_time, size_t used) {
  Packet packet;
  if (!held.reader.session().parse(p, n, packet)) return 0;
  uint8_t* const out = held.room_for(used, Reader::room(packet) * held.reader.item_size());
  return held.reader.read(packet, recv_time, out);
}

template <class Reader>
nb::object made(Held<Reader>& held, size_t items, nb::handle dtype) {
  NewArray out = new_array(items, dtype);
  if (items != 0) std::memcpy(out.data, held.scratch.data(), items * held.reader.item_size());
  return out.array;
}

template <class Reader>
void bind_reading(nb::class_<Held<Reader>>& c) {
  using H = Held<Reader>;
  c.def(
       "read",
       [](H& h, nb::handle packet, int64_t recv_time, nb::handle dtype) {
         const BytesView in(packet);
         return made(h, read_one(h, in.data(), in.size(), recv_time, 0), dtype);
       },
       nb::arg("packet"), nb::arg("recv_time"), nb::arg("dtype"))
      .def(
          "read_batch",
          [](H& h, PyBatch& py, nb::handle dtype) {
            const wp_batch& batch = py.batch();
            size_t items = 0;
            {
              nb::gil_scoped_release release;
              for (uint32_t i = 0; i < batch.count; i++) {
                net::Headers headers;
                net::parse_headers(batch.data[i], batch.length[i], headers);
                if (!(headers.layers & net::kUdp) || headers.layers & net::kFragment) {
                  h.not_udp++;
                  continue;
                }
                items += read_one(h, batch.data[i] + headers.payload_offset, headers.payload_length,
                                  batch.timestamp[i], items * h.reader.item_size());
              }
            }
            return made(h, items, dtype);
          },
          nb::arg("batch"), nb::arg("dtype"))
      .def("read_into", &read_into<Reader>, nb::arg("data"), nb::arg("offsets"), nb::arg("lengths"),
           nb::arg("recv_times").none(), nb::arg("recv_time"), nb::arg("begin"), nb::arg("out"),
           "Returns (items written, next datagram).")
      .def_prop_ro("not_udp", [](const H& h) { return h.not_udp; });
  bind_session_state<H, typename Reader::Framer>(
      c, [](H& h) -> FramedSession<typename Reader::Framer>& { return h.reader.session(); });
}

template <class Reader, class... Args>
Held<Reader> held(const Symbols& symbols, uint64_t next_sequence, size_t max_gaps, uint16_t channel,
                  Args... args) {
  return {symbols, Reader(SessionOptions{next_sequence, max_gaps},
                          typename Reader::Decoder(*symbols, args...), channel)};
}

template <class Reader>
nb::class_<Held<Reader>> bind_records(nb::module_& m, const char* name, bool letters) {
  using H = Held<Reader>;
  nb::class_<H> c(m, name);
  c.def(
       "decode",
       [](H& h, nb::handle message, uint64_t seq, int64_t recv_time, uint8_t unit, uint8_t flags,
          nb::handle dtype) {
         const BytesView in(message);
         wp_record records[feed::kMaxRecords];
         const MessageContext ctx{seq, recv_time, 0, h.reader.channel(), unit, flags};
         const size_t n = h.reader.decoder().decode(in.data(), in.size(), ctx, records);
         NewArray out = new_array(n, dtype);
         std::memcpy(out.data, records, n * sizeof(wp_record));
         return out.array;
       },
       nb::arg("message"), nb::arg("seq"), nb::arg("recv_time"), nb::arg("unit"), nb::arg("flags"),
       nb::arg("dtype"))
      .def_prop_ro("message_counters",
                   [letters](H& h) { return counters_of(h.reader.decoder().counters(), letters); });
  bind_reading<Reader>(c);
  return c;
}

std::vector<uint8_t> types_of(nb::handle object) {
  const BytesView in(object);
  return {in.data(), in.data() + in.size()};
}

template <class Framer, class Decoder>
struct BoundColumns {
  using Reader = feed::ColumnReader<Framer, Decoder>;
  using H = Held<Reader>;

  static nb::class_<H> bind(nb::module_& m, const char* name, bool letters) {
    nb::class_<H> c(m, name);
    c.def(
         "append",
         [](H& h, nb::handle message, uint64_t seq, int64_t recv_time, int64_t send_time,
            uint8_t unit) {
           const BytesView in(message);
           return h.reader.append(in.data(), in.size(), {seq, recv_time, send_time, 0, unit, 0}) ==
                  feed::MessageResult::kOk;
         },
         nb::arg("message"), nb::arg("seq"), nb::arg("recv_time"), nb::arg("send_time"),
         nb::arg("unit"))
        .def("rows", [](H& h, uint8_t type) { return h.reader.columns().rows(type); })
        .def("take",
             [](H& h, uint8_t type, nb::handle dtype) {
               feed::MessageColumns& columns = h.reader.columns();
               NewArray out = new_array(columns.rows(type), dtype);
               const std::vector<uint8_t> bytes = columns.take(type);
               if (!bytes.empty()) std::memcpy(out.data, bytes.data(), bytes.size());
               return out.array;
             })
        .def_prop_ro("message_counters", [letters](H& h) {
          return counters_of(h.reader.columns().counters(), letters);
        });
    bind_reading<Reader>(c);
    return c;
  }
};

nb::dict record_map(const feed::RecordMap& map) {
  nb::dict out;
  out["action"] = static_cast<int>(map.action);
  const auto put = [&](const char* name, std::string_view field) {
    out[name] = nb::str(field.data(), field.size());
  };
  put("order_id", map.order_id);
  put("aux", map.aux);
  put("price", map.price);
  put("qty", map.qty);
  put("side", map.side);
  out["fixed_side"] = map.fixed_side != 0 ? std::string(1, map.fixed_side) : std::string();
  return out;
}

// type -> (name, lengths, row bytes, [(column, format, offset, unit)], [records])
template <size_t kN>
nb::dict layouts_of(const feed::ColumnTable& table, const feed::WireMessage (&messages)[kN]) {
  nb::dict out;
  for (size_t i = 0; i < kN; i++) {
    const feed::RowLayout& layout = table.layouts[i];
    nb::list columns, records, lengths;
    for (const feed::RowColumn& c : layout.columns)
      columns.append(nb::make_tuple(c.name, c.format, c.offset, c.unit));
    records.append(record_map(messages[i].record));
    if (messages[i].second.action != WP_ACTION_OTHER)
      records.append(record_map(messages[i].second));
    lengths.append(layout.length);
    if (layout.long_length != 0) lengths.append(layout.long_length);
    out[type_name(layout.type, table.letters)] =
        nb::make_tuple(layout.name, lengths, layout.itemsize, columns, records);
  }
  return out;
}

void bind_symbols(nb::module_& m) {
  nb::class_<SymbolTable>(
      m, "SymbolTable",
      "Numbers of instruments of venues that send symbols only: 1, 2, … in order of appearance.\n\n"
      "capacity: how many symbols get one, 1 to 16,777,216; those that come later have number 0.")
      .def(nb::init<size_t>(), nb::arg("capacity") = SymbolTable::kDefaultCapacity)
      .def(
          "intern",
          [](SymbolTable& t, const std::string& symbol) {
            return t.intern(feed::symbol_key(symbol));
          },
          nb::arg("symbol"),
          "The number of a symbol, a new one if it has none; 0: the table is full. In the same "
          "order before a session, symbols have the same numbers every day.")
      .def(
          "number",
          [](SymbolTable& t, const std::string& symbol) {
            return t.number(feed::symbol_key(symbol));
          },
          nb::arg("symbol"), "The number of a symbol, 0 if it has none.")
      .def_prop_ro(
          "symbols",
          [](const SymbolTable& t) {
            nb::list out;
            for (uint64_t key : t.keys()) {
              char text[8];
              std::memcpy(text, &key, sizeof text);
              size_t n = sizeof text;
              while (n > 0 && text[n - 1] == ' ') n--;
              out.append(nb::steal<nb::str>(
                  PyUnicode_DecodeLatin1(text, static_cast<Py_ssize_t>(n), nullptr)));
            }
            return out;
          },
          "The symbols by number; the first has number 1.")
      .def_prop_ro("capacity", &SymbolTable::capacity)
      .def_prop_ro("refused", &SymbolTable::refused,
                   "Messages whose symbol got no number because the table was full.")
      .def("__len__", [](const SymbolTable& t) { return t.keys().size(); });
}

nb::object segment_header(nb::handle packet) {
  const BytesView in(packet);
  feed::IexTpHeader h;
  if (!feed::IexTpFramer::header(in.data(), in.size(), h)) return nb::none();
  return nb::make_tuple(h.protocol, h.channel, h.session, h.payload_length, h.count,
                        h.stream_offset, h.first, h.send_time);
}

}  // namespace

void bind_venues(nb::module_& m) {
  bind_symbols(m);
  bind_session<feed::IexTpFramer>(
      m, "IexTp",
      "An IEX-TP line without I/O: segments in, events out (IEX Transport Specification 1.26).\n\n"
      "next_sequence: first message wanted, 0 begins with the first segment. max_gaps: open gaps\n"
      "remembered.");
  bind_session<feed::PitchFramer>(
      m, "PitchUnits",
      "A line of Cboe sequenced units without I/O: datagrams in, events out, each unit a\n"
      "sequence of its own (Cboe Multicast PITCH 2.41).\n\n"
      "next_sequence: first message wanted of each unit, 0 begins with its first packet. "
      "max_gaps:\n"
      "open gaps remembered per unit.");
  bind_session<feed::PillarFramer>(
      m, "Pillar",
      "A line of NYSE XDP / Pillar packets without I/O: packets in, events out; messages keep\n"
      "their header of size and type (NYSE XDP / Pillar common client specification 2.4).\n\n"
      "next_sequence: first message wanted, 0 begins with the first packet. max_gaps: open gaps\n"
      "remembered.");

  using IexRecords = feed::RecordReader<feed::IexTpFramer, feed::IexDecoder>;
  bind_records<IexRecords>(m, "IexReader", true)
      .def(
          "__init__",
          [](Held<IexRecords>* self, const Symbols& symbols, uint64_t next_sequence,
             size_t max_gaps, uint16_t channel) {
            new (self)
                Held<IexRecords>(held<IexRecords>(symbols, next_sequence, max_gaps, channel));
          },
          nb::arg("symbols"), nb::arg("next_sequence"), nb::arg("max_gaps"), nb::arg("channel"));
  using PitchRecords = feed::RecordReader<feed::PitchFramer, feed::PitchDecoder>;
  bind_records<PitchRecords>(m, "PitchReader", false)
      .def(
          "__init__",
          [](Held<PitchRecords>* self, const Symbols& symbols, uint64_t next_sequence,
             size_t max_gaps, uint16_t channel, int64_t midnight_ns) {
            new (self) Held<PitchRecords>(
                held<PitchRecords>(symbols, next_sequence, max_gaps, channel, midnight_ns));
          },
          nb::arg("symbols"), nb::arg("next_sequence"), nb::arg("max_gaps"), nb::arg("channel"),
          nb::arg("midnight_ns"));

  using IexColumns = BoundColumns<feed::IexTpFramer, feed::IexDecoder>;
  IexColumns::bind(m, "IexColumnReader", true)
      .def(
          "__init__",
          [](IexColumns::H* self, nb::handle types, uint64_t next_sequence, size_t max_gaps) {
            auto symbols = std::make_shared<SymbolTable>(1);
            new (self)
                IexColumns::H{symbols,
                              {SessionOptions{next_sequence, max_gaps}, feed::IexDecoder(*symbols),
                               feed::iex_column_table(), types_of(types)}};
          },
          nb::arg("types"), nb::arg("next_sequence"), nb::arg("max_gaps"));
  using PitchColumns = BoundColumns<feed::PitchFramer, feed::PitchDecoder>;
  PitchColumns::bind(m, "PitchColumnReader", false)
      .def(
          "__init__",
          [](PitchColumns::H* self, nb::handle types, uint64_t next_sequence, size_t max_gaps,
             int64_t midnight_ns) {
            auto symbols = std::make_shared<SymbolTable>(1);
            new (self) PitchColumns::H{
                symbols,
                {SessionOptions{next_sequence, max_gaps}, feed::PitchDecoder(*symbols, midnight_ns),
                 feed::pitch_column_table(), types_of(types)}};
          },
          nb::arg("types"), nb::arg("next_sequence"), nb::arg("max_gaps"), nb::arg("midnight_ns"));

  nb::class_<Held<feed::RawReader>> raw(m, "RawReader");
  raw.def(
      "__init__",
      [](Held<feed::RawReader>* self, size_t header, size_t row, size_t sequence_at,
         size_t sequence_width, bool big_endian, uint64_t next_sequence, size_t max_gaps) {
        new (self) Held<feed::RawReader>{
            nullptr,
            {SessionOptions{next_sequence, max_gaps},
             feed::RawLayout{header, row, sequence_at, sequence_width, big_endian}}};
      },
      nb::arg("header"), nb::arg("row"), nb::arg("sequence_at"), nb::arg("sequence_width"),
      nb::arg("big_endian"), nb::arg("next_sequence"), nb::arg("max_gaps"));
  bind_reading<feed::RawReader>(raw);

  m.def("iex_segment_header", &segment_header, nb::arg("packet"),
        "The fields of an IEX-TP header in order, or None.");
  const char* what =
      "By type: (name, lengths, row bytes, [(column, format, offset, unit)], "
      "[record map]).";
  m.def(
      "iex_layouts", [] { return layouts_of(feed::iex_column_table(), feed::kIexMessages); }, what);
  m.def(
      "pitch_layouts", [] { return layouts_of(feed::pitch_column_table(), feed::kPitchMessages); },
      what);
}

}  // namespace wp::python
