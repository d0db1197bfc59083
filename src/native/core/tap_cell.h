// SPDX-License-Identifier: Apache-2.0
// How a process asks for the frames of a port of another one: a cell in the shared-memory segment
// of the one that has the port, which the capturer writes to (the segment is its user's only).
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace wp {

struct alignas(64) TapCell {
  // Who asked, 0 = nobody. This line is all that a data path without a tap looks at; nobody
  // writes to it while there is none.
  std::atomic<uint64_t> request{0};
  uint32_t queues = 0;  // of the port

  // When whoever asked last said that it lives: ns of CLOCK_MONOTONIC.
  alignas(64) std::atomic<int64_t> heartbeat{0};
  std::atomic<uint64_t> refused{0};  // the request that could not be fulfilled
};

// A capturer is away once it has said nothing for so long: the tap takes itself off.
constexpr int64_t kTapLease = 5'000'000'000;

// The number of a request says which segment its rings are in.
constexpr uint64_t tap_request(uint32_t pid, uint32_t number) noexcept {
  return uint64_t{pid} << 32 | number;
}
inline std::string tap_segment_name(uint64_t request) {
  return "tap." + std::to_string(request >> 32) + "." + std::to_string(uint32_t(request));
}

}  // namespace wp
