# SPDX-License-Identifier: Apache-2.0
"""What a lab consists of, worked out before anything is made: names, addresses, routes.

Everything here is pure: the same `LabSpec` always gives the same plan, so a state file needs to
hold only the specification, and a test can check the addressing without being root.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

from ._errors import ConfigError, LabError

NETNS_DIR: Final = Path("/run/netns")
SWITCH: Final = "lan"  # the namespace that holds the bridge of a "lan" topology
BRIDGE: Final = "br0"
PREFIX4: Final = 24
PREFIX6: Final = 64
MAX_QUEUES: Final = 64
MAX_SEGMENTS: Final = 250
MAX_MEMBERS: Final = 250
MIN_MTU: Final = 1280  # the least that IPv6 accepts (RFC 8200, section 5)
MAX_MTU: Final = 65535

Topology = Literal["line", "star", "lan"]


class LabOptions(TypedDict, total=False):
    """The keyword arguments of `Lab`, explained there."""

    links: Iterable[tuple[str, str]] | None
    topology: Topology
    queues: int
    mtu: int
    ipv6: bool
    routes: bool


# No hyphen in a host: the last hyphen of a namespace then always ends the lab's name, and two
# labs can never claim the same namespace.
_LAB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,16}")


@dataclass(frozen=True, slots=True)
class Peer:
    """One station at the other end of an interface's link."""

    host: str
    interface: str
    mac: str
    ipv4: str
    ipv6: str | None


@dataclass(frozen=True, slots=True)
class Interface:
    """One veth end as a host sees it. Addresses are without prefix length (/24 and /64)."""

    host: str
    name: str
    mac: str
    ipv4: str
    ipv6: str | None
    segment: int
    peers: tuple[Peer, ...]

    @property
    def peer(self) -> Peer:
        """The other end of a veth pair. A "lan" interface has several: use `peers`."""
        if len(self.peers) != 1:
            others = ", ".join(p.host for p in self.peers)
            raise LabError(f"{self.host}:{self.name} has several peers ({others}): use .peers")
        return self.peers[0]


@dataclass(frozen=True, slots=True)
class Route:
    """A static route of `host` to the subnet of a segment that it is not on."""

    host: str
    segment: int
    via4: str
    via6: str | None
    forwarder: str


def subnet4(segment: int) -> str:
    """The IPv4 subnet of a segment, in CIDR form."""
    return f"10.77.{segment}.0/{PREFIX4}"


def subnet6(segment: int) -> str:
    """The IPv6 subnet of a segment: a unique local prefix (RFC 4193) spelling "Wirep"."""
    return f"fd57:6972:6570:{segment:x}::/{PREFIX6}"


def host_names(hosts: int | Sequence[str]) -> tuple[str, ...]:
    """Turns a number of hosts into names a, b, c, …; names are passed on."""
    if isinstance(hosts, int):
        if not 2 <= hosts <= 26:
            raise ConfigError(f"hosts={hosts}: a number of hosts must be in 2..26")
        return tuple(chr(ord("a") + i) for i in range(hosts))
    if isinstance(hosts, str):
        raise ConfigError(f"hosts={hosts!r}: give a sequence of names, such as ('a', 'b')")
    return tuple(hosts)


def topology_links(hosts: tuple[str, ...], topology: Topology) -> tuple[tuple[str, ...], ...]:
    """The segments of a named topology: tuples of the hosts that share a link."""
    if topology == "line":
        return tuple(pairwise(hosts))
    if topology == "star":
        return tuple((hosts[0], other) for other in hosts[1:])
    if topology == "lan":
        return (hosts,)
    raise ConfigError(f"topology={topology!r}: one of {', '.join(get_args(Topology))}")


@dataclass(frozen=True)
class LabSpec:
    """Everything that defines a lab. `segments` are pairs of hosts, or one tuple for a lan."""

    name: str
    hosts: tuple[str, ...]
    segments: tuple[tuple[str, ...], ...]
    lan: bool
    queues: int
    mtu: int
    ipv6: bool
    routes: bool

    @classmethod
    def make(
        cls,
        name: str = "wirepath",
        hosts: int | Sequence[str] = ("a", "b"),
        *,
        links: Iterable[tuple[str, str]] | None = None,
        topology: Topology = "line",
        queues: int = 1,
        mtu: int = 1500,
        ipv6: bool = True,
        routes: bool = True,
    ) -> LabSpec:
        """Fills in the topology and checks every field.

        Raises:
            ConfigError: naming the field, its value and what is allowed.
        """
        names = host_names(hosts)
        if links is None:
            segments = topology_links(names, topology)
            lan = topology == "lan"
        else:
            segments, lan = tuple(tuple(link) for link in links), False
        spec = cls(name, names, segments, lan, queues, mtu, ipv6, routes)
        spec._check()
        return spec

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabSpec:
        """The inverse of `dataclasses.asdict`, with the same checks as `make`."""
        spec = cls(
            name=data["name"],
            hosts=tuple(data["hosts"]),
            segments=tuple(tuple(members) for members in data["segments"]),
            lan=data["lan"],
            queues=data["queues"],
            mtu=data["mtu"],
            ipv6=data["ipv6"],
            routes=data["routes"],
        )
        spec._check()
        return spec

    def _check(self) -> None:
        check_name(self.name)
        for host in self.hosts:
            if not _HOST_NAME.fullmatch(host) or host == SWITCH:
                raise ConfigError(
                    f"hosts: {host!r} must be 1..16 letters, digits or underscores, not {SWITCH!r}"
                )
        if not 2 <= len(self.hosts) <= MAX_MEMBERS or len(set(self.hosts)) != len(self.hosts):
            raise ConfigError(
                f"hosts={list(self.hosts)}: 2..{MAX_MEMBERS} different names are needed"
            )
        if not 1 <= len(self.segments) <= MAX_SEGMENTS:
            raise ConfigError(f"links: {len(self.segments)} links, must be 1..{MAX_SEGMENTS}")
        for members in self.segments:
            pair = len(members) == 2 or self.lan
            if not pair or len(set(members)) != len(members) or not set(members) <= set(self.hosts):
                raise ConfigError(
                    f"links: {members!r} must join two different hosts out of {list(self.hosts)}"
                )
        if not 1 <= self.queues <= MAX_QUEUES:
            raise ConfigError(f"queues={self.queues}: must be in 1..{MAX_QUEUES}")
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise ConfigError(f"mtu={self.mtu}: must be in {MIN_MTU}..{MAX_MTU} bytes")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names under /run/netns of everything that this lab owns."""
        inner = (*self.hosts, SWITCH) if self.lan else self.hosts
        return tuple(f"{self.name}-{host}" for host in inner)

    def netns(self, host: str) -> Path:
        """The path that names the namespace of a host (or of the switch)."""
        return NETNS_DIR / f"{self.name}-{host}"

    @cached_property
    def interfaces(self) -> dict[str, tuple[Interface, ...]]:
        """Each host's interfaces wp0, wp1, … in the order of the links."""
        stations: list[list[Peer]] = []
        used = dict.fromkeys(self.hosts, 0)
        for segment, members in enumerate(self.segments):
            stations.append([])
            for number, host in enumerate(members, start=1):
                stations[-1].append(
                    Peer(
                        host=host,
                        interface=f"wp{used[host]}",
                        mac=f"02:57:50:00:{segment:02x}:{number:02x}",
                        ipv4=f"10.77.{segment}.{number}",
                        ipv6=f"fd57:6972:6570:{segment:x}::{number:x}" if self.ipv6 else None,
                    )
                )
                used[host] += 1
        found: dict[str, list[Interface]] = {host: [] for host in self.hosts}
        for segment, members_ in enumerate(stations):
            for me in members_:
                others = tuple(other for other in members_ if other is not me)
                found[me.host].append(
                    Interface(me.host, me.interface, me.mac, me.ipv4, me.ipv6, segment, others)
                )
        return {host: tuple(interfaces) for host, interfaces in found.items()}

    @cached_property
    def static_routes(self) -> tuple[Route, ...]:
        """Shortest-path routes between hosts that share no segment; empty if `routes` is off."""
        if not self.routes:
            return ()
        return tuple(route for host in self.hosts for route in self._routes_of(host))

    def _routes_of(self, start: str) -> list[Route]:
        # Breadth first, remembering by which neighbour of `start` each host was first reached.
        first_hop: dict[str, Peer] = {}
        reached = {i.segment for i in self.interfaces[start]}
        routes: list[Route] = []
        queue = deque([start])
        seen = {start}
        while queue:
            here = queue.popleft()
            for interface in self.interfaces[here]:
                if interface.segment not in reached:
                    reached.add(interface.segment)
                    hop = first_hop[here]
                    routes.append(Route(start, interface.segment, hop.ipv4, hop.ipv6, hop.host))
                for peer in interface.peers:
                    if peer.host not in seen:
                        seen.add(peer.host)
                        first_hop[peer.host] = peer if here == start else first_hop[here]
                        queue.append(peer.host)
        return routes


def check_name(name: str) -> str:
    """Returns a valid lab name, else raises ConfigError. Names become file names."""
    if not _LAB_NAME.fullmatch(name):
        raise ConfigError(
            f"name={name!r}: must be 1..32 letters, digits, '_', '.' or '-', "
            "beginning with a letter or digit"
        )
    return name
