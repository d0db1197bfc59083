// SPDX-License-Identifier: Apache-2.0
// Zeroed memory whose pages come when they are first written: a table can reserve its bound and
// never move. Its address is what lock-free readers rely on.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
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
  // Zeroed memory of somebody else's, such as a packet program's map.
  TableMemory(std::span<uint8_t> borrowed, size_t bytes, const char* what, bool huge)
      : bytes_(bytes), borrowed_(true), data_(borrowed.data()) {
    if (borrowed.size() < bytes)
      throw config_error(std::string("memory of ") + what,
                         std::to_string(borrowed.size()) + " bytes",
                         "at least " + std::to_string(bytes) + " bytes");
    if (reinterpret_cast<uintptr_t>(data_) % 8)
      throw config_error(std::string("memory of ") + what, "not aligned", "a multiple of 8");
    if (huge) madvise(data_, bytes, MADV_HUGEPAGE);  // a wish: not of every kind of memory
  }
  // Borrowed where it is not empty.
  static TableMemory of(std::span<uint8_t> borrowed, size_t bytes, const char* what, bool huge) {
    return borrowed.data() ? TableMemory(borrowed, bytes, what, huge) : TableMemory(bytes, huge);
  }
  ~TableMemory() {
    if (!borrowed_) munmap(data_, bytes_);
  }
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  template <class T>
  T* as() const noexcept {
    return static_cast<T*>(data_);
  }
  size_t reserved() const noexcept { return bytes_; }
  // Bytes of it that the kernel has given out by now; of borrowed memory all.
  size_t resident() const {
    if (borrowed_) return bytes_;
    constexpr size_t kPage = 4096;
    std::vector<unsigned char> in((bytes_ + kPage - 1) / kPage);
    if (mincore(data_, bytes_, in.data()) != 0) return 0;
    size_t pages = 0;
    for (const unsigned char page : in) pages += page & 1;
    return pages * kPage;
  }

 private:
  size_t bytes_;
  bool borrowed_ = false;
  void* data_;
};

}  // namespace wp::route
