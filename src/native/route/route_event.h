// SPDX-License-Identifier: Apache-2.0
// One thing that a source of routes said: a fixed record, so that a full table is one NumPy array.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wp::route {

enum class EventKind : uint8_t {
  kRoute = 1,
  kMember = 2,  // of the route or the group before it; as many as its `members`
  kNextHop = 3,
  kNeighbour = 4,
  kLink = 5,
  kAddress = 6,
  kRule = 7,
  kDone = 8,   // the end of a dump
  kError = 9,  // the kernel's answer to a request; `error` is an errno, 0 = done
};

enum EventBits : uint8_t {
  kEncap = 1,      // with an encapsulation, which wirepath does not lay on
  kSelective = 2,  // a rule that looks at more than the table
  kL3Master = 4,   // a rule for what belongs to a VRF
  kGroupOfIds = 8  // a next hop object that is a group of others
};

// wirepath.dtypes.ROUTE_EVENT. Numbers are the kernel's (linux/rtnetlink.h and its neighbours).
struct RouteEvent {
  uint8_t kind;
  uint8_t removed;  // 1 = this is gone
  uint8_t family;
  uint8_t prefix_length;
  uint8_t type;  // RTN_* of a route (and of a blackhole next hop), FR_ACT_* of a rule
  uint8_t protocol;
  uint8_t scope;
  uint8_t tos;
  uint32_t table;
  uint32_t metric;  // or a rule's priority
  uint32_t interface;
  uint32_t next_hop_id;
  uint32_t weight;  // of a member, from 1
  uint32_t flags;   // rtm_flags, rtnh_flags, nh_flags, ifi_flags
  uint32_t mtu;
  uint32_t master;         // of a link
  uint16_t state;          // NUD_* of a neighbour
  uint16_t message_flags;  // nlmsg_flags
  uint16_t members;        // how many kMember records follow
  uint8_t gateway_family;  // 0 = no gateway
  uint8_t bits;            // EventBits
  uint8_t address[16];     // destination of a route, address of a neighbour or an interface
  uint8_t gateway[16];
  uint8_t mac[6];
  uint16_t vlan;  // of a VLAN link
  char name[16];
  char link_kind[16];
  int32_t error;
  uint32_t parent;  // the link below a VLAN link
};
static_assert(sizeof(RouteEvent) == 128);
static_assert(offsetof(RouteEvent, address) == 48 && offsetof(RouteEvent, name) == 88);

}  // namespace wp::route
