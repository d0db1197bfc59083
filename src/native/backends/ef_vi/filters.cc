// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/filters.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "net/frame_builder.h"

namespace wp::ef_vi_backend {
namespace {

// Where the NIC's receive queue raises no interrupt unless it is asked to (Onload 9.1).
#ifdef WP_EF_VI_REQUEST_WAKEUPS
constexpr ef_filter_flags kFlags = EF_FILTER_FLAG_REQUEST_WAKEUPS;
#else
constexpr ef_filter_flags kFlags = EF_FILTER_FLAG_NONE;
#endif

ef_filter_spec empty() {
  ef_filter_spec spec;
  ef_filter_spec_init(&spec, kFlags);
  return spec;
}

bool unable(int code) {
  return code == -EPROTONOSUPPORT || code == -EOPNOTSUPP || code == -ENOSYS || code == -EINVAL;
}

class Inserter {
 public:
  Inserter(const Steering& steering, VirtualInterface& vi, const net::Netdev& netdev)
      : steering_(steering), vi_(vi), netdev_(netdev) {}

  Filters all() {
    if (steering_.everything) {
      everything();
      return std::move(out_);
    }
    // Sniffing applies to the whole virtual interface, so that one rule that needs it decides.
    const auto wide = std::ranges::find_if_not(
        steering_.rules, [](const FlowRule& r) { return exact(r) || group(r); });
    if (wide != steering_.rules.end()) {
      sniff(*wide);
    } else {
      for (const FlowRule& rule : steering_.rules) exact(rule) ? flow(rule) : ethernet(rule);
    }
    // The receive queue may be shared with other applications, whose frames come along.
    out_.recheck = out_.recheck || vi_.shared_buffers();
    return std::move(out_);
  }

 private:
  static bool any_address(const FlowRule& r) {
    return r.family == 0 || std::ranges::all_of(r.address, [](uint8_t b) { return b == 0; });
  }
  static bool exact(const FlowRule& r) { return !any_address(r) && r.port != 0; }
  static bool group(const FlowRule& r) { return !any_address(r) && r.multicast(); }

  static std::string describe(const FlowRule& rule) {
    Steering one;
    one.rules.push_back(rule);
    return one.describe();
  }

  // 0, or the reason; false alarms of a filter inserted before are no reason.
  int add(const ef_filter_spec& spec, const std::string& name) {
    if (std::ranges::find(out_.inserted, name) != out_.inserted.end()) return 0;
    const int failed = ef_vi_filter_add(vi_.vi(), vi_.handle(), &spec, nullptr);
    if (failed >= 0) out_.inserted.push_back(name);
    return std::min(failed, 0);
  }
  [[noreturn]] void fail(const std::string& name, int code) {
    throw refused("the filter for " + name + " is refused", code, netdev_);
  }

  void flow(const FlowRule& rule) {
    for (const Protocol protocol : {Protocol::kUdp, Protocol::kTcp}) {
      if (rule.protocol != Protocol::kAny && rule.protocol != protocol) continue;
      FlowRule one = rule;
      one.protocol = protocol;
      ef_filter_spec spec = empty();
      const int port = htons(rule.port), number = static_cast<int>(protocol);
      int failed;
      if (rule.family == 4) {
        in_addr_t address;
        std::memcpy(&address, rule.address.data(), 4);
        failed = ef_filter_spec_set_ip4_local(&spec, number, address, port);
      } else {
        in6_addr address;
        std::memcpy(&address, rule.address.data(), 16);
        failed = ef_filter_spec_set_ip6_local(&spec, number, &address, port);
      }
      if (failed >= 0) failed = add(spec, describe(one));
      if (unable(failed)) return group(rule) ? ethernet(rule) : sniff(rule);
      if (failed < 0) fail(describe(one), failed);
    }
  }

  // A group by its Ethernet address, which 32 (IPv4) and more groups share.
  void ethernet(const FlowRule& rule) {
    net::Mac mac;
    if (rule.family == 4) {
      net::Ip4 address;
      std::copy_n(rule.address.begin(), 4, address.begin());
      mac = net::multicast_mac(address);
    } else {
      mac = net::multicast_mac(rule.address);
    }
    char text[32];
    std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                  mac[3], mac[4], mac[5]);
    ef_filter_spec spec = empty();
    int failed = ef_filter_spec_set_eth_local(&spec, EF_FILTER_VLAN_ID_ANY, mac.data());
    if (failed >= 0) failed = add(spec, std::string("ethernet ") + text);
    if (unable(failed)) return sniff(rule);
    if (failed < 0) fail(text, failed);
    out_.recheck = true;
  }

  // Copies of all frames; the host keeps receiving, so that nothing is taken from it.
  void sniff(const FlowRule& rule) {
    ef_filter_spec spec = empty();
    int failed = ef_filter_spec_set_port_sniff(&spec, 1);
    if (failed >= 0) failed = add(spec, "port sniff");
    if (unable(failed))
      throw Error(ErrorKind::kUnsupported,
                  std::string(kName) + " cannot steer " + describe(rule) + " on " + netdev_.name +
                      ": the NIC has no such filter, and none that copies every frame",
                  "name address and port, wp.udp(\"239.1.1.1\", 9001), or take all of it with "
                  "wp.everything()");
    if (failed < 0) fail("port sniffing", failed);
    out_.recheck = out_.sniffing = true;
  }

  // From the host, as the user said on purpose: all, or else what nobody asked for.
  void everything() {
    using Set = int (*)(ef_filter_spec*);
    const auto one = [&](Set set, const char* name) {
      ef_filter_spec spec = empty();
      const int failed = set(&spec);
      return failed < 0 ? failed : add(spec, name);
    };
    int failed = one(ef_filter_spec_set_unicast_all, "all unicast");
    if (failed >= 0) failed = one(ef_filter_spec_set_multicast_all, "all multicast");
    if (unable(failed)) {
      failed = one(ef_filter_spec_set_unicast_mismatch, "unicast that nobody asked for");
      if (failed >= 0)
        failed = one(ef_filter_spec_set_multicast_mismatch, "multicast that nobody asked for");
    }
    if (failed < 0) fail("everything", failed);
  }

  const Steering& steering_;
  VirtualInterface& vi_;
  const net::Netdev& netdev_;
  Filters out_;
};

}  // namespace

Filters insert_filters(const Steering& steering, VirtualInterface& vi, const net::Netdev& netdev) {
  return Inserter(steering, vi, netdev).all();
}

}  // namespace wp::ef_vi_backend
