# SPDX-License-Identifier: Apache-2.0
"""Which XDP mode an interface will run in, and what keeps it from a better one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..machine import Unseen
from ._model import Case
from .cloud import ena_queues, gve_queues, virtio_in_the_way

Mode = Literal["zero-copy", "native", "generic"]

# wirepath's largest packet buffer, less what the driver and the stamp in front of a frame take;
# a frame may have an Ethernet header and one VLAN tag beyond the MTU.
LARGEST_BUFFER = 4096 - 256 - 16
BEYOND_MTU = 18


@dataclass(frozen=True, slots=True)
class XdpMode:
    """The best mode, and why it is no better; ``mend`` where something can be done."""

    mode: Mode
    reason: str = ""
    mend: str = ""


def xdp_mode(case: Case) -> XdpMode:
    """Raises `Unseen` where the kernel does not tell an interface's XDP features."""
    nic = case.nic
    if nic.xdp is None:
        reason = nic.refused.get("xdp", "netdev-genl gave no answer")
        raise Unseen(
            f"XDP features of {nic.name}: {reason}; opening the port shows the mode "
            f"(wirepath info af_xdp:{nic.name} GROUP:PORT)"
        )
    told = ", ".join(sorted(nic.xdp.features)) or "none"
    lacking = {"basic", "redirect"} - nic.xdp.features
    if lacking:
        return _not_native(case, f"netdev-genl reports XDP features of {nic.name}: {told}")
    if (found := virtio_in_the_way(case)) is not None:
        return XdpMode("generic", *found)
    if "xsk-zerocopy" not in nic.xdp.features:
        return XdpMode("native", f"{nic.driver or nic.name} has no zero-copy: {told}")
    return XdpMode("zero-copy", f"netdev-genl reports {told}")


def _not_native(case: Case, told: str) -> XdpMode:
    nic = case.nic
    for rule in (ena_queues, gve_queues):
        if (found := rule(nic)) is not None:
            return XdpMode("generic", f"{told}; {found[0]}", found[1])
    if nic.link.kind == "veth":
        return XdpMode(
            "generic",
            f"{told}; a veth has native XDP only with at least as many receive queues as its "
            "peer has transmit queues",
            f"ethtool -L {nic.name} rx N, N being the peer's transmit queues",
        )
    return XdpMode("generic", told)
