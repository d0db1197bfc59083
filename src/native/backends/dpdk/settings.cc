// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "core/error.h"

namespace wp::dpdk {
namespace {

constexpr std::array kOptions{
    OptionHelp{"queues", "0", "receive queues, from 0 on: 0, 0-3, or all (at most one per core)"},
    OptionHelp{"rx_ring_size", "1024", "receive descriptors per queue, power of two, 64 to 32768"},
    OptionHelp{"tx_ring_size", "1024", "transmit descriptors per queue, power of two, 64 to 32768"},
    OptionHelp{"frame_size", "2048", "longest frame received, bytes, 256 to 16384"},
    OptionHelp{"max_held", "2048", "frames per queue that may be held at a time, 64 to 1048576"},
    OptionHelp{"mtu", "0", "MTU to set, 68 to 9710; 0 = leave the device's"},
    OptionHelp{"promiscuous", "auto", "auto (where steering is everything) | on | off"},
    OptionHelp{"flow", "auto", "auto (rte_flow where the driver has it) | hardware | software"},
    OptionHelp{"timestamps", "device", "device (where the driver has them) | poll: by rx"},
    OptionHelp{"join", "auto",
               "auto | socket: by the kernel | report: IGMP and MLD reports of ours | no"},
    OptionHelp{"join_source", "0.0.0.0", "IPv4 address that IGMP reports of ours come from"},
    OptionHelp{"tx_only", "false", "transmit only: receive nothing"},
    OptionHelp{"link_wait_ms", "2000", "how long to wait for the link or the peer, 0 to 60000"},
    OptionHelp{"eal_cores", "auto", "cores for EAL's own threads, such as 0 or 0-1 (process-wide)"},
    OptionHelp{"eal_memory", "0", "MiB for DPDK, 16 to 1048576; 0 = as needed (process-wide)"},
    OptionHelp{"hugepages", "auto", "auto: where there are enough | yes | no (process-wide)"},
};

constexpr std::array<std::string_view, 3> kPromiscuous{"auto", "on", "off"};
constexpr std::array<std::string_view, 3> kFlow{"auto", "hardware", "software"};
constexpr std::array<std::string_view, 2> kTimestamps{"device", "poll"};
constexpr std::array<std::string_view, 4> kJoin{"auto", "socket", "report", "no"};
constexpr std::array<std::string_view, 3> kHugePages{"auto", "yes", "no"};
constexpr uint32_t kMaxQueues = 64;

template <class Enum, size_t N>
Enum choice(const Options& o, const std::string& name,
            const std::array<std::string_view, N>& allowed) {
  return static_cast<Enum>(std::ranges::find(allowed, o.one_of(name, allowed)) - allowed.begin());
}

uint32_t queue_count(const Options& o) {
  const std::vector<int> list = o.index_list("queues");  // empty = all
  for (const int queue : list)
    if (queue < 0 || queue >= static_cast<int>(list.size()) || list.size() > kMaxQueues)
      throw config_error("queues", o.text("queues"),
                         "all, or queues from 0 on without a gap, such as 0 or 0-3, at most " +
                             std::to_string(kMaxQueues));
  return static_cast<uint32_t>(list.size());
}

std::string joined_arguments(const Options& o) {
  std::string out;
  for (const auto& [name, value] : o.undeclared()) {
    const std::string_view plain = name;
    out += out.empty() ? "" : ",";
    out += plain.starts_with("dev_") ? plain.substr(4) : plain;
    out += "=" + value;
  }
  return out;
}

}  // namespace

std::span<const OptionHelp> Settings::options() {
  return kOptions;
}

Settings::Settings(const PortConfig& config) : device(config.device) {
  const Options& o = config.options;
  if (device.empty())
    throw config_error("port", "\"" + config.spec + "\"",
                       "dpdk:DEVICE, such as dpdk:0000:3b:00.0 or dpdk:net_memif0,role=client");
  arguments = joined_arguments(o);
  queues = queue_count(o);
  rx_ring = o.power_of_two("rx_ring_size", 64, 32768);
  tx_ring = o.power_of_two("tx_ring_size", 64, 32768);
  frame_size = static_cast<uint32_t>(o.integer("frame_size", 256, 16384));
  max_held = static_cast<uint32_t>(o.integer("max_held", 64, 1 << 20));
  mtu = static_cast<uint32_t>(o.integer("mtu", 0, 9710));
  if (mtu != 0 && mtu < 68) throw config_error("mtu", std::to_string(mtu), "0 or 68 to 9710");
  promiscuous = choice<Promiscuous>(o, "promiscuous", kPromiscuous);
  flow = choice<Flow>(o, "flow", kFlow);
  join = choice<Join>(o, "join", kJoin);
  join_source = o.text("join_source");
  in_addr parsed{};
  if (inet_pton(AF_INET, join_source.c_str(), &parsed) != 1)
    throw config_error("join_source", join_source, "an IPv4 address");
  device_stamps = o.one_of("timestamps", kTimestamps) == "device";
  tx_only = o.flag("tx_only");
  link_wait_ms = o.integer("link_wait_ms", 0, 60000);
  if (max_held < config.batch_size)
    throw config_error("max_held", std::to_string(max_held),
                       "at least batch_size, which is " + std::to_string(config.batch_size));
  if (o.text("eal_cores") != "auto") {
    eal.cores = o.index_list("eal_cores");
    if (eal.cores.empty())
      throw config_error("eal_cores", "all", "auto, or cores such as 0 or 0-1");
  }
  eal.memory_mb = static_cast<uint32_t>(o.integer("eal_memory", 0, 1 << 20));
  if (eal.memory_mb != 0 && eal.memory_mb < 16)
    throw config_error("eal_memory", std::to_string(eal.memory_mb), "0 or 16 to 1048576 MiB");
  eal.huge_pages = choice<HugePages>(o, "hugepages", kHugePages);
}

bool Settings::pci() const noexcept {
  return device.find(':') != std::string::npos;
}

std::string Settings::driver() const {
  if (pci()) return "";
  size_t end = device.size();
  while (end > 0 && std::isdigit(static_cast<unsigned char>(device[end - 1]))) end--;
  return device.substr(0, end);
}

std::string Settings::argument(const std::string& name) const {
  const std::string all = "," + arguments + ",";
  const size_t found = all.find("," + name + "=");
  if (found == std::string::npos) return "";
  const size_t begin = found + name.size() + 2;
  return all.substr(begin, all.find(',', begin) - begin);
}

std::string Settings::interface() const {
  const std::string name = driver();
  return name == "net_af_xdp" || name == "net_af_packet" || name == "net_tap" ? argument("iface")
                                                                              : "";
}

}  // namespace wp::dpdk
