// SPDX-License-Identifier: Apache-2.0
// The DPDK backend as an extension module of its own: it needs libdpdk.
#include <nanobind/nanobind.h>

#include "core/backend.h"

namespace wp {
extern const Backend kDpdkBackend;
}

NB_MODULE(_dpdk, m) {
  m.doc() = "The DPDK backend of wirepath; loaded when it is first named.";
  m.def("backend", [] { return nanobind::capsule(&wp::kDpdkBackend, "wirepath.backend"); });
}
