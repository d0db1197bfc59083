// SPDX-License-Identifier: Apache-2.0
// The AF_XDP backend as an extension module of its own: it needs libxdp and libbpf.
#include <nanobind/nanobind.h>

#include "core/backend.h"

namespace wp {
extern const Backend kAfXdpBackend;
}

NB_MODULE(_af_xdp, m) {
  m.doc() = "The AF_XDP backend of wirepath; loaded when it is first named.";
  m.def("backend", [] { return nanobind::capsule(&wp::kAfXdpBackend, "wirepath.backend"); });
}
