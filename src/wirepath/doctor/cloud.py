# SPDX-License-Identifier: Apache-2.0
"""Drivers of cloud machines, whose limits the general readings do not show.

Sources: drivers/net/virtio_net.c (virtnet_xdp_set), drivers/net/ethernet/amazon/ena
(ena_xdp_legal_queue_count), drivers/net/ethernet/google/gve (gve_verify_xdp_configuration).
"""

from __future__ import annotations

from ..machine import Nic
from ._model import Case, Outcome, advice, interface_check, ok, warning

# Feature bits of virtio 1.x, section 5.1.3: what the host may do to frames that the guest gets.
_GUEST_OFFLOADS = {
    7: "GUEST_TSO4",
    8: "GUEST_TSO6",
    9: "GUEST_ECN",
    10: "GUEST_UFO",
    54: "GUEST_USO4",
    55: "GUEST_USO6",
}
_GUEST_CSUM = {1: "GUEST_CSUM"}  # of no matter since Linux 6.10
_CTRL_GUEST_OFFLOADS = 2
_MULTIQUEUE = 22


def _virtio_bits(case: Case) -> str | None:
    """The negotiated features, one digit each, bit 0 first; None where it is no virtio device."""
    nic, machine = case.nic, case.machine
    if nic.driver != "virtio_net":
        return None
    if machine.device(nic) == nic.bus:  # by its PCI device, whichever network /sys shows
        base = f"sys/bus/pci/devices/{nic.bus}"
        for name in machine.names(base):
            if name.startswith("virtio"):
                return machine.text(f"{base}/{name}/features")
    return machine.setting(nic, "device/features")


def virtio_in_the_way(case: Case) -> tuple[str, str] | None:
    """Why virtio-net will refuse a native XDP program, and what mends it."""
    bits = _virtio_bits(case)
    if not bits or bits[_CTRL_GUEST_OFFLOADS] == "1":
        return None
    offloads = _GUEST_OFFLOADS
    if case.machine.version < (6, 10):
        offloads = _GUEST_CSUM | offloads
    held = [name for bit, name in offloads.items() if bits[bit : bit + 1] == "1"]
    if not held:
        return None
    return (
        f"the host offers {case.nic.name} {', '.join(held)} and not CTRL_GUEST_OFFLOADS, so that "
        "virtio_net cannot switch them off and refuses native XDP, whatever netdev-genl reports",
        "on the host: QEMU -device virtio-net-pci,guest_csum=off,guest_tso4=off,guest_tso6=off,"
        "guest_ecn=off,guest_ufo=off, or ctrl_guest_offloads=on; where it cannot be changed, "
        "AF_XDP runs in generic mode",
    )


@interface_check(
    "cloud.virtio",
    reads="/sys/class/net/*/device/features, ethtool netlink: channels",
    why="virtio_net gives XDP a transmit queue for every core; without them XDP_TX and redirects "
    "share queues under a lock.",
)
def virtio(case: Case) -> Outcome:
    nic = case.nic
    bits = _virtio_bits(case)
    if bits is None:
        return ok(f"{nic.name} is no virtio device")
    cores, channels = len(case.machine.cores), nic.channels
    if channels is None or channels.combined_max >= channels.combined + cores:
        return ok("virtio_net has a queue pair to spare for every core")
    single = (
        "" if bits[_MULTIQUEUE : _MULTIQUEUE + 1] == "1" else " (the host offers no multiqueue)"
    )
    return advice(
        f"queue pairs of {nic.name}: {channels.combined} in use, {channels.combined_max} at most"
        f"{single}; one more for each of {cores} cores makes {channels.combined + cores}",
        f"more queue pairs from the host (QEMU: queues={channels.combined + cores},"
        f"vectors={2 * (channels.combined + cores) + 2})"
        + (f", or fewer in use: ethtool -L {nic.name} combined N" if channels.combined > 1 else ""),
    )


def ena_queues(nic: Nic) -> tuple[str, str] | None:
    """Why ENA will refuse native XDP: it wants a second set of transmit queues."""
    channels = nic.channels
    if nic.driver != "ena" or channels is None or channels.combined * 2 <= channels.combined_max:
        return None
    half = max(channels.combined_max // 2, 1)
    return (
        f"ena uses {channels.combined} of {channels.combined_max} queues, and native XDP needs "
        "as many again for transmission",
        f"ethtool -L {nic.name} combined {half}",
    )


@interface_check(
    "cloud.ena",
    reads="ethtool netlink: channels",
    why="The ENA driver takes a native XDP program only while at most half of its queues are in "
    "use, and frames up to an MTU of 3498.",
)
def ena(case: Case) -> Outcome:
    nic = case.nic
    if nic.driver != "ena":
        return ok(f"{nic.name} is no ENA device")
    if (found := ena_queues(nic)) is not None:
        return warning(*found)
    if nic.link.mtu > 3498:
        return warning(f"MTU of {nic.name} is {nic.link.mtu}", f"ip link set {nic.name} mtu 3498")
    return ok(f"queues and MTU of {nic.name} leave room for native XDP")


def gve_queues(nic: Nic) -> tuple[str, str] | None:
    """Why gVNIC will refuse native XDP: queues."""
    channels = nic.channels
    if nic.driver not in ("gve", "gvnic") or channels is None:
        return None
    receiving, sending = channels.receiving, channels.sending
    if receiving == sending and 2 * sending <= channels.sending_max:
        return None
    half = max(min(channels.sending_max // 2, channels.receiving_max), 1)
    return (
        f"gve uses {receiving} receive and {sending} of {channels.sending_max} transmit queues, "
        "and native XDP needs as many of both, and at most half of the transmit queues",
        f"ethtool -L {nic.name} rx {half} tx {half}",
    )


@interface_check(
    "cloud.gve",
    reads="ethtool netlink: channels, features",
    why="The gVNIC driver takes a native XDP program only with equal numbers of receive and "
    "transmit queues, half of the latter free, without LRO, and with frames that fit its "
    "buffers: with the usual ones of 2048 bytes up to an MTU of 2032.",
)
def gve(case: Case) -> Outcome:
    nic = case.nic
    if nic.driver not in ("gve", "gvnic"):
        return ok(f"{nic.name} is no gVNIC device")
    if (found := gve_queues(nic)) is not None:
        return warning(*found)
    if nic.link.mtu > 2032:
        return warning(f"MTU of {nic.name} is {nic.link.mtu}", f"ip link set {nic.name} mtu 1460")
    if nic.features is not None and "rx-lro" in nic.features.active:
        return warning(f"LRO is on at {nic.name}", f"ethtool -K {nic.name} lro off")
    return ok(f"queues, MTU and offloads of {nic.name} leave room for native XDP")


CHECKS = (virtio, ena, gve)
