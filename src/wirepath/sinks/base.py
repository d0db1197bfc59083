"""What a sink is to the fan-out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Policy
from .queue import Queue


class Sink(ABC):
    """Takes arrays of records on a thread of its own.

    Derive, implement :meth:`write`, give it to a :class:`Fanout`. A sink that keeps records (files
    that are not finished, messages in flight) overrides :meth:`settle` as well and tells
    ``self.queue`` itself what it wrote and what failed.
    """

    def __init__(
        self, name: str, *, policy: Policy = "block", queue_records: int = 1_048_576
    ) -> None:
        self.name = name
        self.policy = policy
        self.queue_records = queue_records
        self.queue = Queue(policy, queue_records)

    def open(self) -> None:  # noqa: B027 -- not every sink has something to do
        """Called by the fan-out before the first record, on its caller's thread. What it raises
        keeps the fan-out from starting."""

    @abstractmethod
    def write(self, records: NDArray[np.void]) -> None:
        """Records in order. What it raises is counted and told, and does not end the sink."""

    def settle(self, records: NDArray[np.void], error: Exception | None) -> None:
        """Called after each write, with what it raised."""
        if error is None:
            self.queue.wrote(len(records))
        else:
            self.queue.failed(len(records))

    def idle(self) -> None:  # noqa: B027
        """Called now and then, also while no records come."""

    def close(self) -> None:  # noqa: B027
        """Called once on the sink's thread, after the last record."""

    def end_by(self, deadline: float) -> None:  # noqa: B027
        """Called when no more records come, on the thread that closes the fan-out: what is not
        written at ``deadline`` (of ``time.monotonic()``) is to be given up."""

    @property
    def acknowledged(self) -> int:
        """How many of the records offered, from the first, this sink is done with: written, or
        lost and counted. Any thread."""
        return self.queue.acknowledged()

    @property
    def extra_counters(self) -> dict[str, Any]:
        """Counters of its own, beside those of every sink."""
        return {}
