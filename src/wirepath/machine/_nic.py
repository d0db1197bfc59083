# SPDX-License-Identifier: Apache-2.0
"""One network interface as the kernel describes it. Names and units are ethtool(8)'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UNSUPPORTED = "the driver has no such setting"


@dataclass(frozen=True, slots=True)
class Link:
    """From rtnetlink. ``kind`` is veth, bond, …; empty for hardware. ``xdp`` is none, native,
    generic, hardware or several."""

    name: str
    index: int
    kind: str = ""
    up: bool = True
    carrier: bool = True
    loopback: bool = False
    mac: str = ""
    mtu: int = 1500
    rx_queues: int = 1
    tx_queues: int = 1
    xdp: str = "none"
    rx_packets: int = 0
    rx_dropped: int = 0
    rx_missed: int = 0


@dataclass(frozen=True, slots=True)
class Features:
    """Offloads that are on, and those that can be switched, by their names in the kernel."""

    active: frozenset[str]
    changeable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rings:
    """Descriptors per queue; None where the driver does not say."""

    rx: int | None = None
    rx_max: int | None = None
    tx: int | None = None
    tx_max: int | None = None


@dataclass(frozen=True, slots=True)
class Channels:
    """Queues: ``combined`` serve both directions."""

    rx: int = 0
    tx: int = 0
    combined: int = 0
    rx_max: int = 0
    tx_max: int = 0
    combined_max: int = 0

    @property
    def receiving(self) -> int:
        """Queues that receive."""
        return self.rx + self.combined

    @property
    def receiving_max(self) -> int:
        """As many as could receive."""
        return max(self.combined_max, self.rx_max)

    @property
    def sending(self) -> int:
        """Queues that send."""
        return self.tx + self.combined

    @property
    def sending_max(self) -> int:
        """As many as could send."""
        return max(self.combined_max, self.tx_max)


@dataclass(frozen=True, slots=True)
class Timestamping:
    """SO_TIMESTAMPING capabilities by ethtool's names, and the PTP clock behind them."""

    capabilities: frozenset[str]
    clock: int | None = None


@dataclass(frozen=True, slots=True)
class Rss:
    """The receive hash's indirection table: entry -> queue."""

    table: tuple[int, ...]

    @property
    def queues(self) -> frozenset[int]:
        """Queues that the table uses."""
        return frozenset(self.table)


@dataclass(frozen=True, slots=True)
class XdpFeatures:
    """netdev-genl's answer, in the words of the kernel's Documentation/netlink/specs/netdev.yaml:
    basic, redirect, ndo-xmit, xsk-zerocopy, hw-offload, rx-sg, ndo-xmit-sg."""

    features: frozenset[str]
    rx_metadata: frozenset[str] = frozenset()
    xsk: frozenset[str] = frozenset()
    zero_copy_max_segments: int | None = None


@dataclass(frozen=True, slots=True)
class QueueVector:
    """A receive queue and the interrupt that serves it; None where the driver does not tell."""

    queue: int
    interrupt: int | None


@dataclass(frozen=True, slots=True)
class Nic:
    """An interface. What the kernel did not tell is None, and ``refused`` has the reason by field
    name (`UNSUPPORTED`: there is no such thing in this driver)."""

    link: Link
    driver: str = ""
    bus: str = ""
    features: Features | None = None
    rings: Rings | None = None
    channels: Channels | None = None
    coalesce: Mapping[str, int] | None = None
    timestamping: Timestamping | None = None
    rss: Rss | None = None
    xdp: XdpFeatures | None = None
    vectors: tuple[QueueVector, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the interface."""
        return self.link.name

    @property
    def receiving(self) -> int:
        """Receive queues in use."""
        if self.channels is not None and self.channels.receiving:
            return self.channels.receiving
        return self.link.rx_queues
