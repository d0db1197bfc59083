# SPDX-License-Identifier: Apache-2.0
"""The router in user space: processor time a packet with a full Internet table, on ports that cost
nothing, and between two net_null ports against dpdk-testpmd, which looks at no packet."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable
from .route_user_run import PREFIXES
from .testpmd import Testpmd, command

_BATCH = 64
_SECONDS = 180
_RECEIVED = re.compile(r"RX-packets: *(\d+)")


def _io(settings: Settings) -> Sample:
    """testpmd that sends what comes from either of two ports out of the other."""
    words = command("wpbench-r", "net_null0", "io", settings.cpus[1], _BATCH)
    words.insert(words.index("--vdev=net_null0") + 1, "--vdev=net_null1")
    words[words.index("--port-topology=loop")] = "--port-topology=paired"

    def received(program: Testpmd) -> int:
        counts = [int(n) for n in _RECEIVED.findall(program.ask("show port stats all"))]
        if len(counts) != 2:
            raise Refused(f"testpmd has counters of {len(counts)} ports, not of two")
        return sum(counts)

    with Testpmd(words) as program:
        before = program.processor_seconds()
        program.ask("start")
        time.sleep(settings.seconds)
        program.ask("stop")
        used = program.processor_seconds() - before
        packets = received(program)
    if not packets:
        raise Refused("testpmd forwarded nothing")
    return Sample({"cost": used * 1e9 / packets})


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    import wirepath as wp  # noqa: PLC0415 -- --list and --help need no built package

    if not PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {PREFIXES} (a file with one prefix a line, gzip, in "
            "WIREPATH_BENCH_PREFIXES)"
        )
    stage = build.native("route_frames.so")
    dpdk = next(b for b in wp.backends() if b.name == "dpdk")
    missing = None if dpdk.available else Unavailable(f"dpdk: {dpdk.reason} ({dpdk.mend})")

    def runs(*words: str) -> Contestant:
        given = ["--stage", stage, "--cpu", str(settings.cpus[1])]
        given += ["--seconds", str(settings.seconds)]
        line = process.module("route_user_run", *words, *given)

        def run() -> Sample:
            return Sample({"cost": process.run(line, timeout=_SECONDS)["cost"]})

        return run

    io: Contestant | Unavailable = missing or (lambda: _io(settings))
    if missing is None:
        try:
            command("wpbench-r", "net_null0", "io", 0, _BATCH)  # whether there is a testpmd
        except Unavailable as error:
            io = error
    yield {
        "null": runs("null", "nothing"),
        "random": runs("null", "program", "--addresses", "random"),
        "trace": runs("null", "program", "--addresses", "trace"),
        "two workers": runs("null", "program", "--addresses", "random", "--workers", "2"),
        "testpmd io": io,
        "net_null": missing or runs("dpdk", "program", "--addresses", "trace"),
        "net_null random": missing or runs("dpdk", "program", "--addresses", "random"),
    }


def _line(name: str, what: str, ours: str, yardstick: str, **more: object) -> Line:
    return Line(name, what, "ns/packet", ours, yardstick, "cost", better="lower", **more)  # type: ignore[arg-type]


_NULL = (
    "the yardstick is the worker with the stage alone that writes the packets' headers, which ours "
    "does as well: the difference is the program's and the sending's by port; 67 ns a packet are "
    "14.88 million a second"
)
_DPDK = (
    "testpmd looks at no packet and changes none; ours writes the header of each, routes it, and "
    "sends it out of one of the two ports without a copy"
)

ROUTE_USER = Group(
    "router in user space",
    (
        _line(
            "route_null_random",
            "forwarding program with the full table, addresses at random, null ports",
            "random",
            "null",
            note=_NULL,
        ),
        _line(
            "route_null_trace",
            "the same, most packets to few of the prefixes",
            "trace",
            "null",
            note=_NULL,
        ),
        _line(
            "route_null_workers",
            "two workers with a queue of each null port, addresses at random, against one",
            "two workers",
            "random",
            note="processor time of both together: what it grows by is what they cost each other",
        ),
        _line(
            "route_net_null",
            "the same between two net_null ports, against dpdk-testpmd io on such two",
            "net_null",
            "testpmd io",
            goal=1.43,  # 0.7 of its packets a second
            note=_DPDK,
        ),
        _line(
            "route_net_null_random",
            "the same with addresses at random",
            "net_null random",
            "testpmd io",
            note=_DPDK,
        ),
    ),
    _open,
)
