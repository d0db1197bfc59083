// SPDX-License-Identifier: Apache-2.0
#include "backends/af_xdp/af_xdp_port.h"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "backends/af_xdp/privileges.h"
#include "core/error.h"

namespace wp {
namespace af_xdp {
namespace {

enum : size_t {
  kSteerMatched,
  kSteerPassed,
  kSteerFragments,
  kSteerNoSocket,
  kSteerLeft,
  kNicRxPackets,
  kNicRxBytes,
  kNicRxErrors,
  kNicRxDropped,
  kNicRxMissed,
  kNicRxOverruns,
  kNicTxPackets,
  kNicTxBytes,
  kNicTxErrors,
  kNicTxDropped,
  kPortCounters
};
constexpr std::array<const char*, kPortCounters> kPortCounterNames{
    "steer.matched",   "steer.passed",   "steer.fragments", "steer.no_socket", "steer.left_to_host",
    "nic.rx_packets",  "nic.rx_bytes",   "nic.rx_errors",   "nic.rx_dropped",  "nic.rx_missed",
    "nic.rx_overruns", "nic.tx_packets", "nic.tx_bytes",    "nic.tx_errors",   "nic.tx_dropped"};

uint64_t random_magic() {
  uint64_t magic = 0;
  while (magic == 0)
    if (getrandom(&magic, sizeof magic, 0) != sizeof magic) magic = 0x9e3779b97f4a7c15;
  return magic;
}

}  // namespace

AfXdpPort::AfXdpPort(const PortConfig& config)
    : Port(config),
      settings_(config),
      netdev_(net::query_netdev(config.device)),
      patience_(settings_.busy_retry_ms) {
  const LibraryLog log;
  const std::vector<uint32_t> chosen = choose_queues(settings_, netdev_);
  check_link(settings_, netdev_);
  require_capabilities();
  link_stats_ = std::make_unique<net::LinkStats>(netdev_.ifindex);
  if (!settings_.tx_only) {
    multicast_ = std::make_unique<net::Multicast>(steering(), netdev_.ifindex, netdev_.name);
    attach();
  }
  queues_ = static_cast<uint32_t>(chosen.size());
  for (const uint32_t id : chosen) {
    Counter* counters = add_counters(static_cast<int>(id), kQueueCounterNames);
    bound_.push_back(std::make_unique<Queue>(
        Queue::Config{.settings = settings_,
                      .netdev = netdev_,
                      .id = id,
                      .batch_size = config.batch_size,
                      .mode = attachment_ ? attachment_->mode() : XdpMode::kNone,
                      .stamp_magic = stamp_magic_},
        counters, clock_, patience_));
    if (program_) program_->set_socket(id, bound_.back()->fd());
  }
  counters_ = add_counters(-1, kPortCounterNames);
  if (program_) program_->take(settings_.share, {});
}

AfXdpPort::~AfXdpPort() {
  // Closing a socket takes it out of the program's map: from then on its frames go to the host.
  bound_.clear();
}

void AfXdpPort::attach() {
  const programs::SteerKeys keys = programs::steer_keys(steering());
  stamps_refused_ = settings_.driver_stamps && !kernel_can_stamp();
  if (settings_.driver_stamps && !stamps_refused_) stamp_magic_ = random_magic();
  program_ = std::make_unique<SteerProgram>(keys, netdev_.rx_queues, stamp_magic_);
  const Attachment::Wish wish{
      .native = settings_.native,
      // Zero-copy is to be had in the driver only.
      .generic = settings_.generic && settings_.zero_copy != ZeroCopy::kRequire,
      .join = settings_.join};
  attachment_ =
      std::make_unique<Attachment>(*program_, netdev_.name, netdev_.ifindex, wish, patience_);
}

uint32_t AfXdpPort::rx(uint32_t queue, wp_batch& batch) noexcept {
  const uint32_t n = bound_[queue]->rx(batch);
  if (n == 0 && bound_[queue]->gone()) [[unlikely]]
    finished_.store(true, std::memory_order_release);
  return n;
}
uint32_t AfXdpPort::tx(uint32_t queue, wp_batch& batch) noexcept {
  return bound_[queue]->tx(batch);
}
void AfXdpPort::release(uint32_t queue, wp_batch& batch) noexcept {
  bound_[queue]->release(batch);
}
bool AfXdpPort::wait(uint32_t queue, int64_t timeout_us) noexcept {
  return bound_[queue]->wait(timeout_us);
}
int AfXdpPort::fd(uint32_t queue) const noexcept {
  return bound_[queue]->fd();
}

void AfXdpPort::divert(uint32_t share, const Steering& named) {
  if (!program_)
    throw Error(ErrorKind::kUnsupported, spec() + " receives nothing, so it has no share of flows",
                "open it without tx_only");
  program_->take(share, programs::steer_keys(named));
}

void AfXdpPort::refresh_stats() noexcept {
  for (const auto& queue : bound_) queue->refresh_stats();
  if (program_) {
    const steer_counters c = program_->counters();
    counters_[kSteerMatched].set(c.matched);
    counters_[kSteerPassed].set(c.passed);
    counters_[kSteerFragments].set(c.fragments);
    counters_[kSteerNoSocket].set(c.no_socket);
    counters_[kSteerLeft].set(c.left);
  }
  if (!link_stats_->read()) return;
  const net::LinkCounts& n = link_stats_->counts();
  counters_[kNicRxPackets].set(n.rx_packets);
  counters_[kNicRxBytes].set(n.rx_bytes);
  counters_[kNicRxErrors].set(n.rx_errors);
  counters_[kNicRxDropped].set(n.rx_dropped);
  counters_[kNicRxMissed].set(n.rx_missed);
  counters_[kNicRxOverruns].set(n.rx_overruns);
  counters_[kNicTxPackets].set(n.tx_packets);
  counters_[kNicTxBytes].set(n.tx_bytes);
  counters_[kNicTxErrors].set(n.tx_errors);
  counters_[kNicTxDropped].set(n.tx_dropped);
}

Capabilities AfXdpPort::capabilities() const noexcept {
  return {.rx = !settings_.tx_only,
          .tx = true,
          .pass = false,
          .multi_queue = true,
          .everything = true,
          .ethernet_headers = true,
          .waitable = true,
          .finite = false,
          .link = true,
          .rest_to_host = true,
          .divert = !settings_.tx_only,
          // With a VLAN tag beside the Ethernet header.
          .max_frame = std::min(settings_.tx_only ? settings_.frame_size : settings_.rx_room(),
                                netdev_.mtu + 18),
          .pool_frames = settings_.tx_only || bound_.empty() ? 0 : bound_.front()->frames()};
}

}  // namespace af_xdp

const Backend kAfXdpBackend{
    "af_xdp", "packets around the kernel through XDP sockets; needs Linux 5.11", "INTERFACE",
    af_xdp::Settings::options(), [](const PortConfig& config) -> std::unique_ptr<Port> {
      return std::make_unique<af_xdp::AfXdpPort>(config);
    }};

}  // namespace wp
