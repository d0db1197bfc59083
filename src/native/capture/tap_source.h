// SPDX-License-Identifier: Apache-2.0
// Frames of a port of this process or another one, by its tap.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "capture/frame_source.h"
#include "core/tap_segment.h"
#include "core/telemetry.h"

namespace wp::capture {

class TapSource : public FrameSource {
 public:
  // `process`: its segment, the number of the process. `port`: spec of a port that it has open.
  // Asks for the frames from now on. Throws kConfig where it has no such port, kBusy where the
  // port is being captured already.
  TapSource(const std::string& process, const std::string& port, uint64_t ring_bytes,
            uint32_t snap_length, std::span<const BpfInstruction> filter);
  ~TapSource() override { stop(); }
  TapSource(const TapSource&) = delete;
  TapSource& operator=(const TapSource&) = delete;

  uint32_t streams() const noexcept override { return static_cast<uint32_t>(rings_.size()); }
  const FrameRecord* peek(uint32_t stream) noexcept override;
  void consume(uint32_t stream, const FrameRecord* record) noexcept override {
    rings_[stream].consume(record);
  }
  SourceCounts counts(uint32_t interface) const noexcept override;
  bool renew() noexcept override;
  void stop() noexcept override;

  // Queues whose driver copies its frames by now. One that is not polled does not notice.
  uint32_t followers() const noexcept { return segment_->followers(); }
  // The process could not map the rings.
  bool refused() const noexcept;

  // Specs of the ports of a process that can be tapped.
  static std::vector<std::string> ports(const std::string& process);

 private:
  std::unique_ptr<Telemetry> telemetry_;  // keeps the cell mapped
  TapCell* cell_ = nullptr;
  uint64_t request_ = 0;
  std::unique_ptr<TapSegment> segment_;
  std::vector<FrameRing> rings_;
  // Of each ring the record that was handed out: the process that is captured, which may be another
  // user's, could change the one in the ring while it is being written.
  std::vector<std::unique_ptr<uint64_t[]>> copies_;
  uint32_t room_ = 0;  // for bytes of frame in each
};

}  // namespace wp::capture
