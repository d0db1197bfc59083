// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/settings.h"

#include <array>
#include <string_view>

#include "core/error.h"

namespace wp::ef_vi_backend {
namespace {

constexpr std::array kOptions{
    OptionHelp{"rx_ring_size", "2048", "receive descriptors, power of two, 64 to 32768"},
    OptionHelp{"tx_ring_size", "512", "transmit descriptors, power of two, 64 to 32768"},
    OptionHelp{"frame_size", "2048", "bytes of a packet buffer: 2048 | 4096"},
    OptionHelp{"frames", "0", "packet buffers, 128 to 1048576; 0 = as the rings need"},
    OptionHelp{"zero_copy", "prefer",
               "of frames in shared hardware buffers: prefer | never: copied out, writable | "
               "require: handed out where they stand, read-only"},
    OptionHelp{"max_held", "256",
               "frames in shared hardware buffers that may be held beyond their batch, 0 to 32768"},
    OptionHelp{"event_merge", "false",
               "true: the NIC reports several frames at once, for throughput at the cost of "
               "latency"},
    OptionHelp{"tx_only", "false", "transmit only: no filter, no receive ring"},
    OptionHelp{"timestamps", "auto", "auto: the NIC's, else by rx | hardware | poll: by rx"},
#ifdef WP_EF_VI_SIMULATOR
    OptionHelp{"nic", "x2", "simulated NIC: x2 (descriptors) | x3 (shared buffers)"},
    OptionHelp{"nic_clock", "sync", "simulated clock: sync | set | free | late | none"},
    OptionHelp{"nic_refuses", "nothing",
               "what the simulated NIC lacks: nothing | ip6 | sniff | all | interrupt | mac"},
    OptionHelp{"nic_fault", "none",
               "what goes wrong on the simulated NIC: none | overflow | crc | tx"},
#endif
};

constexpr std::array<std::string_view, 3> kZeroCopy{"require", "prefer", "never"};
constexpr std::array<std::string_view, 2> kFrameSizes{"2048", "4096"};
constexpr std::array<std::string_view, 3> kStamps{"auto", "hardware", "poll"};

#ifdef WP_EF_VI_SIMULATOR
ef_sim_config simulator_of(const Options& o) {
  constexpr std::array<std::string_view, 2> nics{"x2", "x3"};
  constexpr std::array<std::string_view, 5> clocks{"sync", "set", "free", "late", "none"};
  constexpr std::array<std::string_view, 4> faults{"none", "overflow", "crc", "tx"};
  constexpr std::array<std::string_view, 6> lacks{"nothing", "ip6",       "sniff",
                                                  "all",     "interrupt", "mac"};
  ef_sim_config out{};
  out.nic = o.one_of("nic", nics) == "x3" ? EF_SIM_X3 : EF_SIM_X2;
  const std::string& clock = o.one_of("nic_clock", clocks);
  for (size_t i = 0; i < clocks.size(); i++)
    if (clock == clocks[i]) out.clock = static_cast<ef_sim_clock>(i);
  const std::string& fault = o.one_of("nic_fault", faults);
  for (size_t i = 0; i < faults.size(); i++)
    if (fault == faults[i]) out.fault = static_cast<ef_sim_fault>(i);
  const std::string& lacking = o.one_of("nic_refuses", lacks);
  for (size_t i = 1; i < lacks.size(); i++)
    if (lacking == lacks[i]) out.refuse = 1u << (i - 1);
  return out;
}
#endif

}  // namespace

std::span<const OptionHelp> Settings::options() {
  return kOptions;
}

Settings::Settings(const PortConfig& config) {
  const Options& o = config.options;
  rx_ring = o.power_of_two("rx_ring_size", 64, 32768);
  tx_ring = o.power_of_two("tx_ring_size", 64, 32768);
  frame_size = o.one_of("frame_size", kFrameSizes) == "4096" ? 4096 : 2048;
  frames = static_cast<uint32_t>(o.integer("frames", 0, 1 << 20));
  if (frames != 0 && frames < 128)
    throw config_error("frames", std::to_string(frames), "0 (as the rings need) or 128 to 1048576");
  zero_copy = o.one_of("zero_copy", kZeroCopy) == "require";
  max_held = static_cast<uint32_t>(o.integer("max_held", 0, 32768));
  event_merge = o.flag("event_merge");
  tx_only = o.flag("tx_only");
  const std::string& source = o.one_of("timestamps", kStamps);
  stamps = source == "auto"       ? Stamps::kAuto
           : source == "hardware" ? Stamps::kHardware
                                  : Stamps::kPoll;
  if (tx_only) stamps = Stamps::kPoll;
#ifdef WP_EF_VI_SIMULATOR
  simulator = simulator_of(o);
#endif
}

void check_link(const Settings& settings, const net::Netdev& netdev) {
  if (!netdev.up)
    throw Error(ErrorKind::kConfig, "interface " + netdev.name + " is down",
                "ip link set dev " + netdev.name + " up");
  // Ethernet header and one VLAN tag beside the MTU, and the NIC's prefix.
  constexpr uint32_t kBeside = 18 + 16;
  const uint32_t room = settings.frame_size;
  if (netdev.mtu + kBeside <= room) return;
  throw Error(ErrorKind::kConfig,
              "frame_size = " + std::to_string(room) + " holds one frame of an MTU of up to " +
                  std::to_string(room - kBeside) + ", but " + netdev.name + " has MTU " +
                  std::to_string(netdev.mtu),
              (room == 2048 && netdev.mtu + kBeside <= 4096 ? "frame_size=4096, or " : "") +
                  ("ip link set dev " + netdev.name + " mtu 1500"));
}

}  // namespace wp::ef_vi_backend
