// SPDX-License-Identifier: Apache-2.0
// The kernel's counters of one network interface, over rtnetlink. The socket is opened with the
// object and stays in that network namespace, whatever namespace later callers are in.
#pragma once

#include <cstdint>
#include <string>

namespace wp::net {

// Counts of struct rtnl_link_stats64 (linux/if_link.h says what each means for a driver).
struct LinkCounts {
  uint64_t rx_packets = 0, rx_bytes = 0, rx_errors = 0, rx_dropped = 0;
  uint64_t rx_missed = 0;    // the device had no buffer left
  uint64_t rx_overruns = 0;  // the device's own queue was full
  uint64_t rx_nohandler = 0;
  uint64_t tx_packets = 0, tx_bytes = 0, tx_errors = 0, tx_dropped = 0;
};

// Of the interface, as users of it see it: running, not running, not there any more.
enum class LinkState { kUp, kDown, kGone };

inline const char* to_string(LinkState state) noexcept {
  return state == LinkState::kUp ? "up" : state == LinkState::kDown ? "down" : "gone";
}

class LinkStats {
 public:
  // Counting begins here. Throws Error where the interface does not exist.
  explicit LinkStats(const std::string& interface);
  explicit LinkStats(unsigned ifindex);
  ~LinkStats();
  LinkStats(const LinkStats&) = delete;
  LinkStats& operator=(const LinkStats&) = delete;

  // Brings `counts` up to date; false = the kernel did not answer (interface gone).
  bool read() noexcept;
  // Since construction.
  const LinkCounts& counts() const noexcept { return counts_; }
  LinkState state() const noexcept;
  unsigned ifindex() const noexcept { return ifindex_; }

 private:
  void open();
  bool query(LinkCounts& out) noexcept;

  unsigned ifindex_ = 0;
  int fd_ = -1;
  uint32_t sequence_ = 0;
  LinkCounts base_, counts_;
};

}  // namespace wp::net
