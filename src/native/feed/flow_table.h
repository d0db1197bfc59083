/* SPDX-License-Identifier: Apache-2.0
 *
 * Which channel, and which of its lines, a UDP frame belongs to: by destination
 * address and port.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/steering.h"
#include "net/headers.h"

namespace wp::feed {

class Channel;

struct FlowTarget {
  Channel* channel = nullptr;
  uint32_t line = 0;
};

/* A rule with an address and a port comes before rules that leave one of them open, and these
 * come in the order in which they were added. */
class FlowTable {
 public:
  /* Throws wp::Error naming both where the flow is somebody's already, and for one that is not
   * UDP. what: for the message. */
  void add(const FlowRule& rule, const FlowTarget& target, const std::string& what);

  /* Null: nobody's. h: of a UDP frame. */
  const FlowTarget* find(const net::Headers& h) {
    if (latest_ < entries_.size() && matches(entries_[latest_].rule, h)) [[likely]]
      return &entries_[latest_].target;
    return find_other(h);
  }

 private:
  struct Entry {
    FlowRule rule;
    FlowTarget target;
    std::string what;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  static bool matches(const FlowRule& rule, const net::Headers& h) {
    if (rule.port != 0 && rule.port != h.dst_port) return false;
    if (rule.family == 0) return true;
    if (rule.family != h.ip_version) return false;
    // Of IPv4 the rest is 0 in both.
    uint64_t a[2], b[2];
    std::memcpy(a, rule.address.data(), sizeof a);
    std::memcpy(b, h.ip_dst, sizeof b);
    return a[0] == b[0] && a[1] == b[1];
  }
  static bool exact(const FlowRule& rule) { return rule.family != 0 && rule.port != 0; }
  static uint64_t hash(const uint8_t* address, uint8_t family, uint16_t port);
  const FlowTarget* find_other(const net::Headers& h);
  void rebuild();

  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // entries of exact rules, open addressing
  std::vector<uint32_t> open_;   // entries of the others
  // What the last frame matched; only an entry before which no other can come.
  size_t latest_ = SIZE_MAX;
};

}  // namespace wp::feed
