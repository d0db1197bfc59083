// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/device.h"

#include <fcntl.h>
#include <net/if.h>
#include <rte_dev.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "backends/dpdk/eal.h"
#include "backends/dpdk/eal_log.h"
#include "backends/dpdk/errors.h"
#include "core/error.h"
#include "net/interface_driver.h"

namespace wp::dpdk {
namespace {

constexpr uint32_t kLongestMemifRing = 14;  // as a power of two

// Kernel drivers under which DPDK drives a device: those that hand it over, and those of NICs
// that it shares with the kernel.
constexpr std::array<std::string_view, 6> kUsable{"vfio-pci",  "uio_pci_generic", "igb_uio",
                                                  "mlx4_core", "mlx5_core",       "mana"};

namespace fs = std::filesystem;

// That has the PCI device; "" = none.
std::string kernel_driver(const std::string& address) {
  std::error_code none;
  return fs::read_symlink(fs::path("/sys/bus/pci/devices") / address / "driver", none).filename();
}

void check_pci(const std::string& address) {
  std::error_code none;
  const fs::path device = fs::path("/sys/bus/pci/devices") / address;
  if (!fs::exists(device, none))
    throw Error(ErrorKind::kConfig, "there is no PCI device " + address,
                "lspci -D lists those of this machine, with the domain in front: 0000:3b:00.0");
  const std::string driver = kernel_driver(address);
  if (std::ranges::find(kUsable, driver) != kUsable.end()) return;
  if (driver.empty())
    throw Error(ErrorKind::kBusy, "PCI device " + address + " is bound to no driver",
                "modprobe vfio-pci && dpdk-devbind.py -b vfio-pci " + address);
  std::string interfaces;
  for (fs::recursive_directory_iterator
           entry(device, fs::directory_options::skip_permission_denied, none),
       end;
       entry != end && !none; entry.increment(none))
    if (entry->path().parent_path().filename() == "net")
      interfaces += (interfaces.empty() ? "" : ", ") + entry->path().filename().string();
  throw Error(ErrorKind::kBusy,
              "PCI device " + address + " is bound to the kernel's driver " + driver +
                  (interfaces.empty() ? "" : " (interface " + interfaces + ")"),
              "modprobe vfio-pci && dpdk-devbind.py -b vfio-pci " + address +
                  " gives it to DPDK, and takes it from the kernel; af_xdp shares it");
}

void check_interface(const Settings& settings) {
  const std::string driver = settings.driver();
  if (driver != "net_af_xdp" && driver != "net_af_packet") return;
  const std::string name = settings.interface();
  if (name.empty())
    throw Error(ErrorKind::kConfig, settings.device + " lacks the argument iface",
                "dpdk:" + settings.device + ",iface=eth0");
  if (if_nametoindex(name.c_str()) == 0)
    throw Error(ErrorKind::kConfig, "there is no interface \"" + name + "\"",
                "ip link shows those of this network namespace");
}

// These drivers pass over all of their arguments when there is one that they do not know.
struct Arguments {
  std::string_view driver, known;
};
constexpr std::array<Arguments, 3> kSilent{
    Arguments{"net_memif",
              "bsize, id, mac, owner-gid, owner-uid, role, rsize, secret, socket, socket-abstract, "
              "zero-copy"},
    Arguments{"net_tap", "iface, mac, persist, remote"}, Arguments{"net_ring", "nodeaction"}};

void check_arguments(const Settings& settings) {
  const auto silent = std::ranges::find(kSilent, settings.driver(), &Arguments::driver);
  if (silent == kSilent.end()) return;
  const std::string known = " " + std::string(silent->known) + ",";
  std::istringstream list(settings.arguments);
  for (std::string one; std::getline(list, one, ',');) {
    const std::string name = one.substr(0, one.find('='));
    if (known.find(" " + name + ",") == std::string::npos)
      throw Error(ErrorKind::kConfig,
                  "neither the dpdk backend nor " + std::string(silent->driver) +
                      " has an option \"" + name + "\" (given as " + one + ")",
                  "the driver's are: " + std::string(silent->known));
  }
}

// Number of queues and ring size, for drivers that take them as arguments and nowhere else.
std::string complete_arguments(const Settings& settings) {
  const std::string driver = settings.driver();
  std::string out = settings.devargs();
  const auto add = [&](const std::string& name, uint32_t value) {
    if (settings.argument(name).empty()) out += "," + name + "=" + std::to_string(value);
  };
  if (driver == "net_memif") {
    if (settings.rx_ring > 1u << kLongestMemifRing)
      throw config_error("rx_ring_size", std::to_string(settings.rx_ring),
                         "at most " + std::to_string(1u << kLongestMemifRing) + " for net_memif");
    add("rsize", static_cast<uint32_t>(std::bit_width(settings.rx_ring)) - 1);
  }
  if (driver == "net_af_packet") add("framecnt", settings.rx_ring);
  if (settings.queues < 2) return out;
  if (driver == "net_af_xdp") add("queue_count", settings.queues);
  if (driver == "net_af_packet") add("qpairs", settings.queues);
  if (driver == "net_virtio_user") add("queues", settings.queues);
  return out;
}

}  // namespace

void PciLock::take(const std::string& address) {
  const fs::path path = fs::path("/sys/bus/pci/devices") / address / "config";
  file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file_ >= 0 && flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  if (file_ >= 0 && errno == EWOULDBLOCK)
    throw Error(ErrorKind::kBusy, "PCI device " + address + " is open in another process",
                "fuser -v " + path.string() + " names it");
  throw Error(ErrorKind::kIo, path.string() + ": " + std::strerror(errno));
}

PciLock::~PciLock() {
  if (file_ >= 0) close(file_);
}

Device::Device(const Settings& settings, MemifGuard* memif) : memif_(memif) {
  if (settings.pci())
    check_pci(settings.device);
  else
    check_interface(settings);
  check_arguments(settings);
  if (rte_eth_dev_get_port_by_name(settings.device.c_str(), &port_) == 0)
    throw Error(ErrorKind::kBusy, settings.device + " is open in this process already",
                "close that port, or give the device another number");
  if (settings.pci()) lock_.take(settings.device);
  const uint64_t mark = EalLog::mark();
  const int code = rte_dev_probe(complete_arguments(settings).c_str());
  if (code)
    throw refusal(settings.device + " cannot be attached", -code, EalLog::since(mark),
                  settings.device);
  if (rte_eth_dev_get_port_by_name(settings.device.c_str(), &port_)) {
    rte_eal_hotplug_remove(settings.pci() ? "pci" : "vdev", settings.device.c_str());
    throw Error(ErrorKind::kConfig, settings.device + " is no network device",
                "name one that DPDK has an ethdev driver for");
  }
  const int bad = rte_eth_dev_info_get(port_, &info_);
  if (bad) {
    rte_eal_hotplug_remove(settings.pci() ? "pci" : "vdev", settings.device.c_str());
    throw refusal("nothing is known of " + settings.device, -bad, "", settings.device);
  }
  char name[IF_NAMESIZE] = "";
  if (info_.if_index == 0 || !if_indextoname(info_.if_index, name)) return;
  interface_ = name;
  interface_driver_ = net::interface_driver(interface_).name;
}

bool Device::physical_addresses(const Settings& settings) {
  const std::string driver = settings.pci() ? kernel_driver(settings.device) : "";
  return driver == "uio_pci_generic" || driver == "igb_uio";
}

Device::~Device() {
  const auto detach = [this] {
    const HomeNamespace::Visit visit(home_);
    stop_here();
    rte_device* device = info_.device;
    rte_eth_dev_close(port_);
    if (device) rte_dev_remove(device);
    if (memif_) memif_->removed();
  };
  if (memif_)
    in_interrupt_thread(detach);
  else
    detach();
}

std::string Device::mac() const {
  rte_ether_addr address{};
  if (rte_eth_macaddr_get(port_, &address)) return "";
  char text[RTE_ETHER_ADDR_FMT_SIZE];
  rte_ether_format_addr(text, sizeof text, &address);
  return text;
}

int Device::start() noexcept {
  const int code = rte_eth_dev_start(port_);
  started_ = code == 0;
  return code < 0 ? -code : code;
}

void Device::stop_here() noexcept {
  if (started_) rte_eth_dev_stop(port_);
  started_ = false;
}

void Device::stop() {
  if (memif_)
    in_interrupt_thread([this] { stop_here(); });
  else
    stop_here();
}

bool Device::stop_unless_up() {
  bool stopped = false;
  in_interrupt_thread([&] {
    if (link_up()) return;
    stop_here();
    stopped = true;
  });
  return stopped;
}

uint64_t Device::sent() const noexcept {
  rte_eth_stats s{};
  return rte_eth_stats_get(port_, &s) == 0 ? s.opackets : 0;
}

bool Device::link_up(uint32_t* mbits) const noexcept {
  rte_eth_link link{};
  if (rte_eth_link_get_nowait(port_, &link)) return false;
  if (mbits) *mbits = link.link_speed;
  return link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace wp::dpdk
