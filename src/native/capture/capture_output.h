// SPDX-License-Identifier: Apache-2.0
// Writes captured frames as pcapng: to one file, to a pipe, or to files of a size or duration, of
// which the oldest are removed. Blocks gather in memory; a file cut by a full disk still ends with
// a whole one.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "backends/pcap/pcapng_blocks.h"
#include "core/frame_ring.h"

namespace wp::capture {

struct OutputConfig {
  std::string path{};       // with rotation "day.pcapng" becomes "day_00001_20250131093000.pcapng"
  int fd = -1;              // instead of a path; not closed
  uint64_t file_bytes = 0;  // a new file after so many; 0 = no limit
  int64_t file_ns = 0;      // a new file after so long; 0 = no limit
  uint32_t ring_files = 0;  // keep so many, remove the oldest; 0 = keep all
  pcap::SectionOptions section{};
};

class CaptureOutput {
 public:
  // Throws where the file cannot be made.
  CaptureOutput(OutputConfig config, std::vector<pcap::InterfaceOptions> interfaces);
  ~CaptureOutput();  // closes what is open, without statistics
  CaptureOutput(const CaptureOutput&) = delete;
  CaptureOutput& operator=(const CaptureOutput&) = delete;

  void append(uint32_t interface, const FrameRecord& record);
  // What the end of each file says of an interface. `delivered` is filled in here.
  void set_statistics(uint32_t interface, const pcap::InterfaceStatistics& statistics);
  // Writes what gathered; every so often, and before waiting. A pipe that nobody reads is given
  // a moment, the rest stays in the backlog. Throws where writing fails: then the file ends with
  // what was whole, and written() does not count the rest.
  void flush();
  // More should not be appended now.
  bool backed_up() const noexcept { return blocks_.bytes().size() >= kBacklogBytes; }
  // Ends the file with the statistics of each interface.
  void finish(int64_t now);

  uint64_t written() const noexcept { return written_; }    // frames, over all files
  uint64_t bytes() const noexcept { return total_bytes_; }  // over all files
  uint64_t delivered(uint32_t interface) const { return delivered_[interface]; }
  const std::deque<std::string>& files() const noexcept { return files_; }  // that are there
  uint64_t removed() const noexcept { return removed_; }                    // files

 private:
  void open(int64_t now);
  void close(int64_t now);
  bool full(int64_t now) const noexcept;
  bool rotates() const noexcept { return config_.file_bytes != 0 || config_.file_ns != 0; }
  std::string name_of(uint64_t number, int64_t now) const;
  int write_file() noexcept;
  int write_pipe() noexcept;
  void fail(int error);
  static constexpr size_t kFlushBytes = 1 << 18;
  static constexpr size_t kBacklogBytes = 1 << 22;

  OutputConfig config_;
  std::vector<pcap::InterfaceOptions> interfaces_;
  std::vector<pcap::InterfaceStatistics> statistics_;
  std::vector<uint64_t> delivered_;
  pcap::PcapngBlocks blocks_;
  std::deque<std::string> files_;
  int fd_ = -1;
  uint64_t number_ = 0;            // of files begun
  uint64_t file_bytes_ = 0;        // in the file, whole blocks
  int64_t opened_ = 0;             // CLOCK_MONOTONIC
  size_t flush_at_ = kFlushBytes;  // bytes in blocks_
  uint64_t buffered_ = 0;          // frames in blocks_
  uint64_t written_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t removed_ = 0;
  uint64_t id_ = 0;
  bool failed_ = false;
};

}  // namespace wp::capture
