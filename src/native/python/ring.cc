// SPDX-License-Identifier: Apache-2.0
#include "core/ring.h"

#include <sys/prctl.h>
#include <time.h>

#include <algorithm>
#include <memory>

#include "core/clock.h"
#include "core/error.h"
#include "core/pause.h"
#include "core/telemetry.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

// Naps of the calling thread end when they should: by default the kernel lets a sleeper lie up to
// 50 us longer, which would be most of what a record waits in the ring.
class PunctualNaps {
 public:
  PunctualNaps() : slack_(prctl(PR_GET_TIMERSLACK)) { prctl(PR_SET_TIMERSLACK, 1'000UL); }
  ~PunctualNaps() {
    if (slack_ > 0) prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(slack_));
  }
  PunctualNaps(const PunctualNaps&) = delete;
  PunctualNaps& operator=(const PunctualNaps&) = delete;

 private:
  int slack_;
};

// Waits until a record is ready, the ring is closed, or `deadline` (ns, steady) has passed.
// Spins a little (the next burst is often microseconds away), then naps.
void wait_for_records(Ring& ring, int64_t deadline) {
  const Ring::Record* records;
  for (uint32_t spin = 0; spin < 1000; spin++) {
    if (ring.peek(1, &records) || ring.closed()) return;
    cpu_pause();
  }
  const PunctualNaps punctual;
  while (!ring.peek(1, &records) && !ring.closed() && !NativeWait::ending() &&
         Clock::steady() < deadline) {
    const timespec nap{0, 20'000};
    nanosleep(&nap, nullptr);
  }
}

size_t ready(Ring& ring, size_t max) {
  const uint64_t size = ring.size();
  return size < max ? static_cast<size_t>(size) : max;
}

nb::object pop_batch(Ring& ring, size_t max, double timeout) {
  if (max == 0) throw config_error("max", "0", "at least 1");
  const Ring::Turn turn(ring, Ring::Turn::kConsumer);
  size_t n = ready(ring, max);
  if (n == 0 && timeout > 0) {
    // A century at most, so that the sum fits: infinity waits until the ring is closed.
    const int64_t end = Clock::steady() + static_cast<int64_t>(std::min(timeout, 3e9) * 1e9);
    const NativeWait outside;
    while (n == 0 && !NativeWait::ending()) {
      const int64_t now = Clock::steady();
      if (now >= end) break;
      {
        // Signals (Ctrl-C) are looked at every tenth of a second.
        nb::gil_scoped_release release;
        wait_for_records(ring, std::min(end, now + 100'000'000));
      }
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      const bool closed = ring.closed();  // before the look: the last records may come with it
      n = ready(ring, max);
      if (n == 0 && closed) break;
    }
  }
  static PyObject* dtype = dtype_named("RECORD").release().ptr();
  NewArray out = new_array(n, nb::handle(dtype));
  if (n) {
    nb::gil_scoped_release release;
    ring.pop(reinterpret_cast<Ring::Record*>(out.data), n);
  }
  return out.array;
}

}  // namespace

void bind_ring(nb::module_& m) {
  nb::class_<Ring>(
      m, "Ring",
      "Lock-free single-producer single-consumer ring of 64-byte records (dtype wirepath.RECORD)\n"
      "in shared memory.\n\n"
      "capacity: records, a power of two. policy: \"block\" makes the producer wait for room,\n"
      "\"drop\" throws the newest away and counts it. name: a ring that another process can\n"
      "attach to with Ring.attach(name).\n\n"
      "One producer and one consumer at a time, in whatever threads and processes: who pushes or\n"
      "pops while another one does gets DeviceBusy.")
      .def(
          "__init__",
          [](Ring* self, uint64_t capacity, const std::string& policy, const std::string& name) {
            if (policy != "block" && policy != "drop")
              throw config_error("policy", "\"" + policy + "\"", "\"block\" or \"drop\"");
            new (self)
                Ring(capacity, policy == "drop" ? FullPolicy::kDrop : FullPolicy::kBlock, name);
          },
          nb::arg("capacity") = 65536, nb::arg("policy") = "block", nb::arg("name") = "")
      .def_static(
          "attach",
          [](const std::string& name) { return std::make_shared<Ring>(Ring::attach(name)); },
          nb::arg("name"), "The ring that another process made under this name.")
      .def("pop_batch", &pop_batch, nb::arg("max") = 65536, nb::arg("timeout") = 0.0,
           "Up to `max` records as a new structured array (a copy: it stays valid). Waits up to\n"
           "`timeout` seconds for the first; empty when none came or the ring is closed.")
      .def(
          "try_pop",
          [](Ring& ring) -> nb::object {
            nb::object array = pop_batch(ring, 1, 0.0);
            return nb::len(array) ? nb::object(array[0]) : nb::none();
          },
          "The next record (a numpy.void of dtype RECORD) or None.")
      .def(
          "push",
          [](Ring& ring, nb::handle records) {
            const BytesView view(records);
            if (view.size() % sizeof(Ring::Record) != 0)
              throw config_error("records", std::to_string(view.size()) + " bytes",
                                 "an array of dtype wirepath.RECORD (64 bytes each)");
            const Ring::Turn turn(ring, Ring::Turn::kProducer);
            nb::gil_scoped_release release;
            return ring.push(reinterpret_cast<const Ring::Record*>(view.data()),
                             view.size() / sizeof(Ring::Record), Clock::process().now());
          },
          nb::arg("records"),
          "Push an array of RECORD; returns how many went in. Waits or drops by the policy.")
      .def(
          "record_hand_over",
          [](Ring& ring, Histogram& histogram) {
            const Ring::Turn turn(ring, Ring::Turn::kConsumer);
            ring.record_hand_over(Clock::process().now(), histogram);
          },
          nb::arg("histogram"),
          "Consumer: add the age (ns since the producer published it) of every record taken since\n"
          "the last call to `histogram`, one sample per record.")
      .def("close", &Ring::close, "No more records will be pushed, or none will be taken.")
      .def_prop_ro("closed", &Ring::closed)
      .def_prop_ro("capacity", &Ring::capacity)
      .def("__len__", &Ring::size)
      .def_prop_ro("pushed", &Ring::pushed, "Records ever pushed.")
      .def_prop_ro("popped", &Ring::popped, "Records ever taken.")
      .def_prop_ro("dropped", &Ring::dropped, "Records lost because the ring was full.")
      .def_prop_ro("blocked", &Ring::blocked, "Times that the producer had to wait for room.")
      .def_prop_ro("high_water", &Ring::high_water, "Most records seen waiting.")
      .def_prop_ro("name", &Ring::name)
      .def_prop_ro("policy", [](const Ring& ring) {
        return ring.policy() == FullPolicy::kDrop ? "drop" : "block";
      });
}

}  // namespace wp::python
