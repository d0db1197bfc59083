"""Many prefixes of one routing table decided at once, as a full table is.

What :meth:`Forwarding.decide` does for any prefix is here done in columns for those that one large
table alone decides about; the others are left to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .entries import Routes
from .model import Prefix, Route, RouteType

if TYPE_CHECKING:
    from .forwarding import Forwarding

__all__ = ["decide_many"]

_FEW = 64  # below that columns cost more than they save
_WIDE = 64  # prefixes of other tables that each row is held against
_AT_ONCE = 4096  # rows that are decided one by one where something is full


def decide_many(forwarding: Forwarding, size: int, prefixes: Collection[Prefix]) -> list[Prefix]:
    """Decides about those prefixes that it can.

    Args:
        forwarding: whose tables are brought up to date.
        size: bytes of an address: 4 or 16.
        prefixes: of one family, each once.

    Returns:
        Those that are left to be decided one by one.
    """
    rows = list(prefixes)
    if len(rows) < _FEW:
        return rows
    tables = forwarding.table.tables
    there = [t for t in forwarding.stacks[size].tables if tables.get(t)]
    if not there:
        return rows
    large = tables[max(there, key=lambda t: len(tables[t]))]
    others = [tables[t] for t in there if tables[t] is not large]
    if sum(n for r in others for bits, n in r.lengths[size].items() if bits < size * 8) > _WIDE:
        return rows
    lengths = np.array([length for _, length in rows], np.uint8)
    packed = np.frombuffer(b"".join([address for address, _ in rows]), np.uint8)
    packed = packed.reshape(-1, size)
    odd = _elsewhere(packed, lengths, others)
    return _Rows(forwarding, rows, packed, lengths).decide(odd, large)


def _elsewhere(
    packed: NDArray[np.uint8], lengths: NDArray[np.uint8], others: list[Routes]
) -> NDArray[np.bool_]:
    """Which rows another table may decide about: it has a prefix that holds them; or neighbours,
    who have host prefixes."""
    size = packed.shape[1]
    odd: NDArray[np.bool_] = lengths == size * 8
    for routes in others:
        for address, bits in routes.entries:
            if len(address) != size or bits == size * 8:
                continue
            within = lengths >= bits
            whole, rest = divmod(bits, 8)
            for k in range(whole):
                within &= packed[:, k] == address[k]
            if rest:
                within &= packed[:, whole] >> (8 - rest) == address[whole] >> (8 - rest)
            odd |= within
    return odd


class _Rows:
    """Prefixes as columns, and where they go."""

    def __init__(
        self,
        forwarding: Forwarding,
        rows: list[Prefix],
        packed: NDArray[np.uint8],
        lengths: NDArray[np.uint8],
    ) -> None:
        self._forwarding = forwarding
        self._groups = forwarding.groups
        self._fib = forwarding.fibs[packed.shape[1]].native
        self._rows, self._packed, self._lengths = rows, packed, lengths

    def decide(self, odd: NDArray[np.bool_], large: Routes) -> list[Prefix]:
        """Those that are left."""
        held, refused = self._forwarding.held, self._forwarding.refused
        # Prefixes share routes: of each, by its id, the group; None = to be decided by themselves.
        known: dict[int, tuple[int, object] | None] = {}
        left: list[Prefix] = []
        gone: list[int] = []
        come: list[int] = []
        groups: list[tuple[int, object]] = []
        for i, (prefix, is_odd) in enumerate(zip(self._rows, odd.tolist(), strict=True)):
            if is_odd or prefix in refused:
                left.append(prefix)
                continue
            entries = large.entries.get(prefix)
            before = held.get(prefix)
            if entries is None:
                if before is not None:
                    gone.append(i)
                continue
            route = entries[0].route
            if (number := id(route)) not in known:
                known[number] = self._pin(route)
            if (group := known[number]) is None:
                left.append(prefix)
            elif before is None or before[1] != group[1]:
                come.append(i)
                groups.append(group)
        for start in range(0, len(come), _AT_ONCE):
            end = start + _AT_ONCE
            left += self._install(come[start:end], groups[start:end])
        self._remove(gone)
        for pinned in known.values():
            if pinned is not None:
                self._groups.drop(pinned[1])
        return left

    def _pin(self, route: Route) -> tuple[int, object] | None:
        """The group of a route, held until all is done."""
        if route.type == RouteType.THROW:
            return None
        key = self._groups.key_of(route, self._packed.shape[1])
        try:
            return self._groups.hold(key), key
        except ConfigError:  # said of each prefix
            return None

    def _install(self, at: list[int], groups: list[tuple[int, object]]) -> list[Prefix]:
        """Those for which there is no room: some of them may be in, and none is counted."""
        numbers = np.array([number for number, _ in groups], np.uint32)
        try:
            self._fib.add(self._packed[at], self._lengths[at], numbers)
        except ConfigError:
            return [self._rows[i] for i in at]
        held = self._forwarding.held
        dropped: Counter[object] = Counter()
        for i, group in zip(at, groups, strict=True):
            prefix = self._rows[i]
            if (before := held.get(prefix)) is not None:
                dropped[before[1]] += 1
            held[prefix] = group
        for key, n in Counter(key for _, key in groups).items():
            self._groups.hold(key, n)
        for key, n in dropped.items():
            self._groups.drop(key, n)
        return []

    def _remove(self, at: list[int]) -> None:
        if not at:
            return
        self._fib.remove(self._packed[at], self._lengths[at])
        dropped = Counter(self._forwarding.held.pop(self._rows[i])[1] for i in at)
        for key, n in dropped.items():
            self._groups.drop(key, n)
        self._forwarding.removed += len(at)
