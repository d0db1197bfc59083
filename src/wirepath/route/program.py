"""The forwarding program's maps: tables that the control plane writes in place, and counters.

A data plane is a program with such maps (``src/programs/route_shared.h``), in the kernel or native.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..programs import NativeProgram, Program
from .fib import Fib

__all__ = ["AnyRouteProgram", "ForwardingTables", "counters_of", "entries", "hop_counters"]

AnyRouteProgram: TypeAlias = Program | NativeProgram

#: Numbers of ports and interfaces are below it.
INTERFACES = 256
_ROOT_BLOCKS = 65536
_BUCKETS = 128


def entries(
    *, groups4: int = 32768, groups6: int = 131072, next_hops: int = 16383
) -> dict[str, int]:
    """Sizes of the program's maps, for ``programs.load`` and ``programs.native``.

    Args:
        groups4, groups6: groups of 256 entries below the roots of the tables, 1 KiB each.
        next_hops: next hops, and as many groups of them, 1 to 65,535.
    """
    return {
        "root4": _ROOT_BLOCKS,
        "groups4": groups4,
        "root6": _ROOT_BLOCKS,
        "groups6": groups6,
        "buckets": next_hops + 1,
        "hops": next_hops + 1,
        "reach": next_hops + 1,
        "hop_counters": next_hops + 1,
    }


class ForwardingTables:
    """The forwarding tables in a program's maps, for :class:`wirepath.route.Forwarding` to fill:
    what it writes, the program reads at its next packet.

    Args:
        program: ``route``, loaded with :func:`entries`; its tables empty.
        max_prefixes4, max_prefixes6: see :class:`wirepath.route.Fib`.
    """

    def __init__(
        self, program: AnyRouteProgram, *, max_prefixes4: int = 0, max_prefixes6: int = 0
    ) -> None:
        self.program = program
        self.fib4 = self._fib(4, max_prefixes4)
        self.fib6 = self._fib(6, max_prefixes6)
        numbers = program.maps["hops"].max_entries - 1
        self.next_hops = _core.NextHops(
            max_next_hops=numbers,
            max_groups=numbers,
            buckets=_BUCKETS,
            memory=tuple(_bytes_of(program, name) for name in ("hops", "buckets", "reach")),
        )

    def _fib(self, family: int, max_prefixes: int) -> Fib:
        names = (f"root{family}", f"groups{family}", f"state{family}")
        return Fib(
            family,
            max_prefixes=max_prefixes,
            max_groups=self.program.maps[names[1]].max_entries,
            memory=tuple(_bytes_of(self.program, name) for name in names),
        )


def _bytes_of(program: AnyRouteProgram, name: str) -> object:
    """The values of an array map where they are: a writable buffer."""
    if isinstance(program, NativeProgram):
        return program.native.map_bytes(name)
    each = program.maps[name]
    size = each.max_entries * (-(-each.value_dtype.itemsize // 8) * 8)
    return mmap.mmap(program.native.map_fd(name), -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)


def counters_of(program: AnyRouteProgram) -> dict[str, int]:
    """``forwarded4``, ``forwarded6``, ``to_host_*`` and ``drop_*``: what became of packets, each in
    one of them."""
    return {
        name: count
        for name, count in program.counters().items()
        if not name.startswith("verdict.") and name != "drop_unnamed"
    }


def interface_counters(program: AnyRouteProgram) -> dict[int, dict[str, int]]:
    """By number of the interface: ``packets``, ``bytes``, ``forwarded``, ``to_host``, ``dropped``,
    ``sent_packets``, ``sent_bytes``. Those that saw none are left out."""
    return _rows(program, "if_counters")


def hop_counters(program: AnyRouteProgram) -> dict[int, dict[str, int]]:
    """By number of the next hop: ``packets`` and ``bytes`` sent there. Those without are left
    out."""
    return _rows(program, "hop_counters")


def _rows(program: AnyRouteProgram, name: str) -> dict[int, dict[str, int]]:
    _, values = program.maps[name].arrays()
    found: NDArray[Any] = values if values.ndim == 2 else values[:, None]
    fields = found.dtype.names or ()
    sums: Mapping[str, NDArray[np.uint64]] = {f: found[f].sum(axis=1) for f in fields}
    used = np.flatnonzero(sum(sums.values()))
    return {int(i): {f: int(sums[f][i]) for f in fields} for i in used}
