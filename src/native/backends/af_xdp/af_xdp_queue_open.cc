// SPDX-License-Identifier: Apache-2.0
// Opening of one queue, and what the kernel's refusals mean.
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "backends/af_xdp/af_xdp_queue.h"
#include "backends/af_xdp/privileges.h"
#include "core/error.h"

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* linux/if_xdp.h since 6.17 */
#endif

namespace wp::af_xdp {
namespace {

// Receive: one ring's worth for the kernel. Beside that a ring's worth to transmit and some
// bursts in the hands of stages.
uint32_t frames_wanted(const Queue::Config& c) {
  const Settings& s = c.settings;
  if (s.frames) return s.frames;
  if (s.tx_only) return 2 * s.tx_ring;
  return s.rx_ring + s.tx_ring + std::max(4 * c.batch_size, 256u);
}

// A receive ring's worth and what a slow consumer holds at a time, so that a ring can fill up.
uint32_t copy_target(const Queue::Config& c) {
  return std::min(c.settings.rx_ring + 2 * c.batch_size, 2 * c.settings.rx_ring);
}

int socket_option(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) ? 0 : value;
}

}  // namespace

Queue::Queue(const Config& config, Counter* counters, Clock& clock, Patience& patience)
    : chunk_mask_(~uint64_t{config.settings.frame_size - 1}),
      counters_(counters),
      clock_(clock),
      stamp_magic_(config.stamp_magic),
      stamped_(config.stamp_magic != 0),
      id_(config.id),
      frames_(frames_wanted(config)),
      free_(frames_),
      area_(size_t{frames_} * config.settings.frame_size) {
  const Settings& s = config.settings;
  base_ = area_.data();
  bytes_ = uint64_t{frames_} * s.frame_size;
  // What a frame may have beyond the MTU: Ethernet header and a VLAN tag.
  max_tx_ = std::min(s.frame_size, config.netdev.mtu + 18);
  can_rx_ = !s.tx_only;
  can_tx_ = id_ < config.netdev.tx_queues;
  // Twice the target: the kernel publishes what it took from the fill ring after it has
  // published the frame, so that a buffer may be back before there seems to be room for it.
  fill_size_ = std::bit_ceil(2 * s.rx_ring);
  for (;;) {
    const int error = open(config);
    if (error == 0) break;
    socket_.reset();
    umem_.reset();
    if (error != EBUSY || !patience.wait()) fail(config, error, patience);
  }
  set_options(config);
  refresh_tai();
}

Queue::~Queue() = default;

int Queue::open(const Config& config) {
  const Settings& s = config.settings;
  const xsk_umem_config umem_config{.fill_size = fill_size_,
                                    .comp_size = s.tx_ring,
                                    .frame_size = s.frame_size,
                                    .frame_headroom = s.headroom(),
                                    .flags = 0};
  // libxdp leaves some cached indices as it finds them.
  rx_ = {};
  fill_ = {};
  tx_ = {};
  completion_ = {};
  xsk_umem* umem = nullptr;
  int failed = xsk_umem__create(&umem, base_, bytes_, &fill_, &completion_, &umem_config);
  if (failed) return -failed;
  umem_.reset(umem);

  free_ = FrameStack(frames_);
  for (uint32_t i = frames_; i-- > 0;) free_.push(uint64_t{i} * s.frame_size);
  // Some drivers wait for buffers before they do anything, transmit included.
  const uint32_t for_tx = std::min(s.tx_ring, frames_ / 2);
  const bool may_be_zero_copy = s.zero_copy != ZeroCopy::kNever && config.mode == XdpMode::kNative;
  fill_target_ =
      s.tx_only ? std::min(64u, frames_ / 2)
                : std::min(may_be_zero_copy ? fill_size_ : copy_target(config), frames_ - for_tx);
  with_kernel_ = 0;
  fill(fill_target_);

  xsk_socket_config socket_config{};
  socket_config.rx_size = s.rx_ring;
  socket_config.tx_size = s.tx_ring;
  socket_config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  socket_config.bind_flags = XDP_USE_NEED_WAKEUP;
  // Zero-copy buffers belong to the driver's own XDP hook. Without a flag the kernel takes zero
  // copy where the driver has it.
  if (s.zero_copy == ZeroCopy::kNever || config.mode != XdpMode::kNative)
    socket_config.bind_flags |= XDP_COPY;
  else if (s.zero_copy == ZeroCopy::kRequire)
    socket_config.bind_flags |= XDP_ZEROCOPY;
  xsk_socket* socket = nullptr;
  failed = xsk_socket__create(&socket, config.netdev.name.c_str(), id_, umem,
                              s.tx_only ? nullptr : &rx_, can_tx_ ? &tx_ : nullptr, &socket_config);
  if (failed) return -failed;
  socket_.reset(socket);
  fd_ = xsk_socket__fd(socket);
  return 0;
}

void Queue::set_options(const Config& config) {
  const Settings& s = config.settings;
  xdp_options options{};
  socklen_t length = sizeof options;
  if (getsockopt(fd_, SOL_XDP, XDP_OPTIONS, &options, &length))
    throw refused("the kernel does not say how queue " + std::to_string(id_) + " is bound", errno);
  zero_copy_ = options.flags & XDP_OPTIONS_ZEROCOPY;
  if (!zero_copy_) {
    if (!s.tx_only) fill_target_ = std::min(fill_target_, copy_target(config));
    if (can_tx_ &&
        setsockopt(fd_, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &s.tx_ring, sizeof s.tx_ring) == 0)
      tx_budget_ = s.tx_ring;
  }
  if (!s.busy_poll) return;
  const int on = 1;
  const auto us = static_cast<int>(s.busy_poll_us), budget = static_cast<int>(s.busy_poll_budget);
  if (setsockopt(fd_, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof on) ||
      setsockopt(fd_, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof us) ||
      setsockopt(fd_, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof budget))
    throw refused("the kernel refuses preferred busy poll on queue " + std::to_string(id_), errno);
  busy_poll_us_ = socket_option(fd_, SO_PREFER_BUSY_POLL) ? socket_option(fd_, SO_BUSY_POLL) : 0;
  busy_poll_ = busy_poll_us_ != 0 && has_napi();
  busy_poll_budget_ = budget;  // the kernel takes it but does not give it back
}

bool Queue::has_napi() const noexcept {
  return socket_option(fd_, SO_INCOMING_NAPI_ID) != 0;
}

void Queue::fail(const Config& config, int error, const Patience& patience) const {
  const std::string& name = config.netdev.name;
  const std::string what = "queue " + std::to_string(id_) + " of " + name;
  switch (error) {
    case EBUSY:
      throw Error(ErrorKind::kBusy,
                  what + " is bound to another AF_XDP socket; asked again for " +
                      std::to_string(patience.ms()) + " ms",
                  "ss --xdp -ep shows whose it is; queues=… binds others");
    case EOPNOTSUPP:
      if (config.settings.zero_copy == ZeroCopy::kRequire)
        throw Error(ErrorKind::kUnsupported,
                    "zero_copy = require, but driver " + config.netdev.driver + " of " + name +
                        " has no zero-copy AF_XDP for " + what,
                    "zero_copy=prefer takes copy mode, and info() says so");
      break;
    case ENOBUFS:
    case ENOMEM:
      throw Error(ErrorKind::kIo,
                  "no memory for the packet buffers of " + what + " (" +
                      std::to_string(bytes_ >> 10) + " KiB): " + strerror(error) +
                      "; RLIMIT_MEMLOCK is " + memlock_limit(),
                  "ulimit -l unlimited, or CAP_IPC_LOCK, or fewer frames");
    case EAFNOSUPPORT:
      throw Error(ErrorKind::kUnavailable, "this kernel is built without AF_XDP sockets",
                  "CONFIG_XDP_SOCKETS");
    case EINVAL:
      throw Error(ErrorKind::kIo, "the kernel does not bind " + what + ": " + strerror(error),
                  "has the number of queues just changed? ethtool -l " + name);
    default:
      break;
  }
  throw refused("the kernel does not bind " + what, error);
}

}  // namespace wp::af_xdp
