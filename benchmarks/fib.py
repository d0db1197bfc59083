# SPDX-License-Identifier: Apache-2.0
"""The forwarding table on a real Internet table, against DPDK's: look-ups, updates, memory."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import build, process
from .harness import Contestant, Group, Line, Refused, Sample, Settings, Unavailable, two_processors

PREFIXES = Path(
    os.environ.get(
        "WIREPATH_BENCH_PREFIXES",
        build.ROOT.parent / "shared" / "data" / "rib" / "bart-prefixes.txt.gz",
    )
)
ROW = np.dtype([("address", "u1", 16), ("length", "<u4"), ("next_hop", "<u4")])
_HOPS = 1000  # groups of next hops, as a router with many peers has them
_ADDRESSES = 1 << 20
_ZIPF = 1.1


@dataclass(frozen=True)
class Files:
    """What both sides read."""

    family: int
    table: Path
    random: Path
    trace: Path


def _rows(family: int) -> NDArray[np.void]:
    from wirepath.route import read_prefixes  # noqa: PLC0415

    if not PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {PREFIXES} (a file with one prefix a line, gzip or not, "
            "in WIREPATH_BENCH_PREFIXES)"
        )
    size = 4 if family == 4 else 16
    prefixes = [p for p in read_prefixes(PREFIXES) if len(p[0]) == size]
    rows = np.zeros(len(prefixes), ROW)
    packed = np.frombuffer(b"".join(a for a, _ in prefixes), np.uint8).reshape(-1, size)
    rows["address"][:, :size] = packed
    rows["length"] = [n for _, n in prefixes]
    rows["next_hop"] = np.random.default_rng(3).integers(1, _HOPS + 1, len(rows))
    return rows


def _within(rows: NDArray[np.void], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """An address anywhere in each of these prefixes."""
    left = np.clip(rows["length"][:, None].astype(int) - 8 * np.arange(size), 0, 8)
    host = (0xFF >> left).astype(np.uint8)
    some: NDArray[np.uint8] = rng.integers(0, 256, (len(rows), size), dtype=np.uint8)
    return rows["address"][:, :size] | (some & host)


def files(family: int) -> Files:
    """Makes them, unless they are there; the same bytes every time."""
    folder = build.BUILD / "benchmarks" / "fib"
    out = Files(family, *(folder / f"{name}{family}" for name in ("table", "random", "trace")))
    if out.trace.exists() and out.trace.stat().st_mtime > PREFIXES.stat().st_mtime:
        return out
    folder.mkdir(parents=True, exist_ok=True)
    rows = _rows(family)
    rng = np.random.default_rng(family)
    size = 4 if family == 4 else 16
    if family == 4:
        # Anywhere in unicast space, whether somebody announces it or not.
        words = rng.integers(1 << 24, 224 << 24, _ADDRESSES)
        random = words.astype(">u4").view(np.uint8).reshape(-1, 4)
    else:
        # All of IPv6 is empty: anywhere in prefixes of which each is as likely as the next.
        random = _within(rows[rng.integers(0, len(rows), _ADDRESSES)], size, rng)
    # Few prefixes have most of the traffic: Zipf's law over prefixes in an order of chance.
    weights = 1.0 / np.arange(1, len(rows) + 1) ** _ZIPF
    chosen = rng.choice(len(rows), _ADDRESSES, p=weights / weights.sum())
    trace = _within(rows[rng.permutation(len(rows))[chosen]], size, rng)
    rows.tofile(out.table)
    random.tofile(out.random)
    trace.tofile(out.trace)
    return out


class Served:
    """A program that has a table and measures what it is told to."""

    def __init__(self, command: Sequence[str]) -> None:
        self.who = Path(command[0]).name
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=process.ROOT,
            env=process.ENVIRONMENT,
        )
        self._failed = ""
        self.built = self._answer()

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        if line := self._child.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        _, err = self._child.communicate(timeout=30)
        words = err.strip().splitlines()
        self._failed = f"{self.who} failed: {words[-1] if words else 'it said nothing'}"
        raise Refused(self._failed)

    def ask(self, *words: object) -> dict[str, Any]:
        if self._failed:
            raise Refused(self._failed)
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # the answer says why
            self._child.stdin.write(" ".join(map(str, words)) + "\n")
            self._child.stdin.flush()
        return self._answer()


class _Sums:
    """All tables must give the same answers: the sums of the next hops are compared."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def check(self, who: str, key: str, value: int) -> None:
        if self._known.setdefault(key, value) != value:
            raise Refused(f"{who} finds other next hops ({value}, not {self._known[key]})")


@contextmanager
def _open(settings: Settings, family: int) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    two_processors(settings)
    data = files(family)
    writer, reader = map(str, settings.cpus)
    words = ["--family", str(family), "--table", str(data.table)]
    words += ["--reader-cpu", reader, "--writer-cpu", writer]
    suffix = "6" if family == 6 else ""
    commands = {
        "ours": [build.native("fib_bench"), *words],
        "ours, 2 bytes": [build.native("fib_bench"), *words, "--entry-bytes", "2"],
        "rte_fib": [build.reference("dpdk_fib"), "--kind", f"fib{suffix}", *words],
        "rte_lpm": [build.reference("dpdk_fib"), "--kind", f"lpm{suffix}", *words],
    }
    sums = _Sums()
    with ExitStack() as stack:
        served: dict[str, Served] = {}

        def table(who: str) -> Served:
            if who not in served:
                served[who] = Served(commands[who])
                stack.callback(served[who].close)
            return served[who]

        def looks(who: str, batch: int, path: Path) -> Contestant:
            def run() -> Sample:
                got = table(who).ask("lookup", batch, settings.seconds, path)
                sums.check(who, str(path), got["sum"])
                return Sample({"rate": got["rate"]})

            return run

        def updates(who: str) -> Contestant:
            def run() -> Sample:
                got = table(who).ask("update", settings.seconds, data.random)
                sums.check(who, str(data.random), got["sum"])
                return Sample({"updates": got["updates"], "rate": got["rate"]})

            return run

        def filled(who: str) -> Contestant:
            def run() -> Sample:
                fresh = Served(commands[who])
                try:
                    built = fresh.built
                finally:
                    fresh.close()
                return Sample({"seconds": built["build_seconds"], "bytes": built["bytes"]})

            return run

        yield {
            **{
                f"{who}, {path.name[:-1]}, {batch}": looks(who, batch, path)
                for who in commands
                for path in (data.random, data.trace)
                for batch in (1, 64)
            },
            **{f"{who}, updates": updates(who) for who in ("ours", _updated(family))},
            **{f"{who}, filled": filled(who) for who in ("ours", "rte_fib")},
        }


def _updated(family: int) -> str:
    """Whose updates ours are held against: rte_fib6 loses room with each, and soon refuses."""
    return "rte_fib" if family == 4 else "rte_lpm"


def _lines(family: int) -> Iterator[Line]:
    name = f"fib{family}"
    how = {1: "one at a time", 64: "64 at once"}
    note = "per second of processor time; everything in transparent huge pages where it helps"
    for kind in ("random", "trace"):
        for batch in (1, 64):
            end = f"{kind}, {batch}"
            for other in ("rte_fib", "rte_lpm"):
                yield Line(
                    f"{name}_{kind}_{batch}_{other[4:]}",
                    f"IPv{family} look-ups, {kind} addresses, {how[batch]}, against {other}",
                    "lookups/s",
                    f"ours, {end}",
                    f"{other}, {end}",
                    goal=1.0 if (batch, other) == (64, "rte_fib") else None,
                    note=note,
                )
        if family == 6:
            continue  # a full table has more groups than two bytes number
        yield Line(
            f"{name}_{kind}_2bytes",
            f"IPv{family} look-ups, {kind} addresses, 64 at once, entries of 2 bytes against of 4",
            "lookups/s",
            f"ours, 2 bytes, {kind}, 64",
            f"ours, {kind}, 64",
        )
    yield Line(
        f"{name}_updates",
        f"IPv{family} updates while a reader reads at full speed, against {_updated(family)}",
        "updates/s",
        "ours, updates",
        f"{_updated(family)}, updates",
        "updates",
        note="DPDK's has no protection of readers here",
    )
    yield Line(
        f"{name}_read_while_updated",
        f"IPv{family} look-ups, 64 at once, while a writer updates at full speed, against without",
        "lookups/s",
        "ours, updates",
        "ours, random, 64",
    )
    yield Line(
        f"{name}_build",
        f"IPv{family}: the whole table in, against rte_fib",
        "s",
        "ours, filled",
        "rte_fib, filled",
        "seconds",
        better="lower",
    )
    yield Line(
        f"{name}_memory",
        f"IPv{family}: memory of the whole table, that of updates included, against rte_fib",
        "bytes",
        "ours, filled",
        "rte_fib, filled",
        "bytes",
        better="lower",
    )


FIB4 = Group("fib4", tuple(_lines(4)), lambda settings: _open(settings, 4))
FIB6 = Group("fib6", tuple(_lines(6)), lambda settings: _open(settings, 6))
