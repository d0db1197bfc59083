// SPDX-License-Identifier: Apache-2.0
// A capture: takes frames from sources, in the order of their time as far as they are there
// together, and writes them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "capture/capture_output.h"
#include "capture/frame_source.h"

namespace wp::capture {

class CaptureSession {
 public:
  // Source k has `interfaces[k]` interfaces, the next ones of the output.
  CaptureSession(std::vector<std::shared_ptr<FrameSource>> sources,
                 std::vector<uint32_t> interfaces, std::unique_ptr<CaptureOutput> output);

  // Moves frames for `duration_ns`, or until `most` in all are written (0 = no limit), or until
  // nothing more will come; then flushes. False: one of the latter two. Throws where the output
  // fails.
  bool run(int64_t duration_ns, uint64_t most);
  // Stops the sources, writes what they still have (up to `most` in all) and ends the file.
  void finish(uint64_t most);
  // What an interface, as a device, received and lost since the capture began, and in words.
  void set_device_counts(uint32_t interface, std::optional<uint64_t> received,
                         std::optional<uint64_t> dropped, std::string comment);

  SourceCounts counts(uint32_t interface) const;
  const CaptureOutput& output() const noexcept { return *output_; }

 private:
  struct Stream {
    FrameSource* source;
    uint32_t number;
    uint32_t first_interface;
    uint32_t interfaces;
    const FrameRecord* head = nullptr;
  };
  uint64_t drain(uint64_t most);
  bool renew() noexcept;
  void tell_counts();

  std::vector<std::shared_ptr<FrameSource>> sources_;
  std::vector<uint32_t> first_;  // interface of each source
  std::vector<Stream> streams_;
  std::unique_ptr<CaptureOutput> output_;
  struct DeviceCounts {
    std::optional<uint64_t> received, dropped;
    std::string comment;
  };
  std::vector<DeviceCounts> devices_;
  uint64_t taken_ = 0;
  int64_t renewed_ = 0;
  bool ended_ = false;
};

}  // namespace wp::capture
