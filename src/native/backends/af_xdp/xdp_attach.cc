// SPDX-License-Identifier: Apache-2.0
#include "backends/af_xdp/xdp_attach.h"

#include <bpf/bpf.h>
#include <linux/if_link.h>
#include <time.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backends/af_xdp/privileges.h"
#include "core/error.h"
#include "programs/chain_shared.h"

namespace wp::af_xdp {
namespace {

int64_t monotonic_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000LL + t.tv_nsec / 1'000'000;
}

// The program in the way.
struct Occupant {
  uint32_t id = 0;
  uint32_t link = 0;  // of its bpf_link, 0 = attached by netlink
  XdpMode mode = XdpMode::kNone;
  std::string name;

  bool wirepath() const { return name == "wirepath_steer"; }
  bool chain() const { return name == "wirepath_root"; }
  bool dispatcher() const { return name == "xdp_dispatcher"; }
  std::string describe() const {
    return "XDP program " + std::to_string(id) + (name.empty() ? "" : " \"" + name + "\"") + " (" +
           to_string(mode) + ", " +
           (link ? "held by bpf_link " + std::to_string(link) : "attached by netlink") + ")";
  }
};

uint32_t link_of(uint32_t program) {
  uint32_t id = 0;
  while (bpf_link_get_next_id(id, &id) == 0) {
    const int fd = bpf_link_get_fd_by_id(id);
    if (fd < 0) continue;
    bpf_link_info info{};
    uint32_t length = sizeof info;
    const bool hit = bpf_obj_get_info_by_fd(fd, &info, &length) == 0 &&
                     info.type == BPF_LINK_TYPE_XDP && info.prog_id == program;
    close(fd);
    if (hit) return id;
  }
  return 0;
}

Occupant occupant(unsigned ifindex) {
  Occupant out;
  LIBBPF_OPTS(bpf_xdp_query_opts, query);
  if (bpf_xdp_query(static_cast<int>(ifindex), 0, &query)) return out;
  out.id = query.drv_prog_id   ? query.drv_prog_id
           : query.skb_prog_id ? query.skb_prog_id
                               : query.prog_id;
  if (!out.id) return out;
  out.mode = query.drv_prog_id ? XdpMode::kNative : XdpMode::kGeneric;
  const int fd = bpf_prog_get_fd_by_id(out.id);
  if (fd >= 0) {
    bpf_prog_info info{};
    uint32_t length = sizeof info;
    if (bpf_obj_get_info_by_fd(fd, &info, &length) == 0) out.name = info.name;
    close(fd);
  }
  out.link = link_of(out.id);
  return out;
}

Error busy(const Occupant& by, const std::string& interface, const std::string& also) {
  std::string mend;
  if (by.chain())
    mend = "wirepath program list " + interface + " shows what is in it";
  else if (by.wirepath())
    mend = "close the other wirepath port on " + interface +
           "; one port can take several flows and queues";
  else if (by.dispatcher())
    mend = "xdp-loader status " + interface + " lists what is behind it, xdp-loader unload " +
           interface + " --all removes it";
  else if (by.link)
    mend = "end the process that holds it: bpftool link show id " + std::to_string(by.link);
  else
    mend = "ip link set dev " + interface + " xdp" +
           (by.mode == XdpMode::kGeneric ? "generic" : "") + " off";
  return Error(ErrorKind::kBusy,
               interface + " already has " + by.describe() +
                   "; the kernel gives an interface to one XDP program" +
                   (also.empty() ? "" : "; " + also),
               mend);
}

std::string last_line(const std::string& text) {
  const size_t at = text.rfind('\n');
  return at == std::string::npos ? text : text.substr(at + 1);
}

// What the errno of a refused native attach usually means, from the drivers' own checks.
std::string explain(int error) {
  const std::string text = strerror(error);
  switch (error) {
    case EOPNOTSUPP:
      return text + ": the driver has no native XDP";
    case ERANGE:
    case EINVAL:
      return text + ": often an MTU too large for XDP in this driver, or LRO switched on";
    case ENOSPC:
      return text +
             ": too few receive queues for the peer's transmit queues (veth), see ethtool -L";
    case ENOMEM:
      return text + ": not enough queues or memory for XDP in this driver";
    default:
      return text;
  }
}

}  // namespace

const char* to_string(XdpMode mode) {
  return mode == XdpMode::kNative ? "native" : mode == XdpMode::kGeneric ? "generic" : "none";
}

Patience::Patience(int64_t ms) : ms_(ms), deadline_(monotonic_ms() + ms) {}

bool Patience::wait() {
  if (monotonic_ms() >= deadline_) return false;
  const timespec nap{.tv_sec = 0, .tv_nsec = 20'000'000};
  nanosleep(&nap, nullptr);
  return true;
}

Attachment::Attachment(SteerProgram& program, const std::string& interface, unsigned ifindex,
                       Wish wish, Patience& patience)
    : ifindex_(ifindex) {
  bool loaded = false;
  for (;;) {
    const Occupant by = occupant(ifindex);
    if (by.chain() && !loaded) {
      chain_ = programs::Chain::find(ifindex);
      if (!chain_) continue;  // it ended just now
      if ((by.mode == XdpMode::kGeneric && !wish.generic) ||
          (by.mode == XdpMode::kNative && !wish.native))
        throw busy(by, interface,
                   std::string("wirepath's chain runs in mode ") + to_string(by.mode) +
                       ", which was not asked for");
      join_chain(program, by.mode, patience);
      return;
    }
    if (by.id && !by.wirepath()) {
      if (!by.dispatcher()) throw busy(by, interface, "");
      if (!wish.join) throw busy(by, interface, "joining its dispatcher was not wanted (join=no)");
      join(program, interface, wish);
      return;
    }
    if (by.id == 0) {
      if (!loaded) program.load();
      loaded = true;
      int error = EOPNOTSUPP;
      if (wish.native) {
        error = link(program, XdpMode::kNative);
        if (error) native_refusal_ = explain(error);
      }
      // A busy interface is busy for generic XDP too.
      if (error && error != EBUSY && error != EEXIST && wish.generic)
        error = link(program, XdpMode::kGeneric);
      if (error == 0) {
        read_back(program, interface);
        return;
      }
      if (error != EBUSY && error != EEXIST) {
        if (error == EPERM || error == EACCES)
          throw refused("cannot attach XDP to " + interface, error);
        throw Error(wish.generic ? ErrorKind::kIo : ErrorKind::kUnsupported,
                    interface + " takes no " + (wish.generic ? "" : "native ") +
                        "XDP program: " + explain(error),
                    wish.generic ? "" : "mode=generic works with every driver, more slowly");
      }
    }
    // Ours: most likely of a process that is being torn down.
    if (!patience.wait())
      throw busy(occupant(ifindex), interface,
                 "asked again for " + std::to_string(patience.ms()) + " ms");
  }
}

int Attachment::link(const SteerProgram& program, XdpMode mode) {
  LIBBPF_OPTS(bpf_link_create_opts, options);
  options.flags = mode == XdpMode::kNative ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
  const int fd = bpf_link_create(program.fd(), static_cast<int>(ifindex_), BPF_XDP, &options);
  if (fd < 0) return -fd;
  link_fd_ = fd;
  return 0;
}

void Attachment::join(SteerProgram& program, const std::string& interface, Wish wish) {
  const Occupant by = occupant(ifindex_);
  joined_ = xdp_program__from_bpf_obj(program.object(), "xdp");
  long error = libxdp_get_error(joined_);
  if (error) joined_ = nullptr;
  // Beside others a program runs in the mode that they run in.
  if (!error && by.mode == XdpMode::kGeneric && !wish.generic) error = -EOPNOTSUPP;
  if (!error)
    error = xdp_program__attach(joined_, static_cast<int>(ifindex_),
                                by.mode == XdpMode::kGeneric ? XDP_MODE_SKB : XDP_MODE_NATIVE, 0);
  if (error) {
    if (joined_) xdp_program__close(joined_);
    joined_ = nullptr;
    const std::string said = last_line(LibraryLog::text());
    throw busy(
        by, interface,
        "joining its dispatcher through libxdp failed: " +
            std::string(strerror(static_cast<int>(-error))) +
            (error == -EPERM ? ", this kernel forbids replacing BPF functions (freplace)" : "") +
            (said.empty() ? "" : " [" + said + "]"));
  }
  program.loaded();
  mode_ = by.mode;
}

void Attachment::join_chain(SteerProgram& program, XdpMode mode, Patience& patience) {
  program.join_chain(chain_->programs());
  program.load();
  for (;;) {
    try {
      chain_->put(WP_SLOT_STEER, program.fd(), "steer", false, false);
      break;
    } catch (const Error& error) {  // of a process that is being torn down, perhaps
      if (error.kind() != ErrorKind::kBusy || !patience.wait()) throw;
    }
  }
  program_ = program.id();
  mode_ = mode;
}

void Attachment::read_back(const SteerProgram& program, const std::string& interface) {
  const Occupant now = occupant(ifindex_);
  if (now.id != program.id()) {
    close(link_fd_);
    throw Error(ErrorKind::kIo, "the kernel attached program " + std::to_string(program.id()) +
                                    " to " + interface + " but reports " +
                                    (now.id ? now.describe() : "none"));
  }
  mode_ = now.mode;
}

std::string Attachment::describe() const {
  if (link_fd_ >= 0) return "bpf_link, exclusive";
  if (chain_) return "slot steer of wirepath's chain, shared";
  if (joined_) return "libxdp dispatcher, shared; not detached by kill -9";
  return "none";
}

Attachment::~Attachment() {
  if (chain_ && program_) {
    try {
      chain_->remove(WP_SLOT_STEER, program_);
    } catch (const Error&) {
      // Left for the next one that comes: without sockets the program passes everything.
    }
  }
  if (joined_) {
    xdp_program__detach(joined_, static_cast<int>(ifindex_),
                        mode_ == XdpMode::kGeneric ? XDP_MODE_SKB : XDP_MODE_NATIVE, 0);
    xdp_program__close(joined_);
  }
  if (link_fd_ >= 0) close(link_fd_);
}

}  // namespace wp::af_xdp
