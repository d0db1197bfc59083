# SPDX-License-Identifier: Apache-2.0
"""The router's program in the driver with a full Internet table: nanoseconds a packet.

By BPF_PROG_RUN over frames of 60 bytes, 64 with the check sequence of the wire. A wrapper around
the program (programs/route_again.c) gives each run a packet to the next of 2^20 addresses, so that
the processor's caches hold of the tables what they would under such traffic, and no more. What the
wrapper costs by itself, measured in turns with it, is taken off. The program ends with its verdict:
what a driver needs to receive and send a frame is not in the figure.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import fib, route_user_run
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

_LINE_RATE = 1e9 / 14_880_952  # ns: packets of 64 bytes on 10 Gbit/s
_REPEATS = 1 << 20  # the whole list once
_SPELLS = (
    3  # few and long: for each the kernel patches its code twice, and waits for all processors
)
_HOPS = 1000  # as a router with many peers has them
_ADDRESSES = 1 << 20
_OURS = bytes.fromhex("020000000001")
_LOOPBACK = 1  # a port that is there; nothing is sent to it
_ROW6 = np.dtype([("to", ">u8", 2), ("port", ">u2"), ("unused", "u1", 6)])


@cache
def _packets(family: int, how: str) -> NDArray[Any]:
    return route_user_run.packets(how) if family == 4 else _packets6(how)


def _packets6(how: str) -> NDArray[np.void]:
    made = fib.files(6)
    to = np.fromfile(made.random if how == "random" else made.trace, ">u8").reshape(-1, 2)
    out = np.zeros(_ADDRESSES, _ROW6)
    # What no router forwards is left out, as route_packet.h has it; the rest comes again for it.
    usable = to[to[:, 0] >> 61 == 1]
    out["to"] = np.resize(usable, (_ADDRESSES, 2))
    out["port"] = np.random.default_rng(8).integers(1024, 65536, _ADDRESSES)
    return out


def _frame(family: int) -> bytes:
    """UDP of 60 bytes; its destination, source port and checksum are the wrapper's."""
    if family == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0x4000, 64, 17, 0)
        head += socket.inet_aton("198.18.0.1") + bytes(4)
        return _OURS + _OURS + b"\x08\x00" + head + struct.pack("!HHHH", 0, 9, 26, 0) + bytes(18)
    source = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    head = struct.pack("!IHBB", 6 << 28, 8, 17, 64) + source + bytes(16)
    return _OURS + _OURS + b"\x86\xdd" + head + struct.pack("!HHHH", 0, 9, 8, 0)


class _Driver:
    """The programs in the kernel, over one set of maps."""

    def __init__(self, cpu: int) -> None:
        from wirepath import programs  # noqa: PLC0415 -- --list needs no built package
        from wirepath.route.program import ForwardingTables, entries  # noqa: PLC0415

        source = Path(__file__).parent / "programs" / "route_again.c"
        sizes = entries() | {"packets4": _ADDRESSES, "packets6": _ADDRESSES}
        config = {"port": 1, "seed": 1}
        self._cpu = cpu
        self._programs: dict[str, Any] = {}
        share: dict[str, Any] = {}
        for name in ("again4", "again6", "nothing4", "nothing6"):
            loaded = programs.load(
                source,
                function=f"wirepath_{name}",
                config=config,
                entries={} if share else sizes,
                share=share,
            )
            self._programs[name] = loaded
            share = share or dict.fromkeys(loaded.maps, loaded)
        first = self._programs["again4"]
        self.tables = ForwardingTables(first)
        for number in range(1, _HOPS + 1):
            self.tables.next_hops.set(number, 1, _LOOPBACK, _OURS, _OURS, 1500, 0, 1, 1)
            self.tables.next_hops.set_group(number, [(number, 1)])
        for family, table in ((4, self.tables.fib4), (6, self.tables.fib6)):
            rows = np.fromfile(fib.files(family).table, fib.ROW)
            size = 4 if family == 4 else 16
            table.add_many(rows["address"][:, :size].copy(), rows["length"], rows["next_hop"])
        first.maps["interfaces"][1] = (_LOOPBACK, list(_OURS), 1)
        first.maps["ports"][1] = _LOOPBACK

    def aim(self, family: int, how: str) -> None:
        """Packets go to these addresses from now on."""
        into = self._programs["again4"].maps[f"packets{family}"]
        values = _packets(family, how)
        into.load(np.arange(_ADDRESSES, dtype=np.uint32), values.view(into.value_dtype))

    def measure(self, family: int) -> Sample:
        """Nanoseconds a packet, without the wrapper's."""
        again, nothing = (self._programs[f"{name}{family}"] for name in ("again", "nothing"))
        again.reset_counters()
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._cpu})
        try:
            frame = _frame(family)
            again.run(frame, repeat=_REPEATS)
            costs = [
                [program.run(frame, repeat=_REPEATS).ns for program in (again, nothing)]
                for _ in range(_SPELLS)
            ]
        finally:
            os.sched_setaffinity(0, before)
        # One set of counters for all: the wrapper alone counts its verdicts and nothing else.
        counted = again.counters()
        forwarded, meant = counted[f"forwarded{family}"], _REPEATS * (_SPELLS + 1)
        if forwarded != meant:
            raise Refused(f"{forwarded:,} of {meant:,} packets were forwarded: {counted}")
        whole, alone = (statistics.median(each) for each in zip(*costs, strict=True))
        return Sample({"ns": statistics.median(a - b for a, b in costs), "whole": whole,
                       "alone": alone})  # fmt: skip


def _run(driver: _Driver, family: int, how: str) -> Sample:
    driver.aim(family, how)
    return driver.measure(family)


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    from wirepath.programs import kernel  # noqa: PLC0415

    if why := kernel.unavailable_reason():
        raise Unavailable(why)
    driver = _Driver(settings.cpus[1])
    yield {
        "line rate": lambda: Sample({"ns": _LINE_RATE}),
        **{
            f"{how} {family}": partial(_run, driver, family, how)
            for family in (4, 6)
            for how in ("trace", "random")
        },
    }


_NOTE = (
    "ratio = ours / 67.2 ns, what 64-byte packets at 10 Gbit/s leave for one; the wrapper that "
    "writes each packet's addresses is measured in turns and taken off"
)


def _line(name: str, what: str, ours: str) -> Line:
    return Line(name, what, "ns/packet", ours, "line rate", "ns", 1.0, "lower", _NOTE)


ROUTE_DRIVER = Group(
    "router in the driver",
    (
        _line(
            "route_xdp_v4",
            "forwarding program with the full table by BPF_PROG_RUN, most packets to few of the "
            "prefixes",
            "trace 4",
        ),
        _line("route_xdp_v4_random", "the same, addresses at random within prefixes", "random 4"),
        _line("route_xdp_v6", "IPv6, most packets to few of the prefixes", "trace 6"),
        _line("route_xdp_v6_random", "IPv6, addresses at random within prefixes", "random 6"),
    ),
    _open,
)
