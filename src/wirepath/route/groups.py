"""Groups of next hops, and the next hops themselves, numbered for the data plane."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

from .. import _core
from ..errors import ConfigError
from ..settings import problem
from .model import CARRIER, DEAD, LINK_DOWN, LOOPBACK, UP, Path, Route, RouteType
from .table import RouteTable

__all__ = ["FULL", "Groups", "HopKey", "HopKind"]

_DEPTH = 8  # of groups in groups; the kernel allows one


class HopKind(IntEnum):
    """What becomes of a packet (``NextHopKind`` in src/native/route/next_hops.h)."""

    NONE = 0
    FORWARD = 1
    HOST = 2
    BLACKHOLE = 3
    UNREACHABLE = 4
    PROHIBIT = 5


class HopKey(NamedTuple):
    """What a next hop is known by; the rest of it (addresses, MTU) may change."""

    kind: HopKind
    interface: int = 0
    gateway: bytes | None = None
    mtu: int = 0  # of the route, 0 = the link's
    why: str = ""  # of kind HOST


_OF_TYPE = {
    RouteType.LOCAL: HopKey(HopKind.HOST, why="an address of this host"),
    RouteType.BROADCAST: HopKey(HopKind.HOST, why="a broadcast address"),
    RouteType.ANYCAST: HopKey(HopKind.HOST, why="an anycast address of this host"),
    RouteType.MULTICAST: HopKey(HopKind.HOST, why="multicast"),
    RouteType.NAT: HopKey(HopKind.HOST, why="a route type that only the host knows"),
    RouteType.BLACKHOLE: HopKey(HopKind.BLACKHOLE),
    RouteType.UNREACHABLE: HopKey(HopKind.UNREACHABLE),
    RouteType.PROHIBIT: HopKey(HopKind.PROHIBIT),
}
_NO_PATH = HopKey(HopKind.HOST, why="no path of the route is up")
_NO_OBJECT = HopKey(HopKind.HOST, why="the next hop object is not known")
_ENCAP = HopKey(HopKind.HOST, why="an encapsulation, which the host lays on")
_TOO_MANY = HopKey(HopKind.HOST, why="more paths than a group has buckets")
#: What becomes of packets whose own group found no room.
FULL = HopKey(HopKind.HOST, why="the forwarding tables are full")
_ON_LINK = "on the link, and the neighbour is not known yet"


class Rewrite(NamedTuple):
    """What a next hop does now."""

    kind: HopKind
    interface: int = 0
    destination: bytes = bytes(6)
    source: bytes = bytes(6)
    mtu: int = 0
    vlan: int = 0
    why: str = ""


class Groups:
    """Numbers for groups and next hops, with what they hold kept up to date.

    A number that nobody uses any more waits at the end of the queue of free ones, so that a reader
    that has just seen it does not find another's next hop there.
    """

    def __init__(self, table: RouteTable, native: _core.NextHops) -> None:
        self.table = table
        self.native = native
        #: Of an interface's index the numbers of port and interface in a forwarding program.
        self.places: Mapping[int, tuple[int, int]] = {}
        self.not_updated = 0  # groups that could not follow a change, for want of numbers
        self._group_numbers = deque(range(1, native.max_groups + 1))
        self._hop_numbers = deque(range(1, native.max_next_hops + 1))
        self._reserved = 0
        self._groups: dict[object, int] = {}
        self._uses: dict[object, int] = {}
        self._unused: set[object] = set()
        self._members: dict[object, dict[HopKey, int]] = {}
        self._hops: dict[HopKey, int] = {}
        self._keys: dict[int, HopKey] = {}
        self._users: dict[HopKey, set[object]] = defaultdict(set)

    # --- who uses what --------------------------------------------------------------------------
    def key_of(self, route: Route, size: int) -> object:
        """What the group of a route is known by: equal for routes that share one."""
        if (fixed := _OF_TYPE.get(RouteType(route.type))) is not None:
            return fixed
        if route.next_hop_id:
            return (route.source, route.next_hop_id, route.mtu)
        return (size, route.mtu, route.paths)

    def hold(self, key: object, uses: int = 1) -> int:
        """The number of a group, made if need be; so many more uses.

        Raises:
            ConfigError: there are no more numbers.
        """
        if key not in self._groups:
            if not self._group_numbers:
                most = self.native.max_groups
                raise ConfigError(problem("max_groups", most, "more: all groups are in use"))
            number = self._group_numbers.popleft()
            self._groups[key] = number
            self._uses[key] = 0
            try:
                self._fill(key)
            except ConfigError:
                self._give_back(key)
                raise
        self._uses[key] += uses
        self._unused.discard(key)
        return self._groups[key]

    def reserve(self, key: HopKey) -> None:
        """Have a group always there; it is not among the counts.

        Raises:
            ConfigError: there is no number.
        """
        # The last numbers.
        self._group_numbers.rotate(1)
        self._hop_numbers.rotate(1)
        self.hold(key)
        self._reserved += 1

    def drop(self, key: object, uses: int = 1) -> None:
        """So many uses less."""
        self._uses[key] -= uses
        if not self._uses[key]:
            self._unused.add(key)

    def collect(self) -> int:
        """Takes back the numbers of groups and next hops that nobody uses; of how many groups."""
        given = len(self._unused)
        for key in self._unused:
            self._give_back(key)
        self._unused.clear()
        return given

    def _give_back(self, key: object) -> None:
        number = self._groups.pop(key)
        del self._uses[key]
        self.native.set_group(number, [])
        self._group_numbers.append(number)
        self._replace_members(key, {})
        self._members.pop(key, None)

    # --- what is in them ------------------------------------------------------------------------
    def members(self, key: object) -> dict[HopKey, int]:
        """Next hops of a group with their weights, as the tables say now."""
        if isinstance(key, HopKey):
            return {key: 1}
        assert isinstance(key, tuple)
        if isinstance(key[0], str):
            source, number, mtu = key
            paths = self._paths_of_object(source, number, 1, 0)
        else:
            _, mtu, paths = key
        out: dict[HopKey, int] = defaultdict(int)
        fixed: HopKey | None = None
        for path in paths or ():
            if isinstance(path, HopKey):
                fixed = path
            elif path.encap:
                out[_ENCAP] += path.weight
            elif self._alive(path):
                out[self._hop_of(path, mtu)] += path.weight
        if not out:
            return {(fixed or _NO_PATH) if paths is not None else _NO_OBJECT: 1}
        return dict(out) if len(out) <= self.native.bucket_count else {_TOO_MANY: 1}

    def _paths_of_object(
        self, source: str, number: int, weight: int, depth: int
    ) -> list[Path | HopKey] | None:
        hop = self.table.next_hops.get((source, number))
        if hop is None or depth > _DEPTH:
            return None
        if hop.blackhole:
            return [HopKey(HopKind.BLACKHOLE)]
        if hop.path is not None:
            p = hop.path
            return [Path(p.interface, p.gateway, weight, p.flags, p.encap)]
        out: list[Path | HopKey] = []
        for member, share in hop.members:
            out += self._paths_of_object(source, member, weight * share, depth + 1) or []
        return out

    def _alive(self, path: Path) -> bool:
        link = self.table.links.get(path.interface)
        if link is None:  # a recorded stream, or a path without an interface
            return not path.flags & (DEAD | LINK_DOWN)
        # The flags of a path are of the moment when it was told; links are told at once.
        return bool(link.flags & UP) and bool(link.flags & CARRIER)

    def _hop_of(self, path: Path, mtu: int) -> HopKey:
        if path.gateway is None:
            return HopKey(HopKind.HOST, path.interface, None, mtu, _ON_LINK)
        return HopKey(HopKind.FORWARD, path.interface, path.gateway, mtu)

    def rewrite(self, key: HopKey) -> Rewrite:
        """What a next hop does now: a neighbour that is not resolved makes it the host's."""
        if key.kind is not HopKind.FORWARD:
            return Rewrite(key.kind, key.interface, why=key.why)
        assert key.gateway is not None
        link = self.table.links.get(key.interface)
        if link is None or link.flags & LOOPBACK or link.mac == bytes(6):
            return Rewrite(HopKind.HOST, key.interface, why="the link is not known as Ethernet")
        neighbour = self.table.neighbours.get((key.interface, key.gateway))
        if neighbour is None or not neighbour.usable:
            return Rewrite(HopKind.HOST, key.interface, why="the neighbour is not resolved")
        mtu = min(m for m in (key.mtu, link.mtu) if m) if key.mtu or link.mtu else 0
        out = link.parent if link.kind == "vlan" else key.interface
        vlan = link.vlan if link.kind == "vlan" else 0
        return Rewrite(HopKind.FORWARD, out, neighbour.mac, link.mac, mtu, vlan)

    def update(
        self,
        links: set[int],
        neighbours: set[tuple[int, bytes]],
        objects: set[tuple[str, int]],
    ) -> None:
        """Takes changes of these over, where they stand in groups and next hops."""
        if not (links or neighbours or objects):
            return
        for key in self._keys.values():
            if key.interface in links or (key.interface, key.gateway) in neighbours:
                self._write_hop(key)
        if links or objects:
            for group in list(self._groups):
                if not isinstance(group, HopKey):
                    try:
                        self._fill(group)
                    except ConfigError:  # no number is left for a new next hop: as it was
                        self.not_updated += 1

    def _fill(self, key: object) -> None:
        members = self.members(key)
        if self._members.get(key) == members:
            return
        self._replace_members(key, members)
        total = sum(members.values())
        # Weights of groups in groups may be large: scaled to what 16 bits hold.
        scale = max(1.0, total / 65_535)
        self.native.set_group(
            self._groups[key],
            [(self._hops[hop], max(1, int(weight / scale))) for hop, weight in members.items()],
        )

    def _replace_members(self, key: object, members: dict[HopKey, int]) -> None:
        before = self._members.get(key, {})
        fresh = [hop for hop in members if hop not in self._hops]
        if len(fresh) > len(self._hop_numbers):
            most = self.native.max_next_hops
            raise ConfigError(problem("max_next_hops", most, "more: all next hops are in use"))
        for hop in fresh:
            number = self._hop_numbers.popleft()
            self._hops[hop] = number
            self._keys[number] = hop
            self._write_hop(hop)
        for hop in members:
            self._users[hop].add(key)
        self._members[key] = members
        for hop in before:
            if hop in members:
                continue
            self._users[hop].discard(key)
            if not self._users[hop]:
                del self._users[hop]
                number = self._hops.pop(hop)
                del self._keys[number]
                self._hop_numbers.append(number)

    def _write_hop(self, key: HopKey) -> None:
        r = self.rewrite(key)
        port, out = self.places.get(key.interface, (0, 0))
        self.native.set(
            self._hops[key],
            int(r.kind),
            r.interface,
            r.destination,
            r.source,
            r.mtu,
            r.vlan,
            port,
            out,
        )

    # --- reading --------------------------------------------------------------------------------
    def hop_key(self, number: int) -> HopKey | None:
        """What the next hop of this number is known by."""
        return self._keys.get(number)

    def hops(self) -> list[tuple[int, HopKey]]:
        """Every next hop in use, with its number."""
        return list(self._keys.items())

    def group_members(self, number: int) -> dict[HopKey, int]:
        """Next hops of the group of this number, with their weights."""
        for key, group in self._groups.items():
            if group == number:
                return self._members[key]
        return {}

    def counts(self) -> dict[str, int]:
        """How many groups and next hops are in use."""
        return {
            "groups": len(self._groups) - self._reserved,
            "next_hops": len(self._hops) - self._reserved,
        }
