// SPDX-License-Identifier: Apache-2.0
#include "core/steering.h"

#include <arpa/inet.h>

#include "core/error.h"
#include "programs/steer_native.h"
#include "python/bindings.h"

namespace wp::python {

void bind_steering(nb::module_& m) {
  nb::class_<Steering>(m, "Steering",
                       "Which flows a port takes from the kernel. Made with udp(), tcp() and\n"
                       "everything(); joined with |.")
      .def(nb::init<>(), "Nothing at all: what a port refuses to open with.")
      .def("__or__",
           [](const Steering& a, const Steering& b) {
             Steering out = a;
             out.everything = a.everything || b.everything;
             out.rules.insert(out.rules.end(), b.rules.begin(), b.rules.end());
             return out;
           })
      .def("__repr__", [](const Steering& s) { return "<steer " + s.describe() + ">"; })
      .def("__str__", &Steering::describe)
      .def_prop_ro("is_everything", [](const Steering& s) { return s.everything; })
      .def_prop_ro(
          "flows",
          [](const Steering& s) {
            nb::list out;
            for (const FlowRule& r : s.rules)
              out.append(nb::make_tuple(r.protocol == Protocol::kUdp   ? "udp"
                                        : r.protocol == Protocol::kTcp ? "tcp"
                                                                       : "any",
                                        format_address(r), r.port));
            return out;
          },
          "List of (protocol, address or \"*\", port or 0).");

  m.def(
      "flow",
      [](const std::string& protocol, const std::string& address, int64_t port) {
        FlowRule rule;
        rule.protocol = protocol == "udp"   ? Protocol::kUdp
                        : protocol == "tcp" ? Protocol::kTcp
                                            : Protocol::kAny;
        if (port < 0 || port > 65535)
          throw config_error("port", std::to_string(port), "from 1 to 65535, or 0 for any");
        rule.port = static_cast<uint16_t>(port);
        if (!address.empty() && address != "*") {
          if (inet_pton(AF_INET, address.c_str(), rule.address.data()) == 1)
            rule.family = 4;
          else if (inet_pton(AF_INET6, address.c_str(), rule.address.data()) == 1)
            rule.family = 6;
          else
            throw config_error("address", "\"" + address + "\"",
                               "an IPv4 or IPv6 address, or \"*\" for any");
        }
        if (rule.family == 0 && rule.port == 0)
          throw Error(ErrorKind::kConfig, "a flow with neither address nor port takes everything",
                      "say so with wp.everything()");
        return Steering{false, {rule}};
      },
      nb::arg("protocol"), nb::arg("address"), nb::arg("port"));
  m.def(
      "steer_classify",
      [](const Steering& steering, nb::handle frame) {
        const BytesView view(frame);
        switch (programs::SteerTable(steering).classify(view.data(), view.size())) {
          case STEER_MATCH:
            return "match";
          case STEER_FRAGMENT:
            return "fragment";
          default:
            return "pass";
        }
      },
      nb::arg("steering"), nb::arg("frame"),
      "What the native build of the steering program says of a frame: \"match\", \"pass\" or\n"
      "\"fragment\" (which passes too).");
  m.def(
      "everything",
      [] {
        return Steering{true, {}};
      },
      "Take every frame of the interface from the kernel: SSH over it stops working.");
}

}  // namespace wp::python
