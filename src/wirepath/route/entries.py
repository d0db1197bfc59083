"""One routing table: of each prefix the routes that sources told, best first.

A full table has a million prefixes and a few dozen different routes, so that what a prefix has is a
tuple that prefixes share, and a change is a step from one such tuple to another. The steps are
functions without any state: who takes in many routes keeps their results.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

from .model import Prefix, Route, RouteType, masked

__all__ = ["Entries", "Entry", "Routes", "added", "same_routes", "taken"]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A route, and when its source said it last."""

    route: Route
    generation: int


#: What one prefix has; () = nothing.
Entries: TypeAlias = tuple[Entry, ...]


class Routes:
    """One routing table, both families."""

    def __init__(self) -> None:
        self.entries: dict[Prefix, Entries] = {}
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

    def put(self, prefix: Prefix, after: Entries) -> None:
        """What a prefix has from now on."""
        if after:
            if prefix not in self.entries:
                self.lengths[len(prefix[0])][prefix[1]] += 1
            self.entries[prefix] = after
        elif self.entries.pop(prefix, None) is not None:
            lengths = self.lengths[len(prefix[0])]
            lengths[prefix[1]] -= 1
            if not lengths[prefix[1]]:
                del lengths[prefix[1]]

    def sweep(self, source: str, generation: int) -> list[Prefix]:
        """Takes out what a source did not tell again; the prefixes that changed."""
        kept: dict[int, Entries] = {}  # of tuples that are shared, by their id
        changed = []
        for prefix, entries in self.entries.items():
            if (left := kept.get(id(entries))) is None:
                left = tuple(
                    e for e in entries if e.route.source != source or e.generation == generation
                )
                kept[id(entries)] = left
            if len(left) != len(entries):
                changed.append((prefix, left))
        for prefix, left in changed:
            self.put(prefix, left)
        return [prefix for prefix, _ in changed]


def added(before: Entries, entry: Entry, size: int, *, replace: bool, append: bool) -> Entries:
    """What a prefix has once a route was added, as the kernel's flags of the message say.

    Args:
        before: what it had.
        entry: the new one.
        size: bytes of an address: 4 or 16.
        replace: the message has NLM_F_REPLACE.
        append: NLM_F_APPEND, or the source tells everything again.
    """
    if not before:
        return (entry,)
    if (i := _replaced(before, entry.route, size, replace=replace)) is not None:
        return (*before[:i], entry, *before[i + 1 :])
    # Told again while everything is: in the order of the telling, behind what may be swept.
    rest = [e for e in before if e.route != entry.route]
    find = bisect_right if append or size == 16 else bisect_left
    at = find([e.route.metric for e in rest], entry.route.metric)
    return (*rest[:at], entry, *rest[at:])


def taken(before: Entries, gone: Route) -> Entries | None:
    """What a prefix has once a route was taken out; None = it had no such route."""
    same = [
        e
        for e in before
        if e.route.source == gone.source
        and (e.route.metric == gone.metric or gone.source != "kernel")
    ]
    if not same:
        return None
    for entry in same:
        if _names(gone, entry.route):
            return tuple(e for e in before if e is not entry)
    return _without_paths(before, same[0], gone)


def same_routes(one: Entries, other: Entries) -> bool:
    """Whether they are the same but for when they were told."""
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(a is b or a.route is b.route or a.route == b.route for a, b in pairs)


def _without_paths(before: Entries, entry: Entry, gone: Route) -> Entries | None:
    """An IPv6 path taken out of several."""
    left = tuple(
        p
        for p in entry.route.paths
        if (p.interface, p.gateway) not in {(g.interface, g.gateway) for g in gone.paths}
    )
    if not left or len(left) == len(entry.route.paths):
        return None
    r = entry.route
    route = Route(r.type, r.metric, r.protocol, r.scope, r.mtu, r.next_hop_id, left, r.source)
    changed = Entry(route, entry.generation)
    return tuple(changed if e is entry else e for e in before)


def _replaced(before: Entries, route: Route, size: int, *, replace: bool) -> int | None:
    """Which of a prefix's entries, of its own source, a new route takes the place of."""
    same = [
        i
        for i, e in enumerate(before)
        if e.route.metric == route.metric and e.route.source == route.source
    ]
    alike = [i for i in same if _siblings(before[i].route) == _siblings(route)]
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
