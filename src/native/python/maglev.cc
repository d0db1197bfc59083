// SPDX-License-Identifier: Apache-2.0
#include "balance/maglev.h"

#include "core/error.h"
#include "python/bindings.h"

namespace wp::python {
namespace {

using namespace wp::balance;

nb::object table(const std::vector<std::string>& names, const std::vector<uint32_t>& weights,
                 uint32_t size, const std::string& algorithm) {
  if (names.size() != weights.size())
    throw Error(
        ErrorKind::kConfig,
        std::to_string(weights.size()) + " weights for " + std::to_string(names.size()) + " names",
        "give every name one weight");
  if (algorithm != "wirepath" && algorithm != "cilium")
    throw Error(ErrorKind::kConfig, "algorithm = \"" + algorithm + "\" is not usable",
                "it must be \"wirepath\" or \"cilium\"");
  std::vector<MaglevServer> servers(names.size());
  for (size_t i = 0; i < names.size(); i++) servers[i] = {names[i], weights[i]};
  std::vector<uint32_t> slots;
  {
    nb::gil_scoped_release release;
    slots =
        maglev_table(servers, size,
                     algorithm == "cilium" ? MaglevAlgorithm::kCilium : MaglevAlgorithm::kWirepath);
  }
  NewArray out = new_array(slots.size(), nb::str("<u4"));
  std::memcpy(out.data, slots.data(), slots.size() * sizeof slots[0]);
  return out.array;
}

}  // namespace

void bind_maglev(nb::module_& m) {
  m.attr("NO_SERVER") = kNoServer;
  m.def(
      "maglev_table", &table, nb::arg("names"), nb::arg("weights"), nb::kw_only(),
      nb::arg("size") = kMaglevSize, nb::arg("algorithm") = "wirepath",
      "A weighted Maglev table: of each of its `size` slots (a prime) the index in `names`, as "
      "uint32; NO_SERVER where no server has a weight. The order of the names does not matter.\n\n"
      "algorithm: \"wirepath\", or \"cilium\", whose tables equal those of Cilium's agent.\n"
      "Raises ConfigError. Source: Eisenbud et al., Maglev, NSDI 2016, section 3.4.");
}

}  // namespace wp::python
