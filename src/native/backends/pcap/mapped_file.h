// SPDX-License-Identifier: Apache-2.0
// A file mapped twice: read-only to parse, and private and writable to hand out, so that a stage
// may write into its frames and a header may be laid in front of one while the file, and what the
// reader sees of it, stay as they are. Both share the page cache until a page is written to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace wp::pcap {

class MappedFile {
 public:
  // Throws Error naming the path and what to do. An empty path is a capture without packets.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const uint8_t> bytes() const noexcept { return {original_, size_}; }
  // The writable copy of a byte of bytes().
  uint8_t* writable(const uint8_t* p) const noexcept { return copy_ + (p - original_); }
  // Undoes every write; nobody may be looking at a frame.
  void restore() noexcept;
  bool same_file(const std::string& path) const noexcept;

 private:
  const uint8_t* original_ = nullptr;
  uint8_t* copy_ = nullptr;
  size_t size_ = 0;
  uint64_t device_ = 0, inode_ = 0;
};

}  // namespace wp::pcap
