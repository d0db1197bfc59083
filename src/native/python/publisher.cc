// SPDX-License-Identifier: Apache-2.0
#include "feed/publisher.h"

#include <utility>

#include "core/error.h"
#include "feed/itch_generator.h"
#include "python/port_handle.h"

namespace wp::python {
namespace {

using feed::ItchGenerator;
using feed::ItchGeneratorOptions;
using feed::Publisher;
using feed::PublisherOptions;

// Every option by its C++ name; an unknown one is a programming error of the Python layer.
template <class T>
bool take(const nb::dict& options, const char* name, T& into) {
  if (!options.contains(name)) return false;
  into = nb::cast<T>(options[name]);
  return true;
}

feed::Pacing pacing_named(const std::string& name) {
  if (name == "fast") return feed::Pacing::kFast;
  if (name == "messages") return feed::Pacing::kMessages;
  if (name == "packets") return feed::Pacing::kPackets;
  if (name == "original") return feed::Pacing::kOriginal;
  throw config_error("pacing", "\"" + name + "\"", "fast, messages, packets or original");
}

PublisherOptions publisher_options(const nb::dict& o) {
  PublisherOptions out;
  take(o, "name", out.name);
  int core = -1;
  if (take(o, "cpu_core", core)) out.cpu_core = core;
  auto& s = out.schedule;
  take(o, "session", s.session);
  take(o, "first_sequence", s.first_sequence);
  std::string pacing;
  if (take(o, "pacing", pacing)) s.pacing = pacing_named(pacing);
  take(o, "rate", s.rate);
  take(o, "speed", s.speed);
  take(o, "max_payload", s.max_payload);
  take(o, "max_messages", s.max_messages);
  take(o, "pack_window_ns", s.pack_window_ns);
  take(o, "heartbeat_ns", s.heartbeat_ns);
  take(o, "linger_ns", s.linger_ns);
  take(o, "end_of_session", s.end_of_session);
  take(o, "end_of_session_interval_ns", s.end_of_session_interval_ns);
  auto& f = out.flow;
  take(o, "destination_ip", f.destination_ip);
  take(o, "destination_port", f.destination_port);
  take(o, "source_ip", f.source_ip);
  take(o, "source_port", f.source_port);
  take(o, "destination_mac", f.destination_mac);
  take(o, "source_mac", f.source_mac);
  take(o, "ttl", f.ttl);
  take(o, "tx_queue", out.tx_queue);
  take(o, "burst", out.burst);
  std::string refused;
  if (take(o, "on_refused", refused)) {
    if (refused != "drop" && refused != "retry")
      throw config_error("on_refused", "\"" + refused + "\"", "retry or drop");
    out.on_refused = refused == "drop" ? feed::OnRefused::kDrop : feed::OnRefused::kRetry;
  }
  take(o, "retry_timeout_ms", out.retry_timeout_ms);
  take(o, "spin_ns", out.spin_ns);
  return out;
}

ItchGeneratorOptions generator_options(uint64_t seed, uint64_t messages, uint32_t symbols,
                                       int64_t start_ns, int64_t end_ns, uint32_t burst) {
  ItchGeneratorOptions out;
  out.seed = seed;
  out.messages = messages;
  out.symbols = symbols;
  out.start_ns = start_ns;
  out.end_ns = end_ns;
  out.burst = burst;
  out.validate();
  return out;
}

}  // namespace

void bind_publisher(nb::module_& m) {
  const ItchGeneratorOptions d;
  nb::class_<ItchGenerator>(m, "ItchGenerator",
                            "A believable ITCH 5.0 day from a seed; see wirepath.publish.")
      .def(
          "__init__",
          [](ItchGenerator* self, uint64_t seed, uint64_t messages, uint32_t symbols,
             int64_t start_ns, int64_t end_ns, uint32_t burst) {
            new (self)
                ItchGenerator(generator_options(seed, messages, symbols, start_ns, end_ns, burst));
          },
          nb::arg("seed") = d.seed, nb::arg("messages") = d.messages,
          nb::arg("symbols") = d.symbols, nb::arg("start_ns") = d.start_ns,
          nb::arg("end_ns") = d.end_ns, nb::arg("burst") = d.burst)
      .def(
          "generate",
          [](ItchGenerator& g, nb::handle out) {
            const BytesView view(out, true);
            nb::gil_scoped_release release;
            return g.generate(view.data(), view.size());
          },
          nb::arg("out"),
          "Fill a writable buffer with whole length-prefixed messages; returns the bytes written,\n"
          "0 at the end of the day.")
      .def_prop_ro("done", &ItchGenerator::done)
      .def_prop_ro("written", &ItchGenerator::written)
      .def_prop_ro("by_type", [](const ItchGenerator& g) {
        nb::dict out;
        for (size_t t = 0; t < 256; t++)
          if (g.by_type()[t])
            out[nb::str(std::string(1, static_cast<char>(t)).c_str())] = g.by_type()[t];
        return out;
      });

  nb::class_<feed::MessageSource>(m, "MessageSource");
  nb::class_<feed::PacketListSource>(m, "PacketList", "Packets to be sent as they are.")
      .def(nb::init<>())
      .def(
          "add",
          [](feed::PacketListSource& s, int64_t time, nb::handle payload) {
            const BytesView view(payload);
            s.add(time, {view.data(), view.size()});
          },
          nb::arg("time"), nb::arg("payload"))
      .def("__len__", &feed::PacketListSource::size);
  m.def(
      "generated_source",
      [](uint64_t seed, uint64_t messages, uint32_t symbols, int64_t start_ns, int64_t end_ns,
         uint32_t burst) -> std::shared_ptr<feed::MessageSource> {
        return std::make_shared<feed::GeneratorSource>(
            generator_options(seed, messages, symbols, start_ns, end_ns, burst));
      },
      nb::arg("seed") = d.seed, nb::arg("messages") = d.messages, nb::arg("symbols") = d.symbols,
      nb::arg("start_ns") = d.start_ns, nb::arg("end_ns") = d.end_ns, nb::arg("burst") = d.burst);
  m.def(
      "itch_file_source",
      [](const std::string& path) -> std::shared_ptr<feed::MessageSource> {
        return std::make_shared<feed::ItchFileSource>(path);
      },
      nb::arg("path"));

  nb::class_<Publisher>(m, "Publisher", "Native publisher; see wirepath.publish.")
      .def(
          "__init__",
          [](Publisher* self, PortHandle& port, nb::handle source, const nb::dict& options) {
            PublisherOptions o = publisher_options(options);
            std::shared_ptr<Port> out = port.shared();
            if (nb::isinstance<feed::PacketListSource>(source))
              new (self) Publisher(std::move(o), std::move(out),
                                   std::shared_ptr<feed::PacketSource>(
                                       nb::cast<std::shared_ptr<feed::PacketListSource>>(source)));
            else
              new (self) Publisher(std::move(o), std::move(out),
                                   nb::cast<std::shared_ptr<feed::MessageSource>>(source));
          },
          nb::arg("port"), nb::arg("source"), nb::arg("options"))
      .def("start", &Publisher::start)
      .def("stop", &Publisher::stop)
      .def("join", &Publisher::join, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("running", &Publisher::running)
      .def_prop_ro("packets", &Publisher::published_packets)
      .def_prop_ro("messages", &Publisher::published_messages)
      .def("stats", [](const Publisher& p) { return to_python(p.stats()); })
      .def("send_lateness", [](const Publisher& p) {
        auto out = std::make_shared<Histogram>();
        out->merge(p.send_lateness());
        return out;
      });
}

}  // namespace wp::python
