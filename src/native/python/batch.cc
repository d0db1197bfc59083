// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "net/headers.h"
#include "python/py_batch.h"

namespace wp::python {
namespace {

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* frame = nb::inst_ptr<FrameView>(self);
  if (!frame->data) {
    PyErr_SetString(PyExc_BufferError, "the frame has been given back to the port");
    view->obj = nullptr;
    return -1;
  }
  if (PyBuffer_FillInfo(view, self, frame->data, frame->length, frame->readonly, flags) != 0)
    return -1;
  frame->exports++;
  return 0;
}

void release_buffer(PyObject* self, Py_buffer*) {
  auto* frame = nb::inst_ptr<FrameView>(self);
  if (--frame->exports == 0) frame->let_go();
}

PyType_Slot frame_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                             {Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)},
                             {0, nullptr}};

nb::object first_of(const nb::object& array, uint32_t count) {
  return nb::steal(PySequence_GetSlice(array.ptr(), 0, count));
}

// `width` bytes at `offset` lie within `length`; offset is the user's, and may be anything.
bool holds(size_t length, size_t offset, size_t width) {
  return length >= width && offset <= length - width;
}

template <size_t kWidth>
void gather(const wp_batch& b, size_t offset, uint8_t* out) {
  for (uint32_t i = 0; i < b.count; i++, out += kWidth) {
    if (holds(b.length[i], offset, kWidth)) [[likely]]
      std::memcpy(out, b.data[i] + offset, kWidth);
    else
      std::memset(out, 0, kWidth);
  }
}

}  // namespace

void FrameView::let_go() {
  if (!owner) return;
  // May end the port, so the handle must not be touched afterwards.
  std::exchange(owner, nullptr)->give_back_frame(queue, std::exchange(data, nullptr), handle);
}

PyBatch::PyBatch(std::shared_ptr<PortHandle> port, std::unique_ptr<BatchSlot> slot, uint32_t queue)
    : port_(std::move(port)), slot_(std::move(slot)), queue_(queue) {}

PyBatch::~PyBatch() {
  release();
}

void PyBatch::release() {
  if (!slot_) return;
  wp_batch& b = **slot_->storage;
  for (uint32_t i = 0; i < b.count; i++)
    if (b.verdict[i] == WP_KEEP) b.verdict[i] = WP_DROP;  // Python holds a frame by a view of it
  for (Out& out : out_) {
    nb::object done = nb::steal(PyObject_CallMethod(out.memory_view.ptr(), "release", nullptr));
    if (!done.is_valid()) PyErr_Clear();  // an array was made from it: the frame stays held
    auto* frame = nb::inst_ptr<FrameView>(out.frame);
    if (frame->exports == 0) frame->data = nullptr;
    if (frame->exports == 0 || !port_ || b.handle[out.index] == WP_NO_FRAME) continue;
    frame->owner = port_;
    frame->queue = queue_;
    frame->handle = b.handle[out.index];
    b.verdict[out.index] = WP_KEEP;
    port_->hold_frame();
  }
  out_.clear();
  if (port_) port_->give_back(std::move(slot_), queue_);
  slot_.reset();
}

BatchSlot& PyBatch::slot() const {
  if (!slot_)
    throw Error(ErrorKind::kReleased, "the batch has been released",
                "use it inside the loop step, or keep batch.copy()");
  return *slot_;
}

wp_batch& PyBatch::batch() const {
  return **slot().storage;
}

size_t PyBatch::index(Py_ssize_t i) const {
  const auto n = static_cast<Py_ssize_t>(batch().count);
  if (i < 0) i += n;
  if (i < 0 || i >= n)
    throw nb::index_error(("frame index out of range: the batch has " + std::to_string(n)).c_str());
  return static_cast<size_t>(i);
}

nb::object PyBatch::view(Py_ssize_t signed_index) {
  const size_t i = index(signed_index);
  for (const Out& out : out_)
    if (out.index == i) return out.memory_view;
  wp_batch& b = batch();
  nb::object frame = nb::cast(new FrameView(), nb::rv_policy::take_ownership);
  auto* raw = nb::inst_ptr<FrameView>(frame);
  raw->data = b.data[i];
  raw->length = b.length[i];
  raw->readonly = port_ && !port_->writable();
  raw->memory = memory_;
  nb::object memory_view = nb::steal(PyMemoryView_FromObject(frame.ptr()));
  if (!memory_view.is_valid()) throw nb::python_error();
  out_.push_back({memory_view, frame, static_cast<uint32_t>(i)});
  return memory_view;
}

uint32_t PyBatch::transmit(PortHandle& port, uint32_t queue) {
  wp_batch& b = batch();
  if (&port != port_.get()) return port.transmit(b, queue);
  struct Copied {
    uint32_t index;
    uint64_t handle;
  };
  std::vector<Copied> copied;
  for (auto out = out_.begin(); out != out_.end();) {
    const uint32_t i = out->index;
    if (b.verdict[i] != WP_TX || b.handle[i] == WP_NO_FRAME) {
      ++out;
      continue;
    }
    nb::object done = nb::steal(PyObject_CallMethod(out->memory_view.ptr(), "release", nullptr));
    if (!done.is_valid()) PyErr_Clear();
    auto* frame = nb::inst_ptr<FrameView>(out->frame);
    if (frame->exports == 0) {
      frame->data = nullptr;
      out = out_.erase(out);
    } else {
      copied.push_back({i, std::exchange(b.handle[i], WP_NO_FRAME)});
      ++out;
    }
  }
  std::vector<uint64_t> before(b.handle, b.handle + b.count);
  const uint32_t queued = port.transmit(b, queue);
  for (uint32_t i = 0; i < b.count; i++)
    if (before[i] != WP_NO_FRAME && b.handle[i] == WP_NO_FRAME) b.length[i] = 0;
  for (const Copied& c : copied) b.handle[c.index] = c.handle;
  return queued;
}

std::unique_ptr<PyBatch> PyBatch::copy() const {
  const wp_batch& from = batch();
  size_t bytes = 0;
  for (uint32_t i = 0; i < from.count; i++) bytes += from.length[i];
  auto out = std::make_unique<PyBatch>(
      nullptr, std::make_unique<BatchSlot>(std::max<uint32_t>(from.count, 1)), queue_);
  out->memory_ = std::shared_ptr<uint8_t[]>(new uint8_t[std::max<size_t>(bytes, 1)]);
  wp_batch& to = out->batch();
  uint8_t* at = out->memory_.get();
  for (uint32_t i = 0; i < from.count; i++) {
    std::memcpy(at, from.data[i], from.length[i]);
    to.data[i] = at;
    to.length[i] = from.length[i];
    to.timestamp[i] = from.timestamp[i];
    to.hash[i] = from.hash[i];
    to.verdict[i] = from.verdict[i];
    to.target[i] = from.target[i];
    at += from.length[i];
  }
  to.count = from.count;
  to.port = from.port;
  to.queue = from.queue;
  return out;
}

nb::object PyBatch::headers() const {
  static PyObject* dtype = dtype_named("HEADERS").release().ptr();
  const wp_batch& b = batch();
  NewArray out = new_array(b.count, nb::handle(dtype));
  auto* rows = reinterpret_cast<net::Headers*>(out.data);
  for (uint32_t i = 0; i < b.count; i++) net::parse_headers(b.data[i], b.length[i], rows[i]);
  return out.array;
}

nb::object PyBatch::column(size_t offset, nb::handle dtype, bool of_payload) const {
  const wp_batch& b = batch();
  NewArray out = new_array(b.count, dtype);
  if (nb::cast<bool>(out.array.attr("dtype").attr("hasobject")))
    throw config_error("dtype", nb::cast<std::string>(nb::str(dtype)),
                       "a dtype of plain bytes: Python objects are not sent over the wire");
  // Not the array's itemsize: of a dtype such as "(2,)u4" NumPy makes two columns.
  const auto width = b.count ? nb::cast<size_t>(out.array.attr("nbytes")) / b.count : 1;
  if (of_payload) {
    uint8_t* row = out.data;
    for (uint32_t i = 0; i < b.count; i++, row += width) {
      net::Headers h;
      net::parse_headers(b.data[i], b.length[i], h);
      if (h.payload_offset && holds(h.payload_length, offset, width))
        std::memcpy(row, b.data[i] + h.payload_offset + offset, width);
      else
        std::memset(row, 0, width);
    }
    return out.array;
  }
  switch (width) {
    case 1:
      gather<1>(b, offset, out.data);
      break;
    case 2:
      gather<2>(b, offset, out.data);
      break;
    case 4:
      gather<4>(b, offset, out.data);
      break;
    case 8:
      gather<8>(b, offset, out.data);
      break;
    default:
      for (uint32_t i = 0; i < b.count; i++) {
        uint8_t* row = out.data + i * width;
        if (holds(b.length[i], offset, width))
          std::memcpy(row, b.data[i] + offset, width);
        else
          std::memset(row, 0, width);
      }
  }
  return out.array;
}

void bind_batch(nb::module_& m) {
  nb::class_<FrameView>(m, "Frame", nb::type_slots(frame_slots),
                        "Exporter of one frame's bytes; seen only as the .obj of a memoryview.");
  nb::class_<PyBatch>(
      m, "Batch",
      "Up to batch_size frames of one burst as parallel arrays. Frames stay where the NIC put\n"
      "them: the batch is valid until released (the next loop step, the end of `with`, or\n"
      "release()); then every use of it, and of its memoryviews, raises ReleasedError or\n"
      "ValueError. A NumPy array or a slice that was made from a frame keeps that one frame out\n"
      "of the port's pool until it is gone.")
      .def("__len__", [](const PyBatch& b) { return b.batch().count; })
      .def("__getitem__", &PyBatch::view, nb::arg("index"),
           "Frame `index` from its Ethernet header on: a memoryview, not a copy; writable unless\n"
           "port.capabilities says that frames are not.")
      .def_prop_ro(
          "lengths", [](const PyBatch& b) { return first_of(b.slot().lengths, b.batch().count); },
          "Bytes of each frame: ndarray of uint32.")
      .def_prop_ro(
          "timestamps",
          [](const PyBatch& b) { return first_of(b.slot().timestamps, b.batch().count); },
          "When each frame arrived: ndarray of int64, ns since the Unix epoch; the port's info()\n"
          "names the source.")
      .def_prop_ro(
          "hashes", [](const PyBatch& b) { return first_of(b.slot().hashes, b.batch().count); },
          "Flow hash of each frame, 0 = not computed: ndarray of uint32.")
      .def_prop_rw(
          "verdicts", [](const PyBatch& b) { return first_of(b.slot().verdicts, b.batch().count); },
          [](PyBatch& b, nb::handle values) {
            nb::object view = first_of(b.slot().verdicts, b.batch().count);
            view[nb::ellipsis()] = values;
          },
          "Verdict of each frame: writable ndarray of uint8 (wirepath.Verdict).")
      .def_prop_ro(
          "queue", [](const PyBatch& b) { return b.batch().queue; },
          "Receive queue that the burst came from.")
      .def_prop_ro("released", &PyBatch::released)
      .def("headers", &PyBatch::headers,
           "Ethernet, VLAN, IP and UDP/TCP fields of every frame, parsed natively: structured\n"
           "array of dtype wirepath.HEADERS, one row a frame; what a frame has not is 0.")
      .def(
          "column",
          [](const PyBatch& b, size_t offset, nb::handle dtype, const std::string& of) {
            if (of != "frame" && of != "payload")
              throw config_error("of", "\"" + of + "\"", "\"frame\" or \"payload\"");
            return b.column(offset, dtype, of == "payload");
          },
          nb::arg("offset"), nb::arg("dtype"), nb::arg("of") = "frame",
          "The `dtype` value at byte `offset` of every frame (or of every UDP/TCP payload),\n"
          "gathered natively into a new ndarray; 0 where a frame is too short.")
      .def(
          "copy", [](const PyBatch& b) { return b.copy().release(); },
          nb::rv_policy::take_ownership, "The same frames in memory of their own, valid for ever.")
      .def("release", &PyBatch::release, "Give the frames back to the port now.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def("__exit__", [](PyBatch& b, nb::args) { b.release(); })
      .def("__repr__", [](const PyBatch& b) {
        return b.released() ? std::string("<wirepath.Batch, released>")
                            : "<wirepath.Batch of " + std::to_string(b.batch().count) +
                                  " frames from queue " + std::to_string(b.queue()) + ">";
      });
}

}  // namespace wp::python
