# SPDX-License-Identifier: Apache-2.0
"""The ring between two pinned threads, and from another process into NumPy."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from . import build, process
from .harness import (
    Contestant,
    Group,
    Line,
    Refused,
    Sample,
    Settings,
    Unavailable,
    two_processors,
)

_RECORDS = 50_000_000
_PYTHON_RECORDS = 20_000_000
_BATCH = 64
_CAPACITY = 4096
_POP = 1024


def _python(settings: Settings) -> Sample:
    """Another process pushes, this thread pops arrays and sums a field of every record."""
    import wirepath as wp  # noqa: PLC0415

    name = f"bench.{os.getpid()}"
    ring = wp.Ring(_CAPACITY, "block", name)
    command = [build.native("ring_bench"), "--name", name, "--records", str(_PYTHON_RECORDS)]
    command += ["--batch", str(_BATCH), "--producer-cpu", str(settings.cpus[0])]
    records = total = 0
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {settings.cpus[1]})
    with subprocess.Popen(command) as producer:
        try:
            batch = ring.pop_batch(_POP, timeout=10)
            start = time.monotonic_ns()
            first = len(batch)
            while len(batch):
                total += int(batch["seq"].sum())
                records += len(batch)
                batch = ring.pop_batch(_POP, timeout=2)
            # The last pop waited for the ring's end, which came with the last records.
            elapsed = time.monotonic_ns() - start
        finally:
            ring.close()
            os.sched_setaffinity(0, allowed)
    if producer.returncode or records != _PYTHON_RECORDS or total != records * (records - 1) // 2:
        raise Refused(f"ring_bench pushed {_PYTHON_RECORDS} records, {records} came, sum {total}")
    return Sample({"rate": (records - first) * 1e9 / elapsed})


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    two_processors(settings)
    producer, consumer = map(str, settings.cpus)
    words = ["--producer-cpu", producer, "--consumer-cpu", consumer, "--batch", str(_BATCH)]
    words += ["--capacity", str(_CAPACITY), "--records", str(_RECORDS)]
    bare = [build.reference("ring_spsc"), *words, "--repeat", "1"]
    ours = [build.native("ring_bench"), *words]

    def rate(command: list[str]) -> Sample:
        return Sample({"rate": process.run(command)["rate"]})

    yield {
        "yardstick": lambda: rate(bare),
        "native": lambda: rate(ours),
        "yardstick, copying": lambda: rate([*bare, "--copy"]),
        "python": lambda: _python(settings),
    }


RING = Group(
    "ring",
    (
        Line(
            "ring",
            "64-byte records between two pinned threads, batches of 64, against ring_spsc",
            "records/s",
            "native",
            "yardstick",
            goal=0.9,
        ),
        Line(
            "ring_python",
            "pop_batch into NumPy from another process, against ring_spsc --copy",
            "records/s",
            "python",
            "yardstick, copying",
        ),
    ),
    _open,
)
