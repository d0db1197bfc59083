"""Counters and histograms by name, of this process or of another one while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from . import _core
from ._core import Histogram


@dataclass(frozen=True)
class Snapshot:
    """What a process's counter segment held at one moment."""

    counters: dict[str, int]
    histograms: dict[str, Histogram]


def counters() -> Snapshot:
    """This process's counters and histograms: ports, workers, feeds."""
    return Snapshot(*_core.telemetry_read(""))


def attach(pid: int | str) -> Snapshot:
    """Those of another wirepath process of the same user, read without touching its data path.

    Raises :class:`~wirepath.errors.PortError` when it has none.
    """
    return Snapshot(*_core.telemetry_read(str(pid)))
