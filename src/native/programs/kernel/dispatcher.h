// SPDX-License-Identifier: Apache-2.0
// libxdp's dispatcher, which lets programs of several owners share an interface where the kernel
// allows to replace BPF functions (freplace): the root of a chain as one of them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace wp::programs {

struct Attached;

inline constexpr const char* kDispatcher = "xdp_dispatcher";

// Whether this build has libxdp.
bool can_join_dispatcher() noexcept;

// What the dispatcher with this number runs, by the kernel's own links: number and link.
struct Extension {
  uint32_t program = 0;
  uint32_t link = 0;
};
std::vector<Extension> behind_dispatcher(uint32_t dispatcher);

// Puts an object's program behind the dispatcher `there` of an interface, where it stays until
// leave_dispatcher, whoever ends. Throws kBusy with libxdp's words where that is refused,
// kUnavailable without libxdp.
void join_dispatcher(std::span<const unsigned char> image, uint32_t ifindex,
                     const std::string& interface, const Attached& there);
// Takes a program from behind it; the dispatcher goes with its last one. Throws.
void leave_dispatcher(uint32_t program, uint32_t ifindex, const std::string& mode);

}  // namespace wp::programs
