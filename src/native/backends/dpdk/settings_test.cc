// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/settings.h"

#include <doctest/doctest.h>

#include "backends/dpdk/errors.h"
#include "backends/dpdk/flow.h"
#include "core/backend.h"
#include "core/error.h"

namespace {

using wp::dpdk::Settings;

Settings of(const std::string& spec) {
  const wp::PortSpec parsed = wp::parse_port_spec(spec);
  wp::PortConfig config;
  config.spec = spec;
  config.device = parsed.device;
  config.options = wp::Options(parsed.options, Settings::options(), "dpdk", true);
  return Settings(config);
}

std::string refused(const std::string& spec) {
  try {
    of(spec);
  } catch (const wp::Error& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("dpdk settings: arguments of the device go to its driver, options stay here") {
  const Settings s =
      of("dpdk:net_memif0,role=client,rx_ring_size=256,socket=/run/a.sock,socket-abstract=no");
  CHECK(s.device == "net_memif0");
  CHECK(s.rx_ring == 256);
  CHECK(s.driver() == "net_memif");
  CHECK(s.devargs() == "net_memif0,role=client,socket=/run/a.sock,socket-abstract=no");
  CHECK(s.argument("socket") == "/run/a.sock");
  CHECK(s.argument("sock") == "");
  CHECK(of("dpdk:net_memif0,socket-abstract=no").devargs() == "net_memif0,socket-abstract=no");
  // A name of ours that the driver has too is reached past us.
  const Settings both = of("dpdk:net_virtio_user0,dev_queues=2,queues=0-1,path=/dev/vhost-net");
  CHECK(both.queues == 2);
  CHECK(both.argument("queues") == "2");
}

TEST_CASE("dpdk settings: a PCI address is a device without a driver's name") {
  const Settings s = of("dpdk:0000:3b:00.0,queues=0-3");
  CHECK(s.pci());
  CHECK(s.device == "0000:3b:00.0");
  CHECK(s.devargs() == "0000:3b:00.0");
  CHECK(s.driver() == "");
  CHECK(s.queues == 4);
  CHECK(of("dpdk:0000:3b:00.0,queues=all").queues == 0);
}

TEST_CASE("dpdk settings: interfaces behind virtual devices") {
  CHECK(of("dpdk:net_af_xdp0,iface=eth0").interface() == "eth0");
  CHECK(of("dpdk:net_memif0,iface=eth0").interface() == "");
}

TEST_CASE("dpdk settings: what cannot be is refused with field, value and range") {
  CHECK(refused("dpdk:").find("net_memif0") != std::string::npos);
  for (const char* bad :
       {"queues=1", "queues=0,2", "queues=0-64", "rx_ring_size=100", "max_held=10",
        "frame_size=20000", "mtu=5", "flow=nic", "join_source=here", "eal_memory=4",
        "hugepages=maybe", "eal_cores=all", "timestamps=driver", "link_wait_ms=-1"}) {
    const std::string said = refused(std::string("dpdk:net_null0,") + bad);
    INFO(bad, " -> ", said);
    CHECK(said.find(std::string(bad).substr(0, std::string(bad).find('='))) != std::string::npos);
    CHECK(said.find("must be") != std::string::npos);
  }
}

TEST_CASE("dpdk errors: what DPDK logged becomes a kind and a mend") {
  const auto kind = [](const std::string& log, int error) {
    return wp::dpdk::refusal("x", error, log, "0000:3b:00.0");
  };
  CHECK(kind("0000:3b:00.0 VFIO group is not viable!", 1).kind() == wp::ErrorKind::kBusy);
  CHECK(kind("VFIO group is not viable", 1).mend().find("0000:3b:00.0/iommu_group") !=
        std::string::npos);
  CHECK(kind("Failed to connect socket: /x", 1).mend().find("role=server") != std::string::npos);
  CHECK(kind("", EACCES).kind() == wp::ErrorKind::kPermission);
  CHECK(kind("", EBUSY).kind() == wp::ErrorKind::kBusy);
  CHECK(kind("", ENODEV).kind() == wp::ErrorKind::kIo);
  CHECK(wp::dpdk::no_memory("x", true, 100 << 20).mend().find("nr_hugepages=82") !=
        std::string::npos);
  CHECK(wp::dpdk::no_memory("x", false, 100 << 20).mend().find("eal_memory=612") !=
        std::string::npos);
}

TEST_CASE("dpdk flow: the pattern of a rule names what the rule names and no more") {
  wp::FlowRule rule{.protocol = wp::Protocol::kUdp, .family = 4, .address = {}, .port = 9001};
  rule.address[0] = 239;
  rule.address[3] = 7;
  const wp::dpdk::FlowPattern plain(rule, 4, false);
  const rte_flow_item* items = plain.items();
  CHECK(items[0].type == RTE_FLOW_ITEM_TYPE_ETH);
  REQUIRE(items[1].type == RTE_FLOW_ITEM_TYPE_IPV4);
  const auto* ip = static_cast<const rte_flow_item_ipv4*>(items[1].spec);
  const auto* ip_mask = static_cast<const rte_flow_item_ipv4*>(items[1].mask);
  CHECK(ip->hdr.dst_addr == rte_cpu_to_be_32(0xef000007));
  CHECK(ip_mask->hdr.dst_addr == 0xffffffff);
  CHECK(ip_mask->hdr.src_addr == 0);
  REQUIRE(items[2].type == RTE_FLOW_ITEM_TYPE_UDP);
  const auto* udp = static_cast<const rte_flow_item_udp*>(items[2].spec);
  CHECK(udp->hdr.dst_port == rte_cpu_to_be_16(9001));
  CHECK(items[3].type == RTE_FLOW_ITEM_TYPE_END);

  rule.port = 0;
  rule.protocol = wp::Protocol::kTcp;
  rule.family = 6;
  rule.address = {};
  const wp::dpdk::FlowPattern open(rule, 6, true);
  CHECK(open.items()[1].type == RTE_FLOW_ITEM_TYPE_VLAN);
  CHECK(open.items()[2].type == RTE_FLOW_ITEM_TYPE_IPV6);
  CHECK(open.items()[2].spec == nullptr);
  CHECK(open.items()[3].type == RTE_FLOW_ITEM_TYPE_TCP);
  CHECK(open.items()[3].spec == nullptr);
}
