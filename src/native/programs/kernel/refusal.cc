// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/refusal.h"

#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace wp::programs {
namespace {

thread_local std::string log_text;

int keep(enum libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  char* line = nullptr;  // a verifier log comes in one piece
  const int n = vasprintf(&line, format, arguments);
  if (n < 0) return n;
  log_text += line;
  free(line);
  constexpr size_t kKeep = 6000;  // a verifier log can be very long; its end says why
  if (log_text.size() > kKeep) log_text.erase(0, log_text.size() - kKeep);
  return n;
}

}  // namespace

Error refused(const std::string& what, int error) {
  if (error == EPERM || error == EACCES)
    return Error(ErrorKind::kPermission, what + ": " + strerror(error),
                 "run as root, or with cap_bpf, cap_net_admin and cap_perfmon; kernel lockdown or "
                 "a container's seccomp profile can forbid BPF");
  return Error(ErrorKind::kIo, what + ": " + strerror(error));
}

BpfLog::BpfLog() {
  log_text.clear();
  libbpf_set_print(keep);  // process-wide and left in place: libbpf never writes to our stderr
}
BpfLog::~BpfLog() {
  log_text.clear();
}
std::string BpfLog::text() {
  std::string out = log_text;
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

}  // namespace wp::programs
