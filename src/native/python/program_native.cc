// SPDX-License-Identifier: Apache-2.0
// Natively built packet programs: instances, their maps, and the stage that runs one.
#include <dlfcn.h>
#include <nanobind/ndarray.h>

#include "programs/native_instance.h"
#include "python/bindings.h"
#include "python/program_maps.h"

namespace wp::python {
namespace {

using programs::NativeInstance;
using programs::ProgramStage;

struct Code {
  const wp_native_program* code = nullptr;
  std::shared_ptr<void> keep;
};

Code builtin(const std::string& name) {
  std::string known;
  for (const programs::Builtin& each : programs::builtin_programs()) {
    if (name == each.name) return {each.code(), {}};
    known += (known.empty() ? "" : ", ") + std::string(each.name);
  }
  throw config_error("program", name, "one of " + known + ", or a file");
}

Code shared_object(const std::string& name, const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw config_error("path", path, std::string("a shared object: ") + dlerror());
  std::shared_ptr<void> keep(handle, [](void* h) { dlclose(h); });
  void* symbol = dlsym(handle, ("wp_program_" + name).c_str());
  if (!symbol)
    throw Error(ErrorKind::kConfig, path + " does not export wp_program_" + name,
                "a program's source has one WP_PROGRAM(" + name + ")");
  return {reinterpret_cast<const wp_native_program* (*)()>(symbol)(), std::move(keep)};
}

std::string text_of(nb::handle object) {
  const BytesView view(object);
  return {reinterpret_cast<const char*>(view.data()), view.size()};
}

}  // namespace

void bind_program(nb::module_& m) {
  m.def(
      "builtin_programs",
      [] {
        std::vector<std::string> names;
        for (const programs::Builtin& each : programs::builtin_programs())
          names.emplace_back(each.name);
        return names;
      },
      "Names of the packet programs that are part of wirepath.");
  auto instance =
      nb::class_<NativeInstance>(
          m, "ProgramInstance",
          "A natively built packet program with maps of its own: a built-in\n"
          "one by name, or from the shared object `path`. config: bytes.")
          .def(
              "__init__",
              [](NativeInstance* self, const std::string& name, const std::string& path,
                 std::map<std::string, uint32_t> entries, nb::object config, uint32_t slots,
                 bool test_mode) {
                Code code = path.empty() ? builtin(name) : shared_object(name, path);
                new (self) NativeInstance(
                    code.code,
                    {std::move(entries), config.is_none() ? "" : text_of(config), slots, test_mode},
                    std::move(code.keep));
              },
              nb::arg("name"), nb::arg("path") = "",
              nb::arg("entries") = std::map<std::string, uint32_t>{},
              nb::arg("config").none() = nb::none(), nb::arg("slots") = 1,
              nb::arg("test_mode") = false)
          .def_prop_ro("name", &NativeInstance::name)
          .def_prop_ro("config_size", &NativeInstance::config_size)
          .def_prop_ro("slots", &NativeInstance::slots)
          .def_prop_ro("memory", &NativeInstance::memory,
                       "Bytes reserved; untouched pages cost none.")
          .def(
              "run",
              [](NativeInstance& self, nb::object frame, uint32_t queue, uint32_t interface,
                 int64_t time) {
                const auto result = self.run_once(text_of(frame), queue, interface, time);
                return nb::make_tuple(result.verdict, result.target,
                                      nb::bytes(result.frame.data(), result.frame.size()));
              },
              nb::arg("frame"), nb::arg("queue") = 0, nb::arg("interface") = 0, nb::arg("time") = 0,
              "(verdict, target, frame afterwards)")
          .def(
              "map_bytes",
              [](nb::handle_t<NativeInstance> self, const std::string& name) {
                programs::NativeMap& map = nb::cast<NativeInstance&>(self).map(name);
                if (map.shape().kind != "ARRAY")
                  throw config_error("map", name, "one of kind ARRAY, not " + map.shape().kind);
                const size_t n = size_t{map.raw()->value_stride} * map.shape().max_entries;
                return nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>(map.raw()->memory, {n}, self);
              },
              nb::arg("map"),
              "The values of an array map where they are, to be written with atomic stores.")
          .def(
              "read_ring",
              [](NativeInstance& self, const std::string& map, size_t most) {
                nb::list out;
                for (const std::string& record : self.map(map).read_ring(most))
                  out.append(nb::bytes(record.data(), record.size()));
                return out;
              },
              nb::arg("map"), nb::arg("most") = 1024, "Records written since, at most `most`.")
          .def(
              "ring_dropped",
              [](NativeInstance& self, const std::string& map) {
                return self.map(map).ring_dropped();
              },
              nb::arg("map"), "Records that found the ring full.");
  bind_map_calls(instance);
  nb::class_<ProgramStage, Stage>(m, "ProgramStage", "Runs a program over each batch of a worker.")
      .def(nb::init<std::shared_ptr<NativeInstance>, std::string>(), nb::arg("instance"),
           nb::arg("name"))
      .def("replace", &ProgramStage::replace, nb::arg("instance"),
           nb::call_guard<nb::gil_scoped_release>(),
           "Run another instance from the next batch on; returns once the old one is free.")
      .def_prop_ro("instance", &ProgramStage::instance);
}

}  // namespace wp::python
