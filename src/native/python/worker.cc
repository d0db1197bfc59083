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

// Ctrl-C is looked for every tenth of a second; it leaves the worker running.
void join(PyWorker& worker) {
  const auto ended = [&] {
    const nb::gil_scoped_release release;
    return worker.wait_for_end(std::chrono::milliseconds(100));
  };
  while (!ended())
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  const nb::gil_scoped_release release;
  worker.join();
}

}  // namespace

void bind_worker(nb::module_& m) {
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
      .def(
          "add_host",
          [](PyWorker& w, uint16_t number, PortHandle& host, std::vector<uint32_t> queues) {
            return w.add_host(number, host.shared(), std::move(queues));
          },
          nb::arg("number"), nb::arg("host"), nb::arg("queues") = std::vector<uint32_t>{},
          "What stands for port `number` in the host's own stack.")
      .def("add_stage", &PyWorker::add_stage, nb::arg("stage"))
      .def("start", &PyWorker::start)
      .def("stop", &PyWorker::stop, "Ask it to stop; returns at once.")
      .def("join", &join, "Wait for its end; raises the first error that stopped it.")
      .def_prop_ro("running", [](const PyWorker& w) { return w.running(); })
      .def_prop_ro(
          "affinity", [](const PyWorker& w) { return w.affinity(); },
          "Core that it is pinned to, as read back; -1 = none.")
      .def("abandon", &PyWorker::abandon, nb::call_guard<nb::gil_scoped_release>(),
           "Stop it, have its stages wait for nobody, and wait for its end; raises nothing.")
      .def_prop_ro(
          "queues",
          [](const PyWorker& w) {
            nb::list out;
            for (const auto& [spec, queue] : w.queues()) out.append(nb::make_tuple(spec, queue));
            return out;
          },
          "(port spec, queue) of each that it polls.")
      .def_prop_ro(
          "stage_names",
          [](const PyWorker& w) {
            std::vector<std::string> out;
            for (const auto& stage : w.stages()) out.emplace_back(stage->name());
            return out;
          },
          "Of its stages, in order.")
      .def_prop_ro(
          "addresses",
          [](PyWorker& w) {
            return nb::make_tuple(reinterpret_cast<uintptr_t>(w.arrays()),
                                  reinterpret_cast<uintptr_t>(w.a_frame()));
          },
          "Where the batch's arrays are, and the latest burst's first frame (0: none yet); to ask\n"
          "the kernel for their NUMA node, not to be read.")
      .def("stats", [](const PyWorker& w) { return to_python(w.stats()); });
}

}  // namespace wp::python
