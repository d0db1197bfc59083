// SPDX-License-Identifier: Apache-2.0
// The calls on maps that a native and a kernel program have alike: what Python's map objects stand
// on. Keys and values are bytes here; their dtypes are known in Python.
#pragma once

#include <cstring>

#include "core/error.h"
#include "programs/native_maps.h"
#include "python/bindings.h"

namespace wp::python {

inline nb::dict shape_of(const programs::MapShape& shape) {
  nb::dict out;
  out["name"] = shape.name;
  out["kind"] = shape.kind;
  out["key_size"] = shape.key_size;
  out["value_size"] = shape.value_size;
  out["max_entries"] = shape.max_entries;
  out["slots"] = shape.slots;
  out["value_stride"] = shape.value_stride;
  return out;
}

inline void check_size(const char* what, const std::string& map, size_t have, size_t want) {
  if (have != want)
    throw config_error(std::string(what) + " of map " + map, std::to_string(have) + " bytes",
                       std::to_string(want) + " bytes");
}

template <typename Owner>
void bind_map_calls(nb::class_<Owner>& c) {
  c.def_prop_ro(
       "maps",
       [](const Owner& self) {
         nb::list out;
         for (const auto& map : self.maps()) out.append(shape_of(map->shape()));
         return out;
       },
       "name, kind, key_size, value_size, max_entries, slots and value_stride of each map.")
      .def(
          "get",
          [](const Owner& self, const std::string& map, nb::object key) -> nb::object {
            auto& m = self.map(map);
            const BytesView bytes(key);
            check_size("key", map, bytes.size(), m.shape().key_size);
            std::string values(m.shape().value_bytes(), '\0');
            if (!m.get(bytes.data(), reinterpret_cast<uint8_t*>(values.data()))) return nb::none();
            return nb::bytes(values.data(), values.size());
          },
          nb::arg("map"), nb::arg("key"), "All slots' values of an entry, or None.")
      .def(
          "put",
          [](const Owner& self, const std::string& map, nb::object key, nb::object value,
             uint64_t how) {
            auto& m = self.map(map);
            const BytesView k(key), v(value);
            check_size("key", map, k.size(), m.shape().key_size);
            check_size("value", map, v.size(), m.shape().value_bytes());
            return m.put(k.data(), v.data(), how);
          },
          nb::arg("map"), nb::arg("key"), nb::arg("value"), nb::arg("how") = 0,
          "0 or -errno; how: 0 any, 1 new only, 2 existing only.")
      .def(
          "remove",
          [](const Owner& self, const std::string& map, nb::object key) {
            auto& m = self.map(map);
            const BytesView k(key);
            check_size("key", map, k.size(), m.shape().key_size);
            return m.remove(k.data());
          },
          nb::arg("map"), nb::arg("key"), "0 or -errno.")
      .def(
          "load",
          [](const Owner& self, const std::string& map, nb::object keys, nb::object values,
             uint64_t how) {
            auto& m = self.map(map);
            const BytesView k(keys), v(values);
            const size_t n = m.shape().key_size ? k.size() / m.shape().key_size : 0;
            check_size("keys", map, k.size(), n * m.shape().key_size);
            check_size("values", map, v.size(), n * m.shape().value_bytes());
            int error = 0;
            size_t done = 0;
            {
              const nb::gil_scoped_release release;
              done = m.load({k.data(), k.size()}, {v.data(), v.size()}, how, error);
            }
            return nb::make_tuple(done, error);
          },
          nb::arg("map"), nb::arg("keys"), nb::arg("values"), nb::arg("how") = 0,
          "Many entries, beside each other in two arrays: (how many went in, 0 or -errno).")
      .def(
          "dump",
          [](const Owner& self, const std::string& map) {
            auto& m = self.map(map);
            std::vector<uint8_t> keys, values;
            {
              const nb::gil_scoped_release release;
              m.dump(keys, values);
            }
            return nb::make_tuple(nb::bytes(keys.data(), keys.size()),
                                  nb::bytes(values.data(), values.size()));
          },
          nb::arg("map"), "Every entry: (keys, values), beside each other.")
      .def(
          "size", [](const Owner& self, const std::string& map) { return self.map(map).size(); },
          nb::arg("map"), "Entries there are.")
      .def(
          "clear", [](const Owner& self, const std::string& map) { self.map(map).clear(); },
          nb::arg("map"), "No entries any more; of an array: zeros.");
}

}  // namespace wp::python
