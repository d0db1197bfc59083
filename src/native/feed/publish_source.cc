// SPDX-License-Identifier: Apache-2.0
#include "feed/publish_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace wp::feed {

ItchFileSource::ItchFileSource(const std::string& path) : reader_({}) {
  const auto refuse = [&](const char* what) {
    return Error(ErrorKind::kIo, path + ": " + what + ": " + std::strerror(errno));
  };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw refuse("cannot be opened");
  struct stat status;
  if (fstat(fd, &status) != 0) {
    const Error error = refuse("cannot be examined");
    close(fd);
    throw error;
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ != 0) {
    void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) {
      const Error error = refuse("cannot be mapped");
      close(fd);
      throw error;
    }
    mapped_ = mapped;
    madvise(mapped_, size_, MADV_SEQUENTIAL);
  }
  close(fd);
  reader_ = ItchFileReader(static_cast<const uint8_t*>(mapped_), size_);
}

ItchFileSource::~ItchFileSource() {
  if (mapped_) munmap(mapped_, size_);
}

}  // namespace wp::feed
