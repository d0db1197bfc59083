"""Sinks in this process: a function, a ring."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._core import Ring
from ..errors import StateError
from . import config
from .base import Sink

_NAP = 0.0005  # seconds between looks at a full ring
_PATIENCE = 1.0  # how long a full ring is waited for once nothing more will come


class CallbackSink(Sink):
    """Calls a function with each array of records."""

    def __init__(self, settings: config.CallbackSink) -> None:
        super().__init__(
            settings.name, policy=settings.policy, queue_records=settings.queue_records
        )
        self._function = settings.function

    def write(self, records: NDArray[np.void]) -> None:
        self._function(records)


class RingSink(Sink):
    """A named ring; another process takes the records out (:meth:`wirepath.Ring.attach`)."""

    _PIECE = 4096

    def __init__(self, settings: config.RingSink) -> None:
        super().__init__(
            settings.name, policy=settings.policy, queue_records=settings.queue_records
        )
        # "drop": push returns at once. This thread waits for room itself, to be able to end.
        self.ring = Ring(settings.capacity, "drop", settings.ring)
        self._piece = min(self._PIECE, settings.capacity)

    def write(self, records: NDArray[np.void]) -> None:
        at = 0
        patience = time.monotonic() + _PATIENCE
        while at < len(records):
            room = self.ring.capacity - len(self.ring)
            if room:
                pushed = self.ring.push(records[at : at + min(room, self._piece)])
                at += pushed
                self.queue.wrote(pushed)
                patience = time.monotonic() + _PATIENCE
            elif not self.queue.closed:
                patience = time.monotonic() + _PATIENCE
                time.sleep(_NAP)
            elif time.monotonic() < patience:
                time.sleep(_NAP)
            else:
                self.queue.failed(len(records) - at)
                raise StateError("nobody takes records out of the ring: attach a consumer")

    def settle(self, records: NDArray[np.void], error: Exception | None) -> None:
        pass  # write did

    def close(self) -> None:
        self.ring.close()

    @property
    def extra_counters(self) -> dict[str, Any]:
        """``ring_waiting``: records that nobody has taken out of the ring yet."""
        return {"ring_waiting": len(self.ring)}
