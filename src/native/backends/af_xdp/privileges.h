// SPDX-License-Identifier: Apache-2.0
// Which capabilities AF_XDP needs, and which this thread lacks.
#pragma once

#include <string>

#include "core/error.h"

namespace wp::af_xdp {

// Throws kPermission naming every missing capability.
void require_capabilities();

// The kernel said no although the capabilities are there (user namespace, lockdown, LSM).
Error refused(const std::string& what, int error);

// "64 KiB" or "unlimited".
std::string memlock_limit();

}  // namespace wp::af_xdp
