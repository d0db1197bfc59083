// SPDX-License-Identifier: Apache-2.0
#include "backends/af_xdp/privileges.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

namespace wp::af_xdp {
namespace {

uint64_t effective_capabilities() {
  std::ifstream file("/proc/thread-self/status");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("CapEff:")) return std::stoull(line.substr(7), nullptr, 16);
  return ~0ULL;  // no /proc: let the kernel judge
}

constexpr const char* kMend =
    "run as root, or give the program cap_net_admin, cap_net_raw and cap_bpf: "
    "setcap cap_net_admin,cap_net_raw,cap_bpf+ep PROGRAM";

}  // namespace

void require_capabilities() {
  const uint64_t have = effective_capabilities();
  const auto has = [&](int capability) { return (have >> capability & 1) != 0; };
  std::string missing;
  const auto need = [&](bool there, const char* name, const char* why) {
    if (!there) missing += (missing.empty() ? "" : ", ") + std::string(name) + " (" + why + ")";
  };
  need(has(CAP_NET_ADMIN), "CAP_NET_ADMIN", "attach the XDP program");
  need(has(CAP_NET_RAW), "CAP_NET_RAW", "open an AF_XDP socket");
  need(has(CAP_BPF) || has(CAP_SYS_ADMIN), "CAP_BPF", "load the steering program");
  if (!missing.empty()) throw Error(ErrorKind::kPermission, "af_xdp lacks " + missing, kMend);
}

Error refused(const std::string& what, int error) {
  if (error == EPERM || error == EACCES)
    return Error(ErrorKind::kPermission, what + ": " + strerror(error),
                 "capabilities count in the initial user namespace only, and kernel lockdown or a "
                 "container's seccomp profile can forbid BPF; RLIMIT_MEMLOCK is " +
                     memlock_limit());
  return Error(ErrorKind::kIo, what + ": " + strerror(error));
}

std::string memlock_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return std::to_string(limit.rlim_cur >> 10) + " KiB";
}

}  // namespace wp::af_xdp
