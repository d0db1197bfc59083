// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/settings.h"

#include <doctest/doctest.h>

#include <map>

#include "core/error.h"

namespace {

using namespace wp;

PortConfig config(std::map<std::string, std::string> options) {
  PortConfig out;
  out.options = Options(std::move(options), ef_vi_backend::Settings::options(), "ef_vi");
  return out;
}

std::string refusal(uint32_t mtu, const char* frame_size, bool up = true) {
  net::Netdev netdev;
  netdev.name = "sfc0";
  netdev.mtu = mtu;
  netdev.up = up;
  try {
    check_link(ef_vi_backend::Settings(config({{"frame_size", frame_size}})), netdev);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("ef_vi: defaults are usable, and every wrong option is named") {
  const ef_vi_backend::Settings s(config({}));
  CHECK(s.rx_ring == 2048);
  CHECK(s.frame_size == 2048);
  CHECK_FALSE(s.zero_copy);
  CHECK(s.stamps == ef_vi_backend::Stamps::kAuto);
  for (const auto& each : std::map<std::string, std::string>{{"rx_ring_size", "1000"},
                                                             {"tx_ring_size", "32"},
                                                             {"frame_size", "9000"},
                                                             {"frames", "5"},
                                                             {"zero_copy", "maybe"},
                                                             {"max_held", "-1"},
                                                             {"event_merge", "perhaps"},
                                                             {"timestamps", "driver"}}) {
    const std::string &name = each.first, &value = each.second;
    CAPTURE(name);
    try {
      const ef_vi_backend::Settings bad(config({{name, value}}));
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kConfig);
      CHECK(std::string(error.what()).find(name + " = " + value) != std::string::npos);
    }
  }
}

TEST_CASE("ef_vi: a transmit-only port asks for no stamps") {
  CHECK(ef_vi_backend::Settings(config({{"tx_only", "yes"}, {"timestamps", "hardware"}})).stamps ==
        ef_vi_backend::Stamps::kPoll);
}

TEST_CASE("ef_vi: an interface whose frames do not fit a buffer is refused with the mend") {
  CHECK(refusal(1500, "2048") == "");
  CHECK(refusal(2014, "2048") == "");
  CHECK(refusal(2015, "2048").find("frame_size=4096, or ip link set dev sfc0 mtu 1500") !=
        std::string::npos);
  CHECK(refusal(4062, "4096") == "");
  CHECK(refusal(9000, "2048").find("frame_size=4096") == std::string::npos);
  CHECK(refusal(9000, "4096").find("ip link set dev sfc0 mtu 1500") != std::string::npos);
  CHECK(refusal(1500, "2048", false).find("ip link set dev sfc0 up") != std::string::npos);
}
