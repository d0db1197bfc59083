// SPDX-License-Identifier: Apache-2.0
#include "backends/pcap/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::pcap {

MappedFile::MappedFile(const std::string& path) {
  if (path.empty()) {
    // A capture without packets: microseconds, Ethernet.
    static const uint8_t kNothing[24] = {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
                                         0,    0,    0,    0,    0, 0, 4, 0, 1, 0, 0, 0};
    original_ = kNothing;
    size_ = sizeof kNothing;
    return;
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    throw Error(errno == EACCES || errno == EPERM ? ErrorKind::kPermission : ErrorKind::kConfig,
                "cannot open the capture " + path + ": " + std::strerror(errno),
                "name a pcap or pcapng file, e.g. pcap:/data/day.pcapng");
  struct stat status {};
  ::fstat(fd, &status);
  const bool regular = S_ISREG(status.st_mode);
  size_ = static_cast<size_t>(status.st_size);
  device_ = status.st_dev;
  inode_ = status.st_ino;
  void* original = MAP_FAILED;
  void* copy = MAP_FAILED;
  if (regular && size_ > 0) {
    original = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    copy = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (!regular)
    throw Error(ErrorKind::kUnsupported, path + " is not a regular file",
                "captures are mapped into memory: save the stream to a file first");
  if (size_ == 0)
    throw Error(ErrorKind::kConfig, "the capture " + path + " is empty", "capture it again");
  if (original == MAP_FAILED || copy == MAP_FAILED) {
    if (original != MAP_FAILED) ::munmap(original, size_);
    if (copy != MAP_FAILED) ::munmap(copy, size_);
    throw Error(ErrorKind::kIo, "cannot map " + path + " into memory: " + std::strerror(error));
  }
  ::madvise(original, size_, MADV_SEQUENTIAL);
  ::madvise(copy, size_, MADV_SEQUENTIAL);
  original_ = static_cast<const uint8_t*>(original);
  copy_ = static_cast<uint8_t*>(copy);
}

MappedFile::~MappedFile() {
  if (!copy_) return;
  ::munmap(const_cast<uint8_t*>(original_), size_);
  ::munmap(copy_, size_);
}

void MappedFile::restore() noexcept {
  if (!copy_) return;
  ::madvise(copy_, size_, MADV_DONTNEED);  // private pages fall back to the file's
}

bool MappedFile::same_file(const std::string& path) const noexcept {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
}

}  // namespace wp::pcap
