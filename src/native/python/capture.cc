// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/unique_ptr.h>

#include <cstring>
#include <memory>
#include <utility>

#include "capture/capture_output.h"
#include "capture/capture_session.h"
#include "capture/ring_buffer_source.h"
#include "capture/tap_source.h"
#include "core/error.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

using capture::CaptureSession;
using capture::FrameSource;
using capture::RingBufferSource;
using capture::TapSource;

std::vector<BpfInstruction> program_of(const nb::bytes& bytes) {
  std::vector<BpfInstruction> out(bytes.size() / sizeof(BpfInstruction));
  if (!out.empty()) std::memcpy(out.data(), bytes.c_str(), out.size() * sizeof(BpfInstruction));
  return out;
}

// Keyword names of an interface's description, as Python gives them.
pcap::InterfaceOptions interface_of(const nb::dict& given) {
  const auto text = [&](const char* name) {
    return given.contains(name) ? nb::cast<std::string>(given[name]) : std::string();
  };
  pcap::InterfaceOptions out{.name = text("name"),
                             .description = text("description"),
                             .hardware = text("hardware"),
                             .os = text("os"),
                             .filter = text("filter"),
                             .comment = text("comment")};
  if (given.contains("snap_length")) out.snap_length = nb::cast<uint32_t>(given["snap_length"]);
  if (given.contains("speed")) out.speed = nb::cast<uint64_t>(given["speed"]);
  return out;
}

nb::dict counts_of(const capture::SourceCounts& counts) {
  nb::dict out;
  out["seen"] = counts.seen;
  out["filtered"] = counts.filtered;
  out["dropped"] = counts.dropped;
  out["broken"] = counts.broken;
  return out;
}

std::unique_ptr<CaptureSession> make_session(
    const std::vector<std::shared_ptr<FrameSource>>& sources,
    const std::vector<std::vector<nb::dict>>& interfaces, const std::string& path, int fd,
    uint64_t file_bytes, int64_t file_ns, uint32_t ring_files, const std::string& hardware,
    const std::string& os, const std::string& application, const std::string& comment) {
  if (sources.empty() || sources.size() != interfaces.size())
    throw config_error("interfaces", std::to_string(interfaces.size()), "a list for each source");
  std::vector<uint32_t> numbers;
  std::vector<pcap::InterfaceOptions> all;
  for (const auto& each : interfaces) {
    if (each.empty()) throw config_error("interfaces", "0", "at least one of a source");
    numbers.push_back(static_cast<uint32_t>(each.size()));
    for (const nb::dict& one : each) all.push_back(interface_of(one));
  }
  capture::OutputConfig config{.path = path,
                               .fd = fd,
                               .file_bytes = file_bytes,
                               .file_ns = file_ns,
                               .ring_files = ring_files,
                               .section = {hardware, os, application, comment}};
  return std::make_unique<CaptureSession>(
      sources, std::move(numbers),
      std::make_unique<capture::CaptureOutput>(std::move(config), std::move(all)));
}

void bind_sources(nb::module_& m) {
  nb::class_<FrameSource>(m, "FrameSource", "Where captured frames come from.")
      .def(
          "counts",
          [](const FrameSource& s, uint32_t interface) { return counts_of(s.counts(interface)); },
          nb::arg("interface") = 0,
          "Frames that came by (seen), and of those: unwanted by the filter (filtered), without\n"
          "room on the way here (dropped). broken: times that a ring made no sense.")
      .def(
          "stop",
          [](FrameSource& s) {
            const nb::gil_scoped_release release;
            s.stop();
          },
          "No more frames are wanted.");
  nb::class_<TapSource, FrameSource>(m, "TapSource", "Frames of a port, by its tap.")
      .def(
          "__init__",
          [](TapSource* self, const std::string& process, const std::string& port,
             uint64_t ring_bytes, uint32_t snap_length, const nb::bytes& filter) {
            new (self) TapSource(process, port, ring_bytes, snap_length, program_of(filter));
          },
          nb::arg("process"), nb::arg("port"), nb::arg("ring_bytes"), nb::arg("snap_length"),
          nb::arg("filter"),
          "process: number of the process that has `port` (its spec) open. ring_bytes: of the\n"
          "ring of each queue, a power of two. filter: classic BPF, b\"\" = every frame.")
      .def_prop_ro("queues", &TapSource::streams)
      .def_prop_ro("followers", &TapSource::followers,
                   "Queues whose frames are copied by now; one that nobody polls is not.")
      .def_prop_ro("refused", &TapSource::refused, "The process could not map the rings.");
  nb::class_<RingBufferSource, FrameSource>(m, "RingBufferSource",
                                            "Frames that an eBPF tap sends through a ring buffer.")
      .def(
          "__init__",
          [](RingBufferSource* self, int map_fd, uint64_t ring_bytes, uint32_t snap_length,
             const nb::bytes& filter) {
            new (self) RingBufferSource(map_fd, ring_bytes, snap_length, program_of(filter));
          },
          nb::arg("map_fd"), nb::arg("ring_bytes"), nb::arg("snap_length"), nb::arg("filter"),
          "map_fd: of a BPF_MAP_TYPE_RINGBUF of ring_bytes with records of `struct tap_frame`;\n"
          "it is duplicated. filter: classic BPF that is run here, b\"\" = every frame.")
      .def("set_lost", &RingBufferSource::set_lost, nb::arg("frames"),
           "What the program counted as lost, also behind the last frame that came through.")
      .def("end", &RingBufferSource::end, "No more frames will come: what sent them has gone.");
}

}  // namespace

void bind_capture(nb::module_& m) {
  bind_sources(m);
  nb::class_<CaptureSession>(m, "CaptureSession",
                             "Takes frames from sources and writes them as pcapng.")
      .def(nb::new_(&make_session), nb::arg("sources"), nb::arg("interfaces"), nb::arg("path"),
           nb::arg("fd"), nb::arg("file_bytes"), nb::arg("file_ns"), nb::arg("ring_files"),
           nb::arg("hardware"), nb::arg("os"), nb::arg("application"), nb::arg("comment"),
           "interfaces: for each source the descriptions of its interfaces (name, description,\n"
           "hardware, os, filter, comment, snap_length, speed). fd: written to instead of path\n"
           "where it is not negative. file_bytes, file_ns: a new file after so much, 0 = never;\n"
           "ring_files: keep so many, 0 = all.")
      .def(
          "run",
          [](CaptureSession& s, double seconds, uint64_t most) {
            const NativeWait wait_outside;
            const nb::gil_scoped_release release;
            return s.run(static_cast<int64_t>(seconds * 1e9), most);
          },
          nb::arg("seconds"), nb::arg("most"),
          "Write frames for so long, without the GIL. False: `most` in all are written (0 = no\n"
          "limit), or no more will come. Raises PortError where writing fails.")
      .def(
          "finish",
          [](CaptureSession& s, uint64_t most) {
            const nb::gil_scoped_release release;
            s.finish(most);
          },
          nb::arg("most"), "Stop the sources, write what they have, end the file.")
      .def("set_device_counts", &CaptureSession::set_device_counts, nb::arg("interface"),
           nb::arg("received").none(), nb::arg("dropped").none(), nb::arg("comment"),
           "What the device received and lost since the capture began, for the end of the file.")
      .def(
          "counts",
          [](const CaptureSession& s, uint32_t interface) {
            nb::dict out = counts_of(s.counts(interface));
            out["delivered"] = s.output().delivered(interface);
            return out;
          },
          nb::arg("interface"), "Of an interface of the file: the source's counts, and delivered.")
      .def_prop_ro("written", [](const CaptureSession& s) { return s.output().written(); })
      .def_prop_ro("bytes", [](const CaptureSession& s) { return s.output().bytes(); })
      .def_prop_ro("removed", [](const CaptureSession& s) { return s.output().removed(); })
      .def_prop_ro("files", [](const CaptureSession& s) {
        const auto& files = s.output().files();
        return std::vector<std::string>(files.begin(), files.end());
      });
  m.def("tap_ports", &TapSource::ports, nb::arg("process"),
        "Specs of the ports that a process has open and that can be tapped.");
  m.def(
      "run_bpf",
      [](const nb::bytes& filter, const nb::bytes& frame, uint32_t original) {
        const auto program = program_of(filter);
        if (const std::string wrong = bpf_problem(program); !wrong.empty())
          throw Error(ErrorKind::kConfig, "the capture filter is not usable: " + wrong);
        return run_bpf(program, reinterpret_cast<const uint8_t*>(frame.c_str()),
                       static_cast<uint32_t>(frame.size()), original);
      },
      nb::arg("filter"), nb::arg("frame"), nb::arg("original"),
      "What a classic BPF program says of a frame: 0 = not wanted.");
}

}  // namespace wp::python
