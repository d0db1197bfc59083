"""Records to several sinks, none of which another one has to wait for unless it says so."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import logs
from ..dtypes import RECORD
from ..errors import ConfigError, StateError
from .base import Sink

_IDLE_SECONDS = 0.2
_TELL_SECONDS = 1.0


class Fanout:
    """Gives every batch to every sink, by the sink's policy; a thread each.

    Sinks start with the fan-out. A sink that fails, is slow or never returns keeps nobody else
    waiting, but for policy block, which is what that says. What goes wrong is counted, and logged
    as events ``sink.…``.

    Raises :class:`~wirepath.errors.ConfigError` for two sinks of one name, and what a sink raises
    that cannot start.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        names = [sink.name for sink in sinks]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(
                    f'name = "{name}" is not usable: it must be another one for each sink'
                )
        self._sinks = list(sinks)
        self._closed = False
        self._offered = 0
        opened: list[Sink] = []
        try:
            for sink in self._sinks:
                sink.open()
                opened.append(sink)
        except BaseException:
            for sink in opened:
                sink.queue.close()
                sink.close()
            raise
        self._threads = [
            threading.Thread(target=self._run, args=(sink,), name=f"sink-{sink.name}", daemon=True)
            for sink in self._sinks
        ]
        for thread in self._threads:
            thread.start()
        for sink in self._sinks:
            logs.emit("sink.opened", sink=sink.name, policy=sink.queue.counters["policy"])

    def write(self, records: NDArray[np.void]) -> None:
        """A batch (dtype :data:`wirepath.RECORD`) for every sink. The array is kept, not copied: it
        must not be written to again (what ``Ring.pop_batch`` returns never is)."""
        if self._closed:
            raise StateError("the fan-out is closed: make a new one")
        if records.dtype != RECORD:
            raise ConfigError(f"records have dtype {records.dtype}; it must be wirepath.RECORD")
        for sink in self._sinks:
            sink.queue.offer(records)
        self._offered += len(records)

    @property
    def acknowledged(self) -> int:
        """How many of the records that came, from the first, every sink is done with: written, or
        lost and counted. Any thread."""
        return min((sink.acknowledged for sink in self._sinks), default=self._offered)

    @property
    def counters(self) -> dict[str, dict[str, Any]]:
        """By sink. ``offered = written + dropped + conflated + refused_after_disconnect +
        queued``; further ones are the sink's own."""
        return {sink.name: sink.queue.counters | sink.extra_counters for sink in self._sinks}

    def close(self, timeout: float | None = 60.0) -> bool:
        """Let every sink write what waits, and end. Returns whether all did in time; one that did
        not is left to itself, and what it did not write stays in ``queued``.

        timeout: seconds; None waits for ever. A Kafka sink gives up a little before, and counts
        what it could not deliver as ``failed``.
        """
        self._closed = True
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        for sink in self._sinks:
            sink.end_by(deadline)
            sink.queue.close()
        for sink, thread in zip(self._sinks, self._threads, strict=True):
            left = max(deadline - time.monotonic(), 0)
            thread.join(min(left, threading.TIMEOUT_MAX))
            if thread.is_alive():
                queued = sink.queue.counters["queued"]
                sink.queue.error(f"it did not end within {timeout:g} s")
                logs.emit("sink.stuck", sink=sink.name, seconds=timeout, queued=queued)
        return not any(thread.is_alive() for thread in self._threads)

    @staticmethod
    def _run(sink: Sink) -> None:
        queue = sink.queue
        latest_idle = time.monotonic()
        losses = _Losses(sink)
        while (records := queue.take(_IDLE_SECONDS)) is not None:
            if len(records):
                error: Exception | None = None
                try:
                    sink.write(records)
                except Exception as raised:
                    error = raised
                    _tell(sink, raised, "writing")
                except BaseException as raised:  # such as sys.exit() in a function of the user
                    error = RuntimeError(f"{type(raised).__name__}: {raised}")
                    _tell(sink, error, "writing")
                sink.settle(records, error)
            now = time.monotonic()
            if now - latest_idle >= _IDLE_SECONDS or not len(records):
                latest_idle = now
                losses.look(now)
                try:
                    sink.idle()
                except Exception as raised:
                    _tell(sink, raised, "between records")
        if queue.disconnected:
            refused = queue.counters["refused_after_disconnect"]
            logs.emit("sink.disconnected", sink=sink.name, refused=refused)
        try:
            sink.close()
        except Exception as raised:
            _tell(sink, raised, "closing")
        if left := queue.held:
            queue.failed(left)
        losses.look(time.monotonic(), last=True)
        counters = queue.counters
        names = ("written", "dropped", "conflated")
        logs.emit("sink.closed", sink=sink.name, **{name: counters[name] for name in names})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Losses:
    """Tells what a sink loses: the first of it at once, then at most once a second."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._told = (0, 0)
        self._again = 0.0

    def look(self, now: float, *, last: bool = False) -> None:
        if (now < self._again and not last) or not logs.wanted("sink.dropped"):
            return
        counters = self._sink.queue.counters
        found = (counters["dropped"], counters["conflated"])
        if found == self._told:
            return
        dropped, conflated = (new - old for new, old in zip(found, self._told, strict=True))
        self._told, self._again = found, now + _TELL_SECONDS
        logs.emit(
            "sink.dropped",
            sink=self._sink.name,
            policy=counters["policy"],
            dropped=dropped,
            conflated=conflated,
        )


def _tell(sink: Sink, error: Exception, when: str) -> None:
    sink.queue.error(error)
    logs.emit("sink.failed", sink=sink.name, during=when, error=str(error))
