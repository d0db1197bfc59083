// SPDX-License-Identifier: Apache-2.0
// The steering program in the kernel: opened, configured, loaded, its maps filled and read.
#pragma once

#include <bpf/libbpf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "programs/steer_native.h"
#include "programs/steer_shared.h"

namespace wp::af_xdp {

// What libbpf and libxdp said while it lived, instead of on stderr. Per thread.
class LibraryLog {
 public:
  LibraryLog();
  ~LibraryLog();
  LibraryLog(const LibraryLog&) = delete;
  LibraryLog& operator=(const LibraryLog&) = delete;
  static std::string text();  // the last lines, joined
};

class SteerProgram {
 public:
  // `sockets` = highest queue number + 1. `stamp_magic` 0 = no receive stamps.
  SteerProgram(const programs::SteerKeys& keys, uint32_t sockets, uint64_t stamp_magic);

  void join_chain(int programs);  // before loading: it goes into the chain with this PROG_ARRAY
  void load();                    // throws
  void loaded();                  // someone else (libxdp) loaded it: fill the maps
  void set_socket(uint32_t queue, int fd);
  void enable(bool on);  // until then every frame passes
  steer_counters counters() const noexcept;

  bpf_object* object() const noexcept { return object_.get(); }
  int fd() const noexcept;
  uint32_t id() const noexcept { return id_; }
  const std::string& name() const noexcept { return name_; }
  const std::string& tag() const noexcept { return tag_; }

 private:
  struct Close {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
  };
  bpf_map* map(const char* name) const;
  void set_config();

  std::unique_ptr<bpf_object, Close> object_;
  programs::SteerKeys keys_;
  steer_config config_{};
  int counters_fd_ = -1;
  mutable std::vector<steer_counters> per_cpu_;
  int enabled_fd_ = -1;
  uint32_t id_ = 0;
  std::string name_, tag_;
};

// Whether the kernel has the helper with which the program takes its stamp (Linux 6.1).
bool kernel_can_stamp();

}  // namespace wp::af_xdp
