// SPDX-License-Identifier: Apache-2.0
// What an ef_vi port says about itself, as read back from Onload and the NIC.
#include "backends/ef_vi/ef_vi_port.h"

namespace wp::ef_vi_backend {

std::string EfViPort::mode() const {
  std::string out = kSimulator ? "simulator of ef_vi, " : "ef_vi, ";
  out += vi_.model();
  if (vi_.merged()) out += ", merged events";
  if (settings_.tx_only) return out + ", transmit only";
  return out + (vi_.shared_buffers() && !queue_.by_reference() ? ", copy" : ", zero-copy");
}

std::string EfViPort::timestamp_source() const {
  if (settings_.tx_only) return "none";
  if (!vi_.stamped())
    return settings_.stamps == Stamps::kPoll ? "poll loop" : "poll loop (the NIC does not stamp)";
  const std::string source = kSimulator ? "simulated hardware" : "hardware";
  switch (queue_.nic_clock()) {
    case NicClock::kInSync:
      return source + " (clock of the NIC, in sync)";
    case NicClock::kSet:
      return source + " (clock of the NIC, set once, not in sync)";
    case NicClock::kFree:
      return source + " (clock of the NIC, unsynchronised)";
    case NicClock::kUnknown:
      break;
  }
  return source + " (clock of the NIC, no frame so far)";
}

std::vector<std::string> EfViPort::notes() const {
  std::vector<std::string> out;
  if (kSimulator) out.emplace_back("no NIC is driven: frames come from a packet socket");
  if (filters_.sniffing)
    out.emplace_back(
        "no filter of the NIC says this steering: it copies all frames, they are "
        "matched in software, and the host receives them too");
  else if (vi_.shared_buffers() && !settings_.tx_only)
    out.emplace_back(
        "frames are matched in software: the receive queue may be shared with other "
        "applications");
  else if (filters_.recheck)
    out.emplace_back("frames are matched in software: several groups share an Ethernet address");
  if (queue_.by_reference())
    out.emplace_back("frames are read-only: they stand in shared hardware buffers");
  if (!losses_.known())
    out.emplace_back(
        "the driver has no counter of frames lost for want of a descriptor: "
        "drop.rx_no_desc stays 0");
  if (vi_.stamped())
    out.emplace_back("poll at least once a second: stamps take event queue slots by themselves");
  if (!netdev_.carrier) out.emplace_back("the interface has no carrier");
  if (queue_.overflowed())
    out.emplace_back("the event queue has overflowed: nothing more arrives, open the port again");
  else if (queue_.gone())
    out.emplace_back("the NIC was reset or removed: nothing more arrives, open the port again");
  return out;
}

Info EfViPort::info() const {
  Info out{
      {"backend", std::string(kName)},
      {"device", netdev_.name},
      {"driver", kSimulator ? "simulator over " + netdev_.driver : netdev_.driver},
      {"mode", mode()},
      {"zero_copy", !vi_.shared_buffers() || queue_.by_reference()},
      {"queues", int64_t{queues_}},
      {"link", std::string(net::to_string(link_stats_.state()))},
      {"wakeup", std::string(queue_.interrupts() ? "interrupt, primed when idle"
                                                 : "poll (the NIC raises no interrupt)")},
      {"timestamp_source", timestamp_source()},
      {"clock", std::string(clock_.source())},
      {"frame_size", int64_t{vi_.frame_size()}},
      {"frames", int64_t{vi_.frames()}},
      {"rx_ring_size", int64_t{vi_.rx_ring()}},
      {"tx_ring_size", int64_t{vi_.tx_ring()}},
      {"event_queue_size", int64_t{vi_.event_slots()}},
      {"mtu", int64_t{netdev_.mtu}},
      {"max_frame", int64_t{vi_.max_frame()}},
      {"filters", filters_.inserted},
      {"software_match", filters_.recheck},
      {"joined", multicast_ ? multicast_->groups() : std::vector<std::string>{}},
      {"library", std::string(ef_vi_version_str())},
      {"numa_node", int64_t{netdev_.numa_node}},
      {"steering", settings_.tx_only ? std::string("none (transmit only)") : steering().describe()},
      {"tuning", std::vector<std::string>{}},
      {"notes", notes()}};
  return out;
}

}  // namespace wp::ef_vi_backend
