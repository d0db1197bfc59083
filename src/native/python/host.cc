// SPDX-License-Identifier: Apache-2.0
// The host's ends of ports: TAP devices.
#include "backends/host/host_port.h"

#include <algorithm>

#include "core/error.h"
#include "python/port_handle.h"

namespace wp::python {
namespace {

HostPort& host_of(const PortHandle& handle) {
  if (auto* host = dynamic_cast<HostPort*>(&handle.port())) return *host;
  throw Error(ErrorKind::kUnsupported, handle.port().spec() + " is no host's end of a port");
}

}  // namespace

void bind_host(nb::module_& m) {
  m.def(
      "open_host_port",
      [](const std::string& name, const nb::bytes& mac, uint32_t mtu, uint32_t queues,
         uint32_t batch_size) {
        HostPortConfig config{.name = name, .mtu = mtu, .queues = queues, .batch_size = batch_size};
        if (mac.size() != 6)
          throw config_error("mac", std::to_string(mac.size()) + " bytes", "6 bytes");
        std::copy_n(mac.c_str(), 6, reinterpret_cast<char*>(config.mac.data()));
        return std::make_shared<PortHandle>(HostPort::open(config), batch_size, false);
      },
      nb::arg("name"), nb::arg("mac") = nb::bytes("\0\0\0\0\0\0", 6), nb::arg("mtu") = 0,
      nb::arg("queues") = 1, nb::arg("batch_size") = 64,
      "A TAP device of this name as a port; a new one is gone with it.");
  m.def(
      "set_host_carrier",
      [](const PortHandle& handle, bool up) { host_of(handle).set_carrier(up); }, nb::arg("port"),
      nb::arg("up"), "Whether the kernel sees a link at such a port.");
  m.def(
      "host_interface", [](const PortHandle& handle) { return host_of(handle).ifindex(); },
      nb::arg("port"), "The kernel's number of the device of such a port.");
}

}  // namespace wp::python
