"""Tables of services: which server each slot belongs to, and what a change of them moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._core import NO_SERVER, maglev_table
from .config import ServerConfig, VipConfig

Table = NDArray[np.uint32]

#: Factor of weights in a table, so that a slow start has steps below one.
SCALE = 100


@dataclass(frozen=True)
class Moved:
    """What a change of a table does to flows that no connection table holds.

    Attributes:
        share: of all flows, those that go to another server than before, 0 to 1.
        needless: of all flows, those that did so although their server still has a weight.
    """

    share: float
    needless: float


def hash_name(algorithm: str, vip: VipConfig, server: ServerConfig) -> str:
    """What is hashed for a server. Cilium's: its address and port as its agent writes them."""
    if algorithm != "cilium":
        return server.name
    host = f"[{server.address}]" if ":" in server.address else server.address
    return f"[{host}:{vip.port}/{vip.protocol.upper()},State:active]"


def build(
    names: Sequence[str], weights: Sequence[int], numbers: Sequence[int], size: int, algorithm: str
) -> Table:
    """The table with servers' numbers in its slots, 0 where there is none: uint32, `size` long."""
    slots: Table = maglev_table(list(names), list(weights), size=size, algorithm=algorithm)
    of_index = np.asarray([*numbers, 0], np.uint32)
    slots[slots == NO_SERVER] = len(numbers)
    table: Table = of_index[slots]
    return table


def moved(before: Table | None, after: Table) -> Moved:
    """Compares two tables of a service. Slots that had no server do not count as moved."""
    if before is None or len(before) != len(after):
        return Moved(0.0, 0.0)
    changed = (before != after) & (before != 0)
    still = np.isin(before, np.unique(after))
    return Moved(float(changed.mean()), float((changed & still).mean()))


def shares(table: Table) -> dict[int, float]:
    """Of each server's number, the part of the slots that it has, 0 to 1."""
    numbers, counts = np.unique(table, return_counts=True)
    return {int(n): float(c) / len(table) for n, c in zip(numbers, counts, strict=True) if n != 0}
