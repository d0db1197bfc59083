// SPDX-License-Identifier: Apache-2.0
#include "backends/builtin.h"
#include "core/batch.h"
#include "core/clock.h"
#include "python/bindings.h"

NB_MODULE(_core, m) {
  using namespace wp::python;
  // Objects that outlive the interpreter's end (a port in a module's globals, a traceback kept by
  // a test runner) are the user's affair and nothing to print a page about.
  nb::set_leak_warnings(false);
  m.doc() = "Native core of wirepath. Import wirepath instead.";
  m.attr("__version__") = WIREPATH_VERSION;
  // Debian packages that were missing when this copy was built; empty = AF_XDP is built.
  m.attr("AF_XDP_MISSING") = WIREPATH_AF_XDP_MISSING;
  // The same for ef_vi, with what Onload would have brought.
  m.attr("EF_VI_MISSING") = WIREPATH_EF_VI_MISSING;
  m.attr("DPDK_MISSING") = WIREPATH_DPDK_MISSING;
  m.attr("PROGRAMS_MISSING") = WIREPATH_PROGRAMS_MISSING;
  m.attr("BATCH_ABI") = WP_BATCH_ABI;
  bind_errors(m);
  bind_telemetry(m);
  bind_ring(m);
  bind_steering(m);
  bind_batch(m);
  bind_port(m);
  bind_stage(m);
  bind_hand_off(m);
  bind_host(m);
  bind_worker(m);
  bind_itch(m);
  bind_book(m);
  bind_arbiter(m);
  bind_sbe(m);
  bind_soup(m);
  bind_cme_recovery(m);
  bind_publisher(m);
  bind_venues(m);
  bind_line_reader(m);
  bind_feed_channel(m);
  bind_feed(m);
  bind_load(m);
  bind_switch(m);
  bind_capture(m);
  bind_prefix_table(m);
  bind_maglev(m);
  bind_program(m);
  bind_route(m);
  m.def(
      "now", [] { return wp::Clock::process().now(); },
      "Nanoseconds since the Unix epoch by the clock that the data path uses.");
  m.def(
      "clock_source", [] { return wp::Clock::process().source(); },
      "What now() reads: \"tsc\" or \"clock_gettime\".");
  m.def(
      "recalibrate_clock", [] { wp::Clock::process().recalibrate(); },
      "Follow the system clock; workers do it by themselves.");
  nb::module_::import_("atexit").attr("register")(nb::cpp_function(&NativeWait::end_all));
  wp::register_builtin_backends();
}
