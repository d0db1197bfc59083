// SPDX-License-Identifier: Apache-2.0
// The stream that FRR's dplane_fpm_nl sends (FRR's fpm/fpm.h): frames of version, type and length,
// each with one or more netlink messages. Bytes go in as they come, events come out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "route/rtnetlink.h"

namespace wp::route {

struct FpmCounters {
  uint64_t bytes = 0;
  uint64_t frames = 0;
  uint64_t other_frames = 0;  // not netlink: counted and skipped
  RtnetlinkCounters netlink;
};

class FpmStream {
 public:
  static constexpr size_t kHeader = 4;

  // Appends the events of all frames that are whole by now. After a header that cannot be one the
  // stream is broken: nothing says where the next frame begins, so its end is the only way on.
  void feed(const uint8_t* data, size_t length, std::vector<RouteEvent>& out);

  bool broken() const noexcept { return broken_; }
  size_t pending() const noexcept { return held_.size(); }  // bytes of a frame that is not whole
  const FpmCounters& counters() const noexcept { return counters_; }

 private:
  // Bytes taken: whole frames.
  size_t take(const uint8_t* data, size_t length, std::vector<RouteEvent>& out);

  std::vector<uint8_t> held_;
  bool broken_ = false;
  FpmCounters counters_;
};

}  // namespace wp::route
