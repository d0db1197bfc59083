"""Throughput after RFC 2544, section 26.1: the highest rate at which nothing is lost.

The search knows nothing of packets: a trial is a function from a rate to what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..settings import problem
from .result import Trial, ZeroLoss

# A sender that hands half of its packets over later than this falls ever further behind.
LATE_NS = 1_000_000

OnTrial = Callable[[Trial], object]


@dataclass(frozen=True)
class Search:
    """Bounds of a search. Rates in packets a second; resolution: where the gap between the highest
    rate that passed and the lowest that failed is under this share of it, the search ends; seconds:
    of a trial; confirm: trials in a row that a rate must pass to count."""

    lowest: float = 1_000.0
    highest: float = 2_000_000.0
    resolution: float = 0.02
    seconds: float = 1.0
    confirm: int = 1

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.lowest <= 1e8:
            problems.append(problem("lowest", self.lowest, "from 1 to 1e8 packets a second"))
        if not self.lowest <= self.highest <= 1e8:
            problems.append(problem("highest", self.highest, f"from {self.lowest:g} to 1e8"))
        if not 0.001 <= self.resolution <= 0.5:
            problems.append(problem("resolution", self.resolution, "from 0.001 to 0.5"))
        if not 0.05 <= self.seconds <= 3600:
            problems.append(problem("trial_seconds", self.seconds, "from 0.05 to 3600"))
        if not 1 <= self.confirm <= 20:
            problems.append(problem("confirm", self.confirm, "from 1 to 20"))
        if problems:
            raise ConfigError("\n".join(problems))


def search(
    trial: Callable[[float], Trial], bounds: Search, on_trial: OnTrial | None = None
) -> ZeroLoss:
    """Binary search between the bounds; ``trial(rate)`` runs one."""
    trials: list[Trial] = []

    def passes(rate: float) -> bool:
        for _ in range(bounds.confirm):
            trials.append(trial(rate))
            if on_trial is not None:
                on_trial(trials[-1])
            if not trials[-1].passed:
                return False
        return True

    limit: Literal["receiver", "sender", "highest"]
    best: float | None = None
    failed: Trial | None = None
    if passes(bounds.highest):
        best, limit = bounds.highest, "highest"
    else:
        failed = trials[-1]
        if passes(bounds.lowest):
            best = bounds.lowest
            while failed.rate - best > bounds.resolution * failed.rate:
                middle = (best + failed.rate) / 2
                if passes(middle):
                    best = middle
                else:
                    failed = trials[-1]
        else:
            failed = trials[-1]
        limit = "sender" if failed.sender_late else "receiver"
    return ZeroLoss(
        rate=best,
        resolution=bounds.resolution,
        seconds=bounds.seconds,
        limit=limit,
        trials=trials,
    )
