"""Counters of the shared-memory segments as labelled series: what ``top`` and ``metrics`` show.

The native side names a cell ``kind/object/counter``: ``port/af_xdp:eth0/q0/drop.rx_ring_full``.
Here that is the series ``port_drops`` with the labels ``port``, ``queue`` and ``cause``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError, PortError
from .telemetry import Snapshot, attach, counters

_SEGMENTS = Path("/dev/shm")
_PREFIX = "wirepath."
_QUEUE = re.compile(r"q(\d+)(?:#\d+)?")
# Counters by cause, and the label that the cause goes into.
_FAMILIES = {"drop": ("drops", "cause"), "verdict": ("verdicts", "verdict")}
#: Values that go down as well.
GAUGES = frozenset({"held", "missing", "share_basis_points", "up", "weight"})


@dataclass(frozen=True)
class Series:
    """One value with its labels. ``kind``: port, worker, feed, publisher, hand_off, …"""

    kind: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: int

    @property
    def gauge(self) -> bool:
        return self.name in GAUGES

    def label(self, name: str) -> str:
        return dict(self.labels).get(name, "")


def split(cell: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """(kind, series name, labels) of a cell's name."""
    kind, _, rest = cell.partition("/")
    owner, _, name = rest.rpartition("/")
    name, number, again = name.partition("#")  # a histogram of an object that has a namesake
    owner += number + again
    labels = []
    if kind == "port":
        front, _, last = owner.rpartition("/")
        queue = _QUEUE.fullmatch(last)
        owner = front if queue else owner
        labels.append(("queue", queue[1] if queue else ""))
    family, dot, cause = name.partition(".")
    if dot and family in _FAMILIES:
        name, label = _FAMILIES[family]
        labels.append((label, cause))
    return kind, name, ((kind, owner), *labels)


def series(snapshot: Snapshot) -> list[Series]:
    """Every counter and gauge of a process."""
    return [Series(*split(cell), value) for cell, value in snapshot.counters.items()]


def processes() -> list[int]:
    """Wirepath processes of this machine whose counters may be read, by number."""
    found = []
    for entry in _SEGMENTS.glob(f"{_PREFIX}*"):
        number = entry.name.removeprefix(_PREFIX)
        if number.isdecimal() and Path("/proc", number).exists() and os.access(entry, os.R_OK):
            found.append(int(number))
    return sorted(found)


def chosen(numbers: Iterable[int]) -> list[int]:
    """The processes that were asked for, or all there are but this one.

    Raises :class:`~wirepath.errors.ConfigError` for one that has no counters.
    """
    have = [pid for pid in processes() if pid != os.getpid()]
    wanted = list(dict.fromkeys(numbers))
    for pid in wanted:
        if pid not in have:
            known = ", ".join(map(str, have)) or "none"
            raise ConfigError(
                f"process {pid} has no counters that this user may read (those that have: {known})"
            )
    return wanted or have


def read(pids: Iterable[int]) -> dict[int, Snapshot]:
    """Snapshots of processes; those that have ended meanwhile are left out."""
    out = {}
    for pid in pids:
        try:
            out[pid] = counters() if pid == os.getpid() else attach(pid)
        except PortError:
            continue
    return out


def command_of(pid: int) -> str:
    """The command line of a process, "" when it is gone."""
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode(errors="replace") for word in words).strip()
