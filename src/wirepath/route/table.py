"""The routing tables as their sources tell them. No I/O: events in, changes out."""

from __future__ import annotations

import socket
import weakref
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .model import (
    APPEND,
    CARRIER,
    CLONED,
    GROUP_OF_IDS,
    L3_MASTER,
    REPLACE,
    SELECTIVE,
    UP,
    Event,
    Kind,
    Link,
    Neighbour,
    NextHopObject,
    Prefix,
    Route,
    RouteType,
    Rule,
    groups_of,
    masked,
    path_of,
    route_of,
    sized,
)

_TYPES = frozenset(int(t) for t in RouteType)
_SHARED = 1_000  # different routes that are kept for sharing

__all__ = ["Changes", "RouteTable", "Routes"]


@dataclass
class Changes:
    """What changed since somebody looked last."""

    routes: set[tuple[int, Prefix]] = field(default_factory=set)
    next_hops: set[tuple[str, int]] = field(default_factory=set)
    neighbours: set[tuple[int, bytes]] = field(default_factory=set)
    links: set[int] = field(default_factory=set)
    rules: bool = False


@dataclass(slots=True)
class _Entry:
    route: Route
    generation: int


class Routes:
    """One routing table, both families."""

    def __init__(self) -> None:
        self.entries: dict[Prefix, list[_Entry]] = {}
        # How many prefixes of each length there are, by the address's size in bytes.
        self.lengths: dict[int, Counter[int]] = {4: Counter(), 16: Counter()}

    def __len__(self) -> int:
        return len(self.entries)

    def best(self, prefix: Prefix) -> Route | None:
        """The route of this very prefix with the smallest metric."""
        entries = self.entries.get(prefix)
        return entries[0].route if entries else None

    def match(self, address: bytes, most: int | None = None) -> tuple[Prefix, Route] | None:
        """The longest prefix, of at most ``most`` bits, that holds the address."""
        if most is None:
            most = len(address) * 8
        for length in sorted(self.lengths[len(address)], reverse=True):
            if length <= most:
                prefix = (masked(address, length), length)
                if (found := self.best(prefix)) is not None:
                    return prefix, found
        return None

    def put(self, prefix: Prefix, entry: _Entry, *, replace: bool, append: bool) -> None:
        """Adds a route, as the kernel's flags of the message say."""
        if (entries := self.entries.get(prefix)) is None:
            self.entries[prefix] = [entry]
            self.lengths[len(prefix[0])][prefix[1]] += 1
            return
        if (i := _replaced(entries, entry.route, len(prefix[0]), replace=replace)) is not None:
            entries[i] = entry
            return
        # Told again while everything is: in the order of the telling, behind what may be swept.
        entries[:] = [e for e in entries if e.route != entry.route]
        metrics = [e.route.metric for e in entries]
        find = bisect_right if append or len(prefix[0]) == 16 else bisect_left
        entries.insert(find(metrics, entry.route.metric), entry)

    def take(self, prefix: Prefix, gone: Route) -> bool:
        """Takes a route out; whether there was one."""
        entries = self.entries.get(prefix, [])
        same = [
            e
            for e in entries
            if e.route.source == gone.source
            and (e.route.metric == gone.metric or gone.source != "kernel")
        ]
        if not same:
            return False
        for e in same:
            if _names(gone, e.route):
                break
        else:
            return self._take_paths(entries, same[0], gone)
        entries.remove(e)
        if not entries:
            self._forget(prefix)
        return True

    @staticmethod
    def _take_paths(entries: list[_Entry], entry: _Entry, gone: Route) -> bool:
        """An IPv6 path taken out of several."""
        left = tuple(
            p
            for p in entry.route.paths
            if (p.interface, p.gateway) not in {(g.interface, g.gateway) for g in gone.paths}
        )
        if not left or len(left) == len(entry.route.paths):
            return False
        r = entry.route
        route = Route(r.type, r.metric, r.protocol, r.scope, r.mtu, r.next_hop_id, left, r.source)
        entries[entries.index(entry)] = _Entry(route, entry.generation)
        return True

    def sweep(self, source: str, generation: int) -> list[Prefix]:
        """Takes out what a source did not tell again; the prefixes that changed."""
        changed = []
        for prefix, entries in list(self.entries.items()):
            kept = [e for e in entries if e.route.source != source or e.generation == generation]
            if len(kept) != len(entries):
                changed.append(prefix)
                self.entries[prefix] = kept
                if not kept:
                    self._forget(prefix)
        return changed

    def _forget(self, prefix: Prefix) -> None:
        del self.entries[prefix]
        lengths = self.lengths[len(prefix[0])]
        lengths[prefix[1]] -= 1
        if not lengths[prefix[1]]:
            del lengths[prefix[1]]


def _replaced(entries: list[_Entry], route: Route, size: int, *, replace: bool) -> int | None:
    """Which of a prefix's entries, of its own source, a new route takes the place of."""
    same = [
        i
        for i, e in enumerate(entries)
        if e.route.metric == route.metric and e.route.source == route.source
    ]
    alike = [i for i in same if _siblings(entries[i].route) == _siblings(route)]
    if route.source != "kernel" or size == 4:
        one_only = replace or route.source != "kernel"
        return same[0] if same and one_only else None
    # Of IPv6 the paths through gateways are one route, which is told whole each time.
    if replace:
        return next(iter(alike or same), None)
    return alike[0] if alike and _siblings(route) else None


def _siblings(route: Route) -> bool:
    plain = route.type == RouteType.UNICAST and not route.next_hop_id
    return plain and bool(route.paths) and route.paths[0].gateway is not None


def _names(gone: Route, route: Route) -> bool:
    """Whether a removal that says so much means this route."""
    if gone.next_hop_id and gone.next_hop_id != route.next_hop_id:
        return False
    if not gone.paths or gone.source != "kernel":
        return True
    ways = {(p.interface, p.gateway) for p in route.paths}
    return ways == {(p.interface, p.gateway) for p in gone.paths} or not ways


class RouteTable:
    """Routes, next hop objects, links, neighbours and rules of one or more sources.

    A source tells everything again after it was lost: between :meth:`begin` and :meth:`end` what
    it says is marked, and what it did not say is swept at the end. Until then everything stays in
    force.
    """

    def __init__(self) -> None:
        self.tables: dict[int, Routes] = {}
        self.next_hops: dict[tuple[str, int], NextHopObject] = {}
        self.links: dict[int, Link] = {}
        self.neighbours: dict[tuple[int, bytes], Neighbour] = {}
        self.addresses: set[tuple[int, bytes, int]] = set()
        self.rules: dict[int, set[Rule]] = {4: set(), 16: set()}
        self.counters: Counter[str] = Counter()
        self._generations: Counter[str] = Counter()
        self._seen: dict[str, set[object]] = {}
        self._watching: list[weakref.ref[Changes]] = []
        self._routes: dict[object, Route] = {}

    def observe(self) -> Changes:
        """Changes from now on; the reader empties it, or lets go of it. Starts with all that is
        known."""
        changes = Changes(
            {(t, p) for t, routes in self.tables.items() for p in routes.entries},
            set(self.next_hops),
            set(self.neighbours),
            set(self.links),
            rules=True,
        )
        left = [ref for ref in self._watching if ref() is not None]
        self._watching = [*left, weakref.ref(changes)]
        return changes

    @property
    def _observers(self) -> Iterator[Changes]:
        return (changes for ref in self._watching if (changes := ref()) is not None)

    def begin(self, source: str) -> None:
        """The source begins to tell everything."""
        self._generations[source] += 1
        self._seen[source] = set()

    def end(self, source: str) -> int:
        """The source has told everything: the rest of what it once said goes. How much went."""
        seen = self._seen.pop(source, None)
        if seen is None:
            return 0
        gone = 0
        for table, routes in self.tables.items():
            for prefix in routes.sweep(source, self._generations[source]):
                self._changed_route(table, prefix)
                gone += 1
        for key in [k for k in self.next_hops if k[0] == source and ("hop", k) not in seen]:
            del self.next_hops[key]
            self._changed("next_hops", key)
            gone += 1
        if source != "kernel":
            return gone
        for neighbour in [k for k in self.neighbours if ("neighbour", k) not in seen]:
            del self.neighbours[neighbour]
            self._changed("neighbours", neighbour)
        for link in [k for k in self.links if ("link", k) not in seen]:
            del self.links[link]
            self._changed("links", link)
        self.addresses = {a for a in self.addresses if ("address", a) in seen}
        for family in self.rules:
            self.rules[family] = {r for r in self.rules[family] if ("rule", family, r) in seen}
        for changes in self._observers:
            changes.rules = True
        return gone

    def syncing(self, source: str) -> bool:
        """Whether the source is between :meth:`begin` and :meth:`end`."""
        return source in self._seen

    def apply(self, events: NDArray[np.void], source: str = "kernel") -> bool:
        """Takes events of :data:`wirepath.dtypes.ROUTE_EVENT` in.

        Returns:
            Whether the source has to tell everything again: the kernel takes routes out without a
            word when a link goes up or down, or an address or a next hop object goes.
        """
        again = False
        for event, members in groups_of(events):
            match event.kind:
                case Kind.ROUTE:
                    self._route(event, members, source)
                case Kind.NEXT_HOP:
                    self._next_hop(event, members, source)
                    again |= bool(event.removed)
                case Kind.NEIGHBOUR:
                    self._neighbour(event)
                case Kind.LINK:
                    again |= self._link(event)
                case Kind.ADDRESS:
                    again |= self._address(event)
                case Kind.RULE:
                    self._rule(event)
                case _:
                    self.counters["ignored"] += 1
        return again

    def routes(self) -> Iterator[tuple[int, Prefix, Route]]:
        """Every route, as (table, prefix, route), the best of a prefix first."""
        for table, routes in self.tables.items():
            for prefix, entries in routes.entries.items():
                for entry in entries:
                    yield table, prefix, entry.route

    def _mark(self, source: str, item: object) -> None:
        if source in self._seen:
            self._seen[source].add(item)

    def _changed(self, what: str, item: object) -> None:
        for changes in self._observers:
            getattr(changes, what).add(item)

    def _changed_route(self, table: int, prefix: Prefix) -> None:
        for changes in self._observers:
            changes.routes.add((table, prefix))

    def _route(self, event: Event, members: list[Event], source: str) -> None:
        if event.type not in _TYPES:
            self.counters["unknown_types"] += 1
            return
        if event.flags & CLONED or (event.type == RouteType.UNSPEC and not event.removed):
            self.counters["ignored"] += 1
            return
        if event.tos or event.bits & SELECTIVE:
            self.counters["unexpressed_routes"] += 1
            return
        length = event.prefix_length
        prefix = (masked(sized(event, event.address), length), length)
        route = self._shared(event, source) if not members else route_of(event, members, source)
        if (table := self.tables.get(event.table)) is None:
            table = self.tables[event.table] = Routes()
        if event.removed:
            self.counters["removed" if table.take(prefix, route) else "removed_unknown"] += 1
        else:
            flags = event.message_flags
            entry = _Entry(route, self._generations[source])
            append = bool(flags & APPEND) or source in self._seen
            table.put(prefix, entry, replace=bool(flags & REPLACE), append=append)
            self.counters["added"] += 1
        self._changed_route(event.table, prefix)

    def _shared(self, event: Event, source: str) -> Route:
        """The route of an event without members: of a full table most are a few different ones."""
        key = (
            source,
            event.type,
            event.metric,
            event.protocol,
            event.scope,
            event.mtu,
            event.next_hop_id,
            event.interface,
            event.gateway_family,
            event.gateway,
            event.flags,
            event.bits,
        )
        if (route := self._routes.get(key)) is None:
            if len(self._routes) >= _SHARED:
                self._routes.clear()
            route = self._routes[key] = route_of(event, [], source)
        return route

    def _next_hop(self, event: Event, members: list[Event], source: str) -> None:
        key = (source, event.next_hop_id)
        if event.removed:
            self.next_hops.pop(key, None)
        else:
            blackhole = event.type == RouteType.BLACKHOLE
            group = tuple((m.next_hop_id, m.weight) for m in members)
            plain = not event.bits & GROUP_OF_IDS and not blackhole
            path = path_of(event) if plain else None
            self.next_hops[key] = NextHopObject(path, blackhole, group)
            self._mark(source, ("hop", key))
        self._changed("next_hops", key)

    def _neighbour(self, event: Event) -> None:
        key = (event.interface, sized(event, event.address))
        if event.removed:
            self.neighbours.pop(key, None)
        else:
            self.neighbours[key] = Neighbour(event.mac, event.state)
            self._mark("kernel", ("neighbour", key))
        self._changed("neighbours", key)

    def _link(self, event: Event) -> bool:
        index, before = event.interface, self.links.get(event.interface)
        if event.removed:
            self.links.pop(index, None)
        else:
            self.links[index] = Link(
                event.name.decode(errors="replace"),
                event.flags,
                event.mtu,
                event.mac,
                event.link_kind.decode(errors="replace"),
                event.master,
                event.table,
                event.vlan,
                event.parent,
            )
            self._mark("kernel", ("link", index))
        after = self.links.get(index)
        if after == before:
            return False
        self._changed("links", index)
        if before is None or after is None:
            return before is not None
        # Without a carrier the kernel drops next hop objects and their routes, and says neither.
        return (before.flags ^ after.flags) & (UP | CARRIER) != 0 or before.master != after.master

    def _address(self, event: Event) -> bool:
        item = (event.interface, sized(event, event.address), event.prefix_length)
        if event.removed:
            self.addresses.discard(item)
            return True
        self.addresses.add(item)
        self._mark("kernel", ("address", item))
        return False

    def _rule(self, event: Event) -> None:
        family = 4 if event.family == socket.AF_INET else 16
        rule = Rule(
            event.metric,
            event.type,
            event.table,
            bool(event.bits & SELECTIVE),
            bool(event.bits & L3_MASTER),
        )
        if event.removed:
            self.rules[family].discard(rule)
        else:
            self.rules[family].add(rule)
            self._mark("kernel", ("rule", family, rule))
        for changes in self._observers:
            changes.rules = True
