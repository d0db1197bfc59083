// SPDX-License-Identifier: Apache-2.0
// The ef_vi backend as an extension module of its own: it needs Onload's libciul1. Built a second
// time, as _ef_vi_sim, over the simulator.
#include <nanobind/nanobind.h>

#include "core/backend.h"

namespace wp {
extern const Backend kEfViBackend;
}

NB_MODULE(WP_MODULE, m) {
  m.doc() = "An ef_vi backend of wirepath; loaded when it is first named.";
  m.def("backend", [] { return nanobind::capsule(&wp::kEfViBackend, "wirepath.backend"); });
}
