# SPDX-License-Identifier: Apache-2.0
"""Which backends will work on an interface, in which mode, and what is in the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..machine import Unseen
from ._model import Case, Outcome, advice, blocker, interface_check, machine_check, ok, warning
from ._xdp import BEYOND_MTU, LARGEST_BUFFER, xdp_mode

# Drivers whose NIC DPDK uses while the kernel keeps it.
_SHARED_WITH_KERNEL = ("mlx4_en", "mlx5_core", "mana")
_BYPASS = ("af_xdp", "dpdk", "ef_vi")


@dataclass(frozen=True, slots=True)
class Way:
    """One backend on one interface. ``mode`` is the best to expect; what the port got is in its
    ``info()``. ``in_the_way`` empty: it works."""

    interface: str
    backend: str
    mode: str
    in_the_way: list[str] = field(default_factory=list)
    mend: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Nothing known stands in the way."""
        return not self.in_the_way


def ways(case: Case) -> list[Way]:
    """For each backend that knows interfaces."""
    return [_af_xdp(case), _dpdk(case), _ef_vi(case), _socket(case)]


def _start(case: Case, backend: str, mode: str, *, needs_link: bool = True) -> Way:
    way = Way(case.nic.name, backend, mode)
    status = case.backend(backend)
    if status is None or not status.available:
        way.in_the_way.append(status.reason if status else "wirepath knows no such backend here")
        way.mend.append(status.mend if status else "reinstall wirepath")
    if needs_link and not case.nic.link.up:
        way.in_the_way.append(f"{case.nic.name} is down")
        way.mend.append(f"ip link set dev {case.nic.name} up")
    return way


def _af_xdp(case: Case) -> Way:
    nic = case.nic
    try:
        mode = "generic XDP" if nic.link.loopback else _named(xdp_mode(case).mode)
    except Unseen:
        mode = "native or generic XDP: this kernel does not tell before the port is open"
    way = _start(case, "af_xdp", mode)
    if case.machine.in_user_namespace:
        way.in_the_way.append("a user namespace, where capabilities do not count for BPF")
        way.mend.append("run it outside of the user namespace (rootless container)")
    if nic.link.mtu + BEYOND_MTU > LARGEST_BUFFER and not nic.link.loopback:
        way.in_the_way.append(f"MTU {nic.link.mtu} is too large for a packet buffer")
        way.mend.append(f"ip link set dev {nic.name} mtu 1500")
    return way


def _named(mode: str) -> str:
    return {
        "zero-copy": "native XDP, zero-copy",
        "native": "native XDP, copy",
        "generic": "generic XDP, copy",
    }[mode]


def _dpdk(case: Case) -> Way:
    nic, machine = case.nic, case.machine
    device = machine.device(nic)
    if device is None or ":" not in nic.bus:
        # Virtual interfaces stay with the kernel and are reached through a packet socket.
        return _start(case, "dpdk", "by a packet socket: dpdk:net_af_packet0,iface=" + nic.name)
    if nic.driver in _SHARED_WITH_KERNEL:
        return _start(case, "dpdk", f"{nic.driver} beside the kernel's driver: dpdk:{nic.bus}")
    mode = f"the whole device, away from the kernel: dpdk:{nic.bus}"
    way = _start(case, "dpdk", mode, needs_link=False)  # the kernel's link goes away with it
    if not (machine.status.get("Uid") or "0").startswith("0"):
        way.in_the_way.append("this user is not root, and owns no VFIO group")
        way.mend.append("run as root, or chown /dev/vfio/<group> and a hugetlbfs mount")
    if nic.name in machine.links.default_routes():
        way.in_the_way.append("the default route goes by it, and would be gone")
        way.mend.append("another NIC for DPDK")
    if not machine.names("sys/kernel/iommu_groups"):
        way.in_the_way.append("no IOMMU, which vfio-pci wants")
        way.mend.append(
            "kernel parameter intel_iommu=on (or amd_iommu=on) iommu=pt; in a virtual machine "
            "vfio's enable_unsafe_noiommu_mode"
        )
    free = [
        machine.number(f"sys/kernel/mm/hugepages/{size}/free_hugepages") or 0
        for size in machine.names("sys/kernel/mm/hugepages")
    ]
    if not any(free):
        way.in_the_way.append("no free hugepages")
        way.mend.append("sysctl -w vm.nr_hugepages=512")
    return way


def _ef_vi(case: Case) -> Way:
    nic = case.nic
    way = _start(case, "ef_vi", f"ef_vi:{nic.name}")
    if not nic.driver.startswith(("sfc", "xilinx_efct")):
        way.in_the_way.insert(0, f"no Solarflare or Alveo NIC (driver: {nic.driver or 'none'})")
        way.mend.insert(0, "a NIC of that family")
    return way


def _socket(case: Case) -> Way:
    return _start(case, "socket", "the kernel's stack, by UDP sockets")


def _has_solarflare(case: Case) -> bool:
    return case.nic.driver.startswith(("sfc", "xilinx_efct"))


@interface_check(
    "backends.bypass",
    reads="wirepath backends, and what the ways of a backend need",
    why="With none of af_xdp, dpdk and ef_vi, frames come through the kernel's stack.",
)
def bypass(case: Case) -> Outcome:
    found = [way for way in ways(case) if way.backend in _BYPASS]
    works = [way for way in found if way.works]
    if works:
        return ok("; ".join(f"{way.backend}: {way.mode}" for way in works))
    first = found[0]
    return blocker(
        "; ".join(f"{way.backend}: {', '.join(way.in_the_way)}" for way in found),
        f"for {first.backend}: {'; '.join(first.mend)}",
    )


@interface_check(
    "backends.ef_vi",
    reads="wirepath backends; the interface's driver",
    why="A Solarflare NIC is fastest by ef_vi, which goes past the kernel and its drivers.",
)
def ef_vi(case: Case) -> Outcome:
    status = case.backend("ef_vi")
    if not _has_solarflare(case):
        return ok(f"{case.nic.name} is no Solarflare NIC")
    if status is not None and status.available:
        return ok("ef_vi can be used")
    return warning(
        f"{case.nic.name} ({case.nic.driver}) could go by ef_vi: "
        f"{status.reason if status else 'not built'}",
        status.mend if status else "reinstall wirepath",
    )


@machine_check(
    "backends.built",
    reads="wirepath backends",
    why="A backend that was left out when wirepath was built cannot be named.",
)
def built(case: Case) -> Outcome:
    out = [
        each
        for each in case.backends
        if each.name in ("af_xdp", "dpdk")
        and not each.available
        and "process lacks" not in each.reason
    ]
    if not out:
        return ok(", ".join(each.name for each in case.backends) or "none known")
    return advice(
        "; ".join(f"{each.name}: {each.reason}" for each in out),
        "; ".join(each.mend for each in out),
    )


CHECKS = (bypass, ef_vi, built)
