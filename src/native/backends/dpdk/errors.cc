// SPDX-License-Identifier: Apache-2.0
#include "backends/dpdk/errors.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

namespace wp::dpdk {
namespace {

struct Symptom {
  std::string_view text;  // in DPDK's log
  ErrorKind kind;
  std::string_view mend;  // "%" stands for the device
};

// The first that is found in the log counts: from the particular to the general.
constexpr Symptom kSymptoms[] = {
    {"group is not viable", ErrorKind::kBusy,
     "bind every device of its IOMMU group to vfio-pci: ls "
     "/sys/bus/pci/devices/%/iommu_group/devices"},
    {"not managed by VFIO driver", ErrorKind::kBusy, "dpdk-devbind.py -b vfio-pci %"},
    {"VFIO support could not be initialized", ErrorKind::kUnavailable, "modprobe vfio-pci"},
    {"no supported IOMMU", ErrorKind::kUnavailable,
     "modprobe vfio enable_unsafe_noiommu_mode=1, then bind it again"},
    {"Expecting 'PA' IOVA mode", ErrorKind::kUnavailable,
     "it needs physical addresses: hugepages (sysctl -w vm.nr_hugepages=256), and to be the "
     "first dpdk port of its process; or bind it to vfio-pci"},
    {"Cannot get hugepage information", ErrorKind::kUnavailable,
     "sysctl -w vm.nr_hugepages=256, or hugepages=no"},
    {"No free hugepages", ErrorKind::kUnavailable,
     "sysctl -w vm.nr_hugepages=256, or hugepages=no"},
    {"Failed to connect socket", ErrorKind::kIo,
     "open the peer with role=server on this socket first, or a longer link_wait_ms; abstract "
     "sockets reach within one network namespace only: else socket-abstract=no on both sides"},
    {"already allocated", ErrorKind::kBusy,
     "give the device another number: its driver keeps the name of an attempt that failed"},
    {"Failed to setup socket", ErrorKind::kBusy,
     "another server listens on this socket: another socket=, or role=client"},
    {"same id", ErrorKind::kBusy, "another id= for the second interface on this socket"},
    {"failed to parse device", ErrorKind::kConfig,
     "a name begins with its driver's: net_memif0, net_af_xdp0, net_af_packet0, net_tap0; a PCI "
     "device is named by its address: 0000:3b:00.0"},
    {"Operation not permitted", ErrorKind::kPermission, "run as root"},
    {"Permission denied", ErrorKind::kPermission, "run as root"},
    {"Address already in use", ErrorKind::kBusy, "another socket="},
    {"Device or resource busy", ErrorKind::kBusy,
     "close whoever uses the queue or interface: ip link show, bpftool net"},
};

std::string filled(std::string_view mend, const std::string& device) {
  std::string out(mend);
  for (size_t at; (at = out.find('%')) != std::string::npos;) out.replace(at, 1, device);
  return out;
}

}  // namespace

Error refusal(const std::string& what, int error, const std::string& log,
              const std::string& device) {
  const std::string said = what + ": " + (log.empty() ? std::strerror(error) : log);
  for (const Symptom& s : kSymptoms)
    if (log.find(s.text) != std::string::npos)
      return Error(s.kind, said, filled(s.mend, device.empty() ? "ADDRESS" : device));
  constexpr const char* kArguments = "are the arguments those of the device's driver?";
  switch (error) {
    case EPERM:
      // Which is -1, and so many drivers' word for any failure.
      if (geteuid() == 0) return Error(ErrorKind::kIo, said, device.empty() ? "" : kArguments);
      [[fallthrough]];
    case EACCES:
      return Error(ErrorKind::kPermission, said, "run as root");
    case EBUSY:
    case EEXIST:
      return Error(ErrorKind::kBusy, said, "close whoever uses the device");
    case EINVAL:
      return Error(ErrorKind::kConfig, said, device.empty() ? "" : kArguments);
    default:
      return Error(ErrorKind::kIo, said);
  }
}

Error no_memory(const std::string& what, bool huge_pages, uint64_t bytes) {
  const std::string need = std::to_string((bytes >> 20) + 1);
  const uint64_t pages = (bytes >> 21) + 32;
  return Error(ErrorKind::kIo, what + ": DPDK has no memory left for the " + need + " MiB it takes",
               huge_pages
                   ? "more hugepages: sysctl -w vm.nr_hugepages=" + std::to_string(pages) +
                         " above those in use; or hugepages=no, smaller rings, or max_held"
                   : "eal_memory=" + std::to_string((bytes >> 20) + 512) +
                         " for the first dpdk port of the process; or smaller rings, or max_held");
}

}  // namespace wp::dpdk
