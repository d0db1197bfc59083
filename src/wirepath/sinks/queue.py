"""Records that wait for a sink: bounded, by the sink's policy, each accounted for."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Policy

_KEY = ("venue", "channel", "instrument", "type", "side")


def newest(records: NDArray[np.void]) -> NDArray[np.void]:
    """The newest record of each venue, channel, instrument, message type and side, in order."""
    keys = np.empty((len(records), 2), "<u8")
    keys[:, 0] = records["instrument"].astype("<u8") << 32 | records["type"]
    keys[:, 1] = (
        records["venue"].astype("<u8") << 32
        | records["channel"].astype("<u8") << 8
        | records["side"]
    )
    whole = keys[::-1].copy().view("V16")[:, 0]
    _, first = np.unique(whole, return_index=True)
    return records[np.sort(len(records) - 1 - first)]


@dataclass
class Taken:
    """Records that a sink took at once: where they end among all that were offered, and how many
    of them are neither written nor failed."""

    end: int
    left: int


class Queue:
    """Between the producer's thread and a sink's.

    At any moment, seen from any thread: ``offered = written + dropped + conflated +
    refused_after_disconnect + queued``, where queued are ``waiting`` here, ``held`` by the sink
    (unfinished files, messages in flight). ``dropped`` includes those that ``failed``.
    """

    def __init__(self, policy: Policy, capacity: int) -> None:
        self._policy = policy
        self._capacity = capacity
        self._changed = threading.Condition()
        self._pieces: deque[tuple[NDArray[np.void], int]] = deque()  # and where it ends
        self._taken: deque[Taken] = deque()
        self._settled = 0  # all before is written or failed
        self._closed = False
        self._disconnected = False
        self._offered = self._written = self._dropped = self._failed = 0
        self._conflated = self._refused = self._waiting = self._held = 0
        self._blocked = self._errors = self._high_water = 0
        self._last_error = ""

    def offer(self, records: NDArray[np.void]) -> None:
        """The producer's records, which must not be written to any more. Waits by policy block
        only."""
        with self._changed:
            while len(records):
                if self._disconnected or self._closed:
                    self._offered += len(records)
                    self._refused += len(records)
                    return
                room = self._capacity - self._waiting
                if room >= len(records):
                    self._put(records)
                    return
                if self._policy == "block":
                    if room:
                        self._put(records[:room])
                        records = records[room:]
                    self._blocked += 1
                    self._changed.wait()
                    continue
                self._overflow(records, room)
                return

    def _put(self, records: NDArray[np.void]) -> None:
        self._offered += len(records)
        self._waiting += len(records)
        self._high_water = max(self._high_water, self._waiting)
        self._pieces.append((records, self._offered))
        self._changed.notify_all()

    def _overflow(self, records: NDArray[np.void], room: int) -> None:
        if self._policy == "drop_newest":
            if room:
                self._put(records[:room])
            self._offered += len(records) - room
            self._dropped += len(records) - room
        elif self._policy == "disconnect":
            self._disconnected = True
            self._offered += len(records)
            self._refused += len(records)
            self._changed.notify_all()
        else:
            every = np.concatenate([*(piece for piece, _ in self._pieces), records])
            kept = newest(every)
            self._conflated += len(every) - len(kept)
            beyond = max(len(kept) - self._capacity, 0)
            self._dropped += beyond
            self._offered += len(records)
            self._pieces.clear()
            self._waiting = len(kept) - beyond
            self._high_water = max(self._high_water, self._waiting)
            self._pieces.append((kept[beyond:], self._offered))
            self._changed.notify_all()

    def take(self, timeout: float) -> NDArray[np.void] | None:
        """The sink's next records; none when none came in time. None: there will be no more."""
        with self._changed:
            if not self._pieces and not self._over:
                self._changed.wait(timeout)
            if self._pieces:
                piece, end = self._pieces.popleft()
                self._waiting -= len(piece)
                self._held += len(piece)
                self._taken.append(Taken(end, len(piece)))
                self._changed.notify_all()
                return piece
            return None if self._over else np.empty(0, "V0")

    @property
    def _over(self) -> bool:
        return self._closed or self._disconnected

    def wrote(self, records: int, taken: Taken | None = None) -> None:
        """So many of those held are where they belong: of ``taken``, or of the oldest."""
        with self._changed:
            self._held -= records
            self._written += records
            self._settle(records, taken)

    def failed(self, records: int, taken: Taken | None = None) -> None:
        """So many of those held are lost: of ``taken``, or of the oldest."""
        with self._changed:
            self._held -= records
            self._failed += records
            self._dropped += records
            self._settle(records, taken)

    def _settle(self, records: int, taken: Taken | None) -> None:
        if taken is not None:
            taken.left -= records
            records = 0
        while self._taken:
            first = self._taken[0]
            some = min(records, first.left)
            first.left -= some
            records -= some
            if first.left:
                return
            self._settled = first.end
            self._taken.popleft()

    @property
    def latest(self) -> Taken | None:
        """What was taken last, unless all of it is settled."""
        with self._changed:
            return self._taken[-1] if self._taken else None

    def acknowledged(self, settled: int | None = None) -> int:
        """How many of the records offered, from the first, are neither waiting nor held. settled:
        what a sink knows that does not settle its records in order."""
        with self._changed:
            if not self._waiting and not self._held:
                return self._offered
            return self._settled if settled is None else settled

    def error(self, error: BaseException | str) -> None:
        """Something went wrong at the sink."""
        with self._changed:
            self._errors += 1
            self._last_error = str(error) or type(error).__name__

    @property
    def held(self) -> int:
        """Taken, and neither written nor failed."""
        with self._changed:
            return self._held

    @property
    def disconnected(self) -> bool:
        """The sink was too slow, by policy disconnect."""
        with self._changed:
            return self._disconnected

    @property
    def closed(self) -> bool:
        """No more will come."""
        with self._changed:
            return self._over

    def close(self) -> None:
        """No more is taken in; what waits is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def counters(self) -> dict[str, Any]:
        """All at one moment."""
        with self._changed:
            return {
                "policy": self._policy,
                "offered": self._offered,
                "written": self._written,
                "dropped": self._dropped,
                "failed": self._failed,
                "conflated": self._conflated,
                "refused_after_disconnect": self._refused,
                "queued": self._waiting + self._held,
                "waiting": self._waiting,
                "held": self._held,
                "high_water": self._high_water,
                "blocked": self._blocked,
                "disconnected": self._disconnected,
                "errors": self._errors,
                "last_error": self._last_error,
            }
