// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/capture_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "net/bytes.h"

namespace wp::pcap {
namespace {

using net::store_le;

constexpr size_t kPcapRecord = 16;
constexpr size_t kEnhancedPacket = 32;  // with both lengths, without data and padding

void put32(uint8_t*& p, uint32_t v) noexcept {
  store_le(p, v);
  p += 4;
}
void put16(uint8_t*& p, uint16_t v) noexcept {
  store_le(p, v);
  p += 2;
}

}  // namespace

WriteFormat CaptureWriter::format_for(const std::string& path) noexcept {
  return path.ends_with(".pcapng") || path.ends_with(".ntar") ? WriteFormat::kPcapng
                                                              : WriteFormat::kPcap;
}

CaptureWriter::CaptureWriter(const std::string& path, WriteFormat format)
    : path_(path), format_(format), buffer_(std::make_unique<uint8_t[]>(kBufferBytes)) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd_ < 0)
    throw Error(errno == EACCES || errno == EPERM ? ErrorKind::kPermission : ErrorKind::kIo,
                "cannot write the capture " + path + ": " + std::strerror(errno),
                "name a file in a directory that exists and that you may write to");
  put_header();
  if (flush()) return;
  const int error = errno_;
  ::close(fd_);
  throw Error(ErrorKind::kIo, "cannot write the capture " + path + ": " + std::strerror(error));
}

CaptureWriter::~CaptureWriter() {
  flush();
  ::close(fd_);
}

void CaptureWriter::put_header() noexcept {
  uint8_t* p = buffer_.get();
  if (format_ == WriteFormat::kPcap) {
    put32(p, 0xa1b23c4d);
    put16(p, 2);
    put16(p, 4);
    put32(p, 0);
    put32(p, 0);
    put32(p, kMaxFrame);
    put32(p, 1);  // LINKTYPE_ETHERNET
  } else {
    put32(p, 0x0a0d0d0a);
    put32(p, 28);
    put32(p, 0x1a2b3c4d);
    put16(p, 1);
    put16(p, 0);
    put32(p, 0xffffffff);  // length of the section: not told
    put32(p, 0xffffffff);
    put32(p, 28);
    put32(p, 1);  // interface description
    put32(p, 32);
    put16(p, 1);  // LINKTYPE_ETHERNET
    put16(p, 0);
    put32(p, kMaxFrame);
    put16(p, 9);  // if_tsresol
    put16(p, 1);
    put32(p, 9);  // 10^-9 s, padded
    put32(p, 0);  // end of options
    put32(p, 32);
  }
  used_ = static_cast<size_t>(p - buffer_.get());
}

bool CaptureWriter::append(const uint8_t* data, uint32_t length, uint32_t original,
                           int64_t timestamp) noexcept {
  if (length > kMaxFrame) return false;
  const uint32_t padded = (length + 3) & ~3u;
  if (used_ + kEnhancedPacket + padded > kBufferBytes) flush();  // loss is counted there
  uint8_t* p = buffer_.get() + used_;
  const auto ns = static_cast<uint64_t>(timestamp < 0 ? 0 : timestamp);
  if (format_ == WriteFormat::kPcap) {
    put32(p, static_cast<uint32_t>(ns / 1'000'000'000));
    put32(p, static_cast<uint32_t>(ns % 1'000'000'000));
    put32(p, length);
    put32(p, original);
    std::memcpy(p, data, length);
    used_ += kPcapRecord + length;
  } else {
    const auto total = static_cast<uint32_t>(kEnhancedPacket + padded);
    put32(p, 6);
    put32(p, total);
    put32(p, 0);  // interface
    put32(p, static_cast<uint32_t>(ns >> 32));
    put32(p, static_cast<uint32_t>(ns));
    put32(p, length);
    put32(p, original);
    std::memcpy(p, data, length);
    std::memset(p + length, 0, padded - length);
    p += padded;
    put32(p, total);
    used_ += total;
  }
  buffered_frames_++;
  return true;
}

bool CaptureWriter::flush() noexcept {
  size_t done = 0;
  while (done < used_) {
    const ssize_t n = ::write(fd_, buffer_.get() + done, used_ - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  const bool whole = done == used_;
  if (whole) {
    file_bytes_ += static_cast<int64_t>(used_);
    written_ += buffered_frames_;
  } else {
    errno_ = errno;
    lost_ += buffered_frames_;
    // A device or pipe cannot be cut; nothing better can be done about those.
    if (::ftruncate(fd_, file_bytes_) == 0) ::lseek(fd_, file_bytes_, SEEK_SET);
  }
  used_ = 0;
  buffered_frames_ = 0;
  return whole;
}

}  // namespace wp::pcap
