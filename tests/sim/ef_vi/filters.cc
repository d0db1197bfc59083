// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "state.h"

namespace sim {
namespace {

// Unicast flows have one owner on a NIC: filters of every virtual interface of this process.
struct Owned {
  const ef_sim_vi* vi;
  int ifindex;
  Filter filter;
};
std::mutex mutex;
std::vector<Owned> owned;

// The spec's words are ours to use: the filter stands in them.
static_assert(sizeof(Filter) <= sizeof ef_filter_spec::data);

int set(ef_filter_spec* spec, const Filter& filter) {
  if (spec->type != Filter::kNone) return -EPROTONOSUPPORT;
  spec->type = filter.kind;
  std::memcpy(spec->data, &filter, sizeof filter);
  return 0;
}

bool refused(const ef_sim_config& config, const Filter& filter) {
  const bool x3 = config.nic == EF_SIM_X3;
  switch (filter.kind) {
    case Filter::kIp6:
      return config.refuse & EF_SIM_REFUSE_IP6;
    case Filter::kMac:
      return config.refuse & EF_SIM_REFUSE_MAC;
    case Filter::kSniff:
      return x3 || (config.refuse & EF_SIM_REFUSE_SNIFF);
    case Filter::kUnicast:
    case Filter::kMulticast:
      return !filter.mismatch && (x3 || (config.refuse & EF_SIM_REFUSE_ALL));
    default:
      return false;
  }
}

}  // namespace

bool Filter::exclusive() const {
  return (kind == kIp4 && (address[0] & 0xf0) != 0xe0) || (kind == kIp6 && address[0] != 0xff);
}

bool Filter::matches(const Frame& frame, const wp::net::Headers& h) const {
  switch (kind) {
    case kSniff:
      return true;
    case kUnicast:
      return !(frame.data[0] & 1);
    case kMulticast:
      return frame.data[0] & 1;
    case kMac:
      return !std::memcmp(frame.data, address.data(), 6);
    case kIp4:
    case kIp6:
      return h.ip_version == (kind == kIp4 ? 4 : 6) && h.protocol == protocol &&
             !(h.layers & wp::net::kFragment) && (h.layers & (wp::net::kUdp | wp::net::kTcp)) &&
             h.dst_port == port && !std::memcmp(h.ip_dst, address.data(), kind == kIp4 ? 4 : 16);
    case kNone:
      break;
  }
  return false;
}

void forget(const ef_sim_vi* vi) {
  const std::lock_guard lock(mutex);
  std::erase_if(owned, [&](const Owned& o) { return o.vi == vi; });
}

}  // namespace sim

using sim::Filter;

void ef_filter_spec_init(ef_filter_spec* spec, ef_filter_flags flags) {
  *spec = {};
  spec->flags = flags;
}
int ef_filter_spec_set_ip4_local(ef_filter_spec* spec, int protocol, unsigned address, int port) {
  Filter f{.kind = Filter::kIp4, .protocol = static_cast<uint8_t>(protocol)};
  std::memcpy(f.address.data(), &address, 4);
  f.port = ntohs(static_cast<uint16_t>(port));
  return sim::set(spec, f);
}
int ef_filter_spec_set_ip6_local(ef_filter_spec* spec, int protocol, const in6_addr* address,
                                 int port) {
  Filter f{.kind = Filter::kIp6, .protocol = static_cast<uint8_t>(protocol)};
  std::memcpy(f.address.data(), address, 16);
  f.port = ntohs(static_cast<uint16_t>(port));
  return sim::set(spec, f);
}
int ef_filter_spec_set_eth_local(ef_filter_spec* spec, int vlan, const void* mac) {
  if (vlan != EF_FILTER_VLAN_ID_ANY) return -EPROTONOSUPPORT;
  Filter f{.kind = Filter::kMac};
  std::memcpy(f.address.data(), mac, 6);
  return sim::set(spec, f);
}
int ef_filter_spec_set_unicast_all(ef_filter_spec* spec) {
  return sim::set(spec, {.kind = Filter::kUnicast});
}
int ef_filter_spec_set_multicast_all(ef_filter_spec* spec) {
  return sim::set(spec, {.kind = Filter::kMulticast});
}
int ef_filter_spec_set_unicast_mismatch(ef_filter_spec* spec) {
  return sim::set(spec, {.kind = Filter::kUnicast, .mismatch = true});
}
int ef_filter_spec_set_multicast_mismatch(ef_filter_spec* spec) {
  return sim::set(spec, {.kind = Filter::kMulticast, .mismatch = true});
}
int ef_filter_spec_set_port_sniff(ef_filter_spec* spec, int promiscuous) {
  return promiscuous ? sim::set(spec, {.kind = Filter::kSniff}) : -EPROTONOSUPPORT;
}

int ef_vi_filter_add(ef_vi* vi, ef_driver_handle, const ef_filter_spec* spec, ef_filter_cookie*) {
  Filter filter;
  std::memcpy(&filter, spec->data, sizeof filter);
  if (filter.kind == Filter::kNone) return -EINVAL;
  if (sim::refused(vi->sim->config, filter)) return -EPROTONOSUPPORT;
  const int ifindex = vi->sim->domain.ifindex;
  if (filter.exclusive()) {
    const std::lock_guard lock(sim::mutex);
    for (const sim::Owned& o : sim::owned)
      if (o.ifindex == ifindex && o.filter == filter) return -EEXIST;
    sim::owned.push_back({vi->sim, ifindex, filter});
  }
  if (vi->sim->filters.empty())
    if (const int failed = vi->sim->wire.listen()) return failed;
  vi->sim->filters.push_back(filter);
  return 0;
}
