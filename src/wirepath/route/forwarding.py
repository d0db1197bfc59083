"""Routing tables to what a data plane reads: forwarding tables, groups and next hops.

The entry of a prefix is the number of a group. A next hop object has a group of its own, so that a
change of it moves all its routes at once; a neighbour's new address is written into its next hop.
Neither touches the forwarding table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from .. import _core
from ..errors import ConfigError
from ..settings import problem
from .decide_many import decide_many
from .entries import Routes
from .fib import Fib
from .groups import FULL, Groups, HopKey
from .model import Path, Prefix, Route, RouteType, masked
from .table import RouteTable

__all__ = ["Decision", "Forwarding"]

LOCAL, MAIN, DEFAULT = 255, 254, 253
_TO_TABLE = 1  # FR_ACT_TO_TBL
_RETRIES = 4096  # of one refresh


class Decision(NamedTuple):
    """The route that decides about an address."""

    table: int
    prefix: Prefix
    route: Route


@dataclass(frozen=True)
class Stack:
    """The tables that are looked into, in turn, and the rules that do not fit into that."""

    tables: tuple[int, ...]
    unexpressed: tuple[str, ...] = ()


class Forwarding:
    """The forwarding tables of the default VRF, or of one named.

    Args:
        table: what the sources said.
        vrf: name of a VRF's interface; None = what belongs to none.
        fib4, fib6: tables to fill; made when None.
        next_hops: ``_core.NextHops`` to fill; made when None.

    :meth:`refresh` brings the forwarding tables up to date; readers go on meanwhile.
    """

    def __init__(
        self,
        table: RouteTable,
        *,
        vrf: str | None = None,
        fib4: Fib | None = None,
        fib6: Fib | None = None,
        next_hops: _core.NextHops | None = None,
    ) -> None:
        self.table = table
        self.vrf = vrf
        # An empty one is false.
        self.fibs = {
            4: Fib(4) if fib4 is None else fib4,
            16: Fib(6) if fib6 is None else fib6,
        }
        self.groups = Groups(table, _core.NextHops() if next_hops is None else next_hops)
        self.groups.reserve(FULL)
        self.counters: dict[str, int] = {"refreshes": 0, "decided": 0, "not_installed": 0}
        #: Prefixes that found no room, with why. Those that are in the forwarding table
        #: nevertheless lead to the host; all are tried again once something was given back.
        self.refused: dict[Prefix, str] = {}
        self._retries = 0  # of those refused, still to be tried again
        self.removed = 0  # prefixes taken out since those refused were tried again
        self._changes = table.observe()
        #: Of each prefix in the forwarding table the group, and by what key that is known.
        self.held: dict[Prefix, tuple[int, object]] = {}
        self.stacks = {size: self._stack(size) for size in (4, 16)}

    # --- what decides ---------------------------------------------------------------------------
    def match(self, address: bytes) -> Decision | None:
        """The route that decides about an address, by rules and tables."""
        for number in self.stacks[len(address)].tables:
            if (routes := self.table.tables.get(number)) is None:
                continue
            found = routes.match(address)
            if found is not None and found[1].type != RouteType.THROW:
                return Decision(number, *found)
        return None

    def adjacency(self, address: bytes) -> Path | None:
        """The way to an address on a link of ours whose neighbour is known."""
        found = self.match(address)
        if found is None or found.prefix[1] == len(address) * 8:
            return None
        path = self._on_link(found.route)
        if path is None:
            return None
        neighbour = self.table.neighbours.get((path.interface, address))
        if neighbour is None or not neighbour.usable:
            return None
        return Path(path.interface, address)

    def _on_link(self, route: Route) -> Path | None:
        if route.type != RouteType.UNICAST:
            return None
        if route.next_hop_id:
            hop = self.table.next_hops.get((route.source, route.next_hop_id))
            path = hop.path if hop else None
        else:
            path = route.paths[0] if len(route.paths) == 1 else None
        return path if path and path.gateway is None and path.interface else None

    # --- keeping up -----------------------------------------------------------------------------
    def refresh(self) -> int:
        """Takes all changes since the last call over; how many prefixes were decided anew."""
        changes = self._changes
        self.counters["refreshes"] += 1
        restacked = False
        if changes.rules or self._links_of_vrfs(changes.links):
            before, self.stacks = self.stacks, {size: self._stack(size) for size in (4, 16)}
            restacked = before != self.stacks
            if restacked:
                changes.routes = {t: set(r.entries) for t, r in self.table.tables.items()}
        self.groups.update(changes.links, changes.neighbours, changes.next_hops)
        dirty = self._touched(changes.routes)
        if restacked:  # what is held may be of a table that no rule names any more
            for prefix in self.held:
                dirty[len(prefix[0])].add(prefix)
        for size, prefixes in self._adjacencies(dirty, changes.neighbours).items():
            dirty[size] |= prefixes
        decided = 0
        for size, prefixes in dirty.items():
            decided += len(prefixes)
            for prefix in decide_many(self, size, prefixes):
                self.decide(prefix)
        self._retry(self.groups.collect() + self.removed)
        self.counters["decided"] += decided
        changes.routes.clear()
        changes.neighbours.clear()
        changes.next_hops.clear()
        changes.links.clear()
        changes.rules = False
        return decided

    def _retry(self, given_back: int) -> None:
        """Those refused longest first, a bounded number at a time."""
        self.removed = 0
        self._retries = len(self.refused) if given_back else min(self._retries, len(self.refused))
        if not self._retries:
            return
        tried = list(islice(self.refused, min(self._retries, _RETRIES)))
        self._retries -= len(tried)
        for prefix in tried:
            self.decide(prefix)
        self.groups.collect()

    def _stack(self, size: int) -> Stack:
        vrf_table = self._vrf_table()
        rules = sorted(self.table.rules[size], key=lambda r: r.priority)
        if not rules:
            extra = (vrf_table,) if vrf_table else ()
            return Stack((LOCAL, *extra, MAIN, DEFAULT))
        tables, odd = [], []
        for rule in rules:
            if rule.selective or (rule.action != _TO_TABLE and not rule.l3_master):
                odd.append(f"rule {rule.priority} chooses by more than the table")
            elif rule.l3_master:
                tables += [vrf_table] if vrf_table else []
            else:
                tables.append(rule.table)
        return Stack(tuple(dict.fromkeys(tables)), tuple(odd))

    def _vrf_table(self) -> int:
        if self.vrf is None:
            return 0
        vrfs = {link.name: link.table for link in self.table.links.values() if link.kind == "vrf"}
        if self.vrf not in vrfs:
            there = ", ".join(sorted(vrfs)) or "there is none"
            raise ConfigError(problem("vrf", self.vrf, f"the name of a VRF ({there})"))
        return vrfs[self.vrf]

    def _links_of_vrfs(self, links: Iterable[int]) -> bool:
        known = self.table.links
        return self.vrf is not None and any(i in known and known[i].kind == "vrf" for i in links)

    def _touched(self, routes: Mapping[int, set[Prefix]]) -> dict[int, set[Prefix]]:
        """The prefixes whose decision may have changed, by the size of an address: those, and what
        they now overrule."""
        return {size: self._touched_of(size, routes) for size in (4, 16)}

    def _touched_of(self, size: int, routes: Mapping[int, set[Prefix]]) -> set[Prefix]:
        dirty: set[Prefix] = set()
        wide: set[Prefix] = set()
        tables = self.stacks[size].tables
        for i, number in enumerate(tables):
            some = {p for p in routes.get(number, ()) if len(p[0]) == size}
            dirty |= some
            if any(self.table.tables.get(t) for t in tables[i + 1 :]):
                wide |= {p for p in some if p[1] < size * 8}
        lengths = {length for _, length in wide}
        for number in tables if wide else ():
            for prefix in self.table.tables.get(number, Routes()).entries:
                if len(prefix[0]) == size and any(
                    n < prefix[1] and (masked(prefix[0], n), n) in wide for n in lengths
                ):
                    dirty.add(prefix)
        return dirty

    def _adjacencies(
        self, dirty: Mapping[int, set[Prefix]], neighbours: set[tuple[int, bytes]]
    ) -> dict[int, set[Prefix]]:
        """Host prefixes of neighbours that changed, or whose link's route did."""
        lengths = {size: {n for _, n in prefixes} for size, prefixes in dirty.items()}
        out: dict[int, set[Prefix]] = {4: set(), 16: set()}
        for _, address in {*self.table.neighbours, *neighbours}:
            size = len(address)
            covered = any((masked(address, n), n) in dirty[size] for n in lengths[size])
            if covered or any(address == a for _, a in neighbours):
                out[size].add((address, size * 8))
        return out

    def _winner(self, prefix: Prefix) -> Route | None:
        """The route to install for this very prefix; None = what covers it says the same."""
        address, length = prefix
        thrown = False
        for number in self.stacks[len(address)].tables:
            if (routes := self.table.tables.get(number)) is None:
                continue
            route = routes.best(prefix)
            if route is None:
                # A wider prefix of an earlier table goes before a narrower of a later.
                found = routes.match(address, length)
                if found is None:
                    continue
                if found[1].type != RouteType.THROW:
                    return found[1] if thrown else None
                route = found[1]
            if route.type != RouteType.THROW:
                return route
            thrown = True
        return None

    def decide(self, prefix: Prefix) -> None:
        """Brings one prefix of the forwarding table up to date."""
        route = self._winner(prefix)
        key: object | None = None
        if route is not None:
            key = self.groups.key_of(route, 4 if len(prefix[0]) == 4 else 16)
        elif prefix[1] == len(prefix[0]) * 8 and (path := self.adjacency(prefix[0])) is not None:
            key = self.groups.key_of(Route(paths=(path,)), len(prefix[0]))
        held = self.held.get(prefix)
        self.refused.pop(prefix, None)
        if held is not None and held[1] == key:
            return
        if key is None:
            self._remove(prefix)
            return
        try:
            self._install(prefix, key)
        except ConfigError as error:
            self.counters["not_installed"] += 1
            self.refused[prefix] = str(error)  # the last of them
            # Neither what it was before nor what covers it is right: the host knows.
            if held is None or held[1] != FULL:
                try:
                    self._install(prefix, FULL)
                except ConfigError:
                    self._remove(prefix)

    def _install(self, prefix: Prefix, key: object) -> None:
        """Raises ConfigError where something is full; then all is as it was."""
        group = self.groups.hold(key)
        fib = self.fibs[len(prefix[0])]
        try:
            fib.native.add(prefix[0], bytes([prefix[1]]), group.to_bytes(4, "little"))
        except ConfigError:
            self.groups.drop(key)
            raise
        held = self.held.get(prefix)
        self.held[prefix] = (group, key)
        if held is not None:
            self.groups.drop(held[1])

    def _remove(self, prefix: Prefix) -> None:
        held = self.held.pop(prefix, None)
        if held is not None:
            self.fibs[len(prefix[0])].native.remove(prefix[0], bytes([prefix[1]]))
            self.groups.drop(held[1])
            self.removed += 1

    # --- reading --------------------------------------------------------------------------------
    def group_of(self, address: bytes) -> int:
        """What the forwarding table says: the number of a group, 0 = no route."""
        return int(self.fibs[len(address)].native.lookup(address)[0])

    def next_hop_of(self, address: bytes, flow_hash: int) -> HopKey | None:
        """The next hop that a packet with this flow hash takes; None = no route."""
        group = self.group_of(address)
        return self.groups.hop_key(self.groups.native.select(group, flow_hash)) if group else None

    def unexpressed(self) -> list[str]:
        """Rules that the forwarding tables cannot follow."""
        texts = [t for stack in self.stacks.values() for t in stack.unexpressed]
        return list(dict.fromkeys(texts))
