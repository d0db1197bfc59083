// SPDX-License-Identifier: Apache-2.0
#include "feed/publisher.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "feed/itch_generator.h"
#include "feed/mold_retransmitter.h"
#include "feed/soup_server.h"
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

void take_flow(const nb::dict& o, feed::UdpFramerOptions& f) {
  take(o, "destination_ip", f.destination_ip);
  take(o, "destination_port", f.destination_port);
  take(o, "source_ip", f.source_ip);
  take(o, "source_port", f.source_port);
  take(o, "destination_mac", f.destination_mac);
  take(o, "source_mac", f.source_mac);
  take(o, "ttl", f.ttl);
}

feed::PublishLineOptions line_options(const nb::dict& o) {
  feed::PublishLineOptions out;
  take_flow(o, out.flow);
  take(o, "max_messages", out.max_messages);
  take(o, "skew_ns", out.skew_ns);
  auto& i = out.impairment;
  take(o, "loss", i.loss);
  take(o, "burst_loss", i.burst_loss);
  take(o, "burst_packets", i.burst_packets);
  take(o, "duplicate", i.duplicate);
  take(o, "reorder", i.reorder);
  take(o, "reorder_packets", i.reorder_packets);
  take(o, "seed", i.seed);
  return out;
}

feed::PublishEpoch epoch_of(const nb::dict& o) {
  feed::PublishEpoch out;
  take(o, "at", out.at);
  take(o, "session", out.session);
  take(o, "sequence", out.sequence);
  take(o, "heartbeat", out.heartbeat);
  take(o, "end_of_session", out.end_of_session);
  take(o, "pause_ns", out.pause_ns);
  return out;
}

// [(session, first, last), ...]: message numbers as packets say them, a range cut where they
// begin anew.
nb::list ranges_of(const feed::RangeList& list, const feed::StreamNumbers& numbers) {
  nb::list out;
  for (const auto& range : list.ranges())
    for (uint64_t first = range.first; first <= range.last;) {
      const uint64_t last = std::min(range.last, numbers.end_of_part(first) - 1);
      const auto& name = numbers.part_of(first).session;
      const std::string_view text = feed::soup_trimmed({name.data(), name.size()});
      out.append(nb::make_tuple(nb::str(text.data(), text.size()), numbers.sequence_of(first),
                                numbers.sequence_of(last)));
      first = last + 1;
    }
  return out;
}

nb::dict lost_of(const feed::RangeList& list, const feed::StreamNumbers& numbers) {
  nb::dict out;
  out["messages"] = list.messages();
  out["ranges"] = list.total();
  out["listed"] = ranges_of(list, numbers);
  return out;
}

feed::ServerAddress address_of(const nb::dict& o) {
  feed::ServerAddress out;
  take(o, "host", out.host);
  take(o, "port", out.port);
  return out;
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
  if (o.contains("epochs"))
    for (nb::handle epoch : nb::cast<nb::list>(o["epochs"]))
      s.epochs.push_back(epoch_of(nb::cast<nb::dict>(epoch)));
  take_flow(o, out.flow);
  if (o.contains("lines"))
    for (nb::handle line : nb::cast<nb::list>(o["lines"]))
      out.lines.push_back(line_options(nb::cast<nb::dict>(line)));
  take(o, "history_bytes", out.history_bytes);
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
      .def_prop_ro("published", &Publisher::published)
      .def("stats", [](const Publisher& p) { return to_python(p.stats()); })
      .def("line_stats",
           [](const Publisher& p) {
             nb::list out;
             for (size_t i = 0; i < p.lines(); i++) out.append(to_python(p.line_stats(i)));
             return out;
           })
      .def(
          "lost",
          [](const Publisher& p) {
            if (p.running())
              throw Error(ErrorKind::kBusy, "the publisher still runs", "join it first");
            nb::list out;
            for (size_t i = 0; i < p.lines(); i++) out.append(lost_of(p.lost(i), p.numbers()));
            return nb::make_tuple(out, lost_of(p.lost_everywhere().sorted(), p.numbers()));
          },
          "What each line lost on purpose, and what all of them lost; once it has ended.")
      .def("send_lateness", [](const Publisher& p) {
        auto out = std::make_shared<Histogram>();
        out->merge(p.send_lateness());
        return out;
      });

  using feed::RetransmitServer;
  nb::class_<RetransmitServer>(m, "RetransmitServer", "Native server; see wirepath.publish.")
      .def(
          "__init__",
          [](RetransmitServer* self, const Publisher& publisher, const nb::dict& o) {
            feed::RetransmitOptions options;
            options.address = address_of(o);
            take(o, "name", options.name);
            take(o, "max_payload", options.max_payload);
            take(o, "rate", options.rate);
            take(o, "rate_burst", options.rate_burst);
            take(o, "delay_ns", options.delay_ns);
            take(o, "loss", options.loss);
            take(o, "seed", options.seed);
            take(o, "silent", options.silent);
            new (self) RetransmitServer(options, publisher.log(), publisher.numbers());
          },
          nb::arg("publisher"), nb::arg("options"))
      .def("start", &RetransmitServer::start)
      .def("stop", &RetransmitServer::stop, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("port", &RetransmitServer::port)
      .def("stats", [](const RetransmitServer& s) { return to_python(s.stats()); });

  using feed::SoupServer;
  nb::class_<SoupServer>(m, "SoupServer", "Native server; see wirepath.publish.")
      .def(
          "__init__",
          [](SoupServer* self, const Publisher& publisher, const nb::dict& o) {
            feed::SoupServerOptions options;
            options.address = address_of(o);
            take(o, "name", options.name);
            take(o, "glimpse", options.glimpse);
            take(o, "username", options.username);
            take(o, "password", options.password);
            take(o, "max_clients", options.max_clients);
            take(o, "heartbeat_ns", options.heartbeat_ns);
            take(o, "timeout_ns", options.timeout_ns);
            new (self) SoupServer(options, publisher.log(), publisher.numbers());
          },
          nb::arg("publisher"), nb::arg("options"))
      .def("start", &SoupServer::start)
      .def("stop", &SoupServer::stop, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("port", &SoupServer::port)
      .def_prop_ro("clients", &SoupServer::clients)
      .def("stats", [](const SoupServer& s) { return to_python(s.stats()); });
}

}  // namespace wp::python
