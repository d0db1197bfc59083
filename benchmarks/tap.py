# SPDX-License-Identifier: Apache-2.0
"""The tap: what it costs a worker while nobody captures, and while somebody does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors

_PACKETS = 40_000_000
_TAPPED_PACKETS = 1_000_000
_LONG = 1500  # bytes
_WORK = 500  # ns that the stage takes for a frame: a capturer keeps up with two million a second


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    two_processors(settings)
    capturer, cpu = map(str, settings.cpus)

    def run(program: str, packets: int, size: int, snap: int, work: int = 0) -> Sample:
        command = [build.native(program), "--cpu", cpu, "--capturer-cpu", capturer]
        command += ["--packets", str(packets), "--frame-size", str(size), "--snap", str(snap)]
        command += ["--work-ns", str(work)]
        got = process.run(command)
        if snap and got["taken"] + got["dropped"] != packets:
            raise Refused(f"of {packets} packets {got['taken']} came, {got['dropped']} were lost")
        note = f"{got['dropped'] / packets:.1%} found no room" if snap else ""
        return Sample({"cost": got["ns_per_packet"]}, note=note)

    yield {
        "without": lambda: run("tap_bench_without", _PACKETS, 64, 0),
        "off": lambda: run("tap_bench", _PACKETS, 64, 0),
        "off, long": lambda: run("tap_bench", _TAPPED_PACKETS, _LONG, 0, _WORK),
        "64 bytes": lambda: run("tap_bench", _TAPPED_PACKETS, _LONG, 64, _WORK),
        "whole": lambda: run("tap_bench", _TAPPED_PACKETS, _LONG, _LONG, _WORK),
    }


def _line(name: str, what: str, ours: str, yardstick: str, goal: float | None = None) -> Line:
    return Line(name, what, "ns/packet", ours, yardstick, "cost", goal=goal, better="lower")


TAP = Group(
    "tap",
    (
        _line(
            "tap_off",
            "a worker over null that nobody captures, against one built without taps",
            "off",
            "without",
            1.05,
        ),
        _line(
            "tap_64",
            "2 million 1500-byte frames a second, 64 bytes of each captured, against none",
            "64 bytes",
            "off, long",
        ),
        _line(
            "tap_whole",
            "2 million 1500-byte frames a second, captured whole, against none",
            "whole",
            "off, long",
        ),
    ),
    _open,
)
