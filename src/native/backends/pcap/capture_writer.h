// SPDX-License-Identifier: Apache-2.0
// Writes Ethernet frames to a pcap (nanosecond) or pcapng file. Frames gather in a buffer; a
// file cut by a full disk still ends with a whole frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace wp::pcap {

enum class WriteFormat : uint8_t { kPcap, kPcapng };

class CaptureWriter {
 public:
  // pcapng for a name that ends in ".pcapng" or ".ntar", pcap for any other.
  static WriteFormat format_for(const std::string& path) noexcept;

  // Creates or replaces the file (mode 0600) and writes its header. Throws Error (kIo).
  CaptureWriter(const std::string& path, WriteFormat format);
  ~CaptureWriter();  // flushes
  CaptureWriter(const CaptureWriter&) = delete;
  CaptureWriter& operator=(const CaptureWriter&) = delete;

  // `timestamp` in ns since the Unix epoch (pcap: 1970 to 2106), `original` = bytes on the wire.
  // Allocates nothing. False: the frame is too long to be written.
  bool append(const uint8_t* data, uint32_t length, uint32_t original, int64_t timestamp) noexcept;
  // One write for everything gathered. False: those frames are lost, and the file was cut back
  // to where it was whole.
  bool flush() noexcept;

  uint64_t written() const noexcept { return written_; }  // frames in the file
  uint64_t lost() const noexcept { return lost_; }        // frames that the file system refused
  int last_error() const noexcept { return errno_; }
  const std::string& path() const noexcept { return path_; }
  WriteFormat format() const noexcept { return format_; }

  static constexpr uint32_t kMaxFrame = 262144;

 private:
  static constexpr size_t kBufferBytes = 1 << 20;
  void put_header() noexcept;

  std::string path_;
  WriteFormat format_;
  int fd_ = -1;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t used_ = 0;
  uint64_t buffered_frames_ = 0;
  int64_t file_bytes_ = 0;
  uint64_t written_ = 0;
  uint64_t lost_ = 0;
  int errno_ = 0;
};

}  // namespace wp::pcap
