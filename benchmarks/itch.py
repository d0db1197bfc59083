# SPDX-License-Identifier: Apache-2.0
"""ITCH 5.0: length-prefixed messages in memory to 64-byte records.

Where the records go decides much, so both sides always do the same: `itch_native` stores into a
window of 4,096 records over and over, as into a ring; the others into one array of all records, as
NumPy has it. All of it is warm: an untimed pass comes first on both sides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

_WINDOW = 4096
_REPEAT = 5


def _check(who: str, records: int) -> None:
    if records != build.DAY_MESSAGES:
        raise Refused(f"{who} made {records} records of {build.DAY_MESSAGES} messages")


def python_rate(data: bytes, cpu: int) -> float:
    """Messages a second of Itch50.decode_into, one array for the whole file, median of some."""
    import numpy as np  # noqa: PLC0415

    import wirepath as wp  # noqa: PLC0415

    out = np.zeros(build.DAY_MESSAGES + 1, wp.RECORD)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    times = []
    try:
        for _ in range(_REPEAT + 1):
            decoder = wp.feed.Itch50()
            start = time.perf_counter_ns()
            written, _, _ = decoder.decode_into(data, out)
            times.append(time.perf_counter_ns() - start)
            _check("Itch50.decode_into", written)
    finally:
        os.sched_setaffinity(0, allowed)
    return build.DAY_MESSAGES * 1e9 / sorted(times[1:])[_REPEAT // 2]


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    day = build.day_file()
    data = day.read_bytes()
    cpu = settings.cpus[1]
    words = ["--file", str(day), "--repeat", str(_REPEAT), "--cpu", str(cpu)]

    def program(path: str, window: int, *more: str) -> Contestant:
        def run() -> Sample:
            got = process.run([path, *words, "--window", str(window), *more])
            _check(path, got["records"])
            if got.get("bad"):
                raise Refused(f"{got['bad']} records did not fit the books, or crossed one")
            return Sample({"rate": got["rate"]})

        return run

    bare, ours = build.reference("itch_decode"), build.native("itch_bench")
    yield {
        "yardstick, window": program(bare, _WINDOW),
        "native, window": program(ours, _WINDOW),
        "books": program(ours, _WINDOW, "--book", "1"),
        "yardstick, array": program(bare, 0),
        "native, array": program(ours, 0),
        "python": lambda: Sample({"rate": python_rate(data, cpu)}),
    }


ITCH = Group(
    "ITCH",
    (
        Line(
            "itch_native",
            "frames in memory to records in a window of 4,096, against itch_decode",
            "messages/s",
            "native, window",
            "yardstick, window",
            goal=0.9,
        ),
        Line(
            "itch_native_array",
            "frames in memory to one array of records, against itch_decode",
            "messages/s",
            "native, array",
            "yardstick, array",
            goal=0.9,
        ),
        Line(
            "itch_book",
            "frames in memory to records, order books and best prices, against itch_decode alone",
            "messages/s",
            "books",
            "yardstick, window",
            note="the yardstick keeps no book: what keeping one costs; peer_itch_book is the peer",
        ),
        Line(
            "itch_python",
            "Itch50.decode_into one NumPy array from Python, against itch_decode",
            "messages/s",
            "python",
            "yardstick, array",
            goal=0.8,
        ),
    ),
    _open,
)
