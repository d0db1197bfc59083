// SPDX-License-Identifier: Apache-2.0
#include "core/options.h"

#include <doctest/doctest.h>

#include <array>
#include <map>
#include <string>

#include "core/backend.h"
#include "core/error.h"

namespace {

constexpr std::array kKnown{wp::OptionHelp{"size", "2048", ""}, wp::OptionHelp{"queues", "all", ""},
                            wp::OptionHelp{"speed", "0", ""}, wp::OptionHelp{"flag", "no", ""}};

wp::Options with(const std::string& name, const std::string& value) {
  return wp::Options({{name, value}}, kKnown, "test");
}

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const wp::Error& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("options: what is not declared is an error, or kept apart where it is passed on") {
  CHECK(contains(message_of([] { with("sped", "1"); }), "no option"));
  const wp::Options o({{"role", "client"}, {"size", "64"}}, kKnown, "test", true);
  CHECK(o.undeclared() == std::map<std::string, std::string>{{"role", "client"}});
  CHECK(o.power_of_two("size", 64, 65536) == 64);
}

TEST_CASE("options: defaults, values and ranges") {
  CHECK(wp::Options({}, kKnown, "test").power_of_two("size", 64, 65536) == 2048);
  CHECK(with("size", "64").power_of_two("size", 64, 65536) == 64);
  for (const char* bad : {"63", "100", "131072", "-1", "64 ", "", "0x40", "1e3"}) {
    const std::string text = message_of([&] { with("size", bad).power_of_two("size", 64, 65536); });
    CHECK(contains(text, "size = " + std::string(bad)));
    CHECK(contains(text, "power of two from 64 to 65536"));
  }
  CHECK(with("speed", "2.5").number("speed", 0, 1000) == 2.5);
  CHECK(contains(message_of([] { with("speed", "nan").number("speed", 0, 1000); }), "0 to 1000"));
  CHECK(with("flag", "On").flag("flag"));
  CHECK_FALSE(with("flag", "0").flag("flag"));
  CHECK(contains(message_of([] { with("flag", "maybe").flag("flag"); }), "true or false"));
}

TEST_CASE("options: an unknown name is told what there is") {
  const std::string text = message_of([] { with("sise", "1"); });
  CHECK(contains(text, "\"sise\""));
  CHECK(contains(text, "size, queues, speed, flag"));
}

TEST_CASE("options: lists of queues") {
  CHECK(with("queues", "all").index_list("queues").empty());
  CHECK(with("queues", "0-2,7,1").index_list("queues") == std::vector<int>{0, 1, 2, 7});
  for (const char* bad : {"", "a", "3-1", "1,", "-1", "0-", "99999"})
    CHECK(contains(message_of([&] { with("queues", bad).index_list("queues"); }), "queues = "));
}

TEST_CASE("port spec: device and options") {
  auto p = wp::parse_port_spec("af_xdp:eth0");
  CHECK(p.backend == "af_xdp");
  CHECK(p.device == "eth0");
  CHECK(p.options.empty());
  p = wp::parse_port_spec("dpdk:net_memif0,role=client,socket=/run/m.sock");
  CHECK(p.device == "net_memif0");
  CHECK(p.options.at("role") == "client");
  CHECK(p.options.at("socket") == "/run/m.sock");
  p = wp::parse_port_spec("af_xdp:eth0,queues=0,2,mode=native");
  CHECK(p.options.at("queues") == "0,2");
  CHECK(p.options.at("mode") == "native");
  p = wp::parse_port_spec("dpdk:net_memif0,zero-copy=yes,socket=/a,socket-abstract=no");
  CHECK(p.device == "net_memif0");
  CHECK(p.options == std::map<std::string, std::string>{
                         {"zero-copy", "yes"}, {"socket", "/a"}, {"socket-abstract", "no"}});
  p = wp::parse_port_spec("dpdk:0000:3b:00.0");
  CHECK(p.device == "0000:3b:00.0");
  p = wp::parse_port_spec("pcap:/tmp/a, b.pcap,speed=1");
  CHECK(p.device == "/tmp/a, b.pcap");
  CHECK(p.options.at("speed") == "1");
  p = wp::parse_port_spec("null:");
  CHECK(p.device.empty());
  p = wp::parse_port_spec("null:,frame_size=128");
  CHECK(p.device.empty());
  CHECK(p.options.at("frame_size") == "128");
  CHECK(contains(message_of([] { wp::parse_port_spec("null:,queues=1,queues=2"); }), "twice"));
  CHECK_THROWS_AS(wp::parse_port_spec(""), wp::Error);
  CHECK_THROWS_AS(wp::parse_port_spec(":eth0"), wp::Error);
}

TEST_CASE("open_port: steering is required, the backend must exist") {
  CHECK(contains(message_of([] { wp::open_port("nosuch:x", {true, {}}, {}, 64); }), "nosuch"));
}
