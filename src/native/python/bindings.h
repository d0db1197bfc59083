// SPDX-License-Identifier: Apache-2.0
// What the binding files share. One file per concept; each has one bind_* function.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>

#include "core/value.h"

namespace nb = nanobind;

namespace wp::python {

void bind_errors(nb::module_& m);
void bind_telemetry(nb::module_& m);
void bind_ring(nb::module_& m);
void bind_steering(nb::module_& m);
void bind_batch(nb::module_& m);
void bind_port(nb::module_& m);
void bind_stage(nb::module_& m);
void bind_hand_off(nb::module_& m);
void bind_host(nb::module_& m);
void bind_worker(nb::module_& m);
void bind_feed(nb::module_& m);
void bind_feed_channel(nb::module_& m);
void bind_itch(nb::module_& m);
void bind_book(nb::module_& m);
void bind_cme_recovery(nb::module_& m);
void bind_arbiter(nb::module_& m);
void bind_sbe(nb::module_& m);
void bind_soup(nb::module_& m);
void bind_publisher(nb::module_& m);
void bind_venues(nb::module_& m);
void bind_line_reader(nb::module_& m);
void bind_load(nb::module_& m);
void bind_switch(nb::module_& m);
void bind_capture(nb::module_& m);
void bind_prefix_table(nb::module_& m);
void bind_maglev(nb::module_& m);
void bind_program(nb::module_& m);
void bind_route(nb::module_& m);

nb::object to_python(const Value& value);
nb::dict to_python(const Info& info);
nb::dict to_python(const std::vector<std::pair<std::string, uint64_t>>& counters);

// numpy.empty(n, dtype) and where its bytes are.
struct NewArray {
  nb::object array;
  uint8_t* data;
};
NewArray new_array(size_t n, nb::handle dtype);
// A contiguous buffer of bytes-like input, held for the life of this object.
class BytesView {
 public:
  explicit BytesView(nb::handle object, bool writable = false);
  ~BytesView() { PyBuffer_Release(&view_); }
  BytesView(const BytesView&) = delete;
  BytesView& operator=(const BytesView&) = delete;
  uint8_t* data() const noexcept { return static_cast<uint8_t*>(view_.buf); }
  size_t size() const noexcept { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_;
};
// A thread of Python that may wait in native code without the GIL, for the life of this object
// (made and destroyed with the GIL). When the interpreter ends it is told to come back first: a
// thread that asked for the GIL of an interpreter that is gone would take the process down.
class NativeWait {
 public:
  NativeWait() { threads().fetch_add(1); }
  ~NativeWait() { threads().fetch_sub(1); }
  NativeWait(const NativeWait&) = delete;
  NativeWait& operator=(const NativeWait&) = delete;

  static bool ending() noexcept { return flag().load(std::memory_order_relaxed); }
  // Registered with atexit: raises the flag and waits, at most a second, until nobody waits.
  static void end_all();

 private:
  static std::atomic<int>& threads();
  static std::atomic<bool>& flag();
};

// wirepath.dtypes.NAME
nb::object dtype_named(const char* name);

}  // namespace wp::python
