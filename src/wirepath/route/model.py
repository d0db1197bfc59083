"""What sources of routes speak of: routes, paths, next hop objects, links, neighbours, rules.

Numbers are the kernel's (linux/rtnetlink.h). An address is its bytes in network order, 4 or 16; a
prefix is a pair of the address and a length.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Prefix: TypeAlias = tuple[bytes, int]

UP = 0x1  # IFF_UP
CARRIER = 0x10000  # IFF_LOWER_UP
LOOPBACK = 0x8  # IFF_LOOPBACK
DEAD = 0x1  # RTNH_F_DEAD
LINK_DOWN = 0x10  # RTNH_F_LINKDOWN
CLONED = 0x200  # RTM_F_CLONED
REPLACE = 0x100  # NLM_F_REPLACE
APPEND = 0x800  # NLM_F_APPEND
USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # NUD_REACHABLE … NUD_PERMANENT
ENCAP, SELECTIVE, L3_MASTER, GROUP_OF_IDS = 1, 2, 4, 8


class Kind(IntEnum):
    """``kind`` of :data:`wirepath.dtypes.ROUTE_EVENT`."""

    ROUTE = 1
    MEMBER = 2
    NEXT_HOP = 3
    NEIGHBOUR = 4
    LINK = 5
    ADDRESS = 6
    RULE = 7
    DONE = 8
    ERROR = 9


class RouteType(IntEnum):
    """RTN_* of the kernel."""

    UNSPEC = 0
    UNICAST = 1
    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5
    BLACKHOLE = 6
    UNREACHABLE = 7
    PROHIBIT = 8
    THROW = 9
    NAT = 10


class Event(NamedTuple):
    """A row of :data:`wirepath.dtypes.ROUTE_EVENT`."""

    kind: int
    removed: int
    family: int
    prefix_length: int
    type: int
    protocol: int
    scope: int
    tos: int
    table: int
    metric: int
    interface: int
    next_hop_id: int
    weight: int
    flags: int
    mtu: int
    master: int
    state: int
    message_flags: int
    members: int
    gateway_family: int
    bits: int
    address: bytes
    gateway: bytes
    mac: bytes
    vlan: int
    name: bytes
    link_kind: bytes
    error: int
    parent: int


@dataclass(frozen=True, slots=True)
class Path:
    """One way to a destination: through a gateway, or (None) straight onto the link."""

    interface: int
    gateway: bytes | None = None
    weight: int = 1
    flags: int = 0
    encap: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A route to a prefix; its paths, or the number of the next hop object that has them."""

    type: int = RouteType.UNICAST
    metric: int = 0
    protocol: int = 0
    scope: int = 0
    mtu: int = 0
    next_hop_id: int = 0
    paths: tuple[Path, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class NextHopObject:
    """A next hop that routes refer to by number, or a group of others with their weights."""

    path: Path | None
    blackhole: bool = False
    members: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface."""

    name: str
    flags: int
    mtu: int
    mac: bytes
    kind: str = ""
    master: int = 0
    table: int = 0  # of a VRF
    vlan: int = 0
    parent: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What ARP or ND know of an address on a link."""

    mac: bytes
    state: int

    @property
    def usable(self) -> bool:
        """Whether frames can be sent to it."""
        return bool(self.state & USABLE) and self.mac != bytes(6)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the policy database: which table is looked into, and when."""

    priority: int
    action: int
    table: int
    selective: bool
    l3_master: bool


def masked(address: bytes, length: int) -> bytes:
    """The address with zeros beyond ``length`` bits."""
    bits = len(address) * 8
    value = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
    return value.to_bytes(len(address), "big")


def prefix_text(prefix: Prefix) -> str:
    """As ``10.0.0.0/8``."""
    return str(ip_network(prefix))


def address_text(address: bytes) -> str:
    """As ``10.0.0.1``."""
    return str(ip_address(address))


def groups_of(events: NDArray[np.void]) -> Iterator[tuple[Event, list[Event]]]:
    """Each event with the members that follow it."""
    rows: list[Any] = events.tolist()
    i = 0
    while i < len(rows):
        event = Event._make(rows[i])
        end = i + 1 + event.members
        yield event, [Event._make(row) for row in rows[i + 1 : end]]
        i = end


def sized(event: Event, address: bytes, family: int | None = None) -> bytes:
    """The part of a 16-byte field that is an address of the family."""
    return address[:4] if (family or event.family) == socket.AF_INET else address


def path_of(event: Event, weight: int = 1) -> Path:
    """The way that a route, a member or a next hop names."""
    gateway = None
    if event.gateway_family:
        gateway = sized(event, event.gateway, event.gateway_family)
    encap = bool(event.bits & ENCAP)
    return Path(event.interface, gateway, weight, event.flags & (DEAD | LINK_DOWN), encap)


def route_of(event: Event, members: list[Event], source: str) -> Route:
    """A route event as a route."""
    paths: tuple[Path, ...] = ()
    if not event.next_hop_id:
        if members:
            paths = tuple(path_of(m, m.weight) for m in members)
        elif event.interface or event.gateway_family:
            paths = (path_of(event),)
    return Route(
        event.type,
        event.metric,
        event.protocol,
        event.scope,
        event.mtu,
        event.next_hop_id,
        paths,
        source,
    )
