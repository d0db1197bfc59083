# SPDX-License-Identifier: Apache-2.0
"""The interface itself: its driver, XDP, timestamps, rings, coalescing, offloads."""

from __future__ import annotations

from ..machine import Nic
from ._model import Case, Outcome, advice, blocker, interface_check, not_told, ok, warning
from ._xdp import BEYOND_MTU, LARGEST_BUFFER, xdp_mode

_SLOW_USECS = 20  # of rx-usecs: from here on the wait is most of a kernel-bypass latency
_SMALL_RING = 512


@interface_check(
    "nic.link",
    reads="rtnetlink",
    why="Nothing arrives on an interface that is down, and wirepath refuses to open it.",
)
def link(case: Case) -> Outcome:
    found = case.nic.link
    if not found.up:
        return blocker(f"{found.name} is down", f"ip link set dev {found.name} up")
    if not found.carrier:
        return warning(
            f"{found.name} is up and has no carrier",
            "plug in the cable, or bring the other side up (ethtool " + found.name + ")",
        )
    return ok(f"{found.name} is up, with carrier")


@interface_check(
    "nic.native-xdp",
    reads="netdev-genl dev-get, ethtool netlink: channels, /sys/class/net/*/device/features",
    why="Without native XDP, AF_XDP runs in generic mode: every frame becomes a kernel packet "
    "first and is copied.",
)
def native_xdp(case: Case) -> Outcome:
    if case.nic.link.loopback:
        return ok("loopback has generic XDP only, by nature")
    mode = xdp_mode(case)
    if mode.mode == "generic":
        return warning(
            mode.reason, mode.mend or "a NIC or driver with native XDP; meanwhile mode=generic"
        )
    told = sorted(case.nic.xdp.features) if case.nic.xdp is not None else []
    return ok(f"netdev-genl reports {', '.join(told)}")


@interface_check(
    "nic.zero-copy",
    reads="netdev-genl dev-get",
    why="In zero-copy mode the NIC writes frames straight into wirepath's buffers; otherwise the "
    "kernel copies each.",
)
def zero_copy(case: Case) -> Outcome:
    mode = xdp_mode(case)
    if mode.mode == "zero-copy":
        return ok(mode.reason)
    if mode.mode == "generic":
        return ok("no native XDP, of which zero-copy is a part")
    return advice(
        mode.reason, "a NIC whose driver reports xsk-zerocopy (i40e, ice, ixgbe, igc, mlx5, …)"
    )


@interface_check(
    "nic.frame-size",
    reads="rtnetlink: MTU; netdev-genl dev-get",
    why="A frame must fit one packet buffer: wirepath's AF_XDP ports take no frames in fragments, "
    "and refuse an interface with a larger MTU.",
)
def frame_size(case: Case) -> Outcome:
    nic = case.nic
    longest = nic.link.mtu + BEYOND_MTU
    if nic.link.loopback or longest <= LARGEST_BUFFER:
        return ok(f"frames of MTU {nic.link.mtu} fit a packet buffer")
    fragments = nic.xdp is not None and "rx-sg" in nic.xdp.features
    also = " (the driver itself would take them in fragments)" if fragments else ""
    return blocker(
        f"MTU {nic.link.mtu} makes frames of up to {longest} bytes, and the largest packet buffer "
        f"holds {LARGEST_BUFFER}{also}",
        f"ip link set dev {nic.name} mtu 1500",
    )


@interface_check(
    "nic.xdp-program",
    reads="rtnetlink: IFLA_XDP",
    why="One interface has one XDP program, unless a libxdp dispatcher shares it.",
)
def xdp_program(case: Case) -> Outcome:
    found = case.nic.link
    if found.xdp == "none":
        return ok(f"no XDP program on {found.name}")
    return advice(
        f"an XDP program is attached to {found.name} ({found.xdp} mode)",
        f"xdp-loader status {found.name} tells whose it is; wirepath joins a libxdp dispatcher, "
        f"anything else goes by: xdp-loader unload {found.name} --all",
    )


@interface_check(
    "nic.timestamps",
    reads="ethtool netlink: tsinfo; netdev-genl: xdp-rx-metadata-features",
    why="Without the NIC's clock, the time from wire to application cannot be told from the time "
    "that a frame waited for the driver.",
)
def timestamps(case: Case) -> Outcome:
    nic = case.nic
    if nic.timestamping is None:
        return not_told(nic, "timestamping", "timestamping")
    has = nic.timestamping.capabilities
    if "hardware-receive" in has:
        to_xdp = nic.xdp is not None and "timestamp" in nic.xdp.rx_metadata
        return ok(
            f"hardware stamps on receive, PTP clock {nic.timestamping.clock}"
            + (", also for XDP programs" if to_xdp else "")
        )
    if not nic.bus:
        return ok(f"{nic.name} is virtual: its driver and the kernel stamp frames")
    return advice(
        f"no hardware stamps on receive; {nic.name} has {', '.join(sorted(has)) or 'none'}",
        "a NIC with a PTP clock; meanwhile timestamps=kernel (socket) or driver (af_xdp)",
    )


@interface_check(
    "nic.rings",
    reads="ethtool netlink: rings; rtnetlink: rx_dropped, rx_missed_errors",
    why="A burst that finds the receive ring full is lost in the NIC. (Larger rings lose fewer "
    "frames and use more cache.)",
)
def rings(case: Case) -> Outcome:
    nic, found = case.nic, case.nic.rings
    if found is None or found.rx is None:
        return not_told(nic, "rings", "ring sizes")
    evidence = f"receive ring {found.rx} of {found.rx_max}"
    room = found.rx_max is not None and found.rx < found.rx_max
    missed = nic.link.rx_missed
    if missed and room:
        return warning(
            f"{evidence}, and {missed} frames missed since boot",
            f"ethtool -G {nic.name} rx {found.rx_max}",
        )
    if room and found.rx < _SMALL_RING:
        size = min(found.rx_max or 0, 2 * _SMALL_RING)
        return advice(evidence, f"ethtool -G {nic.name} rx {size}")
    return ok(evidence + (f"; {missed} frames missed since boot" if missed else ""))


@interface_check(
    "nic.coalescing",
    reads="ethtool netlink: coalesce",
    why="The NIC holds back its interrupt for so long: every frame that wakes somebody up waits.",
)
def coalescing(case: Case) -> Outcome:
    nic, found = case.nic, case.nic.coalesce
    if not found:
        return not_told(nic, "coalesce", "interrupt coalescing")
    usecs = found.get("rx-usecs")
    mend = f"ethtool -C {nic.name} adaptive-rx off rx-usecs 0 (more interrupts; busy polling "
    mend += "needs none)"
    if found.get("adaptive-rx"):
        return warning("adaptive-rx is on: the driver changes the wait with the rate", mend)
    if usecs is not None and usecs >= _SLOW_USECS:
        mend = mend.replace("adaptive-rx off ", "")
        return warning(f"rx-usecs is {usecs}: up to {usecs} µs for a frame that comes alone", mend)
    return ok(", ".join(f"{name} {found[name]}" for name in sorted(found) if "rx" in name))


def _on(nic: Nic, *names: str) -> list[str]:
    active = nic.features.active if nic.features is not None else frozenset()
    return [name for name in names if name in active]


@interface_check(
    "nic.merging",
    reads="ethtool netlink: features",
    why="LRO and hardware GRO merge frames in the NIC: most drivers refuse XDP with them, and "
    "sequence and timing of the frames on the wire are lost.",
)
def merging(case: Case) -> Outcome:
    nic = case.nic
    if nic.features is None:
        return not_told(nic, "features", "offloads")
    found = _on(nic, "rx-lro", "rx-gro-hw")
    if not found:
        return ok(f"no frames are merged in {nic.name}")
    movable = [name for name in found if name in nic.features.changeable]
    if not movable:
        return advice(
            f"{' and '.join(found)} on, and the driver does not switch it off",
            "on the host, where this is a virtual machine's NIC",
        )
    switches = " ".join(f"{name} off" for name in movable)
    return warning(f"{' and '.join(found)} on", f"ethtool -K {nic.name} {switches}")


@interface_check(
    "nic.vlan-offload",
    reads="ethtool netlink: features",
    why="The NIC takes the VLAN tag out of the frame: an XDP program cannot see it, so that "
    "tagged traffic is steered as if it were untagged.",
)
def vlan_offload(case: Case) -> Outcome:
    nic = case.nic
    if nic.features is None:
        return not_told(nic, "features", "offloads")
    if nic.link.kind == "veth":
        return ok("a veth takes no tag out of a frame on receive")
    if not _on(nic, "rx-vlan-hw-parse"):
        return ok("VLAN tags stay in the frame")
    return advice(
        "rx-vlan-hw-parse is on (of no matter without VLANs)",
        f"ethtool -K {nic.name} rx-vlan-hw-parse off",
    )


@interface_check(
    "nic.veth",
    reads="rtnetlink: kind; ethtool netlink: features",
    why="A veth without GRO drops what XDP sends or redirects to it, and one with transmit "
    "checksum offload hands over frames whose checksum was never filled in.",
)
def veth(case: Case) -> Outcome:
    nic = case.nic
    if nic.link.kind != "veth":
        return ok(f"{nic.name} is no veth")
    if nic.features is None:
        return not_told(nic, "features", "offloads")
    if not _on(nic, "rx-gro"):
        return warning(f"GRO is off at {nic.name}", f"ethtool -K {nic.name} gro on")
    if _on(nic, "tx-checksum-ip-generic"):
        return warning(
            f"transmit checksum offload is on at {nic.name}", f"ethtool -K {nic.name} tx off"
        )
    return ok("GRO on, transmit checksums filled in")


@interface_check(
    "nic.pcie",
    reads="/sys/bus/pci/devices/*/current_link_speed, current_link_width, max_link_*",
    why="A card in too slow a slot, or a link that trained down, caps the rate of the NIC.",
)
def pcie(case: Case) -> Outcome:
    device = case.machine.device(case.nic)
    if device is None or ":" not in device:
        return ok(f"{case.nic.name} has no PCI link of its own")
    base = f"sys/bus/pci/devices/{device}"
    speed = [_speed(case.machine.text(f"{base}/{w}_link_speed")) for w in ("current", "max")]
    width = [case.machine.number(f"{base}/{w}_link_width") for w in ("current", "max")]
    if not speed[0] or not speed[1] or not width[0] or not width[1]:
        return ok(f"{device} tells no link speed")
    evidence = f"{speed[0]:g} GT/s x{width[0]}, of {speed[1]:g} GT/s x{width[1]}"
    if speed[0] < speed[1] or width[0] < width[1]:
        return warning(
            f"{device} runs at {evidence}",
            f"another slot, or seat the card again (lspci -vv -s {device}: LnkSta, LnkCap)",
        )
    return ok(evidence)


def _speed(text: str | None) -> float | None:
    try:
        return float(text.split()[0]) if text else None
    except ValueError:
        return None  # "Unknown"


CHECKS = (
    link,
    frame_size,
    native_xdp,
    merging,
    coalescing,
    rings,
    veth,
    pcie,
    zero_copy,
    xdp_program,
    timestamps,
    vlan_offload,
)
