// SPDX-License-Identifier: Apache-2.0
#include "core/switch_port.h"

#include "core/error.h"
#include "programs/steer_native.h"
#include "programs/steer_share.h"
#include "python/port_handle.h"

namespace wp::python {
namespace {

// The control side of an open "auto" port.
struct PySwitch {
  std::shared_ptr<PortHandle> handle;

  SwitchPort& port() const {
    auto* port = dynamic_cast<SwitchPort*>(&handle->port());
    if (!port)
      throw Error(ErrorKind::kConfig, handle->port().spec() + " is no port that can be switched",
                  "open auto:INTERFACE");
    return *port;
  }
};

nb::list paths(const PySwitch& self) {
  nb::list out;
  for (const SwitchPort::PathStatus& each : self.port().paths()) {
    nb::dict entry;
    entry["path"] = each.path;
    entry["name"] = each.name;
    entry["spec"] = each.spec;
    entry["kernel"] = each.kernel;
    entry["resting"] = each.resting;
    entry["taken_away"] = each.taken_away;
    entry["frames"] = each.frames;
    entry["outstanding"] = each.outstanding;
    entry["empty_polls"] = each.empty_polls;
    out.append(entry);
  }
  return out;
}

uint32_t flow_hash(nb::handle frame) {
  const BytesView bytes(frame);
  steer_flow flow;
  steer_flow_of(bytes.data(), bytes.data() + bytes.size(), &flow);
  return flow.hash;
}

}  // namespace

void bind_switch(nb::module_& m) {
  nb::enum_<SwitchCount>(m, "SwitchCount", "Counters of a switch that the control thread writes.")
      .value("TRANSITIONS", SwitchCount::kTransitions)
      .value("FALL_BACKS", SwitchCount::kFallBacks)
      .value("RETURNS", SwitchCount::kReturns)
      .value("REFUSALS", SwitchCount::kRefusals)
      .value("CHANGES", SwitchCount::kChanges)
      .value("TROUBLES", SwitchCount::kTroubles);

  nb::class_<PySwitch>(m, "SwitchControl",
                       "Paths of an open `auto` port; wirepath.switching decides about them.")
      .def(
          "__init__",
          [](PySwitch* self, std::shared_ptr<PortHandle> port) {
            new (self) PySwitch{std::move(port)};
            self->port();
          },
          nb::arg("port"))
      .def(
          "add",
          [](const PySwitch& self, const PortHandle& path, std::string name, bool kernel) {
            return self.port().add(path.shared(), std::move(name), kernel);
          },
          nb::arg("path"), nb::arg("name"), nb::arg("kernel"),
          "Poll this port too from now on; its number.")
      .def(
          "rest",
          [](const PySwitch& self, uint32_t path, bool resting, int first) {
            self.port().rest(path, resting, first);
          },
          nb::arg("path"), nb::arg("resting"), nb::arg("first") = -1,
          "Look at it only now and then; read the path `first` empty before the others.")
      .def(
          "take_away", [](const PySwitch& self, uint32_t path) { self.port().take_away(path); },
          nb::arg("path"), "Poll it no more.")
      .def(
          "gone", [](const PySwitch& self, uint32_t path) { return self.port().gone(path); },
          nb::arg("path"), "Whoever drives the port knows, and nobody holds a frame of it.")
      .def(
          "forget", [](const PySwitch& self, uint32_t path) { self.port().forget(path); },
          nb::arg("path"), "Keep its counters and let go of it; once gone().")
      .def("paths", &paths, "What each path has delivered, and what of it is still out.")
      .def("polls", [](const PySwitch& self) { return self.port().polls(); })
      .def("claimed", [](const PySwitch& self) { return self.port().claimed(); })
      .def("delivered", [](const PySwitch& self) { return to_python(self.port().delivered()); })
      .def(
          "count",
          [](const PySwitch& self, SwitchCount what, uint64_t n) { self.port().count(what, n); },
          nb::arg("what"), nb::arg("n") = 1)
      .def(
          "set_share", [](const PySwitch& self, uint64_t share) { self.port().set_share(share); },
          nb::arg("basis_points"));

  m.def("flow_hash", &flow_hash, nb::arg("frame"),
        "Hash of an Ethernet frame's flow: its lower 16 bits stand against a share in 65536ths.");
}

}  // namespace wp::python
