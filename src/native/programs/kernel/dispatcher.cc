// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/dispatcher.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#ifdef WP_HAVE_LIBXDP
#include <xdp/libxdp.h>
#endif

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "programs/kernel/attach.h"
#include "programs/kernel/refusal.h"

namespace wp::programs {

std::vector<Extension> behind_dispatcher(uint32_t dispatcher) {
  std::vector<Extension> out;
  uint32_t id = 0;
  while (bpf_link_get_next_id(id, &id) == 0) {
    const Fd fd(bpf_link_get_fd_by_id(id));
    bpf_link_info info{};
    uint32_t length = sizeof info;
    if (fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0 &&
        info.type == BPF_LINK_TYPE_TRACING && info.tracing.target_obj_id == dispatcher)
      out.push_back({info.prog_id, id});
  }
  return out;
}

#ifdef WP_HAVE_LIBXDP
namespace {

thread_local std::string xdp_said;

int keep(enum libxdp_print_level level, const char* format, va_list arguments) {
  if (level == LIBXDP_DEBUG) return 0;
  char line[1024];
  const int n = vsnprintf(line, sizeof line, format, arguments);
  xdp_said = line;  // the last one says what it came to
  while (!xdp_said.empty() && xdp_said.back() == '\n') xdp_said.pop_back();
  return n;
}

// What libxdp says goes into an error's text, not to stderr.
class XdpLog {
 public:
  XdpLog() : before_(libxdp_set_print(keep)) { xdp_said.clear(); }
  ~XdpLog() { libxdp_set_print(before_); }
  XdpLog(const XdpLog&) = delete;
  XdpLog& operator=(const XdpLog&) = delete;

 private:
  libxdp_print_fn_t before_;
};

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
struct CloseProgram {
  void operator()(xdp_program* program) const { xdp_program__close(program); }
};

xdp_attach_mode mode_of(const std::string& mode) {
  return mode == "generic" ? XDP_MODE_SKB : mode == "offload" ? XDP_MODE_HW : XDP_MODE_NATIVE;
}

std::string words(long error) {
  std::string out = strerror(static_cast<int>(-error));
  if (error == -EPERM) out += ", this kernel forbids replacing BPF functions (freplace)";
  if (error == -EOPNOTSUPP || error == -ENOTSUP)
    out += ", this kernel cannot replace BPF functions (freplace)";
  return out + (xdp_said.empty() ? "" : " [" + xdp_said + "]");
}

}  // namespace

bool can_join_dispatcher() noexcept {
  return true;
}

void join_dispatcher(std::span<const unsigned char> image, uint32_t ifindex,
                     const std::string& interface, const Attached& there) {
  const BpfLog log;
  const XdpLog xdp_log;
  std::unique_ptr<bpf_object, CloseObject> object(
      bpf_object__open_mem(image.data(), image.size(), nullptr));
  if (!object) throw refused("libbpf cannot open the root program", errno);
  xdp_program* made = xdp_program__from_bpf_obj(object.get(), "xdp");
  long error = libxdp_get_error(made);
  std::unique_ptr<xdp_program, CloseProgram> program(error ? nullptr : made);
  if (!error)
    error = xdp_program__attach(program.get(), static_cast<int>(ifindex), mode_of(there.mode), 0);
  if (!error) return;
  throw Error(ErrorKind::kBusy,
              interface + " has libxdp's dispatcher (XDP program " + std::to_string(there.program) +
                  ", " + there.mode + "), and joining it failed: " + words(error),
              "xdp-loader status " + interface + " lists what is behind it, xdp-loader unload " +
                  interface + " --all removes it");
}

void leave_dispatcher(uint32_t id, uint32_t ifindex, const std::string& mode) {
  const BpfLog log;
  const XdpLog xdp_log;
  xdp_program* found = xdp_program__from_id(id);
  long error = libxdp_get_error(found);
  const std::unique_ptr<xdp_program, CloseProgram> program(error ? nullptr : found);
  if (!error)
    error = xdp_program__detach(program.get(), static_cast<int>(ifindex), mode_of(mode), 0);
  if (error)
    throw Error(ErrorKind::kIo,
                "the chain's root (XDP program " + std::to_string(id) +
                    ") cannot be taken out of libxdp's dispatcher: " + words(error),
                "xdp-loader unload with --id " + std::to_string(id) + " does");
}
#else
bool can_join_dispatcher() noexcept {
  return false;
}

void join_dispatcher(std::span<const unsigned char>, uint32_t, const std::string& interface,
                     const Attached& there) {
  throw Error(ErrorKind::kBusy,
              interface + " has libxdp's dispatcher (XDP program " + std::to_string(there.program) +
                  ", " + there.mode + "), and this wirepath was built without libxdp",
              "apt install libxdp-dev, then install wirepath again");
}

void leave_dispatcher(uint32_t id, uint32_t, const std::string&) {
  throw Error(ErrorKind::kIo,
              "the chain's root (XDP program " + std::to_string(id) +
                  ") is behind libxdp's dispatcher, and this wirepath was built without libxdp",
              "xdp-loader unload with --id " + std::to_string(id) + " takes it out");
}
#endif

}  // namespace wp::programs
