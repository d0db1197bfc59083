// SPDX-License-Identifier: Apache-2.0
#include "backends/af_xdp/settings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string_view>

#include "core/error.h"

namespace wp::af_xdp {
namespace {

constexpr std::array kOptions{
    OptionHelp{"queues", "all", "receive queues to bind: all, or a list such as 0,2 or 0-3"},
    OptionHelp{"mode", "auto", "XDP mode: auto (native, else generic) | native | generic"},
    OptionHelp{"zero_copy", "prefer", "require | prefer | never"},
    OptionHelp{"rx_ring_size", "2048", "receive descriptors per queue, power of two, 64 to 32768"},
    OptionHelp{"tx_ring_size", "2048", "transmit descriptors per queue, power of two, 64 to 32768"},
    OptionHelp{"frame_size", "2048", "bytes of a packet buffer: 2048 | 4096"},
    OptionHelp{"frames", "0", "packet buffers per queue, 128 to 1048576; 0 = as the rings need"},
    OptionHelp{"busy_poll", "off", "off | preferred: the kernel's driver runs in our system calls"},
    OptionHelp{"busy_poll_us", "20", "microseconds of one busy poll, 1 to 1000"},
    OptionHelp{"busy_poll_budget", "64", "frames of one busy poll, 1 to 65535"},
    OptionHelp{"timestamps", "driver", "driver: stamped by the XDP program | poll: by rx"},
    OptionHelp{"join", "auto", "auto: share a libxdp dispatcher that is there | no"},
    OptionHelp{"tx_only", "false", "transmit only: attach no program, receive nothing"},
    OptionHelp{"busy_retry_ms", "3000",
               "how long to ask again for a queue or interface that is busy, 0 to 60000"},
    OptionHelp{"share", "100",
               "percent of the flows to take, by their hash; the host has the rest"},
};

constexpr std::array<std::string_view, 3> kModes{"auto", "native", "generic"};
constexpr std::array<std::string_view, 3> kZeroCopy{"require", "prefer", "never"};
constexpr std::array<std::string_view, 2> kFrameSizes{"2048", "4096"};
constexpr std::array<std::string_view, 2> kBusyPoll{"off", "preferred"};
constexpr std::array<std::string_view, 2> kTimestamps{"driver", "poll"};
constexpr std::array<std::string_view, 2> kJoin{"auto", "no"};

}  // namespace

std::span<const OptionHelp> Settings::options() {
  return kOptions;
}

Settings::Settings(const PortConfig& config) {
  const Options& o = config.options;
  queues = o.index_list("queues");
  native = o.one_of("mode", kModes) != "generic";
  generic = o.one_of("mode", kModes) != "native";
  const std::string& zero = o.one_of("zero_copy", kZeroCopy);
  zero_copy = zero == "require" ? ZeroCopy::kRequire
              : zero == "never" ? ZeroCopy::kNever
                                : ZeroCopy::kPrefer;
  rx_ring = o.power_of_two("rx_ring_size", 64, 32768);
  tx_ring = o.power_of_two("tx_ring_size", 64, 32768);
  frame_size = o.one_of("frame_size", kFrameSizes) == "4096" ? 4096 : 2048;
  frames = static_cast<uint32_t>(o.integer("frames", 0, 1 << 20));
  if (frames != 0 && frames < 128)
    throw config_error("frames", std::to_string(frames), "0 (as the rings need) or 128 to 1048576");
  busy_poll = o.one_of("busy_poll", kBusyPoll) == "preferred";
  busy_poll_us = static_cast<uint32_t>(o.integer("busy_poll_us", 1, 1000));
  busy_poll_budget = static_cast<uint32_t>(o.integer("busy_poll_budget", 1, 65535));
  driver_stamps = o.one_of("timestamps", kTimestamps) == "driver";
  join = o.one_of("join", kJoin) == "auto";
  tx_only = o.flag("tx_only");
  busy_retry_ms = o.integer("busy_retry_ms", 0, 60000);
  share = static_cast<uint32_t>(std::lround(o.number("share", 0, 100) * kAllFlows / 100));
  if (tx_only) driver_stamps = false;
  if (zero_copy == ZeroCopy::kRequire && !native)
    throw Error(ErrorKind::kConfig, "zero_copy = require cannot be had with mode = generic",
                "mode=native, or zero_copy=prefer");
  if (zero_copy == ZeroCopy::kRequire && tx_only)
    throw Error(ErrorKind::kConfig,
                "zero_copy = require cannot be had with tx_only: drivers send without a copy only "
                "beside an XDP program",
                "leave tx_only out, or zero_copy=prefer");
}

std::vector<uint32_t> choose_queues(const Settings& settings, const net::Netdev& netdev) {
  std::vector<uint32_t> out;
  if (settings.queues.empty()) {
    out.resize(settings.tx_only ? netdev.tx_queues : netdev.rx_queues);
    std::iota(out.begin(), out.end(), 0u);
    return out;
  }
  const uint32_t have = settings.tx_only ? netdev.tx_queues : netdev.rx_queues;
  for (const int queue : settings.queues) {
    if (static_cast<uint32_t>(queue) >= have)
      throw Error(ErrorKind::kConfig,
                  "queues names queue " + std::to_string(queue) + ", but " + netdev.name + " has " +
                      std::to_string(have) + (settings.tx_only ? " transmit" : " receive") +
                      " queue" + (have == 1 ? "" : "s") + ", numbered from 0",
                  "ethtool -L " + netdev.name + " changes their number");
    out.push_back(static_cast<uint32_t>(queue));
  }
  std::ranges::sort(out);
  return out;
}

void check_link(const Settings& settings, const net::Netdev& netdev) {
  if (!netdev.up)
    throw Error(ErrorKind::kConfig, "interface " + netdev.name + " is down",
                "ip link set dev " + netdev.name + " up");
  // Ethernet header and one VLAN tag beside the MTU. Loopback's MTU of 64 KiB is left alone:
  // what is too long there is counted.
  const uint32_t room = settings.tx_only ? settings.frame_size : settings.rx_room();
  if (netdev.mtu + 18 <= room || netdev.loopback) return;
  const bool larger = settings.frame_size == 2048 && netdev.mtu + 18 <= room + 2048;
  throw Error(ErrorKind::kConfig,
              "frame_size = " + std::to_string(settings.frame_size) + " holds frames of " +
                  std::to_string(room) + " bytes, but " + netdev.name + " has MTU " +
                  std::to_string(netdev.mtu) + ", so frames of up to " +
                  std::to_string(netdev.mtu + 18),
              std::string(larger ? "frame_size=4096, or " : "") + "ip link set dev " + netdev.name +
                  " mtu " + std::to_string(std::min(room - 18, 1500u)));
}

}  // namespace wp::af_xdp
