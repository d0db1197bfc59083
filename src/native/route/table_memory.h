// SPDX-License-Identifier: Apache-2.0
// Zeroed memory whose pages come when they are first written: a table can reserve its bound and
// never move. Its address is what lock-free readers rely on.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"

namespace wp::route {

class TableMemory {
 public:
  // `huge`: ask for transparent huge pages, for what is read at random all over.
  TableMemory(size_t bytes, bool huge) : bytes_(bytes) {
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data_ == MAP_FAILED)
      throw Error(ErrorKind::kIo,
                  "forwarding table: the kernel refuses " + std::to_string(bytes) +
                      " bytes of address space: " + std::strerror(errno),
                  "a smaller max_groups, or a larger `ulimit -v`");
    if (huge) madvise(data_, bytes, MADV_HUGEPAGE);
  }
  ~TableMemory() { munmap(data_, bytes_); }
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  size_t reserved() const noexcept { return bytes_; }
  // Bytes of it that the kernel has given out by now.
  size_t resident() const {
    constexpr size_t kPage = 4096;
    std::vector<unsigned char> in((bytes_ + kPage - 1) / kPage);
    if (mincore(data_, bytes_, in.data()) != 0) return 0;
    size_t pages = 0;
    for (const unsigned char page : in) pages += page & 1;
    return pages * kPage;
  }

 private:
  size_t bytes_;
  void* data_;
};

}  // namespace wp::route
