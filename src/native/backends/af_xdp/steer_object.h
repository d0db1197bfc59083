// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace wp::af_xdp {

// The steering program as clang wrote it: an ELF object for libbpf.
std::span<const unsigned char> steer_object() noexcept;

}  // namespace wp::af_xdp
