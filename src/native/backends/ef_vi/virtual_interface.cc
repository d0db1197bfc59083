// SPDX-License-Identifier: Apache-2.0
#include "backends/ef_vi/virtual_interface.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace wp::ef_vi_backend {
namespace {

// A shared buffer is divided into places of 2 KiB, and the NIC's header stands in front of each.
constexpr uint32_t kSharedRoom = 2048 - 64;

uint32_t frames_needed(const Settings& s, uint32_t batch_size) {
  // Both rings full, a batch in the consumer's hands and one on its way.
  return s.frames != 0 ? s.frames : s.rx_ring + s.tx_ring + 2 * batch_size + 64;
}

}  // namespace

Error refused(const std::string& what, int code, const net::Netdev& netdev) {
  const int error = -code;
  const std::string text = std::string(kName) + ": " + what + ": " + strerror(error);
  switch (error) {
    case EPERM:
    case EACCES:
      return Error(ErrorKind::kPermission, text,
                   kSimulator ? "the simulator's packet socket needs CAP_NET_RAW: run as root"
                              : "filters for all unicast or multicast, by Ethernet address and for "
                                "sniffing need CAP_NET_ADMIN; everything needs read and write "
                                "access to /dev/sfc_char");
    case EEXIST:
    case EBUSY:
      return Error(ErrorKind::kBusy, text,
                   "another application has it on " + netdev.name +
                       ": onload_stackdump lists "
                       "those accelerated by Onload");
    case ENODEV:
    case ENXIO:
    case ENOENT:
      return Error(
          ErrorKind::kUnavailable, text,
          "is " + netdev.name +
              " a Solarflare or Alveo X3 NIC (driver sfc or "
              "xilinx_efct, here: " +
              (netdev.driver.empty() ? "none" : netdev.driver) +
              "), and are Onload's drivers loaded? modprobe sfc_resource; modprobe sfc_char");
    case ENOMEM:
    case ENOSPC:
      return Error(ErrorKind::kIo, text,
                   "the NIC or the limit of locked memory (ulimit -l) has no more: smaller rings, "
                   "fewer frames");
    default:
      return Error(ErrorKind::kIo, text);
  }
}

VirtualInterface::VirtualInterface(const Settings& settings, const net::Netdev& netdev,
                                   uint32_t batch_size)
    : frame_size_(settings.frame_size),
      frames_(frames_needed(settings, batch_size)),
      memory_(size_t{frames_} * frame_size_) {
  try {
    open(settings, netdev);
    allocate(settings, netdev);
    register_memory(netdev);
  } catch (...) {
    free();
    throw;
  }
}

VirtualInterface::~VirtualInterface() {
  free();
}

void VirtualInterface::free() noexcept {
  // The virtual interface goes first: until then the NIC writes into the memory.
  if (have_vi_) ef_vi_free(&vi_, handle_);
  if (have_memory_) ef_memreg_free(&registered_, handle_);
  if (have_domain_) ef_pd_free(&domain_, handle_);
  if (have_handle_) ef_driver_close(handle_);
}

void VirtualInterface::open([[maybe_unused]] const Settings& settings, const net::Netdev& netdev) {
#ifdef WP_EF_VI_SIMULATOR
  ef_sim_configure(&settings.simulator);
#endif
  if (const int failed = ef_driver_open(&handle_); failed < 0)
    throw refused("Onload's driver cannot be opened (/dev/sfc_char)", failed, netdev);
  have_handle_ = true;
  const auto ifindex = static_cast<int>(netdev.ifindex);
  if (const int failed = ef_pd_alloc(&domain_, handle_, ifindex, EF_PD_DEFAULT); failed < 0)
    throw refused("there is no protection domain on " + netdev.name, failed, netdev);
  have_domain_ = true;
}

unsigned long VirtualInterface::capability(ef_vi_capability which,
                                           const net::Netdev& netdev) const noexcept {
  unsigned long value = 0;
  const auto ifindex = static_cast<int>(netdev.ifindex);
  return ef_vi_capabilities_get(handle_, ifindex, which, &value) == 0 ? value : 0;
}

void VirtualInterface::allocate(const Settings& settings, const net::Netdev& netdev) {
  // Frames leave as they are given, like from every other port: the NIC replaces no checksum.
  unsigned long flags = EF_VI_TX_IP_CSUM_DIS | EF_VI_TX_TCPUDP_CSUM_DIS;
  stamped_ = settings.stamps != Stamps::kPoll && capability(EF_VI_CAP_HW_RX_TIMESTAMPING, netdev);
  if (settings.stamps == Stamps::kHardware && !stamped_)
    throw Error(ErrorKind::kUnsupported,
                "timestamps = hardware is not to be had: " + netdev.name + " does not stamp frames",
                "timestamps=auto, or a NIC with a licence for timestamps");
  merged_ = settings.event_merge || capability(EF_VI_CAP_RX_FORCE_EVENT_MERGING, netdev);
  if (settings.event_merge && !capability(EF_VI_CAP_RX_MERGE, netdev))
    throw Error(ErrorKind::kUnsupported,
                "event_merge = true is not to be had: " + netdev.name + " does not merge events",
                "leave event_merge out");
  if (stamped_) flags |= EF_VI_RX_TIMESTAMPS;
  if (merged_) flags |= EF_VI_RX_EVENT_MERGE;
  const int failed = ef_vi_alloc_from_pd(&vi_, handle_, &domain_, handle_, -1,
                                         settings.tx_only ? 0 : static_cast<int>(settings.rx_ring),
                                         static_cast<int>(settings.tx_ring), nullptr, -1,
                                         static_cast<enum ef_vi_flags>(flags));
  if (failed == -EINVAL || failed == -EDOM || failed == -E2BIG)
    throw config_error("rx_ring_size, tx_ring_size",
                       std::to_string(settings.rx_ring) + ", " + std::to_string(settings.tx_ring),
                       "sizes that " + netdev.name + " has; 512 to 2048 are sizes of every NIC");
  if (failed < 0)
    throw refused("there is no virtual interface to be had on " + netdev.name, failed, netdev);
  have_vi_ = true;
  const unsigned arch = vi_.nic_type.arch;
  // EF100 reports received packets by their number alone (EF_EVENT_TYPE_RX_MULTI_PKTS).
  const char* unfit = arch == EF_VI_ARCH_FALCON   ? "SFN5000 and SFN6000 are too old"
                      : arch == EF_VI_ARCH_EF100  ? "EF100 reports packets in another way"
                      : arch == EF_VI_ARCH_AF_XDP ? "Onload drives it through AF_XDP"
                                                  : nullptr;
  if (unfit)
    throw Error(ErrorKind::kUnsupported, netdev.name + " is no NIC for this backend: " + unfit,
                arch == EF_VI_ARCH_AF_XDP ? "af_xdp:" + netdev.name : "socket:" + netdev.name);
  shared_ = has_shared_buffers(arch);
  // The whole buffer: a frame that fits it is never scattered.
  if (!shared_) ef_vi_receive_set_buffer_len(&vi_, frame_size_);
  prefix_ = shared_ ? 0 : static_cast<uint32_t>(ef_vi_receive_prefix_len(&vi_));
  if (!settings.tx_only) rx_ring_ = static_cast<uint32_t>(ef_vi_receive_capacity(&vi_)) + 1;
  tx_ring_ = static_cast<uint32_t>(ef_vi_transmit_capacity(&vi_)) + 1;
  event_slots_ = static_cast<uint32_t>(ef_eventq_capacity(&vi_));
  const uint32_t room = shared_ ? kSharedRoom : frame_size_ - prefix_;
  max_frame_ = std::min(ef_vi_mtu(&vi_, handle_), room);
}

void VirtualInterface::register_memory(const net::Netdev& netdev) {
  const int failed =
      ef_memreg_alloc(&registered_, handle_, &domain_, handle_, memory_.data(), memory_.size());
  if (failed < 0)
    throw refused("cannot register " + std::to_string(memory_.size() >> 10) +
                      " KiB of packet buffers with " + netdev.name,
                  failed, netdev);
  have_memory_ = true;
  addresses_.resize(frames_);
  for (uint32_t i = 0; i < frames_; i++)
    addresses_[i] = ef_memreg_dma_addr(&registered_, size_t{i} * frame_size_);
}

std::string VirtualInterface::model() const {
  switch (vi_.nic_type.arch) {
    case EF_VI_ARCH_EF10:
      return "EF10 descriptors";
    case EF_VI_ARCH_EFCT:
      return "X3 shared buffers";
    default:
      return "shared buffers";
  }
}

}  // namespace wp::ef_vi_backend
