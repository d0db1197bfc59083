# SPDX-License-Identifier: Apache-2.0
"""Interleaved rounds, ratios with their spread, and how they are reported.

A group has contestants, each run in a fresh state once a round (A B C, A B C, …), and lines, each
of which compares one figure of one contestant with one of another. The ratio of a line is the
median of the ratios *within* the rounds, so that what disturbs a whole round cancels; the smallest
and largest of them are the spread.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (50, 99, 99.9, 99.99)


class Unavailable(Exception):
    """This cannot run here; says why and what would mend it."""


class Refused(Exception):
    """A run whose counters do not add up: its figures mean nothing."""


@dataclass(frozen=True)
class Settings:
    """What the command line says."""

    rounds: int = 5
    seconds: float = 0.8
    delay_ns: int = 0  # slows wirepath's receivers on purpose
    # (processor of the traffic source or producer, processor of the receiver or consumer)
    cpus: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Sample:
    """One run of one contestant."""

    figures: Mapping[str, float]
    info: Mapping[str, Any] = field(default_factory=dict)  # port.info()
    note: str = ""
    latencies: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # ns, by name


Contestant = Callable[[], Sample]


@dataclass(frozen=True)
class Line:
    """One line of the report: figure `figure` of two contestants."""

    name: str
    what: str
    unit: str
    ours: str
    yardstick: str
    figure: str = "rate"
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    note: str = ""


@dataclass(frozen=True)
class Group:
    """Lines that share contestants. `open` sets up what they run in and gives them by name.

    Those that cannot take part are Unavailable exceptions in place of the function.
    """

    name: str
    lines: tuple[Line, ...]
    open: Callable[[Settings], AbstractContextManager[Mapping[str, Contestant | Unavailable]]]


@dataclass
class Outcome:
    """What became of a line."""

    line: Line
    ours: list[float] = field(default_factory=list)
    yardstick: list[float] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    latencies: dict[str, list[NDArray[Any]]] = field(default_factory=dict)  # an array a round
    skipped: str = ""
    refused: str = ""

    @property
    def ratios(self) -> list[float]:
        """One a round."""
        return [a / b for a, b in zip(self.ours, self.yardstick, strict=True)]

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ratios) if self.ours else None

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without a goal or a figure."""
        if self.line.goal is None or self.ratio is None:
            return None
        if self.line.better == "higher":
            return self.ratio >= self.line.goal
        return self.ratio <= self.line.goal

    def percentiles(self, name: str) -> dict[str, float]:
        """Of a latency over all rounds together, ns."""
        together = np.concatenate(self.latencies[name])
        return {f"p{q:g}": float(np.percentile(together, q)) for q in _PERCENTILES} | {
            "max": float(together.max()),
            "samples": len(together),
        }

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`."""

        def rounded(value: float | None) -> float | None:
            return None if value is None else float(f"{value:.6g}")

        ratios = self.ratios
        return {
            "name": self.line.name,
            "unit": self.line.unit,
            "ours": rounded(statistics.median(self.ours) if ratios else None),
            "yardstick": rounded(statistics.median(self.yardstick) if ratios else None),
            "ratio": rounded(self.ratio),
            "ratio_min": rounded(min(ratios) if ratios else None),
            "ratio_max": rounded(max(ratios) if ratios else None),
            "goal": self.line.goal,
            "better": self.line.better,
            "met": self.met,
            "rounds": len(ratios),
            "what": self.line.what,
            "port": dict(self.info) or None,
            "skipped": self.skipped or None,
            "refused": self.refused or None,
            "note": "; ".join(filter(None, [self.line.note, *self.notes])) or None,
        } | ({"latency_ns": {n: self.percentiles(n) for n in self.latencies}} if ratios else {})


Progress = Callable[[str], None]


def run_group(
    group: Group, wanted: set[str], settings: Settings, progress: Progress
) -> Iterator[Outcome]:
    """Runs the lines of `group` that are in `wanted`, interleaved, and yields what they gave."""
    outcomes = [Outcome(line) for line in group.lines if line.name in wanted]
    if not outcomes:
        return
    try:
        progress(f"{group.name}: setting up")
        with group.open(settings) as contestants:
            _judge(outcomes, contestants)
            for number in range(settings.rounds):
                text = f"{group.name}: round {number + 1}/{settings.rounds}"
                _round(outcomes, contestants, partial(_tell, progress, text))
    except Unavailable as error:
        for outcome in outcomes:
            outcome.skipped = outcome.skipped or str(error)
            outcome.ours.clear()
            outcome.yardstick.clear()
    yield from outcomes


def _judge(outcomes: list[Outcome], contestants: Mapping[str, Contestant | Unavailable]) -> None:
    for outcome in outcomes:
        for name in (outcome.line.ours, outcome.line.yardstick):
            if isinstance(who := contestants[name], Unavailable):
                outcome.skipped = str(who)


def _tell(progress: Progress, text: str, who: str) -> None:
    progress(f"{text}, {who}")


def _round(
    outcomes: list[Outcome],
    contestants: Mapping[str, Contestant | Unavailable],
    progress: Progress,
) -> None:
    live = [o for o in outcomes if not o.skipped and not o.refused]
    needed = {name for o in live for name in (o.line.ours, o.line.yardstick)}
    samples: dict[str, Sample | Refused] = {}
    for name, contestant in contestants.items():
        if name not in needed or isinstance(contestant, Unavailable):
            continue
        progress(name)
        try:
            samples[name] = contestant()
        except Refused as error:
            samples[name] = error
    for outcome in live:
        ours, yardstick = samples[outcome.line.ours], samples[outcome.line.yardstick]
        if isinstance(ours, Refused) or isinstance(yardstick, Refused):
            outcome.refused = str(ours if isinstance(ours, Refused) else yardstick)
            outcome.ours.clear()
            outcome.yardstick.clear()
            continue
        outcome.ours.append(ours.figures[outcome.line.figure])
        outcome.yardstick.append(yardstick.figures[outcome.line.figure])
        outcome.info = ours.info or outcome.info
        for name, latencies in ours.latencies.items():
            outcome.latencies.setdefault(name, []).append(latencies)
        for note in (ours.note, yardstick.note):
            if note and note not in outcome.notes:
                outcome.notes.append(note)


def processors() -> tuple[int, int]:
    """The first two processors of this process; the same one twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[min(1, len(allowed) - 1)]


def two_processors(settings: Settings) -> None:
    """Raises Unavailable where there is only one: source and receiver would share it."""
    if settings.cpus[0] == settings.cpus[1]:
        raise Unavailable("needs two processors: the traffic source has one to itself")


def favour() -> str:
    """Asks for more of the processors than others get; what the measured processes inherit.

    Returns what was granted. Both sides of every comparison run under it.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    return f"nice {os.getpriority(os.PRIO_PROCESS, 0)}"
