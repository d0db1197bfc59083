// SPDX-License-Identifier: Apache-2.0
#include "core/worker.h"

#include "core/error.h"
#include "python/port_handle.h"

namespace wp::python {

namespace {

// A stage may call into Python: its end must not be waited for with the GIL held.
struct PyWorker : Worker {
  using Worker::Worker;
  ~PyWorker() {
    nb::gil_scoped_release release;
    abandon();
  }
};

}  // namespace

void bind_worker(nb::module_& m) {
  nb::class_<Stage>(m, "Stage", "A native stage; see wirepath.Worker.add_stage.")
      .def_prop_ro("name", &Stage::name);
  nb::class_<CStage, Stage>(m, "CStage",
                            "A stage behind the C ABI: `function` is the address of an\n"
                            "int f(struct wp_batch*, void*), `state` what it gets (wp/batch.h).")
      .def(
          "__init__",
          [](CStage* self, const std::string& name, uintptr_t function, uintptr_t state) {
            if (function == 0) throw config_error("function", "0", "the address of a C function");
            new (self) CStage(name, reinterpret_cast<wp_stage_fn>(function),
                              reinterpret_cast<void*>(state));
          },
          nb::arg("name"), nb::arg("function"), nb::arg("state") = 0);

  nb::class_<PyWorker>(m, "Worker",
                       "One thread that polls ports, runs stages over each batch and carries the\n"
                       "verdicts out, without the GIL.")
      .def(
          "__init__",
          [](PyWorker* self, const std::string& name, std::optional<int> cpu_core,
             uint32_t batch_size, bool spin, int64_t poll_timeout_us) {
            if (poll_timeout_us < 1 || poll_timeout_us > 10'000'000)
              throw config_error("poll_timeout_us", std::to_string(poll_timeout_us),
                                 "from 1 to 10000000");
            new (self) PyWorker({name, cpu_core, batch_size,
                                 spin ? IdlePolicy::kSpin : IdlePolicy::kSleep, poll_timeout_us});
          },
          nb::arg("name") = "worker", nb::arg("cpu_core") = nb::none(), nb::arg("batch_size") = 64,
          nb::arg("spin") = false, nb::arg("poll_timeout_us") = 100)
      .def(
          "add_port",
          [](PyWorker& w, PortHandle& port, std::vector<uint32_t> queues) {
            return w.add_port(port.shared(), std::move(queues));
          },
          nb::arg("port"), nb::arg("queues") = std::vector<uint32_t>{})
      .def("add_stage", &Worker::add_stage, nb::arg("stage"))
      .def("start", &Worker::start)
      .def("stop", &Worker::stop, "Ask it to stop; returns at once.")
      .def("join", &Worker::join, nb::call_guard<nb::gil_scoped_release>(),
           "Wait for its end; raises the first error that stopped it.")
      .def_prop_ro("running", [](const PyWorker& w) { return w.running(); })
      .def_prop_ro(
          "affinity", [](const PyWorker& w) { return w.affinity(); },
          "Core that it is pinned to, as read back; -1 = none.")
      .def("stats", [](const PyWorker& w) { return to_python(w.stats()); });
}

}  // namespace wp::python
