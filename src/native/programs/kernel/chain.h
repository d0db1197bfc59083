// SPDX-License-Identifier: Apache-2.0
// The chain of an interface: the root program that wirepath put there, and the slots behind it.
// Several processes may each have programs in it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "programs/kernel/kernel_map.h"

namespace wp::programs {

struct SlotStatus {
  uint32_t slot = 0;
  uint32_t program = 0;  // its number
  std::string name;
  uint32_t pid = 0;   // holder, 0 = stays without one
  bool alive = true;  // the holder is
};

class Chain {
 public:
  // The chain on an interface, or none. Holds its link and maps, so that it stays as long as this
  // object, whoever made it. Slots of processes that have died are emptied. Throws.
  static std::unique_ptr<Chain> find(uint32_t ifindex);

  std::vector<SlotStatus> slots() const;  // occupied ones, in order
  // Puts a program into a slot, atomically instead of the one that is there, which must be the
  // caller's own or a dead process's unless `force`; kBusy otherwise. stays: also without the
  // process.
  void put(uint32_t slot, int program, const std::string& name, bool stays, bool force);
  // Empties a slot where it still holds this program.
  void remove(uint32_t slot, uint32_t program);
  void clean();

  int link() const noexcept { return link_.get(); }
  int programs() const noexcept { return programs_.get(); }  // the PROG_ARRAY
  uint32_t root() const noexcept { return root_; }
  // The root is behind libxdp's dispatcher: nothing but leave_dispatcher takes it away.
  bool shared() const noexcept { return shared_; }

 private:
  Chain(Fd link, Fd programs, Fd notes, uint32_t root, bool shared);
  void rebuild(uint32_t upto) const;

  Fd link_, programs_, notes_;
  uint32_t root_;
  bool shared_;
};

}  // namespace wp::programs
