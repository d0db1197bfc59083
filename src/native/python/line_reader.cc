// SPDX-License-Identifier: Apache-2.0
// The lines of a capture as one channel, and what becomes of its messages.
#include "feed/line_reader.h"

#include <arpa/inet.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "feed/iex.h"
#include "feed/pitch.h"
#include "feed/venue_columns.h"
#include "python/bindings.h"
#include "python/feed_options.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

using namespace wp::feed;

struct LineSums {
  LineCounters counters;
  Histogram behind;
};

void add(LineCounters& sum, const LineCounters& c) {
  sum.packets += c.packets;
  sum.malformed += c.malformed;
  sum.unknown_unit += c.unknown_unit;
  sum.ignored += c.ignored;
  sum.stale += c.stale;
  sum.doubted += c.doubted;
  sum.heartbeats += c.heartbeats;
  sum.end_of_session += c.end_of_session;
  sum.resets += c.resets;
  sum.data += c.data;
  sum.unsequenced += c.unsequenced;
  sum.messages += c.messages;
  sum.won += c.won;
  sum.duplicates += c.duplicates;
  sum.too_late += c.too_late;
  sum.expected += c.expected;
  sum.missing += c.missing;
  sum.wrong_session += c.wrong_session;
  sum.unsequenced_messages += c.unsequenced_messages;
  sum.reordered += c.reordered;
  sum.repeated += c.repeated;
  sum.last_time = std::max(sum.last_time, c.last_time);
}

template <class Counters>
nb::dict messages_of(const Counters& c, bool letters) {
  nb::dict by_type, out;
  for (size_t t = 0; t < c.by_type.size(); t++) {
    if (c.by_type[t] == 0) continue;
    const char letter[2] = {static_cast<char>(t), 0};
    by_type[letters ? nb::object(nb::str(letter)) : nb::object(nb::int_(t))] = c.by_type[t];
  }
  out["messages"] = c.messages;
  out["by_type"] = by_type;
  out["unknown"] = c.unknown;
  out["malformed"] = c.malformed;
  return out;
}

std::string text_of(const LineAddress& line) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(line.version == 6 ? AF_INET6 : AF_INET, line.ip.data(), text, sizeof text);
  const std::string ip = line.version == 6 ? "[" + std::string(text) + "]" : text;
  return ip + ":" + std::to_string(line.port);
}

[[noreturn]] void not_this(const char* what) {
  throw config_error("output", what, "what this reader was made for");
}

// One class in Python over all framers and makers.
class AnyLineReader {
 public:
  virtual ~AnyLineReader() = default;
  virtual void on_batch(const wp_batch& batch) = 0;
  virtual void flush() = 0;
  virtual const LineReaderCounters& counters() const = 0;
  virtual nb::list lines() const = 0;
  virtual nb::list channels() const = 0;
  virtual const std::vector<AbandonedInChannel>& abandoned() const = 0;
  virtual nb::dict messages() const = 0;
  virtual size_t pending() = 0;
  virtual nb::object take_records(nb::handle) { not_this("records"); }
  virtual size_t rows(uint8_t) { not_this("rows"); }
  virtual nb::object copy_rows(uint8_t, nb::handle) { not_this("rows"); }
  virtual nb::tuple copy_packets(nb::handle, nb::handle, nb::handle) { not_this("packets"); }
  virtual void clear() = 0;

  std::shared_ptr<SymbolTable> symbols;  // that a decoder refers to
};

nb::object copied(const void* from, size_t items, size_t bytes, nb::handle dtype) {
  NewArray out = new_array(items, dtype);
  if (bytes != 0) std::memcpy(out.data, from, bytes);
  return out.array;
}

template <class Framer, class Maker>
class LineReaderOf : public AnyLineReader {
 public:
  LineReaderOf(const ArbiterOptions& options, Maker maker, uint16_t channel)
      : reader_(options, std::move(maker), channel) {}

  void on_batch(const wp_batch& batch) override {
    for (uint32_t i = 0; i < batch.count; i++)
      reader_.on_frame(batch.data[i], batch.length[i], batch.timestamp[i]);
  }
  void flush() override { reader_.flush(); }
  const LineReaderCounters& counters() const override { return reader_.counters(); }

  nb::list lines() const override {
    std::vector<LineSums> sums(reader_.lines().size());
    for (size_t c = 0; c < reader_.channels(); c++) {
      const auto lines = reader_.arbiter(c).lines();
      for (size_t i = 0; i < sums.size(); i++) {
        add(sums[i].counters, lines[i].counters);
        sums[i].behind.merge(lines[i].behind);
      }
    }
    nb::list out;
    for (size_t i = 0; i < sums.size(); i++) {
      nb::dict line = counters_of(sums[i].counters);
      line["line"] = text_of(reader_.lines()[i]);
      auto behind = std::make_shared<Histogram>();
      behind->merge(sums[i].behind);
      line["behind"] = behind;
      out.append(line);
    }
    return out;
  }

  nb::list channels() const override {
    nb::list out;
    for (size_t c = 0; c < reader_.channels(); c++) {
      const auto& arbiter = reader_.arbiter(c);
      nb::dict channel = counters_of(arbiter.counters());
      nb::list units;
      for (size_t u = 0; u < arbiter.units(); u++) {
        const Sequencer& unit = arbiter.unit(u);
        nb::dict each;
        each["unit"] = unit.unit();
        const SessionName name = unit.session();
        each["session"] = nb::bytes(name.data(), name.size());
        each["next_sequence"] = unit.state().next;
        units.append(each);
      }
      channel["units"] = units;
      out.append(channel);
    }
    return out;
  }
  const std::vector<AbandonedInChannel>& abandoned() const override { return reader_.abandoned(); }

 protected:
  LineReader<Framer, Maker> reader_;
};

template <class Framer, class Maker>
class RecordLines final : public LineReaderOf<Framer, Maker> {
 public:
  RecordLines(const ArbiterOptions& options, Maker maker, uint16_t channel, bool letters)
      : LineReaderOf<Framer, Maker>(options, std::move(maker), channel), letters_(letters) {}

  nb::dict messages() const override {
    return messages_of(this->reader_.maker().counters(), letters_);
  }
  size_t pending() override { return buffer().size(); }
  nb::object take_records(nb::handle dtype) override {
    const size_t n = buffer().size();
    nb::object out = copied(buffer().data(), n, n * sizeof(wp_record), dtype);
    buffer().clear();
    return out;
  }
  void clear() override { buffer().clear(); }

 private:
  RecordBuffer& buffer() { return this->reader_.maker().records(); }
  bool letters_;
};

template <class Framer, class Maker>
class ColumnLines final : public LineReaderOf<Framer, Maker> {
 public:
  ColumnLines(const ArbiterOptions& options, Maker maker, bool letters)
      : LineReaderOf<Framer, Maker>(options, std::move(maker), 0), letters_(letters) {}

  nb::dict messages() const override {
    return messages_of(this->reader_.maker().counters(), letters_);
  }
  size_t pending() override { return maker().pending(); }
  size_t rows(uint8_t type) override { return maker().rows(type); }
  nb::object copy_rows(uint8_t type, nb::handle dtype) override {
    const auto bytes = maker().data(type);
    return copied(bytes.data(), maker().rows(type), bytes.size(), dtype);
  }
  void clear() override { maker().clear(); }

 private:
  Maker& maker() { return this->reader_.maker(); }
  bool letters_;
};

class PacketLines final : public LineReaderOf<CmeFramer, PacketMaker> {
 public:
  explicit PacketLines(const ArbiterOptions& options)
      : LineReaderOf<CmeFramer, PacketMaker>(options, PacketMaker(), 0) {}

  nb::dict messages() const override { return {}; }
  size_t pending() override { return maker().lengths().size(); }
  nb::tuple copy_packets(nb::handle bytes, nb::handle u4, nb::handle i8) override {
    const size_t n = maker().lengths().size();
    return nb::make_tuple(
        copied(maker().data().data(), maker().data().size(), maker().data().size(), bytes),
        copied(maker().lengths().data(), n, n * sizeof(uint32_t), u4),
        copied(maker().times().data(), n, n * sizeof(int64_t), i8));
  }
  void clear() override { maker().clear(); }

 private:
  PacketMaker& maker() { return reader_.maker(); }
};

using Symbols = std::shared_ptr<SymbolTable>;

std::unique_ptr<AnyLineReader> make_reader(const std::string& protocol, bool columns,
                                           const std::vector<uint8_t>& types,
                                           const Symbols& symbols, int64_t midnight_ns,
                                           uint16_t channel, const ArbiterOptions& options) {
  if (protocol == "itch") {
    if (columns)
      return std::make_unique<ColumnLines<MoldFramer, ItchColumnMaker>>(
          options, ItchColumnMaker(std::string(types.begin(), types.end())), true);
    return std::make_unique<RecordLines<MoldFramer, ItchRecordMaker>>(
        options, ItchRecordMaker(midnight_ns), channel, true);
  }
  if (protocol == "iex") {
    IexDecoder decoder(*symbols);
    if (columns)
      return std::make_unique<ColumnLines<IexTpFramer, ColumnMaker<IexDecoder>>>(
          options, ColumnMaker<IexDecoder>(std::move(decoder), iex_column_table(), types), true);
    return std::make_unique<RecordLines<IexTpFramer, RecordMaker<IexDecoder>>>(
        options, RecordMaker<IexDecoder>(std::move(decoder)), channel, true);
  }
  if (protocol == "pitch") {
    PitchDecoder decoder(*symbols, midnight_ns);
    if (columns)
      return std::make_unique<ColumnLines<PitchFramer, ColumnMaker<PitchDecoder>>>(
          options, ColumnMaker<PitchDecoder>(std::move(decoder), pitch_column_table(), types),
          false);
    return std::make_unique<RecordLines<PitchFramer, RecordMaker<PitchDecoder>>>(
        options, RecordMaker<PitchDecoder>(std::move(decoder)), channel, false);
  }
  if (protocol == "cme") return std::make_unique<PacketLines>(options);
  throw config_error("protocol", "\"" + protocol + "\"", "one of itch, iex, pitch, cme");
}

}  // namespace

void bind_line_reader(nb::module_& m) {
  nb::class_<AnyLineReader>(m, "LineReader",
                            "Native reader of captures; see wirepath.feed.LineReader.")
      .def_static(
          "make",
          [](const std::string& protocol, bool columns, nb::handle types, const Symbols& symbols,
             int64_t midnight_ns, uint16_t channel, const nb::dict& arbiter) {
            ArbiterOptions o;
            set_arbiter_options(arbiter, o);
            const BytesView in(types);
            const std::vector<uint8_t> kept(in.data(), in.data() + in.size());
            auto made = make_reader(protocol, columns, kept, symbols, midnight_ns, channel, o);
            made->symbols = symbols;
            return made.release();
          },
          nb::rv_policy::take_ownership, nb::arg("protocol"), nb::kw_only(), nb::arg("columns"),
          nb::arg("types"), nb::arg("symbols"), nb::arg("midnight_ns"), nb::arg("channel"),
          nb::arg("arbiter"))
      .def(
          "on_batch",
          [](AnyLineReader& r, const PyBatch& py) {
            const wp_batch& batch = py.batch();
            nb::gil_scoped_release release;
            r.on_batch(batch);
          },
          nb::arg("batch"))
      .def("flush",
           [](AnyLineReader& r) {
             nb::gil_scoped_release release;
             r.flush();
           })
      .def_prop_ro("pending", &AnyLineReader::pending)
      .def("take_records", &AnyLineReader::take_records, nb::arg("dtype"))
      .def("rows", &AnyLineReader::rows, nb::arg("type"))
      .def("copy_rows", &AnyLineReader::copy_rows, nb::arg("type"), nb::arg("dtype"))
      .def("copy_packets", &AnyLineReader::copy_packets, nb::arg("bytes"), nb::arg("u4"),
           nb::arg("i8"))
      .def("clear", &AnyLineReader::clear)
      .def_prop_ro("counters",
                   [](const AnyLineReader& r) {
                     const LineReaderCounters& c = r.counters();
                     nb::dict out;
                     out["frames"] = c.frames;
                     out["not_udp"] = c.not_udp;
                     out["payloads"] = c.payloads;
                     out["foreign"] = c.foreign;
                     out["other_line"] = c.other_line;
                     out["other_channel"] = c.other_channel;
                     out["no_session"] = c.no_session;
                     return out;
                   })
      .def_prop_ro("messages", &AnyLineReader::messages)
      .def_prop_ro("lines", &AnyLineReader::lines)
      .def_prop_ro("channels", &AnyLineReader::channels)
      .def_prop_ro("abandoned", [](const AnyLineReader& r) {
        nb::list out;
        for (const AbandonedInChannel& a : r.abandoned())
          out.append(nb::make_tuple(a.channel, a.unit, a.first, a.last,
                                    kAbandonReasons[static_cast<size_t>(a.reason)]));
        return out;
      });
}

}  // namespace wp::python
