// SPDX-License-Identifier: Apache-2.0
// XDP programs on interfaces: what is there, putting one there by bpf_link, replacing it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "programs/kernel/kernel_map.h"

namespace wp::programs {

struct Attached {
  std::string mode;  // "native", "generic", "offload"
  uint32_t program = 0;
  uint32_t link = 0;        // number of its bpf_link, 0 = attached by netlink
  uint32_t dispatcher = 0;  // behind this program, which is libxdp's; 0 = by itself
  std::string name;
  std::string tag;
};

// What the kernel says is on an interface, after libxdp's dispatcher what that runs; the mode is
// read back, not remembered. Throws.
std::vector<Attached> attached_to(uint32_t ifindex);

// A program on an interface, as long as somebody holds the descriptor or a pin of it.
class XdpLink {
 public:
  // mode: "native", "generic" or "offload". Throws kBusy where another program is in the way,
  // kUnsupported where the driver has no such mode.
  XdpLink(int program, uint32_t ifindex, const std::string& interface, const std::string& mode);
  explicit XdpLink(Fd fd);  // one that exists

  static Fd by_id(uint32_t id);

  int fd() const noexcept { return fd_.get(); }
  uint32_t id() const noexcept { return id_; }
  uint32_t ifindex() const noexcept;  // 0 = detached, or the interface is gone
  uint32_t program() const noexcept;  // number of the one it runs now
  void update(int program);           // atomic: no packet without a program
  void detach();                      // for whoever else holds it too

 private:
  void describe();

  Fd fd_;
  uint32_t id_ = 0;
};

}  // namespace wp::programs
