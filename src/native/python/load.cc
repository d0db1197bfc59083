// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"
#include "load/latency_meter.h"
#include "load/load_sender.h"
#include "load/perf_counters.h"
#include "python/port_handle.h"

namespace wp::python {
namespace {

using load::LatencyMeter;
using load::LoadPlan;
using load::LoadSender;
using load::LoadSenderOptions;
using load::MeterOptions;
using load::MeterRun;
using load::PerfCounters;

template <class T>
void take(const nb::dict& options, const char* name, T& into) {
  if (options.contains(name)) into = nb::cast<T>(options[name]);
}

LoadSenderOptions sender_options(const nb::dict& o) {
  LoadSenderOptions out;
  if (o.contains("cpu_core")) out.cpu_core = nb::cast<int>(o["cpu_core"]);
  take(o, "tx_queue", out.tx_queue);
  take(o, "burst", out.burst);
  take(o, "spin_ns", out.spin_ns);
  take(o, "give_up_ns", out.give_up_ns);
  auto& f = out.flow;
  take(o, "destination_ip", f.destination_ip);
  take(o, "destination_port", f.destination_port);
  take(o, "source_ip", f.source_ip);
  take(o, "source_port", f.source_port);
  take(o, "destination_mac", f.destination_mac);
  take(o, "source_mac", f.source_mac);
  take(o, "ttl", f.ttl);
  return out;
}

template <class T>
std::vector<T> values_of(nb::handle array) {
  const BytesView view(array);
  std::vector<T> out(view.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), view.data(), out.size() * sizeof(T));
  return out;
}

std::shared_ptr<Histogram> copy_of(const Histogram& other) {
  auto out = std::make_shared<Histogram>();
  out->merge(other);
  return out;
}

nb::dict sender_result(const LoadSender& s) {
  if (s.running())
    throw Error(ErrorKind::kConfig, "the sender is at work", "join() it before result()");
  const load::LoadCounts c = s.counts();
  nb::dict out;
  out["planned"] = c.planned;
  out["sent"] = c.sent;
  out["bytes"] = c.bytes;
  out["refused"] = c.refused;
  out["unsent"] = c.unsent;
  out["cpu_ns"] = c.cpu_ns;
  out["active_ns"] = c.last_ns - c.first_ns;
  out["start_wall"] = s.start_wall();
  out["affinity"] = s.affinity();
  out["lateness"] = nb::cast(copy_of(s.lateness()));
  return out;
}

nb::dict meter_result(const LatencyMeter& m) {
  const MeterRun* run = m.run();
  if (!run) throw Error(ErrorKind::kConfig, "the meter has no run", "begin() one");
  nb::dict out;
  out["received"] = run->received.load();
  out["bytes"] = run->bytes.load();
  out["duplicates"] = run->duplicates.load();
  out["reordered"] = run->reordered.load();
  out["outside"] = run->outside.load();
  out["other_run"] = run->other_run.load();
  out["foreign"] = run->foreign.load();
  out["first_ns"] = run->first_ns.load();
  out["last_ns"] = run->last_ns.load();
  out["stalled_ns"] = run->stalled_ns.load();
  out["latency"] = nb::cast(copy_of(*run->latency));
  out["variation"] = nb::cast(copy_of(*run->variation));
  out["from_stamp"] = nb::cast(copy_of(*run->from_stamp));
  nb::list timeline;
  for (const auto& bin : run->timeline) timeline.append(nb::cast(copy_of(*bin)));
  out["timeline"] = timeline;
  return out;
}

}  // namespace

void bind_load(nb::module_& m) {
  nb::class_<LoadSender>(m, "LoadSender", "Open-loop load from a port; see wirepath.bench.")
      .def(
          "__init__",
          [](LoadSender* self, PortHandle& port, const nb::dict& options) {
            new (self) LoadSender(sender_options(options), port.shared());
          },
          nb::arg("port"), nb::arg("options"))
      .def(
          "start",
          [](LoadSender& s, nb::handle due, nb::handle size, int64_t period, uint64_t count,
             uint16_t run, int64_t start) {
            s.start(LoadPlan{values_of<int64_t>(due), values_of<uint32_t>(size), period, count},
                    run, start);
          },
          nb::arg("due"), nb::arg("size"), nb::arg("period"), nb::arg("count"), nb::arg("run"),
          nb::arg("start"),
          "Send `count` packets: `due` (int64, ns) and `size` (uint32, bytes of the frame) of a\n"
          "cycle that begins anew every `period` ns, from `start` on CLOCK_MONOTONIC on.")
      .def("stop", &LoadSender::stop)
      .def("join", &LoadSender::join, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("running", &LoadSender::running)
      .def_prop_ro("smallest_frame", &LoadSender::smallest_frame)
      .def_prop_ro("largest_frame", &LoadSender::largest_frame)
      .def("result", &sender_result, "What became of the latest plan, after join().");

  nb::class_<LatencyMeter, Stage>(m, "LatencyMeter",
                                  "Stage that measures what a LoadSender sent; see wirepath.bench.")
      .def("__init__", [](LatencyMeter* self) { new (self) LatencyMeter(); })
      .def(
          "begin",
          [](LatencyMeter& meter, uint16_t run, uint64_t count, int64_t start, int64_t bin_ns,
             uint32_t bins, int64_t stall_ns, int64_t stall_after_ns) {
            MeterOptions o;
            o.run = run;
            o.count = count;
            o.start = start;
            o.bin_ns = bin_ns;
            o.bins = bins;
            o.stall_ns = stall_ns;
            o.stall_after_ns = stall_after_ns;
            const nb::gil_scoped_release release;
            meter.begin(o);
          },
          nb::arg("run"), nb::arg("count"), nb::arg("start") = 0, nb::arg("bin_ns") = 100'000'000,
          nb::arg("bins") = 0, nb::arg("stall_ns") = 0, nb::arg("stall_after_ns") = 0)
      .def_prop_ro("received",
                   [](const LatencyMeter& meter) {
                     const MeterRun* run = meter.run();
                     return run ? run->received.load() : 0;
                   })
      .def("result", &meter_result, "What was kept of the run.");

  nb::class_<PerfCounters>(m, "PerfCounters",
                           "perf_event_open: of this process and the threads it starts from now\n"
                           "on.")
      .def(nb::init<>())
      .def(
          "read",
          [](const PerfCounters& p) {
            nb::dict out;
            for (const load::PerfValue& v : p.read()) {
              nb::dict each;
              each["value"] = v.available ? nb::cast(v.value) : nb::none();
              each["share"] = v.share;
              each["with_kernel"] = v.with_kernel;
              each["reason"] = v.reason;
              out[v.name.c_str()] = each;
            }
            return out;
          },
          "{event: {value, share, with_kernel, reason}}; value None where it cannot be had.");
}

}  // namespace wp::python
