// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/dpdk_port.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <set>
#include <string_view>

#include "backends/dpdk/eal.h"
#include "backends/dpdk/eal_log.h"
#include "backends/dpdk/errors.h"
#include "core/error.h"

namespace wp {
namespace dpdk {
namespace {

constexpr uint32_t kEthernetAndVlan = 18;
constexpr std::array<std::string_view, 3> kWithoutLink{"net_null", "net_ring", "net_pcap"};
constexpr int64_t kQueuePatienceNs = 3'000'000'000;
constexpr long kDrainNs = 100'000'000;
constexpr uint64_t kHashes = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;

// Attaching and detaching change lists that DPDK keeps without a lock.
std::mutex& control() {
  static std::mutex* const one = new std::mutex;
  return *one;
}

// Under control(). A device's ring may hold frames of a port that has been closed: their buffers go
// with the last port.
struct Lenders {
  size_t open_ports = 0;
  std::vector<std::unique_ptr<Pool>> closed;
};
Lenders& lenders() {
  static Lenders* const one = new Lenders;
  return *one;
}

uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  return static_cast<uint32_t>(std::max(1, CPU_COUNT(&set)));
}

// The kernel lets go of a queue a moment after its AF_XDP socket was closed, and net_af_xdp does
// not ask twice.
struct QueueTaken : Error {
  using Error::Error;
};

int device_removed(uint16_t, rte_eth_event_type, void* finished, void*) {
  static_cast<std::atomic<bool>*>(finished)->store(true, std::memory_order_release);
  return 0;
}

}  // namespace

DpdkPort::DpdkPort(const PortConfig& config) : Port(config), settings_(config) {
  Eal::start(settings_.eal, Device::physical_addresses(settings_));
  register_thread();  // for its log lines' sake, and its cache of buffers
  const std::lock_guard lock(control());
  const CaughtStderr caught;
  try {
    open(config);
    monitor_ = std::thread([this] { watch(); });
    lenders().open_ports++;
  } catch (...) {
    // Here, under the lock: in the order in which the destructor would.
    if (watched_) unwatch();
    membership_.reset();
    flow_.reset();
    device_.reset();
    xdp_sockets_.close_left();
    throw;
  }
}

DpdkPort::~DpdkPort() {
  {
    const std::lock_guard lock(monitor_mutex_);
    monitor_ends_ = true;
  }
  monitor_wakes_.notify_all();
  monitor_.join();
  if (link_up_.load()) {
    report(membership_->leaves());
    drain();
  }
  unwatch();
  const std::lock_guard lock(control());
  const CaughtStderr caught;
  stats_.reset();
  membership_.reset();
  flow_.reset();
  device_.reset();
  xdp_sockets_.close_left();
  Lenders& all = lenders();
  for (const auto& queue : bound_)
    if (queue->lender()) all.closed.push_back(queue->take_pool());
  if (--all.open_ports == 0) all.closed.clear();
}

// Refused while the callback runs, and what it writes to is about to go.
void DpdkPort::unwatch() noexcept {
  while (rte_eth_dev_callback_unregister(device_->port(), RTE_ETH_EVENT_INTR_RMV, &device_removed,
                                         &finished_) == -EAGAIN)
    sched_yield();
}

// Frames that a memif peer has not taken yet die with the connection, and the driver does not say
// how many there are: the peer gets a moment.
void DpdkPort::drain() const noexcept {
  const timespec moment{0, kDrainNs};
  if (memif_ && device_->sent() != 0) nanosleep(&moment, nullptr);
}

void DpdkPort::refuse(const std::string& what, int code, uint64_t mark) const {
  throw refusal(settings_.device + " " + what, code < 0 ? -code : code, EalLog::since(mark),
                settings_.device);
}

void DpdkPort::open(const PortConfig& config) {
  const std::set<int> before = driver_sockets();
  if (settings_.driver() == "net_memif") {
    const std::string socket = settings_.argument("socket");
    if (!memif_client() && settings_.argument("socket-abstract") == "no")
      remove_stale_socket(socket);
    // No more queues than this are ever configured: see Settings.
    gate_ = std::make_unique<Gate>(settings_.queues ? settings_.queues : usable_cores());
    memif_ = std::make_unique<MemifGuard>(*gate_, socket.empty() ? "/run/memif.sock" : socket,
                                          !memif_client());
  }
  device_ = std::make_unique<Device>(settings_, memif_.get());
  choose_queues();
  const bool steered = !steering().everything && !settings_.tx_only;
  if (steered) filter_ = std::make_unique<programs::SteerTable>(steering());
  if (steered && settings_.flow != Flow::kSoftware) {
    flow_ = std::make_unique<FlowSteering>(device_->port());
    flow_->isolate();
  }
  configure();
  add_queues(config);
  start();
  install_flows();
  std::set<int> opened;
  std::ranges::set_difference(driver_sockets(), before, std::inserter(opened, opened.end()));
  stats_ = std::make_unique<Stats>(device_->port(), device_->driver(), device_->ifindex(), opened);
  counters_ = add_counters(-1, stats_->names());
  const Steering none{.everything = false, .rules = {}};
  membership_ =
      std::make_unique<Membership>(settings_, settings_.tx_only ? none : steering(), *device_);
  begin_stamps();
  watched_ = rte_eth_dev_callback_register(device_->port(), RTE_ETH_EVENT_INTR_RMV, &device_removed,
                                           &finished_) == 0;
  link_up_.store(link_up());
  reported_at_ = Clock::realtime();
  if (link_up_.load()) report(membership_->reports());
}

void DpdkPort::choose_queues() {
  const uint32_t have = device_->info().max_rx_queues;
  const uint32_t wanted = settings_.queues ? settings_.queues : std::min(have, usable_cores());
  if (wanted > have || wanted == 0)
    throw Error(ErrorKind::kConfig,
                "queues asks for " + std::to_string(wanted) + " receive queues, but " +
                    settings_.device + " has " + std::to_string(have),
                "queues=all takes what there are; many virtual devices get theirs from an argument "
                "of their own");
  queues_ = wanted;
  tx_queues_ = static_cast<uint16_t>(std::min<uint32_t>(wanted, device_->info().max_tx_queues));
}

void DpdkPort::configure() {
  const rte_eth_dev_info& info = device_->info();
  const uint64_t mark = EalLog::mark();
  rte_eth_conf conf{};
  if (settings_.mtu) conf.rxmode.mtu = settings_.mtu;
  stamps_offered_ = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TIMESTAMP;
  if (stamps_offered_ && settings_.device_stamps && !settings_.tx_only)
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_TIMESTAMP;
  rss_ = queues_ > 1 ? info.flow_type_rss_offloads & kHashes : 0;
  if (rss_) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = rss_;
  }
  int code =
      rte_eth_dev_configure(device_->port(), static_cast<uint16_t>(queues_), tx_queues_, &conf);
  if (code) refuse("refuses this configuration", code, mark);
  rx_descriptors_ = static_cast<uint16_t>(settings_.rx_ring);
  tx_descriptors_ = static_cast<uint16_t>(settings_.tx_ring);
  code = rte_eth_dev_adjust_nb_rx_tx_desc(device_->port(), &rx_descriptors_, &tx_descriptors_);
  if (code) refuse("refuses the ring sizes", code, mark);
  uint16_t mtu = 0;
  mtu_ = rte_eth_dev_get_mtu(device_->port(), &mtu) == 0 ? mtu : 1500;
  if (settings_.mtu && mtu_ != settings_.mtu) {
    code = rte_eth_dev_set_mtu(device_->port(), static_cast<uint16_t>(settings_.mtu));
    if (code) refuse("refuses an MTU of " + std::to_string(settings_.mtu), code, mark);
    mtu_ = settings_.mtu;
  }
}

// Of a buffer, as the device fills it.
uint32_t DpdkPort::buffer_size() const {
  const uint32_t least = device_->info().min_rx_bufsize;
  if (settings_.frame_size < least && !settings_.tx_only)
    throw config_error("frame_size", std::to_string(settings_.frame_size),
                       "at least " + std::to_string(least) + " for " + device_->driver());
  if (!settings_.pci()) return settings_.frame_size;
  // NICs are told the size in powers of two or in KiB, and drivers round it down.
  if (device_->driver() == "net_e1000_em") return std::bit_ceil(settings_.frame_size);
  return (settings_.frame_size + 1023) / 1024 * 1024;
}

void DpdkPort::add_queues(const PortConfig& config) {
  const uint16_t port = device_->port();
  const int node = device_->numa_node();
  const uint32_t room = buffer_size();
  if (filter_) full_burst_ = 1;  // of a whole burst, some may not be wanted
  for (uint16_t id = 0; id < queues_; id++) {
    const uint64_t mark = EalLog::mark();
    auto pool = std::make_unique<Pool>("wp" + std::to_string(port) + "q" + std::to_string(id),
                                       Pool::Size{.rx_ring = rx_descriptors_,
                                                  .tx_ring = tx_descriptors_,
                                                  .batch = config.batch_size,
                                                  .max_held = settings_.max_held},
                                       room, node,
                                       // It tells the kernel of so much memory as buffers without
                                       // gaps would take: those behind it would never be used.
                                       device_->driver() == "net_af_xdp");
    rte_mempool* buffers = pool->get();
    bound_.push_back(std::make_unique<Queue>(
        Queue::Config{
            .port = port,
            .id = id,
            .rx = !settings_.tx_only,
            .tx = id < tx_queues_,
            .batch_size = config.batch_size,
            .max_held = settings_.max_held,
            .max_tx = std::min(mtu_ + kEthernetAndVlan, settings_.frame_size),
            .filter = filter_.get(),
            .device_clock = stamps_offered_ && settings_.device_stamps ? &device_clock_ : nullptr,
            .gate = gate_.get(),
            .link_up = &link_up_},
        std::move(pool), add_counters(id, std::span(kQueueCounterNames)), clock_));
    const auto socket = static_cast<unsigned>(node);
    xdp_sockets_.begin();
    int code = rte_eth_rx_queue_setup(port, id, rx_descriptors_, socket, nullptr, buffers);
    xdp_sockets_.end();
    if (code && EalLog::since(mark).find("xsk socket") != std::string::npos)
      throw QueueTaken(ErrorKind::kBusy,
                       settings_.device + " cannot bind queue " + std::to_string(id) + " of " +
                           device_->interface() + ": " + EalLog::since(mark),
                       "ss --xdp -ep shows whether another AF_XDP socket has it, ethtool -l " +
                           device_->interface() + " whether it is there");
    if (code) refuse("refuses receive queue " + std::to_string(id), code, mark);
    if (id >= tx_queues_) continue;
    code = rte_eth_tx_queue_setup(port, id, tx_descriptors_, socket, nullptr);
    if (code) refuse("refuses transmit queue " + std::to_string(id), code, mark);
  }
}

// A memif client starts once its server listens; others have a link, or get one.
void DpdkPort::start() {
  const int64_t end = Clock::realtime() + settings_.link_wait_ms * 1'000'000;
  const timespec pause{0, 10'000'000};
  const uint64_t mark = EalLog::mark();
  for (;;) {
    const int code = device_->start();
    if (code == 0) break;
    if (!memif_client() || Clock::realtime() >= end) refuse("does not start", code, mark);
    nanosleep(&pause, nullptr);
  }
  while (!device_->link_up() && Clock::realtime() < end) nanosleep(&pause, nullptr);
}

void DpdkPort::install_flows() {
  if (!flow_) return;
  if (flow_->isolated() && !flow_->install(steering(), queues_)) {
    // Isolated and without rules nothing would come.
    device_->stop();
    flow_->remove();
    const uint64_t mark = EalLog::mark();
    if (const int code = device_->start()) refuse("does not start again", code, mark);
  }
  if (settings_.flow == Flow::kHardware && !flow_->active())
    throw Error(ErrorKind::kUnsupported,
                "flow = hardware, but " + device_->driver() + " cannot: " + flow_->refusal(),
                "flow=auto, which steers in software then");
}

void DpdkPort::begin_stamps() {
  if (!stamps_offered_ || !settings_.device_stamps || settings_.tx_only) return;
  if (rte_mbuf_dyn_rx_timestamp_register(&device_clock_.offset, &device_clock_.flag)) return;
  for (int i = 0; i < 2; i++) {
    uint64_t ticks = 0;
    if (rte_eth_read_clock(device_->port(), &ticks)) return;
    device_clock_.sample(ticks, clock_.now());
    const timespec pause{0, 20'000'000};
    nanosleep(&pause, nullptr);
  }
}

bool DpdkPort::memif_client() const {
  const std::string role = settings_.argument("role");
  return settings_.driver() == "net_memif" && role != "server" && role != "master";
}

// net_af_xdp says that its link is up whatever the interface's is.
bool DpdkPort::link_up(uint32_t* mbits) const noexcept {
  const std::lock_guard lock(command_mutex_);
  return device_->link_up(mbits) && stats_->interface_up();
}

uint32_t DpdkPort::rx(uint32_t queue, wp_batch& batch) noexcept {
  if (queue == 0 && report_due_.load(std::memory_order_relaxed)) [[unlikely]] {
    report_due_.store(false, std::memory_order_relaxed);
    report(membership_->reports());
  }
  return bound_[queue]->rx(batch);
}
uint32_t DpdkPort::tx(uint32_t queue, wp_batch& batch) noexcept {
  return bound_[queue]->tx(batch);
}
const void* DpdkPort::frame_memory() const noexcept {
  return &lenders();
}
uint32_t DpdkPort::tx_lent(uint32_t queue, wp_batch& batch) noexcept {
  return bound_[queue]->tx_lent(batch);
}
void DpdkPort::lent(uint32_t queue, uint32_t frames) noexcept {
  bound_[queue]->lent(frames);
}
void DpdkPort::release(uint32_t queue, wp_batch& batch) noexcept {
  bound_[queue]->release(batch);
}
bool DpdkPort::wait(uint32_t queue, int64_t timeout_us) noexcept {
  return bound_[queue]->wait(timeout_us);
}

// A peer that has not made room yet is told later.
void DpdkPort::report(const std::vector<std::vector<uint8_t>>& frames) noexcept {
  if (!frames.empty() && !bound_.front()->send(frames)) report_failed_.store(true);
}

void DpdkPort::refresh_stats() noexcept {
  const std::lock_guard lock(command_mutex_);
  stats_->refresh(counters_);
  counters_[kLinkDowns].set(link_downs_.load());
}

Capabilities DpdkPort::capabilities() const noexcept {
  return {.rx = !settings_.tx_only,
          .tx = tx_queues_ > 0,
          .pass = false,
          .multi_queue = true,
          .everything = true,
          .ethernet_headers = true,
          .waitable = false,
          .finite = false,
          .wire = settings_.driver() != "net_null",
          .link = std::ranges::find(kWithoutLink, settings_.driver()) == kWithoutLink.end(),
          // Its packet socket sees what the host sees.
          .rest_to_host = settings_.driver() == "net_af_packet",
          .max_frame = std::min(
              {settings_.frame_size, device_->info().max_rx_pktlen, mtu_ + kEthernetAndVlan}),
          // The others are the rings': holding frames takes none of those away.
          .pool_frames = settings_.tx_only ? 0 : settings_.max_held};
}

namespace {

std::unique_ptr<Port> open_port(const PortConfig& config) {
  const int64_t end = Clock::steady() + kQueuePatienceNs;
  const timespec pause{0, 50'000'000};
  for (;;) {
    try {
      return std::make_unique<DpdkPort>(config);
    } catch (const QueueTaken&) {
      if (Clock::steady() >= end) throw;
    }
    nanosleep(&pause, nullptr);
  }
}

}  // namespace
}  // namespace dpdk

const Backend kDpdkBackend{
    "dpdk",
    "DPDK's poll-mode drivers: PCI NICs, and memif, af_packet, tap, virtio; needs libdpdk and root",
    "DEVICE",
    dpdk::Settings::options(),
    &dpdk::open_port,
    "arguments of the device, as its driver takes them; dev_NAME where NAME is one of these"};

}  // namespace wp
