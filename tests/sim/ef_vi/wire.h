// SPDX-License-Identifier: Apache-2.0
// The wire of the simulated NIC: a packet socket on a network interface.
#pragma once

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

namespace sim {

struct Frame {
  uint8_t* data;
  uint32_t length;    // on the wire; may exceed what was kept
  uint32_t kept;      // bytes at `data`
  int64_t timestamp;  // ns since the Unix epoch, by the kernel
};

class Wire {
 public:
  static constexpr uint32_t kBurst = 64;
  static constexpr uint32_t kRoom = 16384;

  // Deaf until listen(). Throws errno as int.
  explicit Wire(int ifindex);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int fd() const { return fd_; }
  int listen();  // 0 or -errno
  // Frames as a NIC would have them: the VLAN tag in its place, checksums that the sending host
  // left to its NIC filled in. Returns how many; -ENODEV when the interface has gone.
  int receive(std::array<Frame, kBurst>& out);
  int send(const void* frame, uint32_t length);  // 0 or -errno
  // Frames that found the socket's buffer full; any thread.
  uint64_t overruns();

 private:
  struct Slots;
  bool interface_exists() const;

  int fd_ = -1;
  int ifindex_;
  std::unique_ptr<Slots> slots_;
  std::atomic<uint64_t> overruns_{0};
};

// Whether IP, UDP and TCP checksums hold; what is no IP does.
struct Checksums {
  bool l3_bad = false;
  bool l4_bad = false;
};
Checksums check(const Frame& frame);

}  // namespace sim
