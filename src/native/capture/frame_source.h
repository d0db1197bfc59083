// SPDX-License-Identifier: Apache-2.0
// Where captured frames come from: one or several streams, each in order.
#pragma once

#include <cstdint>

#include "core/frame_ring.h"

namespace wp::capture {

// What became of the frames that came by: seen = handed over + filtered + dropped + what is still
// in the rings.
struct SourceCounts {
  uint64_t seen = 0;
  uint64_t filtered = 0;  // the capture filter did not want them
  uint64_t dropped = 0;   // found no room on the way to the capturer
  uint64_t broken = 0;    // times that a ring made no sense and was emptied
};

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  virtual uint32_t streams() const noexcept = 0;
  // The next frame of a stream until consume(); nullptr: none at the moment.
  virtual const FrameRecord* peek(uint32_t stream) noexcept = 0;
  virtual void consume(uint32_t stream, const FrameRecord* record) noexcept = 0;
  // Of the interface with this number among those of the source.
  virtual SourceCounts counts(uint32_t interface) const noexcept = 0;
  // A few times a second: says that somebody still wants the frames. False: no more will come.
  virtual bool renew() noexcept = 0;
  // No more frames are wanted; those that are there can still be read.
  virtual void stop() noexcept = 0;
};

}  // namespace wp::capture
