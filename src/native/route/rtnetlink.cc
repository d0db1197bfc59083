// SPDX-License-Identifier: Apache-2.0
#include "route/rtnetlink.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace wp::route {
namespace {

constexpr size_t align4(size_t n) {
  return (n + 3) & ~size_t{3};
}

struct Span {
  const uint8_t* data;
  size_t size;

  // The structure in front, or nothing.
  template <class T>
  bool head(T* out) const noexcept {
    if (size < sizeof(T)) return false;
    std::memcpy(out, data, sizeof(T));
    return true;
  }
  Span after(size_t n) const noexcept {
    n = std::min(align4(n), size);
    return {data + n, size - n};
  }
  uint32_t number() const noexcept {
    uint32_t out = 0;
    std::memcpy(&out, data, std::min(size, sizeof out));
    return out;
  }
  // Copied only where it fits.
  bool bytes(uint8_t* to, size_t most) const noexcept {
    if (size > most) return false;
    std::memcpy(to, data, size);
    return true;
  }
  void text(char* to, size_t room) const noexcept {
    const size_t n = std::min(size, room - 1);
    std::memcpy(to, data, n);
  }
};

// Visits attributes (type, payload) until `visit` says no; false = a length does not fit.
template <class Visit>
bool attributes(Span span, Visit&& visit) {
  while (span.size >= sizeof(rtattr)) {
    rtattr a;
    span.head(&a);
    if (a.rta_len < sizeof a || a.rta_len > span.size) return false;
    if (!visit(a.rta_type & NLA_TYPE_MASK, Span{span.data + sizeof a, a.rta_len - sizeof a}))
      return false;
    span = span.after(a.rta_len);
  }
  return true;
}

size_t address_size(uint8_t family) {
  return family == AF_INET ? 4 : 16;
}

bool gateway(RouteEvent& e, uint8_t family, Span value) {
  if (value.size != address_size(family)) return false;
  e.gateway_family = family;
  return value.bytes(e.gateway, sizeof e.gateway);
}

// RTA_VIA: a gateway of another family than the route's.
bool via(RouteEvent& e, Span value) {
  uint16_t family;
  if (!value.head(&family)) return false;
  if (family != AF_INET && family != AF_INET6) return true;
  return gateway(e, static_cast<uint8_t>(family), {value.data + 2, value.size - 2});
}

// What a route and each of its paths have in common.
bool path_attribute(RouteEvent& e, int type, Span value) {
  switch (type) {
    case RTA_OIF:
      e.interface = value.number();
      return value.size == 4;
    case RTA_GATEWAY:
      return gateway(e, e.family, value);
    case RTA_VIA:
      return via(e, value);
    case RTA_ENCAP_TYPE:
      e.bits |= kEncap;
      return true;
    default:
      return true;
  }
}

bool multipath(const RouteEvent& route, Span value, std::vector<RouteEvent>& out) {
  while (value.size >= sizeof(rtnexthop)) {
    rtnexthop hop;
    value.head(&hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > value.size) return false;
    RouteEvent e{};
    e.kind = static_cast<uint8_t>(EventKind::kMember);
    e.family = route.family;
    e.interface = static_cast<uint32_t>(hop.rtnh_ifindex);
    e.weight = hop.rtnh_hops + 1u;
    e.flags = hop.rtnh_flags;
    const Span inside{value.data + sizeof hop, hop.rtnh_len - sizeof hop};
    if (!attributes(inside, [&](int type, Span v) { return path_attribute(e, type, v); }))
      return false;
    out.push_back(e);
    value = value.after(hop.rtnh_len);
  }
  return value.size == 0;
}

bool route(RouteEvent& e, Span body, std::vector<RouteEvent>& members) {
  rtmsg m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kRoute);
  e.family = m.rtm_family;
  e.prefix_length = m.rtm_dst_len;
  e.type = m.rtm_type;
  e.protocol = m.rtm_protocol;
  e.scope = m.rtm_scope;
  e.tos = m.rtm_tos;
  e.table = m.rtm_table;
  e.flags = m.rtm_flags;
  if (m.rtm_src_len) e.bits |= kSelective;
  if (m.rtm_dst_len > address_size(e.family) * 8) return false;
  bool fits = true;
  Span paths{nullptr, 0};
  const bool framed = attributes(body.after(sizeof m), [&](int type, Span v) {
    switch (type) {
      case RTA_DST:
        fits &= v.size <= address_size(e.family) && v.bytes(e.address, sizeof e.address);
        return fits;
      case RTA_PRIORITY:
        e.metric = v.number();
        return true;
      case RTA_TABLE:
        e.table = v.number();
        return true;
      case RTA_NH_ID:
        e.next_hop_id = v.number();
        return true;
      case RTA_MULTIPATH:
        paths = v;
        return true;
      case RTA_METRICS:
        return attributes(v, [&](int t, Span x) {
          if (t == RTAX_MTU) e.mtu = x.number();
          return true;
        });
      default:
        return path_attribute(e, type, v);
    }
  });
  // Of a next hop object the kernel repeats the paths with every route (nexthop_compat_mode).
  return framed && fits && (e.next_hop_id || multipath(e, paths, members));
}

bool next_hop(RouteEvent& e, Span body, std::vector<RouteEvent>& members) {
  nhmsg m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kNextHop);
  e.family = m.nh_family;
  e.scope = m.nh_scope;
  e.protocol = m.nh_protocol;
  e.flags = m.nh_flags;
  e.type = RTN_UNICAST;
  return attributes(body.after(sizeof m), [&](int type, Span v) {
    switch (type) {
      case NHA_ID:
        e.next_hop_id = v.number();
        return v.size == 4;
      case NHA_OIF:
        e.interface = v.number();
        return v.size == 4;
      case NHA_BLACKHOLE:
        e.type = RTN_BLACKHOLE;
        return true;
      case NHA_ENCAP_TYPE:
        e.bits |= kEncap;
        return true;
      case NHA_GATEWAY:
        return (e.family == AF_INET || e.family == AF_INET6) && gateway(e, e.family, v);
      case NHA_GROUP: {
        e.bits |= kGroupOfIds;
        if (v.size % sizeof(nexthop_grp)) return false;
        for (size_t i = 0; i < v.size; i += sizeof(nexthop_grp)) {
          nexthop_grp g;
          std::memcpy(&g, v.data + i, sizeof g);
          RouteEvent member{};
          member.kind = static_cast<uint8_t>(EventKind::kMember);
          member.next_hop_id = g.id;
          member.weight = g.weight + 1u;
          members.push_back(member);
        }
        return true;
      }
      default:
        return true;
    }
  });
}

bool neighbour(RouteEvent& e, Span body) {
  ndmsg m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kNeighbour);
  e.family = m.ndm_family;
  e.interface = static_cast<uint32_t>(m.ndm_ifindex);
  e.state = m.ndm_state;
  e.type = m.ndm_type;
  return attributes(body.after(sizeof m), [&](int type, Span v) {
    if (type == NDA_DST)
      return v.size == address_size(e.family) && v.bytes(e.address, sizeof e.address);
    // Links of other kinds have addresses of other lengths: no Ethernet, no rewrite.
    if (type == NDA_LLADDR) return v.size != sizeof e.mac || v.bytes(e.mac, sizeof e.mac);
    return true;
  });
}

bool link_info(RouteEvent& e, Span info) {
  Span data{nullptr, 0};
  if (!attributes(info, [&](int type, Span v) {
        if (type == IFLA_INFO_KIND) v.text(e.link_kind, sizeof e.link_kind);
        if (type == IFLA_INFO_DATA) data = v;
        return true;
      }))
    return false;
  const bool vrf = !std::strcmp(e.link_kind, "vrf"), vlan = !std::strcmp(e.link_kind, "vlan");
  if (!vrf && !vlan) return true;
  return attributes(data, [&](int type, Span v) {
    if (vrf && type == IFLA_VRF_TABLE) e.table = v.number();
    if (vlan && type == IFLA_VLAN_ID) e.vlan = static_cast<uint16_t>(v.number());
    return true;
  });
}

bool link(RouteEvent& e, Span body) {
  ifinfomsg m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kLink);
  e.family = m.ifi_family;
  e.interface = static_cast<uint32_t>(m.ifi_index);
  e.flags = m.ifi_flags;
  return attributes(body.after(sizeof m), [&](int type, Span v) {
    switch (type) {
      case IFLA_ADDRESS:
        return v.size != sizeof e.mac || v.bytes(e.mac, sizeof e.mac);
      case IFLA_IFNAME:
        v.text(e.name, sizeof e.name);
        return true;
      case IFLA_MTU:
        e.mtu = v.number();
        return true;
      case IFLA_LINK:
        e.parent = v.number();
        return true;
      case IFLA_MASTER:
        e.master = v.number();
        return true;
      case IFLA_LINKINFO:
        return link_info(e, v);
      default:
        return true;
    }
  });
}

bool address(RouteEvent& e, Span body) {
  ifaddrmsg m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kAddress);
  e.family = m.ifa_family;
  e.prefix_length = m.ifa_prefixlen;
  e.scope = m.ifa_scope;
  e.interface = m.ifa_index;
  bool local = false;
  return attributes(body.after(sizeof m), [&](int type, Span v) {
    if (type != IFA_LOCAL && type != IFA_ADDRESS) return true;
    if (type == IFA_ADDRESS && local) return true;  // a point-to-point peer's
    local = type == IFA_LOCAL;
    return v.size == address_size(e.family) && v.bytes(e.address, sizeof e.address);
  });
}

bool rule(RouteEvent& e, Span body) {
  fib_rule_hdr m;
  if (!body.head(&m)) return false;
  e.kind = static_cast<uint8_t>(EventKind::kRule);
  e.family = m.family;
  e.type = m.action;
  e.table = m.table;
  e.tos = m.tos;
  if (m.dst_len || m.src_len || m.tos || (m.flags & FIB_RULE_INVERT)) e.bits |= kSelective;
  return attributes(body.after(sizeof m), [&](int type, Span v) {
    switch (type) {
      case FRA_PRIORITY:
        e.metric = v.number();
        return true;
      case FRA_TABLE:
        e.table = v.number();
        return true;
      case FRA_L3MDEV:
        e.bits |= kL3Master;
        return true;
      case FRA_SUPPRESS_PREFIXLEN:
        if (v.number() != ~uint32_t{0}) e.bits |= kSelective;
        return true;
      case FRA_PROTOCOL:
        return true;
      default:
        e.bits |= kSelective;
        return true;
    }
  });
}

bool known_family(uint8_t family) {
  return family == AF_INET || family == AF_INET6;
}

/* The kernel's -errno as errno; of what no kernel says, whatever it wraps to. */
int32_t negated(uint32_t error) {
  return static_cast<int32_t>(0u - error);
}

enum class Outcome { kEvent, kUnknown, kMalformed };

Outcome decode(const nlmsghdr& h, Span body, RouteEvent& e, std::vector<RouteEvent>& members) {
  bool (*plain)(RouteEvent&, Span) = nullptr;
  bool (*grouped)(RouteEvent&, Span, std::vector<RouteEvent>&) = nullptr;
  bool gone = false, any_family = false;
  switch (h.nlmsg_type) {
    case NLMSG_DONE:
      e.kind = static_cast<uint8_t>(EventKind::kDone);
      e.error = body.size >= 4 ? negated(body.number()) : 0;
      return Outcome::kEvent;
    case NLMSG_ERROR:
      if (body.size < 4) return Outcome::kMalformed;
      e.kind = static_cast<uint8_t>(EventKind::kError);
      e.error = negated(Span{body.data, 4}.number());
      return Outcome::kEvent;
    case RTM_DELROUTE:
      gone = true;
      [[fallthrough]];
    case RTM_NEWROUTE:
      grouped = route;
      break;
    case RTM_DELNEXTHOP:
      gone = true;
      [[fallthrough]];
    case RTM_NEWNEXTHOP:
      grouped = next_hop;
      any_family = true;
      break;
    case RTM_DELNEIGH:
      gone = true;
      [[fallthrough]];
    case RTM_NEWNEIGH:
      plain = neighbour;
      break;
    case RTM_DELLINK:
      gone = true;
      [[fallthrough]];
    case RTM_NEWLINK:
      plain = link;
      any_family = true;
      break;
    case RTM_DELADDR:
      gone = true;
      [[fallthrough]];
    case RTM_NEWADDR:
      plain = address;
      break;
    case RTM_DELRULE:
      gone = true;
      [[fallthrough]];
    case RTM_NEWRULE:
      plain = rule;
      break;
    default:
      return Outcome::kUnknown;
  }
  if (body.size == 0) return Outcome::kMalformed;
  if (!any_family && !known_family(body.data[0])) return Outcome::kUnknown;
  e.removed = gone;
  if (!(plain ? plain(e, body) : grouped(e, body, members))) return Outcome::kMalformed;
  // A bridge tells of its ports with messages about links that are no news about the links.
  if (e.kind == static_cast<uint8_t>(EventKind::kLink) && e.family != AF_UNSPEC)
    return Outcome::kUnknown;
  return Outcome::kEvent;
}

}  // namespace

void decode_rtnetlink(const uint8_t* data, size_t length, std::vector<RouteEvent>& out,
                      RtnetlinkCounters& counters) {
  Span span{data, length};
  std::vector<RouteEvent> members;
  while (span.size > 0) {
    nlmsghdr h;
    if (!span.head(&h) || h.nlmsg_len < sizeof h || h.nlmsg_len > span.size) {
      counters.malformed++;
      return;
    }
    counters.messages++;
    if (h.nlmsg_flags & NLM_F_DUMP_INTR) counters.interrupted++;
    RouteEvent e{};
    e.message_flags = h.nlmsg_flags;
    members.clear();
    switch (decode(h, {span.data + sizeof h, h.nlmsg_len - sizeof h}, e, members)) {
      case Outcome::kUnknown:
        counters.unknown++;
        break;
      case Outcome::kMalformed:
        counters.malformed++;
        break;
      case Outcome::kEvent:
        if (members.size() > UINT16_MAX) {
          counters.malformed++;
          break;
        }
        counters.events++;
        counters.encap += e.bits & kEncap ? 1 : 0;
        for (const RouteEvent& m : members) counters.encap += m.bits & kEncap ? 1 : 0;
        e.members = static_cast<uint16_t>(members.size());
        out.push_back(e);
        out.insert(out.end(), members.begin(), members.end());
    }
    span = span.after(h.nlmsg_len);
  }
}

}  // namespace wp::route
