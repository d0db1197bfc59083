// SPDX-License-Identifier: Apache-2.0
// What a dpdk port says about itself, as read back from the device and from EAL.
#include <rte_eal.h>

#include <string_view>

#include "backends/dpdk/dpdk_port.h"
#include "backends/dpdk/eal.h"

namespace wp::dpdk {

std::string DpdkPort::timestamp_source() const {
  if (settings_.tx_only) return "none";
  if (!settings_.device_stamps) return "poll loop";
  if (!stamps_offered_) return "poll loop (the driver has no timestamps)";
  if (!device_clock_.ready()) return "poll loop (the driver does not let its clock be read)";
  return "device (its clock, set against the system's)";
}

std::string DpdkPort::steering_mode() const {
  if (settings_.tx_only) return "none (transmit only)";
  if (!filter_) return "everything";
  if (flow_ && flow_->active())
    return "rte_flow, " + std::to_string(flow_->rules()) + " rules in isolated mode" +
           (flow_->tagged() ? "" : " (not for VLAN-tagged frames)") + ", checked in software";
  if (!flow_) return "software";
  return "software (" + device_->driver() + ": " + flow_->refusal() + ")";
}

std::vector<std::string> DpdkPort::notes() const {
  std::vector<std::string> out;
  if (!Eal::huge_pages())
    out.push_back(
        "no hugepages: DPDK runs with --no-huge, which costs TLB misses and rules out "
        "most PCI devices; sysctl -w vm.nr_hugepages=256");
  if (!link_up_.load()) out.push_back("the link is down");
  const std::string driver = device_->driver();
  if (driver == "net_af_xdp" && !settings_.tx_only)
    out.push_back(
        "DPDK's program takes every frame of the queue: what steering leaves out does "
        "not reach the host (af_xdp hands it on), and it stays attached after kill -9");
  if (queues_ > 1 && rss_ == 0)
    out.push_back(
        "the driver offers no receive-side scaling: which queue a frame comes to is the "
        "other side's choice");
  if (tx_queues_ < queues_)
    out.push_back("the device has only " + std::to_string(tx_queues_) +
                  " transmit queues: the others cannot send");
  if (mtu_ + 18 > settings_.frame_size)
    out.push_back("frames longer than " + std::to_string(settings_.frame_size) +
                  " bytes are lost and counted");
  const int node = device_->numa_node();
  if (node >= 0 && bound_.front()->pool().numa_node() != node)
    out.push_back("the packet buffers are not on the device's NUMA node");
  return out;
}

Info DpdkPort::info() const {
  uint32_t mbits = 0;
  // A memif that is just starting again lets nobody in yet.
  const bool up = link_up(&mbits) && !(gate_ && gate_->closed(Gate::kRestart));
  const bool speed_known = up && mbits != RTE_ETH_SPEED_NUM_UNKNOWN;
  const Pool& pool = bound_.front()->pool();
  std::vector<int64_t> ids(queues_);
  for (uint32_t i = 0; i < queues_; i++) ids[i] = i;
  const std::string& interface = device_->interface();
  Info out{
      {"backend", std::string("dpdk")},
      {"device", settings_.device},
      {"arguments", settings_.arguments},
      {"driver", device_->driver()},
      {"mode",
       "poll-mode driver, " + std::string(Eal::huge_pages() ? "hugepages" : "no hugepages")},
      {"queues", int64_t{queues_}},
      {"queue_list", ids},
      {"tx_queues", int64_t{tx_queues_}},
      {"receive_side_scaling", rss_ != 0},
      {"wakeup", std::string("none: polled, asleep for at most 50 us where nothing came")},
      {"timestamp_source", timestamp_source()},
      {"clock", std::string(clock_.source())},
      {"frame_size", int64_t{settings_.frame_size}},
      {"frames", int64_t{pool.frames()}},
      {"max_held", int64_t{settings_.max_held}},
      {"rx_ring_size", int64_t{rx_descriptors_}},
      {"tx_ring_size", int64_t{tx_descriptors_}},
      {"mtu", int64_t{mtu_}},
      {"max_frame", int64_t{capabilities().max_frame}},
      {"mac", device_->mac()},
      {"interface", interface.empty() ? std::string("none") : interface},
      {"interface_driver", interface.empty() ? std::string("none") : device_->interface_driver()},
      {"link", std::string(up ? "up" : "down")},
      {"link_mbits", speed_known ? Value(int64_t{mbits}) : Value()},
      {"numa_node", int64_t{device_->numa_node()}},
      {"memory_node", int64_t{pool.numa_node()}},
      {"steering", settings_.tx_only ? std::string("none (transmit only)") : steering().describe()},
      {"steering_mode", steering_mode()},
      {"receive_filter", membership_->filter()},
      {"joined", membership_->groups()},
      {"join", membership_->how()},
      {"eal", Eal::version()},
      {"eal_memory", Eal::memory()},
      {"eal_cores", Eal::cores()},
      {"iova", std::string(rte_eal_iova_mode() == RTE_IOVA_VA ? "virtual" : "physical")},
      {"notes", notes()}};
  return out;
}

}  // namespace wp::dpdk
