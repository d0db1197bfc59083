// SPDX-License-Identifier: Apache-2.0
// An XDP program in the kernel with its maps: loaded from an object, or found there by a pin or its
// number.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "programs/kernel/kernel_map.h"

namespace wp::programs {

struct KernelConfig {
  std::map<std::string, uint32_t> entries{};  // of maps, where the source's number does not do
  std::string rodata{};                       // the constants' bytes; empty = as in the object
  std::map<std::string, int> reuse{};         // maps to share: descriptors by name
  std::string program{};                      // function of the object; empty = its only one
  uint32_t offload_ifindex = 0;               // load onto this NIC
  // For a chain behind libxdp's dispatcher. Its root replaces a function and so has no attach type,
  // and newer kernels let a program call only what was loaded with the same.
  bool shared_chain = false;
};

struct RunResult {
  uint32_t verdict;
  uint32_t ns;  // mean of the repeats, as the kernel measured
  std::string frame;
};

class KernelProgram {
 public:
  // Opens and loads an object. Throws kConfig for what is wrong with the object or configuration,
  // kIo with the verifier's log where the kernel refuses the program.
  KernelProgram(std::span<const unsigned char> image, const KernelConfig& config);
  explicit KernelProgram(Fd fd);  // a program that is in the kernel already

  static std::unique_ptr<KernelProgram> by_id(uint32_t id);
  static std::unique_ptr<KernelProgram> pinned(const std::string& path);

  int fd() const noexcept { return fd_.get(); }
  uint32_t id() const noexcept { return id_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& tag() const noexcept { return tag_; }
  uint32_t jited_bytes() const noexcept { return jited_bytes_; }
  uint32_t btf_id() const noexcept { return btf_id_; }
  const std::vector<std::unique_ptr<KernelMap>>& maps() const noexcept { return maps_; }
  KernelMap& map(const std::string& name) const;  // throws kConfig
  const KernelMap* find(const std::string& name) const noexcept;

  // BPF_PROG_RUN; `repeat` times over the same buffer. interface 0: as if from the loopback.
  RunResult run(const std::string& frame, uint32_t repeat, uint32_t interface,
                uint32_t queue) const;

 private:
  void describe();

  Fd fd_;
  uint32_t id_ = 0, btf_id_ = 0, jited_bytes_ = 0;
  std::string name_, tag_;
  std::vector<std::unique_ptr<KernelMap>> maps_;
};

// Type information of a map or program, as the kernel keeps it; empty = none.
std::string btf_of(uint32_t id);

// In a bpf file system. Throw.
void pin(int fd, const std::string& path);
Fd get_pinned(const std::string& path);  // invalid = nothing there

}  // namespace wp::programs
