// SPDX-License-Identifier: Apache-2.0
// The packet programs of wirepath as eBPF objects, embedded.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace wp::programs {

struct BuiltinObject {
  const char* name;  // of its source, such as "count"; "root" among them
  std::span<const unsigned char> image;
};
const std::vector<BuiltinObject>& builtin_objects();

}  // namespace wp::programs
