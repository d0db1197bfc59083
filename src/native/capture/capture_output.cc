// SPDX-License-Identifier: Apache-2.0
#include "capture/capture_output.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/batch.h"
#include "core/clock.h"
#include "core/error.h"

namespace wp::capture {
namespace {
constexpr int kPipePatienceMs = 50;
constexpr int kLastTries = 40;  // two seconds for the end of a capture
}  // namespace

CaptureOutput::CaptureOutput(OutputConfig config, std::vector<pcap::InterfaceOptions> interfaces)
    : config_(std::move(config)),
      interfaces_(std::move(interfaces)),
      statistics_(interfaces_.size()),
      delivered_(interfaces_.size()) {
  const int64_t now = Clock::realtime();
  for (auto& each : statistics_) each.start = now;
  open(now);
}

CaptureOutput::~CaptureOutput() {
  if (fd_ >= 0 && config_.fd < 0) ::close(fd_);
}

std::string CaptureOutput::name_of(uint64_t number, int64_t now) const {
  const size_t slash = config_.path.rfind('/');
  size_t dot = config_.path.rfind('.');
  if (dot == std::string::npos || (slash != std::string::npos && dot < slash))
    dot = config_.path.size();
  const time_t seconds = now / 1'000'000'000;
  tm local{};
  localtime_r(&seconds, &local);
  char stamp[32], digits[32];
  strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", &local);
  std::snprintf(digits, sizeof digits, "_%05llu_", static_cast<unsigned long long>(number));
  return config_.path.substr(0, dot) + digits + stamp + config_.path.substr(dot);
}

void CaptureOutput::open(int64_t now) {
  number_++;
  if (config_.fd >= 0) {
    fd_ = config_.fd;
  } else {
    const std::string path = rotates() ? name_of(number_, now) : config_.path;
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd_ < 0)
      throw Error(errno == EACCES || errno == EPERM ? ErrorKind::kPermission : ErrorKind::kIo,
                  "cannot write the capture " + path + ": " + std::strerror(errno),
                  "name a file in a directory that exists and that you may write to");
    files_.push_back(path);
    if (config_.ring_files != 0 && files_.size() > config_.ring_files) {
      ::unlink(files_.front().c_str());
      files_.pop_front();
      removed_++;
    }
  }
  file_bytes_ = 0;
  opened_ = Clock::steady();
  blocks_.section(config_.section);
  for (const auto& interface : interfaces_) blocks_.interface(interface);
  flush();
}

bool CaptureOutput::full(int64_t now) const noexcept {
  return (config_.file_bytes != 0 && file_bytes_ + blocks_.bytes().size() >= config_.file_bytes) ||
         (config_.file_ns != 0 && now - opened_ >= config_.file_ns);
}

void CaptureOutput::append(uint32_t interface, const FrameRecord& record) {
  if (rotates() && full(Clock::steady())) {
    const int64_t now = Clock::realtime();
    close(now);
    open(now);
  }
  pcap::PacketOptions options{.flags = static_cast<uint32_t>(record.direction),
                              .lost = record.lost,
                              .id = ++id_,
                              .queue = record.queue};
  // XDP has no KEEP: the number would be read as an action of a kernel to come.
  if (record.verdict == WP_KEEP)
    options.comment = "verdict KEEP: held by the consumer";
  else if (record.verdict != FrameRecord::kNoVerdict)
    options.xdp_verdict = record.verdict;
  blocks_.packet(interface, {record.data(), record.captured}, record.original, record.timestamp,
                 options);
  delivered_[interface]++;
  buffered_++;
  if (blocks_.bytes().size() >= flush_at_) flush();
}

void CaptureOutput::set_statistics(uint32_t interface,
                                   const pcap::InterfaceStatistics& statistics) {
  const int64_t start = statistics_.at(interface).start;
  statistics_[interface] = statistics;
  statistics_[interface].start = start;
}

int CaptureOutput::write_file() noexcept {
  const auto bytes = blocks_.bytes();
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno != EINTR) return errno;
    if (n > 0) done += static_cast<size_t>(n);
  }
  file_bytes_ += bytes.size();
  total_bytes_ += bytes.size();
  blocks_.drop(bytes.size());
  return 0;
}

// So little at a time that a pipe with room does not block (pipe(7)).
int CaptureOutput::write_pipe() noexcept {
  const auto bytes = blocks_.bytes();
  size_t done = 0;
  int error = 0;
  while (done < bytes.size() && error == 0) {
    pollfd ready{fd_, POLLOUT, 0};
    if (poll(&ready, 1, kPipePatienceMs) == 0) break;
    const ssize_t n =
        ::write(fd_, bytes.data() + done, std::min<size_t>(PIPE_BUF, bytes.size() - done));
    if (n >= 0)
      done += static_cast<size_t>(n);
    else if (errno != EINTR && errno != EAGAIN)
      error = errno;
  }
  total_bytes_ += done;
  blocks_.drop(done);
  return error;
}

void CaptureOutput::flush() {
  if (blocks_.bytes().empty()) return;
  if (const int error = config_.fd < 0 ? write_file() : write_pipe()) fail(error);
  flush_at_ = blocks_.bytes().size() + kFlushBytes;  // not at every frame while nobody reads
  if (!blocks_.bytes().empty()) return;
  written_ += buffered_;
  buffered_ = 0;
}

void CaptureOutput::fail(int error) {
  failed_ = true;
  if (config_.fd >= 0)
    throw Error(ErrorKind::kIo,
                error == EPIPE ? std::string("the reader of the capture has gone")
                               : std::string("cannot write the capture: ") + std::strerror(error));
  if (::ftruncate(fd_, static_cast<off_t>(file_bytes_)) == 0)
    ::lseek(fd_, static_cast<off_t>(file_bytes_), SEEK_SET);
  throw Error(ErrorKind::kIo, "cannot write " + files_.back() + ": " + std::strerror(error),
              "it ends with the last frame that was whole");
}

void CaptureOutput::close(int64_t now) {
  for (uint32_t i = 0; i < interfaces_.size(); i++) {
    statistics_[i].end = now;
    statistics_[i].delivered = delivered_[i];
    blocks_.statistics(i, now, statistics_[i]);
  }
  flush();
  for (int i = 1; i < kLastTries && !blocks_.bytes().empty(); i++) flush();
  if (config_.fd < 0) ::close(fd_);
  fd_ = -1;
  if (!blocks_.bytes().empty())
    throw Error(ErrorKind::kIo, "the reader of the capture does not read: its end is lost");
}

void CaptureOutput::finish(int64_t now) {
  if (fd_ >= 0 && !failed_) close(now);
}

}  // namespace wp::capture
