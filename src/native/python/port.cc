// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>

#include "core/backend.h"
#include "core/error.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

// `for batch in port`: releases the step's batch before it takes the next.
struct PortIterator {
  std::shared_ptr<PortHandle> port;
  int64_t idle_us;  // end after this long without a frame; negative = never
  nb::object current;
};

nb::object next_batch(PortIterator& it) {
  if (it.current.is_valid()) {
    nb::inst_ptr<PyBatch>(it.current)->release();
    it.current.reset();
  }
  uint32_t queue = 0;
  if (it.port->closed()) throw nb::stop_iteration();
  std::unique_ptr<BatchSlot> slot = it.port->receive(it.idle_us, &queue);
  if (!slot) throw nb::stop_iteration();
  it.current =
      nb::cast(new PyBatch(it.port, std::move(slot), queue), nb::rv_policy::take_ownership);
  return it.current;
}

uint32_t send(PortHandle& port, nb::sequence frames, uint32_t queue) {
  struct Loan {
    PortHandle& port;
    std::unique_ptr<BatchSlot> slot = port.take_slot();
    ~Loan() { port.recycle(std::move(slot)); }
  } loan{port};
  wp_batch& b = **loan.slot->storage;
  const size_t total = nb::len(frames);
  uint32_t sent = 0;
  std::vector<std::unique_ptr<BytesView>> views;
  for (size_t at = 0; at < total;) {
    views.clear();
    b.count = 0;
    for (; at < total && b.count < b.capacity; at++) {
      nb::object frame = frames[at];
      views.push_back(std::make_unique<BytesView>(frame));
      if (views.back()->size() < 14)
        throw config_error("frames[" + std::to_string(at) + "]",
                           std::to_string(views.back()->size()) + " bytes",
                           "an Ethernet frame: at least the 14 bytes of its header");
      b.data[b.count] = views.back()->data();
      b.length[b.count] = static_cast<uint32_t>(views.back()->size());
      b.verdict[b.count] = WP_TX;
      b.handle[b.count] = WP_NO_FRAME;
      b.timestamp[b.count] = 0;
      b.hash[b.count] = 0;
      b.count++;
    }
    sent += port.transmit(b, queue);
  }
  return sent;
}

nb::dict capabilities(const PortHandle& handle) {
  const Capabilities c = handle.port().capabilities();
  nb::dict out;
  out["rx"] = c.rx;
  out["tx"] = c.tx;
  out["pass"] = c.pass;
  out["multi_queue"] = c.multi_queue;
  out["everything"] = c.everything;
  out["ethernet_headers"] = c.ethernet_headers;
  out["waitable"] = c.waitable;
  out["finite"] = c.finite;
  out["writable"] = c.writable;
  out["wire"] = c.wire;
  out["link"] = c.link;
  out["shareable"] = c.shareable;
  out["rest_to_host"] = c.rest_to_host;
  out["divert"] = c.divert;
  out["max_frame"] = c.max_frame;
  out["pool_frames"] = c.pool_frames;
  return out;
}

}  // namespace

void bind_port(nb::module_& m) {
  nb::class_<PortIterator>(m, "PortIterator")
      .def("__iter__", [](nb::handle self) { return nb::borrow(self); })
      .def("__next__", &next_batch);

  nb::class_<PortHandle>(m, "PortHandle", "A native port; wirepath.Port wraps it.")
      .def_static(
          "open",
          [](const std::string& spec, const Steering& steering,
             std::map<std::string, std::string> options, uint32_t batch_size, bool spin) {
            std::unique_ptr<Port> port;
            {
              nb::gil_scoped_release release;  // binding may wait for a busy queue
              port = open_port(spec, steering, std::move(options), batch_size);
            }
            return std::make_shared<PortHandle>(std::move(port), batch_size, spin);
          },
          nb::arg("spec"), nb::arg("steering"), nb::arg("options"), nb::arg("batch_size"),
          nb::arg("spin"))
      .def(
          "batches",
          [](std::shared_ptr<PortHandle> port, int64_t idle_us) {
            return PortIterator{std::move(port), idle_us, {}};
          },
          nb::arg("idle_us") = -1)
      .def(
          "poll",
          [](std::shared_ptr<PortHandle> port, int64_t timeout_us) -> nb::object {
            uint32_t queue = 0;
            std::unique_ptr<BatchSlot> slot = port->receive(timeout_us, &queue);
            if (!slot) return nb::none();
            return nb::cast(new PyBatch(std::move(port), std::move(slot), queue),
                            nb::rv_policy::take_ownership);
          },
          nb::arg("timeout_us"))
      .def(
          "tx",
          [](PortHandle& port, PyBatch& batch, uint32_t queue) {
            return batch.transmit(port, queue);
          },
          nb::arg("batch"), nb::arg("queue") = 0)
      .def("send", &send, nb::arg("frames"), nb::arg("queue") = 0)
      .def(
          "divert",
          [](PortHandle& h, uint32_t share, const Steering& named) {
            if (share > kAllFlows)
              throw config_error("share", std::to_string(share), "from 0 to 65536");
            h.port().divert(share, named);
          },
          nb::arg("share"), nb::arg("named") = Steering{},
          "Take this share of the flows, in 65536ths, and all to the destinations named.")
      .def("close", &PortHandle::close)
      .def("info", [](const PortHandle& h) { return to_python(h.port().info()); })
      .def("stats", [](PortHandle& h) { return to_python(h.port().stats()); })
      .def("capabilities", &capabilities)
      .def(
          "fd", [](const PortHandle& h, uint32_t queue) { return h.port().fd(queue); },
          nb::arg("queue") = 0)
      .def_prop_ro("closed", &PortHandle::closed)
      .def_prop_ro("finished", [](const PortHandle& h) { return h.port().finished(); })
      .def_prop_ro("held", &PortHandle::held)
      .def_prop_ro("queues", [](const PortHandle& h) { return h.port().queues(); })
      .def_prop_ro("spec", [](const PortHandle& h) { return h.port().spec(); })
      .def_prop_ro("batch_size", &PortHandle::batch_size)
      .def_prop_ro("steering", [](const PortHandle& h) { return h.port().steering(); });

  m.def(
      "register_backend",
      [](nb::capsule backend) {
        register_backend(*static_cast<const Backend*>(backend.data("wirepath.backend")));
      },
      nb::arg("backend"), "Take a backend from the capsule of an extension module.");
  m.def("loaded_backends", [] {
    nb::dict out;
    for (const Backend* b : backends()) {
      nb::list options;
      for (const OptionHelp& o : b->options)
        options.append(nb::make_tuple(o.name, o.fallback, o.help));
      nb::dict entry;
      entry["help"] = b->help;
      entry["device"] = b->device;
      entry["options"] = options;
      entry["passes_on"] = b->passes_on ? b->passes_on : "";
      out[b->name] = entry;
    }
    return out;
  });
  m.def(
      "parse_port_spec",
      [](const std::string& spec) {
        const PortSpec p = parse_port_spec(spec);
        return nb::make_tuple(p.backend, p.device, p.options);
      },
      nb::arg("spec"), "(backend, device, options) of a port spec.");
}

}  // namespace wp::python
