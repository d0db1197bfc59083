"""Routes of a full table as columns: what can be taken in many at a time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dtypes import ROUTE_EVENT
from .model import CLONED, SELECTIVE, Kind, Prefix, RouteType

__all__ = ["PlainRows", "plain_rows", "runs"]

_FEW = 16  # below that columns cost more than they save
# What makes two routes different, but for their prefix, their table and their source.
_FIELDS = (
    "type",
    "protocol",
    "scope",
    "metric",
    "interface",
    "next_hop_id",
    "flags",
    "mtu",
    "gateway_family",
    "bits",
    "gateway",
)


def _bytes_of(*names: str) -> list[int]:
    fields = ROUTE_EVENT.fields
    assert fields is not None
    places = [(fields[name][1], fields[name][0].itemsize) for name in names]
    return [i for start, size in places for i in range(start, start + size)]


_KEY = _bytes_of(*_FIELDS)
_ADDRESS = _bytes_of("address")[0]
_FAMILIES = ((socket.AF_INET, 4), (socket.AF_INET6, 16))


def _masks(size: int) -> NDArray[np.uint8]:
    """Of each length the mask of an address, a row each."""
    bits = size * 8
    rows = [((1 << bits) - (1 << bits - n)).to_bytes(size, "big") for n in range(bits + 1)]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, size)


_MASKS = {size: _masks(size) for _, size in _FAMILIES}


class PlainRows(NamedTuple):
    """Columns, a row a route."""

    tables: list[int]
    prefixes: list[Prefix]
    #: The same bytes for the same route, whatever its prefix and table.
    keys: list[bytes]
    removed: list[int]
    message_flags: list[int]
    #: The row of the events that each came from.
    at: list[int]


def runs(events: NDArray[np.void]) -> Iterator[tuple[NDArray[np.void], bool]]:
    """The events in turn, in pieces that are all plain routes (True), or not. A route is plain
    where it has no members, and nothing about it is left out. Members stay with what has them."""
    if len(events) < _FEW:
        yield events, False
        return
    plain = (events["kind"] == Kind.ROUTE) & (events["members"] == 0) & (events["tos"] == 0)
    # FRR does not say of what type a route was that goes.
    plain &= (events["type"] >= RouteType.UNICAST) | (events["removed"] != 0)
    plain &= events["type"] <= max(RouteType)
    plain &= (events["flags"] & CLONED == 0) & (events["bits"] & SELECTIVE == 0)
    edges = np.flatnonzero(plain[1:] != plain[:-1]) + 1
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(events)], strict=True):
        yield events[start:end], bool(plain[start]) and end - start >= _FEW


def plain_rows(events: NDArray[np.void]) -> Iterator[PlainRows]:
    """The columns of plain routes, each family's by themselves, in their order."""
    for family, size in _FAMILIES:
        at = np.flatnonzero(events["family"] == family)
        if not len(at):
            continue
        some = events[at]
        raw = some.view(np.uint8).reshape(len(some), ROUTE_EVENT.itemsize)
        lengths = some["prefix_length"]
        packed = raw[:, _ADDRESS : _ADDRESS + size] & _MASKS[size][lengths]
        addresses: list[bytes] = packed.view(f"V{size}").ravel().tolist()
        keys: list[bytes] = raw.take(_KEY, axis=1).view(f"V{len(_KEY)}").ravel().tolist()
        yield PlainRows(
            some["table"].tolist(),
            list(zip(addresses, lengths.tolist(), strict=True)),
            keys,
            some["removed"].tolist(),
            some["message_flags"].tolist(),
            at.tolist(),
        )
