// SPDX-License-Identifier: Apache-2.0
#include "backends/host/host_port.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "net/netdev.h"

namespace wp {
namespace {

constexpr uint32_t kEthernetHeader = 14;
constexpr uint32_t kEthernetAndVlan = 18;
constexpr uint32_t kMinMtu = 68, kUsualMtu = 1500;
constexpr uint32_t kMostAtOnce =
    64;  // reads of one rx: the slow path does not hold up the fast one

enum : size_t {
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kDropTxDown,
  kDropTxFull,
  kDropTxInvalid,
  kDropTxError,
  kDropRxTooLong,
  kRxNoBuffer,
  kHeld,
  kCounters
};
constexpr std::array<const char*, kCounters> kNames{"rx_packets",
                                                    "rx_bytes",
                                                    "tx_packets",
                                                    "tx_bytes",
                                                    "drop.tx_link_down",
                                                    "drop.tx_buffer_full",
                                                    "drop.tx_invalid",
                                                    "drop.tx_error",
                                                    "drop.rx_too_long",
                                                    "rx_no_buffer",
                                                    "held"};
// The kernel's.
constexpr std::array<const char*, 1> kKernelNames{"drop.host_queue_full"};

std::string checked_name(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/ %:") != std::string::npos)
    throw config_error("host interface", name,
                       "a name of 1 to 15 characters without spaces, / and %");
  return name;
}

uint32_t checked(const char* field, uint32_t value, uint32_t least, uint32_t most) {
  if (value < least || value > most)
    throw config_error(field, std::to_string(value),
                       "from " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

}  // namespace

std::unique_ptr<HostPort> HostPort::open(const HostPortConfig& config) {
  PortConfig port;
  port.spec = "host:" + checked_name(config.name);
  port.device = config.name;
  port.steering.everything = true;
  port.batch_size = config.batch_size;
  port.clock = &Clock::process();
  port.telemetry = &Telemetry::process();
  return std::make_unique<HostPort>(port, config);
}

HostPort::HostPort(const PortConfig& port, const HostPortConfig& config)
    : Port(port),
      name_(config.name),
      mtu_(config.mtu ? checked("mtu", config.mtu, kMinMtu, kMaxMtu) : 0),
      stride_((kMaxMtu + kEthernetAndVlan + 63) & ~63u),
      frames_(std::max(checked("rx_frames", config.rx_frames, 64, 65536), config.batch_size)),
      memory_(size_t{stride_} * frames_ * checked("queues", config.queues, 1, kMaxQueues)) {
  queues_ = config.queues;
  full_burst_ = std::min(full_burst_, kMostAtOnce);
  unsigned index = 0;
  {
    ifreq request{};
    name_.copy(request.ifr_name, IFNAMSIZ - 1);
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && ::ioctl(fd, SIOCGIFINDEX, &request) == 0)
      index = static_cast<unsigned>(request.ifr_ifindex);
    if (fd >= 0) ::close(fd);
  }
  made_ = index == 0;
  try {
    ifreq request{};
    name_.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (queues_ > 1) request.ifr_flags |= IFF_MULTI_QUEUE;
    for (uint32_t q = 0; q < queues_; q++) {
      states_.push_back(std::make_unique<Queue>(frames_));
      open_queue(*states_.back(), request);
      for (uint32_t i = frames_; i-- > 0;)
        states_.back()->free.push(size_t{stride_} * (size_t{q} * frames_ + i));
    }
    set_up(config);
    link_ = std::make_unique<net::LinkStats>(name_);
  } catch (...) {
    for (const auto& state : states_)
      if (state->fd >= 0) ::close(state->fd);
    throw;
  }
  for (uint32_t q = 0; q < queues_; q++)
    states_[q]->counters = add_counters(static_cast<int>(q), kNames);
  kernel_counters_ = add_counters(-1, kKernelNames);
}

HostPort::~HostPort() {
  for (const auto& state : states_) ::close(state->fd);
}

void HostPort::open_queue(Queue& queue, const ifreq& wanted) {
  queue.fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (queue.fd < 0) {
    if (errno == EACCES || errno == EPERM) refuse("/dev/net/tun cannot be opened", errno);
    throw Error(ErrorKind::kUnavailable,
                "/dev/net/tun cannot be opened: " + std::string(std::strerror(errno)),
                "modprobe tun");
  }
  ifreq request = wanted;
  if (::ioctl(queue.fd, TUNSETIFF, &request) != 0) refuse("is not to be had", errno);
}

void HostPort::refuse(const std::string& what, int error) const {
  const std::string told = name_ + " " + what + ": " + std::strerror(error);
  if (error == EPERM || error == EACCES)
    throw Error(ErrorKind::kPermission, told, "run with CAP_NET_ADMIN");
  if (error == EBUSY)
    throw Error(ErrorKind::kBusy, told, "it is another process's: give this one another name");
  if (error == EINVAL && !made_)
    throw Error(
        ErrorKind::kConfig, told,
        std::string("an interface of that name is there already, and is no TAP device with ") +
            (queues_ > 1 ? "multi_queue" : "one queue") + ": give this one another name");
  throw Error(ErrorKind::kIo, told);
}

// What the network sees of the host is the port's, so that a device that was there gets it too.
void HostPort::set_up(const HostPortConfig& config) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) refuse("cannot be configured", errno);
  const auto ask = [&](unsigned long what, ifreq& request, const char* why) {
    name_.copy(request.ifr_name, IFNAMSIZ - 1);
    if (::ioctl(fd, what, &request) == 0) return;
    const int error = errno;
    ::close(fd);
    refuse(why, error);
  };
  ifreq address{}, mtu{};
  ask(SIOCGIFHWADDR, address, "does not tell its MAC address");
  if (config.mac != std::array<uint8_t, 6>{} &&
      std::memcmp(address.ifr_hwaddr.sa_data, config.mac.data(), 6) != 0) {
    address.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::memcpy(address.ifr_hwaddr.sa_data, config.mac.data(), 6);
    ask(SIOCSIFHWADDR, address, "does not take this MAC address");
  }
  ask(SIOCGIFMTU, mtu, "does not tell its MTU");
  const auto has = static_cast<uint32_t>(mtu.ifr_mtu);
  if (mtu_ == 0) mtu_ = made_ ? kUsualMtu : has;
  if (mtu_ > kMaxMtu) {
    ::close(fd);
    throw config_error("mtu of " + name_, std::to_string(mtu_),
                       "at most " + std::to_string(kMaxMtu) + " (ip link set " + name_ + " mtu " +
                           std::to_string(kMaxMtu) + ")");
  }
  if (mtu_ != has) {
    mtu.ifr_mtu = static_cast<int>(mtu_);
    ask(SIOCSIFMTU, mtu, "does not take this MTU");
  }
  ifreq flags{};
  ask(SIOCGIFFLAGS, flags, "does not tell its flags");
  flags.ifr_flags |= IFF_UP;
  ask(SIOCSIFFLAGS, flags, "cannot be set up");
  ::close(fd);
}

void HostPort::set_carrier(bool up) {
  int carrier = up;
  if (::ioctl(states_[0]->fd, TUNSETCARRIER, &carrier) != 0)
    refuse("does not take a carrier", errno);
}

uint32_t HostPort::rx(uint32_t queue, wp_batch& batch) noexcept {
  Queue& state = *states_[queue];
  const uint32_t most = std::min(batch.capacity, kMostAtOnce);
  uint64_t bytes = 0;
  uint32_t n = 0, cut = 0;
  while (n + cut < most) {
    if (state.free.size() == 0) [[unlikely]] {
      state.counters[kRxNoBuffer].add(1);
      break;
    }
    const uint64_t frame = state.free.pop();
    const ssize_t got = ::read(state.fd, memory_.data() + frame, stride_);
    if (got < 0) {
      state.free.push(frame);
      if (errno == EBADFD) finished_.store(true, std::memory_order_release);  // removed
      if (errno == EINTR) continue;
      break;
    }
    if (static_cast<size_t>(got) >= stride_) [[unlikely]] {  // cut, by an MTU given afterwards
      state.free.push(frame);
      state.counters[kDropRxTooLong].add(1);
      cut++;
      continue;
    }
    batch.data[n] = memory_.data() + frame;
    batch.length[n] = static_cast<uint32_t>(got);
    batch.hash[n] = 0;
    batch.verdict[n] = WP_DROP;
    batch.handle[n++] = frame;
    bytes += static_cast<uint64_t>(got);
  }
  if (n == 0) return batch.count = 0;
  std::fill_n(batch.timestamp, n, clock_.now());
  state.held += n;
  state.counters[kHeld].set(state.held);
  state.counters[kRxPackets].add(n);
  state.counters[kRxBytes].add(bytes);
  return batch.count = n;
}

void HostPort::release(uint32_t queue, wp_batch& batch) noexcept {
  Queue& state = *states_[queue];
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] == WP_KEEP || batch.handle[i] >= memory_.size()) continue;
    state.free.push(batch.handle[i]);
    state.held -= state.held != 0;
  }
  batch.count = 0;
  state.counters[kHeld].set(state.held);
}

uint32_t HostPort::tx(uint32_t queue, wp_batch& batch) noexcept {
  Queue& state = *states_[queue];
  uint64_t bytes = 0;
  uint32_t queued = 0, full = 0;
  for (uint32_t i = 0; i < batch.count; i++) {
    if (batch.verdict[i] != WP_TX) continue;
    if (full) {  // those queued are the first ones
      full++;
      continue;
    }
    if (batch.length[i] < kEthernetHeader) {
      state.counters[kDropTxInvalid].add(1);
      continue;
    }
    ssize_t done;
    do done = ::write(state.fd, batch.data[i], batch.length[i]);
    while (done < 0 && errno == EINTR);
    if (done >= 0) {
      queued++;
      bytes += batch.length[i];
    } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
      full++;
    } else if (errno == EIO || errno == EBADFD) {  // down, or removed
      state.counters[kDropTxDown].add(1);
    } else {
      state.counters[kDropTxError].add(1);
    }
  }
  state.counters[kDropTxFull].add(full);
  state.counters[kTxPackets].add(queued);
  state.counters[kTxBytes].add(bytes);
  return queued;
}

bool HostPort::wait(uint32_t queue, int64_t timeout_us) noexcept {
  pollfd p{.fd = states_[queue]->fd, .events = POLLIN, .revents = 0};
  const timespec timeout{timeout_us / 1'000'000, timeout_us % 1'000'000 * 1000};
  return ::ppoll(&p, 1, &timeout, nullptr) > 0;
}

// What the kernel sends there and finds no room for.
void HostPort::refresh_stats() noexcept {
  if (link_->read()) kernel_counters_[0].set(link_->counts().tx_dropped);
}

Info HostPort::info() const {
  return {{"backend", std::string("host")},
          {"device", name_},
          {"driver", std::string("tun")},
          {"mode", std::string("TAP device, copy")},
          {"queues", int64_t{queues_}},
          {"link", std::string(net::to_string(link_->state()))},
          {"ifindex", static_cast<int64_t>(link_->ifindex())},
          {"made", made_},
          {"wakeup", std::string("ppoll")},
          {"timestamp_source", std::string("poll loop")},
          {"clock", std::string(clock_.source())},
          {"steering", std::string("none: what the host sends")},
          {"tuning", std::vector<std::string>{}}};
}

Capabilities HostPort::capabilities() const noexcept {
  return {.tx = true,
          .multi_queue = true,
          .everything = true,
          .waitable = true,
          .link = true,
          .max_frame = mtu_ + kEthernetAndVlan,
          .pool_frames = frames_};
}

}  // namespace wp
