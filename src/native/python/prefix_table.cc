// SPDX-License-Identifier: Apache-2.0
#include "net/prefix_table.h"

#include <cstring>

#include "core/error.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

template <typename T>
nb::object array_of(const std::vector<T>& values, const char* dtype) {
  NewArray out = new_array(values.size(), nb::str(dtype));
  if (!values.empty()) std::memcpy(out.data, values.data(), values.size() * sizeof(T));
  return out.array;
}

// Items `bytes` wide of an array of bytes; as many as `n`.
const uint8_t* items(const BytesView& view, size_t n, size_t bytes, const char* field) {
  if (view.size() != n * bytes)
    throw config_error(
        field, std::to_string(view.size()) + " bytes",
        std::to_string(n * bytes) + " bytes, " + std::to_string(bytes) + " for each prefix");
  return view.data();
}

PrefixOwners owners_of(bool longest) {
  return longest ? PrefixOwners::kLongest : PrefixOwners::kAll;
}

}  // namespace

void bind_prefix_table(nb::module_& m) {
  m.def(
      "build_prefix4",
      [](nb::handle addresses, nb::handle lengths, nb::handle owners, uint32_t root_bits,
         bool longest) {
        const BytesView length(lengths), address(addresses), owner(owners);
        const size_t n = length.size();
        const uint8_t* a = items(address, n, 4, "addresses");
        const uint8_t* o = items(owner, n, 4, "owners");
        Prefix4Table table;
        {
          nb::gil_scoped_release release;
          std::vector<Prefix4> prefixes(n);
          for (size_t i = 0; i < n; i++) {
            std::memcpy(&prefixes[i].address, a + 4 * i, 4);
            std::memcpy(&prefixes[i].owner, o + 4 * i, 4);
            prefixes[i].length = length.data()[i];
          }
          table = build_prefix4(prefixes, root_bits, owners_of(longest));
        }
        return nb::make_tuple(table.root_bits, array_of(table.root, "u4"),
                              array_of(table.nodes, "u4"), table.classes);
      },
      nb::arg("addresses"), nb::arg("lengths"), nb::arg("owners"), nb::arg("root_bits") = 0,
      nb::arg("longest") = false,
      "(root bits, root, nodes, owners of each class) of IPv4 prefixes: addresses and owners as\n"
      "uint32, lengths as uint8 arrays. root_bits: 16 or 24; 0 chooses by size. longest: a class\n"
      "has the owner of the longest prefix only, not those of all around an address.\n"
      "Raises ConfigError: a length above 32, or bits set behind it.");
  m.def(
      "build_prefix6",
      [](nb::handle addresses, nb::handle lengths, nb::handle owners, bool longest) {
        const BytesView length(lengths), address(addresses), owner(owners);
        const size_t n = length.size();
        const uint8_t* a = items(address, n, 16, "addresses");
        const uint8_t* o = items(owner, n, 4, "owners");
        Prefix6Table table;
        {
          nb::gil_scoped_release release;
          std::vector<Prefix6> prefixes(n);
          for (size_t i = 0; i < n; i++) {
            std::memcpy(&prefixes[i].high, a + 16 * i, 8);
            std::memcpy(&prefixes[i].low, a + 16 * i + 8, 8);
            std::memcpy(&prefixes[i].owner, o + 4 * i, 4);
            prefixes[i].length = length.data()[i];
          }
          table = build_prefix6(prefixes, owners_of(longest));
        }
        static_assert(sizeof(Prefix6Table::Key) == 24);
        NewArray keys = new_array(table.keys.size() * 3, nb::str("u8"));
        if (!table.keys.empty()) std::memcpy(keys.data, table.keys.data(), table.keys.size() * 24);
        return nb::make_tuple(array_of(table.lengths, "u1"), keys.array,
                              array_of(table.values, "u4"), table.classes);
      },
      nb::arg("addresses"), nb::arg("lengths"), nb::arg("owners"), nb::arg("longest") = false,
      "(lengths in use, keys, class of each key, owners of each class) of IPv6 prefixes: "
      "addresses\n"
      "as two uint64 each, the high one first, both in host order. A key is three uint64: high,\n"
      "low, length. Raises ConfigError: a length above 128, or bits set behind it.");
}

}  // namespace wp::python
