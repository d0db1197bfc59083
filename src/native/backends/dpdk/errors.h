// SPDX-License-Identifier: Apache-2.0
// DPDK's refusals as our errors, each with what mends it.
#pragma once

#include <string>

#include "core/error.h"

namespace wp::dpdk {

// `error` is a positive errno; `log` is what DPDK logged meanwhile; `device` may be empty.
Error refusal(const std::string& what, int error, const std::string& log,
              const std::string& device);

// Exhausted packet memory; the mend depends on where EAL takes it from.
Error no_memory(const std::string& what, bool huge_pages, uint64_t bytes);

}  // namespace wp::dpdk
