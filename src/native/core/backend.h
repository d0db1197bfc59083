// SPDX-License-Identifier: Apache-2.0
// Backends register themselves under a name; a port spec "name:device,option=value" opens one.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/options.h"
#include "core/port.h"

namespace wp {

// Plain data: an extension module with a backend of its own hands over a pointer to one.
struct Backend {
  const char* name;
  const char* help;    // one line: what it is, what it needs
  const char* device;  // what stands after the colon: "INTERFACE", "FILE", ""
  std::span<const OptionHelp> options;
  std::unique_ptr<Port> (*open)(const PortConfig& config);
  // What options that are not declared above are: "arguments of the device". nullptr: an error.
  const char* passes_on = nullptr;
};

void register_backend(const Backend& backend);
const Backend* find_backend(std::string_view name) noexcept;
std::vector<const Backend*> backends();

struct PortSpec {
  std::string backend;
  std::string device;
  std::map<std::string, std::string> options;
};
PortSpec parse_port_spec(const std::string& spec);

// Opens `spec`; `options` come on top of those in the spec. Throws Error.
std::unique_ptr<Port> open_port(const std::string& spec, const Steering& steering,
                                std::map<std::string, std::string> options, uint32_t batch_size);

}  // namespace wp
