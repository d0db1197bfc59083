// SPDX-License-Identifier: Apache-2.0
// What a port says about itself: named values in a fixed order, small enough to print as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace wp {

using Value = std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<int64_t>,
                           std::vector<std::string>>;
using Info = std::vector<std::pair<std::string, Value>>;

}  // namespace wp
