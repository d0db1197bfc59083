// SPDX-License-Identifier: Apache-2.0
#include "programs/kernel/attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "core/error.h"
#include "programs/kernel/dispatcher.h"
#include "programs/kernel/refusal.h"

namespace wp::programs {
namespace {

bool link_info(int fd, bpf_link_info& info) {
  info = {};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(fd, &info, &length) == 0;
}

// Numbers of the XDP links of an interface, by program.
std::map<uint32_t, uint32_t> links_of(uint32_t ifindex) {
  std::map<uint32_t, uint32_t> out;
  uint32_t id = 0;
  while (bpf_link_get_next_id(id, &id) == 0) {
    const Fd fd(bpf_link_get_fd_by_id(id));
    bpf_link_info info;
    if (fd && link_info(fd.get(), info) && info.type == BPF_LINK_TYPE_XDP &&
        info.xdp.ifindex == ifindex)
      out[info.prog_id] = id;
  }
  return out;
}

std::string describe(const Attached& a) {
  return "XDP program " + std::to_string(a.program) + " \"" + a.name + "\" (" + a.mode + ", " +
         (a.link ? "held by bpf_link " + std::to_string(a.link) : "attached by netlink") + ")";
}

Error in_the_way(const std::string& interface, const std::vector<Attached>& there) {
  const Attached& a = there.front();
  std::string mend;
  if (a.name == "wirepath_root")
    mend = "wirepath program list " + interface + " shows its chain, which takes further programs";
  else if (a.name == "wirepath_steer")
    mend =
        "an af_xdp port has it: close that port, attach the chain, then open the port again, "
        "and it joins the chain";
  else if (a.name == kDispatcher)
    mend = "libxdp's dispatcher: xdp-loader unload " + interface + " --all removes it";
  else if (a.link)
    mend = "end the process that holds it: bpftool link show id " + std::to_string(a.link);
  else
    mend = "ip link set dev " + interface + " xdp" +
           (a.mode == "generic"   ? "generic"
            : a.mode == "offload" ? "offload"
                                  : "") +
           " off";
  return Error(ErrorKind::kBusy,
               interface + " already has " + describe(a) +
                   "; the kernel gives an interface to one XDP program",
               mend);
}

}  // namespace

std::vector<Attached> attached_to(uint32_t ifindex) {
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (const int failed = bpf_xdp_query(static_cast<int>(ifindex), 0, &query))
    throw refused("the kernel does not say what is on interface " + std::to_string(ifindex),
                  -failed);
  std::vector<Attached> out;
  const auto links = links_of(ifindex);
  const auto describe_one = [&](const char* mode, uint32_t id, uint32_t link, uint32_t dispatcher) {
    Attached a{mode, id, link, dispatcher, {}, {}};
    const Fd fd(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t length = sizeof info;
    if (fd && bpf_obj_get_info_by_fd(fd.get(), &info, &length) == 0) {
      a.name = info.name;
      for (const uint8_t byte : info.tag) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", byte);
        a.tag += hex;
      }
    }
    out.push_back(a);
  };
  const auto add = [&](const char* mode, uint32_t id) {
    if (!id) return;
    const auto found = links.find(id);
    describe_one(mode, id, found == links.end() ? 0 : found->second, 0);
    if (out.back().name != kDispatcher) return;
    for (const Extension& each : behind_dispatcher(id))
      describe_one(mode, each.program, each.link, id);
  };
  add("offload", query.hw_prog_id);
  add("native", query.drv_prog_id);
  add("generic", query.skb_prog_id);
  return out;
}

XdpLink::XdpLink(int program, uint32_t ifindex, const std::string& interface,
                 const std::string& mode) {
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = mode == "native"    ? XDP_FLAGS_DRV_MODE
                  : mode == "offload" ? XDP_FLAGS_HW_MODE
                                      : XDP_FLAGS_SKB_MODE;
  const int fd = bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options);
  if (fd < 0) {
    const int why = errno;
    const auto there = attached_to(ifindex);
    if (!there.empty()) throw in_the_way(interface, there);
    std::string text = strerror(why);
    if (why == EOPNOTSUPP) text += ": the driver has no " + mode + " XDP";
    if (why == EINVAL || why == ERANGE)
      text += ": often an MTU too large for XDP in this driver, LRO switched on, or no such mode";
    if (why == ENOSPC) text += ": too few receive queues, see ethtool -L";
    if (why == EPERM || why == EACCES) throw refused("cannot attach XDP to " + interface, why);
    throw Error(ErrorKind::kUnsupported, interface + " takes no " + mode + " XDP program: " + text,
                mode == "generic" ? "" : "mode generic works with every driver, more slowly");
  }
  fd_ = Fd(fd);
  describe();
}

XdpLink::XdpLink(Fd fd) : fd_(std::move(fd)) {
  describe();
}

void XdpLink::describe() {
  bpf_link_info info;
  if (!link_info(fd_.get(), info)) throw refused("the kernel does not describe a link", errno);
  if (info.type != BPF_LINK_TYPE_XDP)
    throw Error(ErrorKind::kConfig, "link " + std::to_string(info.id) + " is not one of XDP");
  id_ = info.id;
}

Fd XdpLink::by_id(uint32_t id) {
  const int fd = bpf_link_get_fd_by_id(id);
  if (fd < 0) throw refused("link " + std::to_string(id) + " cannot be taken hold of", errno);
  return Fd(fd);
}

uint32_t XdpLink::ifindex() const noexcept {
  bpf_link_info info;
  return link_info(fd_.get(), info) ? info.xdp.ifindex : 0;
}
uint32_t XdpLink::program() const noexcept {
  bpf_link_info info;
  return link_info(fd_.get(), info) ? info.prog_id : 0;
}

void XdpLink::update(int program) {
  if (bpf_link_update(fd_.get(), program, nullptr))
    throw refused("cannot replace the program of link " + std::to_string(id_), errno);
}

void XdpLink::detach() {
  if (bpf_link_detach(fd_.get()) && errno != ENOLINK)
    throw refused("cannot detach link " + std::to_string(id_), errno);
}

}  // namespace wp::programs
