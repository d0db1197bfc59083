// SPDX-License-Identifier: Apache-2.0
#include "core/packet_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace wp {

PacketMemory::PacketMemory(size_t bytes) {
  constexpr size_t kHuge = 2 << 20;
  size_ = (bytes + kHuge - 1) & ~(kHuge - 1);
  // Over-allocate to align: transparent huge pages need it, and so does nothing else here.
  void* p =
      mmap(nullptr, size_ + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    throw Error(ErrorKind::kIo,
                "cannot allocate " + std::to_string(size_ >> 10) +
                    " KiB of packet buffers: " + strerror(errno),
                "fewer frames, or smaller rings");
  const auto begin = reinterpret_cast<uintptr_t>(p);
  const uintptr_t aligned = (begin + kHuge - 1) & ~uintptr_t{kHuge - 1};
  if (aligned > begin) munmap(p, aligned - begin);
  const uintptr_t end = begin + size_ + kHuge;
  if (aligned + size_ < end)
    munmap(reinterpret_cast<void*>(aligned + size_), end - aligned - size_);
  data_ = reinterpret_cast<uint8_t*>(aligned);
  madvise(data_, size_, MADV_HUGEPAGE);  // a hint: without it only the TLB suffers
  std::memset(data_, 0, size_);          // now, not on the data path
}

PacketMemory::~PacketMemory() {
  if (data_) munmap(data_, size_);
}

}  // namespace wp
