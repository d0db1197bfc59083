// SPDX-License-Identifier: Apache-2.0
// The driver behind a network interface, as the kernel names it (SIOCETHTOOL, GDRVINFO).
#pragma once

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace wp::net {

struct InterfaceDriver {
  std::string name;      // "ixgbe", "veth"; empty where the interface has none (lo)
  std::string version;   // of the driver, mostly the kernel's
  std::string bus_info;  // "0000:3b:00.0"; empty for software interfaces
};

inline InterfaceDriver interface_driver(const std::string& interface) {
  InterfaceDriver out;
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return out;
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (::ioctl(fd, SIOCETHTOOL, &request) == 0) {
    const auto text = [](const char* p, size_t n) { return std::string(p, ::strnlen(p, n)); };
    out.name = text(driver.driver, sizeof driver.driver);
    out.version = text(driver.version, sizeof driver.version);
    out.bus_info = text(driver.bus_info, sizeof driver.bus_info);
  }
  ::close(fd);
  return out;
}

}  // namespace wp::net
