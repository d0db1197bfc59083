// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <utility>

#include "core/error.h"
#include "feed/itch50.h"
#include "feed/itch50_columns.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

using feed::Itch50Columns;
using feed::Itch50Context;
using feed::Itch50Counters;
using feed::Itch50Decoder;
using feed::ItchFileEnd;
using feed::ItchResult;

const char* end_text(ItchFileEnd end) {
  switch (end) {
    case ItchFileEnd::kNone:
      return "";
    case ItchFileEnd::kClean:
      return "clean";
    case ItchFileEnd::kEndOfSession:
      return "end of session";
    case ItchFileEnd::kTruncated:
      return "truncated";
  }
  return "";
}

nb::dict counters_of(const Itch50Counters& c) {
  nb::dict by_type;
  for (size_t t = 0; t < c.by_type.size(); t++)
    if (c.by_type[t]) by_type[nb::str(std::string(1, static_cast<char>(t)).c_str())] = c.by_type[t];
  nb::dict out;
  out["messages"] = c.messages;
  out["by_type"] = by_type;
  out["unknown"] = c.unknown;
  out["malformed"] = c.malformed;
  out["truncated"] = c.truncated;
  out["end_of_session"] = c.end_of_session;
  return out;
}

const char* result_text(ItchResult r) {
  return r == ItchResult::kOk ? "ok" : r == ItchResult::kUnknown ? "unknown" : "malformed";
}

char type_letter(const std::string& type) {
  if (type.size() != 1) throw config_error("type", "\"" + type + "\"", "one ITCH message letter");
  return type[0];
}

}  // namespace

void bind_itch(nb::module_& m) {
  nb::class_<Itch50Decoder>(m, "Itch50Decoder",
                            "Native ITCH 5.0 decoder; see wirepath.feed.Itch50.")
      .def(nb::init<>())
      .def(
          "decode",
          [](Itch50Decoder& d, nb::handle message, nb::handle out, uint64_t seq, int64_t recv_time,
             int64_t midnight_ns, uint16_t channel) {
            const BytesView in(message);
            const BytesView row(out, true);
            if (row.size() != sizeof(wp_record))
              throw config_error("out", std::to_string(row.size()) + " bytes", "one RECORD");
            wp_record record{};
            const ItchResult result =
                d.decode(in.data(), in.size(), {seq, recv_time, midnight_ns, channel, 0}, record);
            if (result == ItchResult::kOk) std::memcpy(row.data(), &record, sizeof record);
            return result_text(result);
          },
          nb::arg("message"), nb::arg("out"), nb::arg("seq") = 0, nb::arg("recv_time") = 0,
          nb::arg("midnight_ns") = 0, nb::arg("channel") = 0)
      .def(
          "decode_frames",
          [](Itch50Decoder& d, nb::handle data, size_t offset, nb::handle out, uint64_t seq,
             int64_t recv_time, int64_t midnight_ns, uint16_t channel, bool last) {
            const BytesView in(data);
            const BytesView rows(out, true);
            if (offset > in.size())
              throw config_error("offset", std::to_string(offset),
                                 "at most " + std::to_string(in.size()));
            Itch50Context context{seq, recv_time, midnight_ns, channel, 0};
            size_t consumed = 0, written = 0;
            {
              nb::gil_scoped_release release;
              written = d.decode_frames(in.data() + offset, in.size() - offset,
                                        reinterpret_cast<wp_record*>(rows.data()),
                                        rows.size() / sizeof(wp_record), &consumed, context, last);
            }
            return nb::make_tuple(written, consumed, context.seq);
          },
          nb::arg("data"), nb::arg("offset"), nb::arg("out"), nb::arg("seq"), nb::arg("recv_time"),
          nb::arg("midnight_ns"), nb::arg("channel"), nb::arg("last"),
          "Returns (records written, bytes consumed, next sequence number).")
      .def_prop_ro("end", [](const Itch50Decoder& d) { return end_text(d.end()); })
      .def_prop_ro("counters", [](const Itch50Decoder& d) { return counters_of(d.counters()); })
      .def("reset_counters", &Itch50Decoder::reset_counters);

  nb::class_<Itch50Columns>(m, "Itch50Columns",
                            "Native raw ITCH 5.0 columns; see wirepath.feed.Itch50Columns.")
      .def(nb::init<const std::string&>(), nb::arg("types") = "")
      .def(
          "append",
          [](Itch50Columns& c, nb::handle message, uint64_t seq, int64_t recv_time) {
            const BytesView in(message);
            return result_text(c.append(in.data(), in.size(), seq, recv_time));
          },
          nb::arg("message"), nb::arg("seq") = 0, nb::arg("recv_time") = 0)
      .def(
          "append_frames",
          [](Itch50Columns& c, nb::handle data, uint64_t seq, int64_t recv_time, bool last) {
            const BytesView in(data);
            const size_t consumed = c.append_frames(in.data(), in.size(), &seq, recv_time, last);
            return nb::make_tuple(consumed, seq);
          },
          nb::arg("data"), nb::arg("seq") = 1, nb::arg("recv_time") = 0, nb::arg("last") = true)
      .def("rows", [](const Itch50Columns& c,
                      const std::string& type) { return c.rows(type_letter(type)); })
      .def(
          "take",
          [](Itch50Columns& c, const std::string& type, nb::handle dtype) {
            const char letter = type_letter(type);
            const size_t rows = c.rows(letter);
            NewArray out = new_array(rows, dtype);
            const std::vector<uint8_t> bytes = c.take(letter);
            if (!bytes.empty()) std::memcpy(out.data, bytes.data(), bytes.size());
            return out.array;
          },
          nb::arg("type"), nb::arg("dtype"))
      .def_prop_ro("end", [](const Itch50Columns& c) { return end_text(c.end()); })
      .def_prop_ro("counters", [](const Itch50Columns& c) { return counters_of(c.counters()); });

  m.def(
      "itch50_layouts",
      [] {
        nb::dict out;
        for (const feed::ItchRowLayout& layout : feed::itch50_row_layouts()) {
          nb::list columns;
          for (const feed::ItchColumn& c : layout.columns)
            columns.append(nb::make_tuple(c.name, c.format, c.offset, c.unit));
          out[nb::str(std::string(1, layout.type).c_str())] =
              nb::make_tuple(layout.name, layout.itemsize, columns);
        }
        return out;
      },
      "Raw column layout by message type: (name, row bytes, [(column, format, offset, unit)]).");
}

}  // namespace wp::python
