// SPDX-License-Identifier: Apache-2.0
#include "python/py_stage.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/worker.h"

namespace wp::python {
namespace {

// Frames that Python still looked at when its stage had ended, which stops the worker. The port
// lives as long as one of them does.
class StrayFrames final : public FrameOwner {
 public:
  explicit StrayFrames(std::shared_ptr<Port> port) : port_(std::move(port)) {}
  void give_back_frame(uint32_t queue, uint8_t* data, uint64_t handle) override {
    port_->give_back(queue, data, handle);
  }

 private:
  std::shared_ptr<Port> port_;
};

std::shared_ptr<void> keep_alive(nb::object object) {
  return {object.release().ptr(), [](void* p) {
            if (!p || !Py_IsInitialized()) return;
            const nb::gil_scoped_acquire gil;
            Py_DECREF(static_cast<PyObject*>(p));
          }};
}

// Called by compiled code, with the GIL, while its exception is set.
void keep_exception(KeptException* slot) {
  slot->take();
}

}  // namespace

KeptException::~KeptException() {
  if (!exception_ || !Py_IsInitialized()) return;
  const nb::gil_scoped_acquire gil;
  Py_CLEAR(exception_);
}

void KeptException::take() {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  if (exception_)
    Py_XDECREF(value);
  else
    exception_ = value;
}

std::string KeptException::text() const {
  const nb::gil_scoped_acquire gil;
  return exception_ ? nb::cast<std::string>(nb::repr(nb::handle(exception_))) : std::string();
}

void KeptException::raise(const std::string& note) {
  const nb::gil_scoped_acquire gil;
  PyObject* exception = std::exchange(exception_, nullptr);
  nb::object noted = nb::steal(PyObject_CallMethod(exception, "add_note", "s", note.c_str()));
  if (!noted.is_valid()) PyErr_Clear();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
  Py_DECREF(exception);
  throw nb::python_error();
}

PyStage::PyStage(std::string name, nb::object function, nb::object state)
    : name_(std::move(name)), function_(std::move(function)), state_(std::move(state)) {}

PyStage::~PyStage() {
  if (!Py_IsInitialized()) {
    function_.release();
    state_.release();
    return;
  }
  const nb::gil_scoped_acquire gil;
  function_.reset();
  state_.reset();
  slot_.reset();
}

void PyStage::attach(const StageContext& context) {
  batch_size_ = context.batch_size;
  slot_ = std::make_unique<BatchSlot>(batch_size_);
  sources_.clear();
  for (const auto& port : context.ports)
    sources_.push_back({std::make_shared<StrayFrames>(port), port->capabilities().writable});
}

// One thread state for the life of the worker: making one costs more than a batch.
void PyStage::enter() noexcept {
  gil_ = PyGILState_Ensure();
  thread_ = PyEval_SaveThread();
}

void PyStage::end(int64_t) noexcept {
  PyEval_RestoreThread(thread_);
  sources_.clear();
  PyGILState_Release(gil_);
}

bool PyStage::process(wp_batch& batch) noexcept {
  if (code_ != 0 || kept_.any()) return false;
  PyEval_RestoreThread(thread_);
  try {
    run(batch);
  } catch (nb::python_error& e) {
    e.restore();
    kept_.take();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
    kept_.take();
  }
  const bool fine = code_ == 0 && !kept_.any();
  thread_ = PyEval_SaveThread();
  return fine;
}

void PyStage::run(wp_batch& batch) {
  // Arrays that the function kept go on showing what they showed.
  if (!slot_ || slot_->seen_by_python()) slot_ = std::make_unique<BatchSlot>(batch_size_);
  wp_batch& own = **slot_->storage;
  const uint32_t n = batch.count;
  own.count = n;
  own.port = batch.port;
  own.queue = batch.queue;
  std::copy_n(batch.data, n, own.data);
  std::copy_n(batch.length, n, own.length);
  std::copy_n(batch.timestamp, n, own.timestamp);
  std::copy_n(batch.hash, n, own.hash);
  std::copy_n(batch.verdict, n, own.verdict);
  std::copy_n(batch.target, n, own.target);
  std::fill_n(own.handle, n, WP_NO_FRAME);  // only the worker gives frames back
  const Source& source = sources_[batch.port];
  auto* raw = new PyBatch(nullptr, std::move(slot_), batch.queue, true, !source.writable);
  nb::object seen = nb::cast(raw, nb::rv_policy::take_ownership);
  nb::object result =
      nb::steal(PyObject_CallFunctionObjArgs(function_.ptr(), seen.ptr(), state_.ptr(), nullptr));
  if (!result.is_valid()) {
    kept_.take();
  } else if (!result.is_none()) {
    if (PyLong_Check(result.ptr()) && !PyBool_Check(result.ptr())) {
      int overflow = 0;
      const int64_t code = PyLong_AsLongLongAndOverflow(result.ptr(), &overflow);
      code_ = static_cast<int>(
          std::clamp<int64_t>(overflow ? overflow * INT64_MAX : code, -kMaxCode, kMaxCode));
    } else {
      PyErr_Format(PyExc_TypeError, "stage %s returned %R: it must be None or a whole number",
                   name_.c_str(), result.ptr());
      kept_.take();
    }
  }
  const int64_t stray = raw->end_stage(batch, source.keeper, slot_);
  // An exception's traceback may hold the function's locals: that is no mistake of the user's.
  if (stray < 0 || kept_.any()) return;
  nb::object type = nb::module_::import_("wirepath.errors").attr("ReleasedError");
  PyErr_Format(type.ptr(),
               "stage %s kept an array of frame %d past its batch (keep batch.data[%d].copy(), or "
               "use a wirepath.HandOff)",
               name_.c_str(), static_cast<int>(stray), static_cast<int>(stray));
  kept_.take();
}

std::string PyStage::error() const {
  return kept_.any() ? kept_.text() : "stage " + name_ + " returned " + std::to_string(code_);
}

void PyStage::raise() const {
  if (kept_.any()) kept_.raise("in stage " + name_ + ", which stopped its worker");
  Stage::raise();
}

std::string CompiledStage::error() const {
  return kept_->any() ? kept_->text() : CStage::error();
}

void CompiledStage::raise() const {
  if (kept_->any())
    kept_->raise(std::string("in stage ") + name() +
                 ", compiled, which stopped its worker (compile=\"never\" shows the line)");
  Stage::raise();
}

void bind_stage(nb::module_& m) {
  nb::class_<Stage>(m, "Stage", "A native stage; see wirepath.Worker.add_stage.")
      .def_prop_ro("name", &Stage::name);
  nb::class_<CStage, Stage>(m, "CStage",
                            "A stage behind the C ABI: `function` is the address of an\n"
                            "int f(struct wp_batch*, void*), `state` what it gets (batch.h).\n"
                            "`keep` lives as long as the stage.")
      .def(
          "__init__",
          [](CStage* self, const std::string& name, uintptr_t function, uintptr_t state,
             nb::object keep) {
            if (function == 0) throw config_error("function", "0", "the address of a C function");
            new (self) CStage(name, reinterpret_cast<wp_stage_fn>(function),
                              reinterpret_cast<void*>(state), keep_alive(std::move(keep)));
          },
          nb::arg("name"), nb::arg("function"), nb::arg("state") = 0,
          nb::arg("keep").none() = nb::none());
  nb::class_<KeptException>(m, "KeptException", "Where compiled code leaves its exception.")
      .def(nb::init<>())
      .def_prop_ro("address",
                   [](const KeptException& k) { return reinterpret_cast<uintptr_t>(&k); });
  nb::class_<CompiledStage, CStage>(m, "CompiledStage",
                                    "A CStage whose function may return RAISED, after it called\n"
                                    "KEEP_EXCEPTION(kept.address) while a Python exception is set.")
      .def(
          "__init__",
          [](CompiledStage* self, const std::string& name, uintptr_t function, uintptr_t state,
             nb::object keep, std::shared_ptr<KeptException> kept) {
            new (self) CompiledStage(name, reinterpret_cast<wp_stage_fn>(function),
                                     reinterpret_cast<void*>(state), keep_alive(std::move(keep)),
                                     std::move(kept));
          },
          nb::arg("name"), nb::arg("function"), nb::arg("state"), nb::arg("keep").none(),
          nb::arg("kept"));
  nb::class_<PyStage, Stage>(m, "PyStage",
                             "A Python function that a worker calls once a batch, with the GIL.")
      .def(nb::init<std::string, nb::object, nb::object>(), nb::arg("name"), nb::arg("function"),
           nb::arg("state").none());
  m.attr("RAISED") = kRaised;
  m.attr("MAX_CODE") = kMaxCode;
  m.attr("KEEP_EXCEPTION") = reinterpret_cast<uintptr_t>(&keep_exception);
  nb::dict layout;
  layout["count"] = offsetof(wp_batch, count);
  layout["port"] = offsetof(wp_batch, port);
  layout["queue"] = offsetof(wp_batch, queue);
  layout["data"] = offsetof(wp_batch, data);
  layout["length"] = offsetof(wp_batch, length);
  layout["timestamp"] = offsetof(wp_batch, timestamp);
  layout["hash"] = offsetof(wp_batch, hash);
  layout["verdict"] = offsetof(wp_batch, verdict);
  layout["target"] = offsetof(wp_batch, target);
  m.attr("BATCH_LAYOUT") = layout;  // offsets in struct wp_batch
}

}  // namespace wp::python
