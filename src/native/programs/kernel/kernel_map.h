// SPDX-License-Identifier: Apache-2.0
// A map in the kernel, with the calls that NativeMap has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "programs/native_maps.h"

struct ring_buffer;

namespace wp::programs {

// A file descriptor that is closed with its owner.
class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  ~Fd();
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const noexcept { return fd_; }
  int release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

class KernelMap {
 public:
  explicit KernelMap(Fd fd);  // throws kIo
  ~KernelMap();
  KernelMap(const KernelMap&) = delete;
  KernelMap& operator=(const KernelMap&) = delete;

  const MapShape& shape() const noexcept { return shape_; }
  int fd() const noexcept { return fd_.get(); }
  uint32_t id() const noexcept { return id_; }
  uint32_t btf_id() const noexcept { return btf_id_; }
  uint32_t btf_key() const noexcept { return btf_key_; }
  uint32_t btf_value() const noexcept { return btf_value_; }
  // Bytes that the kernel holds for it, as it says itself.
  size_t memory() const;

  bool get(const uint8_t* key, uint8_t* values) const noexcept;
  int put(const uint8_t* key, const uint8_t* values, uint64_t how) noexcept;
  int remove(const uint8_t* key) noexcept;
  size_t load(std::span<const uint8_t> keys, std::span<const uint8_t> values, uint64_t how,
              int& error) noexcept;
  void dump(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const;
  size_t size() const;
  void clear();

  std::vector<std::string> read_ring(size_t most);
  uint64_t ring_dropped() noexcept { return 0; }  // the kernel does not count them

 private:
  bool is_array() const noexcept;
  bool dump_batch(std::vector<uint8_t>& keys, std::vector<uint8_t>& values) const;

  Fd fd_;
  MapShape shape_;
  uint32_t type_ = 0, id_ = 0, btf_id_ = 0, btf_key_ = 0, btf_value_ = 0;
  ring_buffer* ring_ = nullptr;
  std::vector<std::string> records_;
};

}  // namespace wp::programs
