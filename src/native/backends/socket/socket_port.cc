// SPDX-License-Identifier: Apache-2.0
// The socket backend: UDP through the kernel's own stack, unicast and multicast, on any machine
// and without privileges. Frames get the headers that the kernel took off, so that stages see
// the same Ethernet frame as on any other backend.
#include <net/if.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/builtin.h"
#include "backends/socket/socket_rx.h"
#include "backends/socket/socket_tx.h"
#include "backends/socket/udp_socket.h"
#include "core/error.h"
#include "net/interface_driver.h"
#include "net/link_stats.h"

namespace wp {
namespace {

using namespace socket;

constexpr std::array kOptions{
    OptionHelp{"rx_buffer_bytes", "8388608", "receive buffer of each socket, 4096 to 1073741824"},
    OptionHelp{"tx_buffer_bytes", "4194304", "send buffer, 4096 to 1073741824"},
    OptionHelp{"rx_ring_size", "2048", "frame buffers, a power of two from 64 to 1048576"},
    OptionHelp{"frame_size", "2048", "longest datagram received, bytes of payload, 64 to 65536"},
    OptionHelp{"timestamps", "kernel", "kernel = when the kernel received it; poll = when we did"},
    OptionHelp{"ttl", "1", "TTL or hop limit of multicast that is sent, 0 to 255"},
    OptionHelp{"loop", "true", "multicast that is sent is also delivered on this host"},
    OptionHelp{"source_port", "0", "UDP port to send from, 0 = the kernel chooses"},
    OptionHelp{"busy_poll", "0", "us to poll the NIC for when a receive finds nothing, 0 to 10000"},
    OptionHelp{"tx_only", "false", "open nothing to receive with"},
    OptionHelp{"queues", "1", "receive queues: 1"},
};

enum : size_t {
  kRxPackets,
  kRxBytes,
  kTxPackets,
  kTxBytes,
  kTruncated,
  kMalformed,
  kTxNotUdp,
  kTxBufferFull,
  kTxError,
  kTxSourceReplaced,
  kRxNoBuffer,
  kRxErrors,
  kHeld,
  kCounters
};
constexpr std::array<const char*, kCounters> kNames{"rx_packets",
                                                    "rx_bytes",
                                                    "tx_packets",
                                                    "tx_bytes",
                                                    "drop.truncated",
                                                    "drop.malformed",
                                                    "drop.tx_not_udp",
                                                    "drop.tx_buffer_full",
                                                    "drop.tx_error",
                                                    "tx_source_replaced",
                                                    "rx_no_buffer",
                                                    "rx_errors",
                                                    "held"};

// Written by the control thread, which asks the kernel.
enum : size_t {
  kSocketBuffer,
  kNicRxPackets,
  kNicRxErrors,
  kNicRxDropped,
  kNicRxMissed,
  kNicRxOverruns,
  kNicTxPackets,
  kNicTxErrors,
  kNicTxDropped,
  kKernelCounters
};
constexpr std::array<const char*, kKernelCounters> kKernelNames{
    "drop.socket_buffer", "nic.rx_packets", "nic.rx_errors", "nic.rx_dropped", "nic.rx_missed",
    "nic.rx_overruns",    "nic.tx_packets", "nic.tx_errors", "nic.tx_dropped"};

constexpr int64_t kMinBuffer = 4096, kMaxBuffer = 1 << 30;

UdpSettings read_settings(const PortConfig& config) {
  const Options& o = config.options;
  constexpr std::array<std::string_view, 2> kStamps{"kernel", "poll"};
  return {.interface = config.device,
          .ifindex = interface_index(config.device),
          .rx_buffer_bytes = o.integer("rx_buffer_bytes", kMinBuffer, kMaxBuffer),
          .tx_buffer_bytes = o.integer("tx_buffer_bytes", kMinBuffer, kMaxBuffer),
          .ttl = static_cast<int>(o.integer("ttl", 0, 255)),
          .loop = o.flag("loop"),
          .busy_poll = static_cast<int>(o.integer("busy_poll", 0, 10000)),
          .kernel_stamps = o.one_of("timestamps", kStamps) == "kernel"};
}

std::vector<UdpSocket> receivers_of(const PortConfig& config, const UdpSettings& settings,
                                    bool tx_only) {
  if (tx_only) return {};
  return open_receivers(config.steering, settings);
}

uint32_t ring_size(const PortConfig& config) {
  const uint32_t size = config.options.power_of_two("rx_ring_size", 64, 1 << 20);
  if (size < config.batch_size)
    throw config_error("rx_ring_size", std::to_string(size),
                       "at least batch_size, which is " + std::to_string(config.batch_size));
  return size;
}

// Asked through the socket, as it may live in another network namespace than the thread. 0 where
// the kernel does not say.
int interface_of(int fd, const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return ::ioctl(fd, SIOCGIFINDEX, &request) == 0 ? request.ifr_ifindex : 0;
}

class SocketPort final : public Port {
 public:
  explicit SocketPort(const PortConfig& config)
      : Port(config),
        device_(config.device),
        settings_(read_settings(config)),
        tx_only_(config.options.flag("tx_only")),
        frame_size_(static_cast<uint32_t>(config.options.integer("frame_size", 64, 65536))),
        ring_(ring_size(config)),
        rx_(receivers_of(config, settings_, tx_only_), ring_, frame_size_, config.batch_size,
            settings_.kernel_stamps, clock_),
        tx_(settings_, static_cast<uint16_t>(config.options.integer("source_port", 0, 65535)),
            rx_.sockets()) {
    config.options.integer("queues", 1, 1);
    if (!device_.empty()) {
      link_.emplace(device_);
      driver_ = net::interface_driver(device_).name;
    }
    if (settings_.kernel_stamps && !tx_only_) await_kernel_stamps();
    if (!device_.empty() && !tx_only_) ifindex_ = interface_of(rx_.sockets()[0].fd.get(), device_);
    counters_ = add_counters(0, kNames);
    // The interface's counters only where there is one to ask.
    kernel_counters_ = add_counters(
        -1, std::span(kKernelNames).first(link_ ? kKernelCounters : size_t{kNicRxPackets}));
  }

  uint32_t rx(uint32_t, wp_batch& batch) noexcept override {
    const uint32_t n = rx_.receive(batch);
    if (n == 0 && ifindex_ != 0) [[unlikely]]
      look_for_interface();
    const RxCounts& c = rx_.counts();
    counters_[kRxPackets].set(c.packets);
    counters_[kRxBytes].set(c.bytes);
    counters_[kTruncated].set(c.truncated);
    counters_[kMalformed].set(c.malformed);
    counters_[kRxNoBuffer].set(c.no_buffer);
    counters_[kRxErrors].set(c.errors);
    return n;
  }

  uint32_t tx(uint32_t, wp_batch& batch) noexcept override {
    const uint32_t n = tx_.send(batch);
    const TxCounts& c = tx_.counts();
    counters_[kTxPackets].set(c.packets);
    counters_[kTxBytes].set(c.bytes);
    counters_[kTxNotUdp].set(c.not_udp);
    counters_[kTxBufferFull].set(c.buffer_full);
    counters_[kTxError].set(c.error);
    counters_[kTxSourceReplaced].set(c.source_replaced);
    return n;
  }

  void release(uint32_t, wp_batch& batch) noexcept override {
    rx_.release(batch);
    counters_[kHeld].set(rx_.outstanding());
  }

  bool wait(uint32_t, int64_t timeout_us) noexcept override { return rx_.wait(timeout_us); }
  int fd(uint32_t) const noexcept override { return rx_.fd(); }

  void refresh_stats() noexcept override {
    kernel_counters_[kSocketBuffer].set(rx_.kernel_drops());
    if (!link_ || !link_->read()) return;
    const net::LinkCounts& c = link_->counts();
    kernel_counters_[kNicRxPackets].set(c.rx_packets);
    kernel_counters_[kNicRxErrors].set(c.rx_errors);
    kernel_counters_[kNicRxDropped].set(c.rx_dropped);
    kernel_counters_[kNicRxMissed].set(c.rx_missed);
    kernel_counters_[kNicRxOverruns].set(c.rx_overruns);
    kernel_counters_[kNicTxPackets].set(c.tx_packets);
    kernel_counters_[kNicTxErrors].set(c.tx_errors);
    kernel_counters_[kNicTxDropped].set(c.tx_dropped);
  }

  Info info() const override {
    std::vector<std::string> groups, tuning, advice;
    int64_t granted = 0;
    for (const UdpSocket& s : rx_.sockets()) {
      granted = granted ? std::min(granted, s.rx_granted) : s.rx_granted;
      if (s.rule.multicast())
        groups.push_back(format_address(s.rule) + (device_.empty() ? "" : " on " + device_));
    }
    if (!tx_only_) {
      tuning.push_back("SO_RCVBUF=" + std::to_string(granted));
      if (granted < settings_.rx_buffer_bytes)
        advice.push_back(
            "the kernel granted less receive buffer than asked: sysctl -w "
            "net.core.rmem_max=" +
            std::to_string(settings_.rx_buffer_bytes));
      if (settings_.busy_poll && !rx_.sockets().empty())
        tuning.push_back("SO_BUSY_POLL=" + std::to_string(rx_.sockets()[0].busy_poll));
    }
    const int64_t tx_granted = tx_.granted();
    tuning.push_back("SO_SNDBUF=" + std::to_string(tx_granted));
    if (tx_granted < settings_.tx_buffer_bytes)
      advice.push_back(
          "the kernel granted less send buffer than asked: sysctl -w "
          "net.core.wmem_max=" +
          std::to_string(settings_.tx_buffer_bytes));
    const bool many = rx_.sockets().size() > 1;
    Info out{
        {"backend", std::string("socket")},
        {"device", device_.empty() ? std::string("chosen by the kernel") : device_},
        {"driver", driver_.empty() ? std::string("none") : driver_},
        {"mode", std::string("kernel socket, copy")},
        {"queues", int64_t{queues_}},
        {"link", std::string(link_ ? net::to_string(link_->state()) : "none")},
        {"sockets", static_cast<int64_t>(rx_.sockets().size())},
        {"wakeup", std::string(many ? "ppoll on epoll" : "ppoll")},
        {"timestamp_source",
         std::string(settings_.kernel_stamps ? "kernel, software (SO_TIMESTAMPNS)" : "poll loop")},
        {"clock", std::string(clock_.source())},
        {"frame_headers", std::string("laid on by wirepath")},
        {"frame_size", int64_t{frame_size_}},
        {"rx_ring_size", int64_t{ring_}},
        {"rx_buffer_asked", settings_.rx_buffer_bytes},
        {"rx_buffer_granted", granted},
        {"tx_buffer_asked", settings_.tx_buffer_bytes},
        {"tx_buffer_granted", tx_granted},
        {"groups", groups},
        {"steering", tx_only_ ? std::string("none: tx_only") : steering().describe()},
        {"tuning", tuning},
        {"advice", advice}};
    if (const int error = tx_.last_error())
      out.emplace_back("last_tx_error", std::string(std::strerror(error)));
    return out;
  }

  Capabilities capabilities() const noexcept override {
    return {.rx = !tx_only_,
            .tx = true,
            .ethernet_headers = false,
            .waitable = !tx_only_,
            .link = link_.has_value(),
            .shareable = true,
            .rest_to_host = true,
            .max_frame = frame_size_ + static_cast<uint32_t>(net::kUdp6HeaderBytes),
            .pool_frames = ring_};
  }

 private:
  // A socket outlives its interface and would wait for ever.
  void look_for_interface() noexcept {
    const int64_t now = clock_.now();
    if (now - looked_ < kLookEveryNs && now >= looked_) return;
    looked_ = now;
    ifreq request{};
    request.ifr_ifindex = ifindex_;
    if (::ioctl(rx_.sockets()[0].fd.get(), SIOCGIFNAME, &request) != 0 && errno == ENODEV)
      finished_.store(true, std::memory_order_release);
  }

  static constexpr int64_t kLookEveryNs = 250'000'000;

  std::string device_;
  UdpSettings settings_;
  bool tx_only_;
  uint32_t frame_size_;
  uint32_t ring_;
  SocketRx rx_;
  SocketTx tx_;
  std::optional<net::LinkStats> link_;
  std::string driver_;
  int ifindex_ = 0;  // 0: the port ends with no interface
  int64_t looked_ = 0;
  Counter* counters_ = nullptr;
  Counter* kernel_counters_ = nullptr;
};

}  // namespace

const Backend kSocketBackend{"socket", "UDP through the kernel's stack; needs no privilege",
                             "INTERFACE or nothing", kOptions,
                             [](const PortConfig& config) -> std::unique_ptr<Port> {
                               return std::make_unique<SocketPort>(config);
                             }};

}  // namespace wp
