// SPDX-License-Identifier: Apache-2.0
// What an af_xdp port says about itself, as read back from the kernel when it was opened.
#include <algorithm>

#include "backends/af_xdp/af_xdp_port.h"

namespace wp::af_xdp {

std::string AfXdpPort::timestamp_source() const {
  if (!settings_.driver_stamps) return "poll loop";
  if (stamps_refused_) return "poll loop (this kernel has no bpf_ktime_get_tai_ns)";
  if (std::ranges::all_of(bound_, [](const auto& q) { return q->stamped(); }))
    return "driver (XDP program, CLOCK_TAI)";
  return "poll loop (the driver has no room for XDP metadata)";
}

std::string AfXdpPort::wakeup() const {
  const Queue& q = *bound_.front();
  if (q.busy_poll_us() == 0) return "need-wakeup";
  return "need-wakeup, preferred busy poll " + std::to_string(q.busy_poll_us()) + " us, budget " +
         std::to_string(q.busy_poll_budget());
}

std::vector<std::string> AfXdpPort::tuning() const {
  const Queue& q = *bound_.front();
  std::vector<std::string> out;
  if (q.tx_budget() > 32) out.push_back("XDP_MAX_TX_SKB_BUDGET " + std::to_string(q.tx_budget()));
  if (q.busy_poll_us())
    out.push_back("SO_PREFER_BUSY_POLL, SO_BUSY_POLL " + std::to_string(q.busy_poll_us()) +
                  ", SO_BUSY_POLL_BUDGET " + std::to_string(q.busy_poll_budget()));
  return out;
}

std::vector<std::string> AfXdpPort::notes() const {
  std::vector<std::string> out;
  if (attachment_ && !attachment_->native_refusal().empty())
    out.push_back("native XDP refused: " + attachment_->native_refusal());
  if (settings_.busy_poll &&
      std::ranges::any_of(bound_, [](const auto& q) { return !q->has_napi(); }))
    out.push_back("busy poll has no effect: the driver names no NAPI instance for the queue");
  if (!netdev_.carrier) out.push_back("the interface has no carrier");
  if (netdev_.mtu + 18 > settings_.rx_room() && !settings_.tx_only)
    out.push_back("frames longer than " + std::to_string(settings_.rx_room()) +
                  " bytes are lost and counted in drop.rx_other");
  if (bound_.size() < netdev_.rx_queues && !settings_.tx_only)
    out.push_back("matching frames on the other receive queues go to the host: steer.no_socket");
  if (std::ranges::any_of(bound_, [&](const auto& q) { return q->id() >= netdev_.tx_queues; }))
    out.push_back("the NIC has only " + std::to_string(netdev_.tx_queues) +
                  " transmit queues: the others cannot send");
  return out;
}

Info AfXdpPort::info() const {
  const Queue& first = *bound_.front();
  std::vector<int64_t> ids;
  for (const auto& queue : bound_) ids.push_back(queue->id());
  const bool zero_copy =
      std::ranges::all_of(bound_, [](const auto& queue) { return queue->zero_copy(); });
  const XdpMode mode = attachment_ ? attachment_->mode() : XdpMode::kNone;
  Info out{{"backend", std::string("af_xdp")},
           {"device", netdev_.name},
           {"driver", netdev_.driver},
           {"mode",
            (mode == XdpMode::kNone ? std::string("transmit only") : std::string(to_string(mode))) +
                (zero_copy ? ", zero-copy" : ", copy")},
           {"zero_copy", zero_copy},
           {"queues", int64_t{queues_}},
           {"queue_list", ids},
           {"link", std::string(net::to_string(link_stats_->state()))},
           {"wakeup", wakeup()},
           {"timestamp_source", settings_.tx_only ? std::string("none") : timestamp_source()},
           {"clock", std::string(clock_.source())},
           {"frame_size", int64_t{settings_.frame_size}},
           {"frames", int64_t{first.frames()}},
           {"rx_ring_size", int64_t{settings_.tx_only ? 0 : settings_.rx_ring}},
           {"tx_ring_size", int64_t{settings_.tx_ring}},
           {"fill_ring_size", int64_t{first.fill_ring()}},
           {"mtu", int64_t{netdev_.mtu}},
           {"max_frame", int64_t{capabilities().max_frame}}};
  if (program_) {
    out.emplace_back("program_id", int64_t{program_->id()});
    out.emplace_back("program_name", program_->name());
    out.emplace_back("program_tag", program_->tag());
    out.emplace_back("attach", attachment_->describe());
    out.emplace_back("joined", multicast_->groups());
  }
  out.emplace_back("numa_node", int64_t{netdev_.numa_node});
  out.emplace_back("steering",
                   settings_.tx_only ? std::string("none (transmit only)") : steering().describe());
  out.emplace_back("tuning", tuning());
  out.emplace_back("notes", notes());
  return out;
}

}  // namespace wp::af_xdp
