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

FrameMemory FrameMemory::of(uint8_t* data, uint32_t length, bool readonly,
                            std::shared_ptr<uint8_t[]> memory) {
  FrameMemory out;
  out.frame = nb::cast(new FrameView(), nb::rv_policy::take_ownership);
  FrameView& view = out.view();
  view.data = data;
  view.length = length;
  view.readonly = readonly;
  view.memory = std::move(memory);
  out.memory_view = nb::steal(PyMemoryView_FromObject(out.frame.ptr()));
  if (!out.memory_view.is_valid()) throw nb::python_error();
  return out;
}

bool FrameMemory::release() {
  nb::object done = nb::steal(PyObject_CallMethod(memory_view.ptr(), "release", nullptr));
  if (!done.is_valid()) PyErr_Clear();  // an array was made from it
  if (view().exports != 0) return false;
  view().data = nullptr;
  return true;
}

PyBatch::PyBatch(std::shared_ptr<PortHandle> port, std::unique_ptr<BatchSlot> slot, uint32_t queue,
                 bool in_stage, bool readonly)
    : port_(std::move(port)),
      slot_(std::move(slot)),
      queue_(queue),
      in_stage_(in_stage),
      readonly_(readonly || (port_ && !port_->writable())) {}

PyBatch::~PyBatch() {
  if (!in_stage_) release();
}

void PyBatch::release() {
  if (!slot_) return;
  if (in_stage_)
    throw Error(ErrorKind::kUnsupported, "a stage cannot release its batch",
                "write verdicts and return: the worker releases it");
  wp_batch& b = **slot_->storage;
  for (uint32_t i = 0; i < b.count; i++)
    if (b.verdict[i] == WP_KEEP) b.verdict[i] = WP_DROP;  // Python holds a frame by a view of it
  for (Out& out : out_) {
    if (out.memory.release() || !port_ || b.handle[out.index] == WP_NO_FRAME) continue;
    FrameView& frame = out.memory.view();
    frame.owner = port_;
    frame.queue = queue_;
    frame.handle = b.handle[out.index];
    b.verdict[out.index] = WP_KEEP;
    port_->hold_frame();
  }
  out_.clear();
  for (nb::object& column : items_) column.reset();
  if (port_) port_->give_back(std::move(slot_), queue_);
  slot_.reset();
}

int64_t PyBatch::end_stage(wp_batch& to, const std::shared_ptr<FrameOwner>& keeper,
                           std::unique_ptr<BatchSlot>& slot) {
  wp_batch& b = **slot_->storage;
  std::copy_n(b.verdict, b.count, to.verdict);
  std::copy_n(b.target, b.count, to.target);
  int64_t kept = -1;
  for (Out& out : out_) {
    if (out.memory.release()) continue;
    kept = out.index;
    FrameView& frame = out.memory.view();
    frame.owner = keeper;
    frame.queue = queue_;
    frame.handle = std::exchange(to.handle[out.index], WP_NO_FRAME);  // ours has none
    to.verdict[out.index] = WP_DROP;
  }
  out_.clear();
  for (nb::object& column : items_) column.reset();
  slot = std::move(slot_);
  return kept;
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
  wp_batch& b = batch();
  out_of_.resize(b.count);
  if (out_of_[i]) return out_[out_of_[i] - 1].memory.memory_view;
  out_.push_back(
      {FrameMemory::of(b.data[i], b.length[i], readonly_, memory_), static_cast<uint32_t>(i)});
  out_of_[i] = static_cast<uint32_t>(out_.size());
  return out_.back().memory.memory_view;
}

nb::object PyBatch::array(Py_ssize_t i) {
  // Never destroyed: the interpreter may be gone when static objects are.
  static PyObject* make =
      nb::object(nb::module_::import_("wirepath.items").attr("of_frame")).release().ptr();
  return nb::handle(make)(view(i));
}

nb::object PyBatch::items(ColumnName name) {
  static PyObject* type =
      nb::object(nb::module_::import_("wirepath.items").attr("Items")).release().ptr();
  const BatchSlot& s = slot();
  if (items_[name].is_valid()) return items_[name];
  const nb::object& whole = name == kLength      ? s.lengths
                            : name == kTimestamp ? s.timestamps
                            : name == kHash      ? s.hashes
                            : name == kVerdict   ? s.verdicts
                                                 : s.targets;
  items_[name] = first_of(whole, batch().count).attr("view")(nb::handle(type));
  return items_[name];
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
    if (out->memory.release()) {
      out = out_.erase(out);
    } else {
      copied.push_back({i, std::exchange(b.handle[i], WP_NO_FRAME)});
      ++out;
    }
  }
  std::ranges::fill(out_of_, 0);
  for (uint32_t k = 0; k < out_.size(); k++) out_of_[out_[k].index] = k + 1;
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
  nb::class_<PyFrames>(m, "Frames", "Frames of a batch as arrays.")
      .def("__len__", [](const PyFrames& f) { return nb::len(f.batch); })
      .def(
          "__getitem__",
          [](const PyFrames& f, Py_ssize_t i) { return nb::inst_ptr<PyBatch>(f.batch)->array(i); },
          nb::arg("index"));
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
      // What a stage uses, by the names of struct wp_batch, and the same when it is compiled.
      .def_prop_ro(
          "count", [](const PyBatch& b) { return b.batch().count; }, "Frames in this batch.")
      .def_prop_ro(
          "data",
          [](nb::handle self) {
            nb::inst_ptr<PyBatch>(self)->batch();
            return PyFrames{nb::borrow(self)};
          },
          "data[i]: frame i from its Ethernet header on, a writable array of uint8.")
      .def_prop_ro(
          "length", [](PyBatch& b) { return b.items(PyBatch::kLength); },
          "As lengths; an item is an int.")
      .def_prop_ro(
          "timestamp", [](PyBatch& b) { return b.items(PyBatch::kTimestamp); },
          "As timestamps; an item is an int.")
      .def_prop_ro(
          "hash", [](PyBatch& b) { return b.items(PyBatch::kHash); },
          "As hashes; an item is an int.")
      .def_prop_ro(
          "verdict", [](PyBatch& b) { return b.items(PyBatch::kVerdict); },
          "As verdicts; an item is an int.")
      .def_prop_ro(
          "target", [](PyBatch& b) { return b.items(PyBatch::kTarget); },
          "For REDIRECT: number of the port within the worker; writable.")
      .def_prop_ro(
          "port", [](const PyBatch& b) { return b.batch().port; },
          "Number of the port within its worker.")
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
