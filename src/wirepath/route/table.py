"""The routing tables as their sources tell them. No I/O: events in, changes out."""

from __future__ import annotations

import socket
import weakref
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .entries import Entries, Entry, Routes, added, same_routes, taken
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
from .plain_rows import PlainRows, plain_rows, runs

_TYPES = frozenset(int(t) for t in RouteType)
_SHARED = 1_000  # different routes that are kept for sharing

__all__ = ["Changes", "RouteTable", "Routes"]


@dataclass
class Changes:
    """What changed since somebody looked last."""

    #: Prefixes by table.
    routes: dict[int, set[Prefix]] = field(default_factory=dict)
    next_hops: set[tuple[str, int]] = field(default_factory=set)
    neighbours: set[tuple[int, bytes]] = field(default_factory=set)
    links: set[int] = field(default_factory=set)
    rules: bool = False


@dataclass(slots=True)
class _Step:
    """What a prefix had and what it was told (kept, so that nothing else gets their ids), and what
    it has then."""

    before: Entries
    told: Entries
    after: Entries | None
    different: bool  # but for when it was told
    removed: int
    times: int = 0


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
        # Of each source what routes that are told now become, by the bytes that tell them apart.
        self._told: dict[str, dict[bytes, Entries]] = {}

    def observe(self) -> Changes:
        """Changes from now on; the reader empties it, or lets go of it. Starts with all that is
        known."""
        changes = Changes(
            {number: set(routes.entries) for number, routes in self.tables.items()},
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
        self._told.pop(source, None)

    def end(self, source: str) -> int:
        """The source has told everything: the rest of what it once said goes. How much went."""
        seen = self._seen.pop(source, None)
        if seen is None:
            return 0
        gone = 0
        for table, routes in self.tables.items():
            swept = routes.sweep(source, self._generations[source])
            self._changed_routes(table, swept)
            gone += len(swept)
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
        for some, plain in runs(events):
            if plain:
                for rows in plain_rows(some):
                    self._plain(some, rows, source)
            else:
                for event, members in groups_of(some):
                    again |= self._one(event, members, source)
        return again

    def _one(self, event: Event, members: list[Event], source: str) -> bool:
        match event.kind:
            case Kind.ROUTE:
                self._route(event, members, source)
            case Kind.NEXT_HOP:
                self._next_hop(event, members, source)
                return bool(event.removed)
            case Kind.NEIGHBOUR:
                self._neighbour(event)
            case Kind.LINK:
                return self._link(event)
            case Kind.ADDRESS:
                return self._address(event)
            case Kind.RULE:
                self._rule(event)
            case _:
                self.counters["ignored"] += 1
        return False

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

    def _changed_routes(self, table: int, prefixes: Collection[Prefix]) -> None:
        if prefixes:
            for changes in self._observers:
                changes.routes.setdefault(table, set()).update(prefixes)

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
        table = self._table(event.table)
        before = table.entries.get(prefix, ())
        entry = Entry(route, self._generations[source])
        after = self._step(before, entry, len(prefix[0]), event.removed, event.message_flags)
        if after is not None:
            table.put(prefix, after)
            if not same_routes(before, after):
                self._changed_routes(event.table, [prefix])
        self._count(event.removed, after is not None)

    def _table(self, number: int) -> Routes:
        if (table := self.tables.get(number)) is None:
            table = self.tables[number] = Routes()
        return table

    def _step(
        self, before: Entries, entry: Entry, size: int, removed: int, flags: int
    ) -> Entries | None:
        """What a prefix has once a route is told; None = one is gone that it did not have."""
        if removed:
            return taken(before, entry.route)
        append = bool(flags & APPEND) or entry.route.source in self._seen
        return added(before, entry, size, replace=bool(flags & REPLACE), append=append)

    def _count(self, removed: int, done: bool, n: int = 1) -> None:
        self.counters["added" if not removed else "removed" if done else "removed_unknown"] += n

    def _plain(self, events: NDArray[np.void], rows: PlainRows, source: str) -> None:
        """As :meth:`_route`, of many routes without members."""
        told = self._told.setdefault(source, {})
        if len(told) >= _SHARED:
            told.clear()
        size = len(rows.prefixes[0][0])
        number, table, changed = -1, Routes(), set[Prefix]()
        # Few different things happen, again and again.
        steps: dict[tuple[int, int, int], _Step] = {}
        for to, prefix, key, removed, flags, at in zip(*rows, strict=True):
            if to != number:
                self._changed_routes(number, changed)
                number, table, changed = to, self._table(to), set()
            if (entry := told.get(key)) is None:
                event = Event._make(events[at].item())
                entry = told[key] = (Entry(self._shared(event, source), self._generations[source]),)
            before = table.entries.get(prefix, ())
            what = (id(before), id(entry), flags << 1 | removed)
            if (step := steps.get(what)) is None:
                after = self._step(before, entry[0], size, removed, flags)
                if after is not None and len(after) == 1 and after[0] is entry[0]:
                    after = entry  # the one that prefixes share
                different = after is not None and not same_routes(before, after)
                step = _Step(before, entry, after, different, removed)
                steps[what] = step
            step.times += 1
            after = step.after
            if after is None:
                continue
            if before and after:
                table.entries[prefix] = after
            else:
                table.put(prefix, after)
            if step.different:
                changed.add(prefix)
        self._changed_routes(number, changed)
        for step in steps.values():
            self._count(step.removed, step.after is not None, step.times)

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
