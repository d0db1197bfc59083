// SPDX-License-Identifier: Apache-2.0
// The backends that need nothing but libc and so are always there. The others are extension
// modules of their own and register when they are first named.
#pragma once

#include "core/backend.h"
#include "core/switch_port.h"

namespace wp {

extern const Backend kNullBackend;
extern const Backend kPcapBackend;
extern const Backend kSocketBackend;

inline void register_builtin_backends() {
  register_backend(kNullBackend);
  register_backend(kPcapBackend);
  register_backend(kSocketBackend);
  register_backend(kAutoBackend);
}

}  // namespace wp
