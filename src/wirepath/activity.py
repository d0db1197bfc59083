"""What wirepath processes do right now: rates, drops by cause, latencies and processor time.

Everything is a difference of two readings of the counters in shared memory and of /proc, so that
nothing is asked of the processes themselves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._core import Histogram
from .layers import Layer, layers
from .series import command_of, read, series, split
from .telemetry import Snapshot

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
_LOWS = np.asarray(Histogram.bucket_lows())
_TICK = os.sysconf("SC_CLK_TCK")
NAME = 15  # characters of a thread's name


@dataclass(frozen=True)
class Thread:
    """Processor time of a thread, seconds, and where it ran last."""

    name: str
    user: float
    system: float
    core: int


@dataclass
class Item:
    """A port, worker, feed, publisher … of a process over one interval.

    totals: its counters, queues and causes summed. rates: their change a second. drops: by cause,
    (in the interval, ever).
    """

    kind: str
    name: str
    totals: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    drops: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """A histogram over one interval, ns; ``samples`` 0: nothing was recorded."""

    name: str
    samples: int
    quantiles: dict[str, int]


@dataclass(frozen=True)
class Process:
    """One wirepath process over one interval."""

    pid: int
    command: str
    seconds: float
    items: list[Item]
    latencies: list[Latency]
    cores: dict[str, dict[str, float]]  # by thread: user, system (shares of a core), core
    layers: list[Layer] = field(default_factory=list)  # since each object was made
    softirq: dict[int, float] = field(default_factory=dict)  # share of each core, all processes


@dataclass(frozen=True)
class _Reading:
    at: float
    snapshot: Snapshot
    counts: dict[str, NDArray[np.uint64]]
    threads: dict[int, Thread]
    modes: dict[int, dict[str, float]]


class Activity:
    """Takes a reading at every :meth:`step` and says what happened since the one before.

    pids: gives the processes to look at, at every step.
    """

    def __init__(
        self, pids: Callable[[], Iterable[int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pids = pids
        self._clock = clock
        self._before: dict[int, _Reading] = {}
        self.step()

    def step(self) -> list[Process]:
        """What each process did since the last step; new ones appear one step later."""
        now = {pid: self._reading(pid, shot) for pid, shot in read(self._pids()).items()}
        before, self._before = self._before, now
        return [_between(pid, before[pid], now[pid]) for pid in now if pid in before]

    def _reading(self, pid: int, snapshot: Snapshot) -> _Reading:
        counts = {n: np.asarray(h.counts()) for n, h in snapshot.histograms.items()}
        return _Reading(self._clock(), snapshot, counts, threads(pid), core_seconds())


def threads(pid: int) -> dict[int, Thread]:
    """Threads of a process by number; none when it is gone or not ours to see."""
    out = {}
    for entry in Path("/proc", str(pid), "task").glob("*"):
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        # proc(5): the name is in parentheses and may hold any character.
        name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :]
        words = rest.split()
        user, system = int(words[11]) / _TICK, int(words[12]) / _TICK
        out[int(entry.name)] = Thread(name, user, system, int(words[36]))
    return out


def core_seconds(path: Path = Path("/proc/stat")) -> dict[int, dict[str, float]]:
    """Seconds of each core in user, system, irq, softirq and idle since the boot (proc(5))."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    out = {}
    for line in lines:
        name, *ticks = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            seconds = [int(each) / _TICK for each in ticks]
            user, nice, system, idle, wait, irq, softirq = seconds[:7]
            modes = {"user": user + nice, "system": system, "irq": irq, "softirq": softirq}
            out[int(name[3:])] = modes | {"idle": idle + wait}
    return out


def _softirq(a: _Reading, b: _Reading) -> dict[int, float]:
    """Of each core's time between two readings."""
    out = {}
    for core, modes in b.modes.items():
        spent = {mode: s - a.modes.get(core, {}).get(mode, 0.0) for mode, s in modes.items()}
        total = sum(spent.values())
        out[core] = spent["softirq"] / total if total > 0 else 0.0
    return out


def packets_per_core(frames: float, share: dict[str, float] | None) -> float | None:
    """Frames a second over the share of a core that they took; None where that is too little for
    the kernel's ticks to tell."""
    busy = share["user"] + share["system"] if share else 0.0
    return frames / busy if busy >= 0.01 else None


def _between(pid: int, a: _Reading, b: _Reading) -> Process:
    seconds = max(b.at - a.at, 1e-9)
    items: dict[tuple[str, str], Item] = {}
    old = a.snapshot.counters
    for cell, each in zip(b.snapshot.counters, series(b.snapshot), strict=True):
        name = each.label(each.kind)
        item = items.setdefault((each.kind, name), Item(each.kind, name))
        # A cell that is lower than before belongs to a new object of the old name.
        change = each.value - old.get(cell, 0)
        change = each.value if change < 0 and not each.gauge else change
        what = f"verdict.{each.label('verdict')}" if each.name == "verdicts" else each.name
        item.totals[what] = item.totals.get(what, 0) + each.value
        if not each.gauge:
            item.rates[what] = item.rates.get(what, 0.0) + change / seconds
        if each.name == "drops":
            since, ever = item.drops.get(each.label("cause"), (0, 0))
            item.drops[each.label("cause")] = (since + change, ever + each.value)
    return Process(
        pid,
        command_of(pid),
        seconds,
        list(items.values()),
        [_latency(name, counts, a.counts.get(name)) for name, counts in b.counts.items()],
        _shares(a.threads, b.threads, seconds),
        layers(b.snapshot),
        _softirq(a, b),
    )


def _latency(name: str, counts: NDArray[np.uint64], before: NDArray[np.uint64] | None) -> Latency:
    new = counts.astype(np.int64)
    if before is not None and (change := new - before.astype(np.int64)).min() >= 0:
        new = change
    samples = int(new.sum())
    if samples == 0:
        return Latency(name, 0, {})
    up_to = np.cumsum(new)
    ranks = {q: int(np.ceil(share * samples)) for q, share in QUANTILES.items()}
    found = {q: int(_LOWS[np.searchsorted(up_to, max(rank, 1))]) for q, rank in ranks.items()}
    return Latency(name, samples, found | {"max": int(_LOWS[np.flatnonzero(new)[-1]])})


def _shares(
    a: dict[int, Thread], b: dict[int, Thread], seconds: float
) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for number, thread in b.items():
        then = a.get(number)
        user = (thread.user - (then.user if then else 0.0)) / seconds
        system = (thread.system - (then.system if then else 0.0)) / seconds
        name = thread.name if thread.name not in out else f"{thread.name}#{number}"
        out[name] = {"user": user, "system": system, "core": thread.core}
    return out


def thread_of(process: Process, worker: str) -> dict[str, float] | None:
    """Processor shares of a worker's thread, which has its name, cut short by the kernel."""
    return process.cores.get(worker[:NAME])


def latency_title(name: str) -> tuple[str, str]:
    """(object, what) of a histogram's name."""
    kind, what, labels = split(name)
    return dict(labels)[kind], what.removesuffix("_ns").replace("_", " ")
