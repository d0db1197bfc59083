// SPDX-License-Identifier: Apache-2.0
// The hint that a spin loop gives to its core.
#pragma once

namespace wp {
inline void cpu_pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}
}  // namespace wp
