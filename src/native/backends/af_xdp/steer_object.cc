// SPDX-License-Identifier: Apache-2.0
// The compiled steering program, embedded. WP_STEER_BPF_OBJECT is the path of its object file.
#include "backends/af_xdp/steer_object.h"

// clang-format off
asm(".pushsection .rodata\n"
    ".balign 8\n"
    "wp_steer_object_begin:\n"
    ".incbin \"" WP_STEER_BPF_OBJECT "\"\n"
    "wp_steer_object_end:\n"
    ".byte 0\n"
    ".popsection\n");
// clang-format on

extern "C" {
__attribute__((visibility("hidden"))) extern const unsigned char wp_steer_object_begin[];
__attribute__((visibility("hidden"))) extern const unsigned char wp_steer_object_end[];
}

namespace wp::af_xdp {

std::span<const unsigned char> steer_object() noexcept {
  return {wp_steer_object_begin, wp_steer_object_end};
}

}  // namespace wp::af_xdp
