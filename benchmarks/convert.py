# SPDX-License-Identifier: Apache-2.0
"""A generated day of 5 million messages to Parquet files by type and hour: rows/s, peak memory.

Two yardsticks in the same run. `pyarrow` is given the rows decoded, in memory, and only writes the
same files with the same options: what is left over is decoding and sorting by type and hour.
`loop` is what a program without wirepath does: a parser from PyPI (itchfeed) makes an object of
each message, their values go into lists, pyarrow writes a file a type; it gets the first messages
only. All of them run in processes of their own, on one processor.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable

MESSAGES = 5_000_000
SLOW_MESSAGES = 200_000


@cache
def _day(messages: int) -> Path:
    import wirepath as wp  # noqa: PLC0415

    path = build.BUILD / "benchmarks" / f"convert-{messages}.itch"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        wp.feed.generate(path, messages=messages, seed=1)
    return path


def _contestant(mode: str, messages: int, cpu: int) -> Contestant:
    day, out = _day(messages), build.BUILD / "benchmarks" / f"converted-{mode}"

    def run() -> Sample:
        words = (mode, str(day), str(out), str(cpu))
        got = process.run(process.module("convert_run", *words), timeout=300)
        if got["rows"] != messages:
            raise Refused(f"{mode} wrote {got['rows']} rows of {messages} messages")
        return Sample({"rate": got["rate"], "peak": got["peak_bytes"] / 1e6})

    return run


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    if importlib.util.find_spec("pyarrow") is None:
        raise Unavailable("pyarrow is not installed (pip install pyarrow)")
    cpu = settings.cpus[1]
    itchfeed = importlib.util.find_spec("itch") is not None
    yield {
        "records": _contestant("records", MESSAGES, cpu),
        "raw": _contestant("raw", MESSAGES, cpu),
        "pyarrow": _contestant("pyarrow", MESSAGES, cpu),
        "loop": _contestant("loop", SLOW_MESSAGES, cpu)
        if itchfeed
        else Unavailable("itchfeed is not installed (pip install itchfeed)"),
    }


_DAY = f"a day of {MESSAGES:,} messages to Parquet"

CONVERT = Group(
    "convert",
    (
        Line(
            "parquet_records",
            f"{_DAY}, records by type and hour, against pyarrow writing them from memory",
            "rows/s",
            "records",
            "pyarrow",
        ),
        Line(
            "parquet_raw",
            f"{_DAY}, every field of each message, against pyarrow writing records from memory",
            "rows/s",
            "raw",
            "pyarrow",
        ),
        Line(
            "parquet_loop",
            f"{_DAY}, against a loop over itchfeed's objects, first {SLOW_MESSAGES:,}",
            "rows/s",
            "records",
            "loop",
        ),
        Line(
            "parquet_memory",
            f"{_DAY}, peak memory, against pyarrow with all rows in memory",
            "MB",
            "records",
            "pyarrow",
            figure="peak",
            better="lower",
        ),
    ),
    _open,
)
