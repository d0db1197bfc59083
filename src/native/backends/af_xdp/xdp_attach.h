// SPDX-License-Identifier: Apache-2.0
// Puts the steering program on an interface: alone by bpf_link, which ends with the process
// however it ends; in the steering slot of wirepath's chain where there is one; or beside foreign
// programs through libxdp's dispatcher.
#pragma once

#include <cstdint>
#include <string>

#include "backends/af_xdp/steer_program.h"
#include "programs/kernel/chain.h"

struct xdp_program;

namespace wp::af_xdp {

enum class XdpMode { kNone, kNative, kGeneric };
const char* to_string(XdpMode mode);

// How long a resource that may still be in the hands of a dying process is asked for again.
class Patience {
 public:
  explicit Patience(int64_t ms);
  bool wait();  // sleeps a little; false = the time is up
  int64_t ms() const noexcept { return ms_; }

 private:
  int64_t ms_;
  int64_t deadline_;
};

class Attachment {
 public:
  struct Wish {
    bool native = true, generic = true;  // tried in this order
    bool join = true;                    // beside foreign programs, through the dispatcher
  };
  // Loads `program` and attaches it. Throws kBusy naming the program in the way.
  Attachment(SteerProgram& program, const std::string& interface, unsigned ifindex, Wish wish,
             Patience& patience);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  XdpMode mode() const noexcept { return mode_; }  // as read back
  bool exclusive() const noexcept { return link_fd_ >= 0; }
  std::string describe() const;
  // Why native was not to be had, where it was asked for first.
  const std::string& native_refusal() const noexcept { return native_refusal_; }

 private:
  int link(const SteerProgram& program, XdpMode mode);  // 0 or errno
  void join(SteerProgram& program, const std::string& interface, Wish wish);
  void join_chain(SteerProgram& program, XdpMode mode, Patience& patience);
  void read_back(const SteerProgram& program, const std::string& interface);

  unsigned ifindex_;
  int link_fd_ = -1;
  xdp_program* joined_ = nullptr;
  std::unique_ptr<programs::Chain> chain_;  // wirepath's own, which other processes may share
  uint32_t program_ = 0;                    // ours in it
  XdpMode mode_ = XdpMode::kNone;
  std::string native_refusal_;
};

}  // namespace wp::af_xdp
