// SPDX-License-Identifier: Apache-2.0
#include "core/clock.h"
#include "core/error.h"
#include "python/bindings.h"

namespace wp::python {

nb::object to_python(const Value& value) {
  return std::visit(
      [](const auto& v) -> nb::object {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
          return nb::none();
        else
          return nb::cast(v);
      },
      value);
}

nb::dict to_python(const Info& info) {
  nb::dict out;
  for (const auto& [name, value] : info) out[name.c_str()] = to_python(value);
  return out;
}

nb::dict to_python(const std::vector<std::pair<std::string, uint64_t>>& counters) {
  nb::dict out;
  for (const auto& [name, value] : counters) out[name.c_str()] = value;
  return out;
}

BytesView::BytesView(nb::handle object, bool writable) {
  if (PyObject_GetBuffer(object.ptr(), &view_,
                         writable ? PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_C_CONTIGUOUS) != 0)
    throw nb::python_error();
}

NewArray new_array(size_t n, nb::handle dtype) {
  // Never destroyed: the interpreter may be gone when static objects are.
  static PyObject* empty = nb::object(nb::module_::import_("numpy").attr("empty")).release().ptr();
  nb::object array = nb::handle(empty)(n, dtype);
  Py_buffer view;
  if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_WRITABLE) != 0) throw nb::python_error();
  auto* data = static_cast<uint8_t*>(view.buf);
  PyBuffer_Release(&view);  // the array keeps its memory as long as it lives
  return {std::move(array), data};
}

std::atomic<int>& NativeWait::threads() {
  static std::atomic<int> count{0};
  return count;
}

std::atomic<bool>& NativeWait::flag() {
  static std::atomic<bool> ending{false};
  return ending;
}

void NativeWait::end_all() {
  flag().store(true);
  nb::gil_scoped_release release;
  const int64_t deadline = Clock::steady() + 1'000'000'000;
  while (threads().load() != 0 && Clock::steady() < deadline) {
    const timespec nap{0, 1'000'000};
    nanosleep(&nap, nullptr);
  }
}

nb::object dtype_named(const char* name) {
  return nb::module_::import_("wirepath.dtypes").attr(name);
}

// Error kinds become the classes of wirepath.errors.
void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& e) {
      const char* name = "WirepathError";
      switch (e.kind()) {
        case ErrorKind::kConfig:
          name = "ConfigError";
          break;
        case ErrorKind::kUnavailable:
          name = "BackendUnavailable";
          break;
        case ErrorKind::kPermission:
          name = "PermissionDenied";
          break;
        case ErrorKind::kBusy:
          name = "DeviceBusy";
          break;
        case ErrorKind::kUnsupported:
          name = "Unsupported";
          break;
        case ErrorKind::kIo:
          name = "PortError";
          break;
        case ErrorKind::kReleased:
          name = "ReleasedError";
          break;
      }
      nb::object type = nb::module_::import_("wirepath.errors").attr(name);
      PyErr_SetString(type.ptr(), e.what());
    }
  });
}

}  // namespace wp::python
