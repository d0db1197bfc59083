// SPDX-License-Identifier: Apache-2.0
// What the kernel and libbpf say when they refuse.
#pragma once

#include <string>

#include "core/error.h"

namespace wp::programs {

// "what: reason", with what mends a missing capability.
Error refused(const std::string& what, int error);

// What libbpf said while it lived, instead of on stderr. Per thread; its end, which says why.
class BpfLog {
 public:
  BpfLog();
  ~BpfLog();
  BpfLog(const BpfLog&) = delete;
  BpfLog& operator=(const BpfLog&) = delete;
  static std::string text();
};

}  // namespace wp::programs
