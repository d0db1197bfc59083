"""Statistics of a running ingestion: totals, rates, latency, and a periodic flush."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from . import accounting
from ._core import Histogram
from .errors import ConfigError

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99, 100.0)

Summary = dict[str, Any]


def percentiles(histogram: Histogram) -> dict[str, int]:
    """``{"p50": ns, …, "p99.99": ns, "max": ns}``; empty when nothing was recorded."""
    if not histogram.total:
        return {}
    out = {f"p{p:g}": histogram.quantile(p / 100) for p in PERCENTILES if p < 100}
    out["max"] = histogram.max
    return out


class Source(Protocol):
    """What statistics are taken from: :class:`wirepath.IngestionClient` is one."""

    @property
    def messages_received(self) -> int: ...
    @property
    def packets_received(self) -> int: ...
    def snapshot(self) -> dict[str, Any]: ...
    def wire_to_ring(self) -> Histogram: ...


class IngestionStats:
    """Messages, gaps, rate, elapsed time and latency of one ingestion.

    flush_interval: seconds between flushes, None = never. on_flush: called with
    :meth:`summary` from a thread of its own. flush_path: file to which each flush appends the
    summary as a line of JSON. The last flush is made when the ingestion stops. What a flush
    raises is kept and raised by ``stop_ingestion()``.

    Handed to ``client.start_ingestion(ring, stats)``, which fills it; one ingestion each.
    """

    def __init__(
        self,
        *,
        flush_interval: float | None = None,
        on_flush: Callable[[Summary], object] | None = None,
        flush_path: str | Path | None = None,
    ) -> None:
        if flush_interval is not None and not 0.01 <= flush_interval <= 86400:
            raise ConfigError(
                f"flush_interval = {flush_interval!r} is not usable: it must be from 0.01 to "
                "86400 seconds, or None"
            )
        if flush_interval is not None and on_flush is None and flush_path is None:
            raise ConfigError(
                f"flush_interval = {flush_interval!r} is not usable: it must be left out unless "
                "on_flush or flush_path says where to flush to"
            )
        if flush_interval is None and (on_flush is not None or flush_path is not None):
            raise ConfigError(
                "flush_interval = None is not usable: it must be from 0.01 to 86400 seconds when "
                "on_flush or flush_path is given"
            )
        self.flush_interval = flush_interval
        self.ring_to_consumer = Histogram()
        """Histogram of ns from the ring's producer to its consumer, one sample per record; filled
        by :class:`wirepath.RingBuffer` as records are popped in this process."""
        self._on_flush = on_flush
        self._flush_path = Path(flush_path) if flush_path is not None else None
        self._source: Source | None = None
        self._started = 0.0
        self._stopped = 0.0
        self._flushed: tuple[float, int] = (0.0, 0)
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self.flush_error: Exception | None = None
        self.flushes = 0

    # --- driven by the client ------------------------------------------------------------
    def begin(self, source: Source) -> None:
        """Start counting ``source``. Raises :class:`ConfigError` when used before."""
        if self._source is not None:
            raise ConfigError("these IngestionStats belong to another ingestion: make new ones")
        self._source = source
        self._started = time.monotonic()
        self._flushed = (self._started, 0)
        if self.flush_interval is not None:
            self._thread = threading.Thread(target=self._flush_often, name="wp-stats", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Stop the clock and flush for the last time."""
        if self._source is None or self._stopped:
            return
        self._stopped = time.monotonic()
        self._end.set()
        if self._thread is not None:
            self._thread.join()
            self._try_flush()

    def _flush_often(self) -> None:
        assert self.flush_interval is not None
        while not self._end.wait(self.flush_interval):
            self._try_flush()

    def _try_flush(self) -> None:
        if self.flush_error is not None:
            return
        try:
            self.flush()
        except Exception as error:  # of the user's callback or disk: kept for stop_ingestion()
            self.flush_error = error

    # --- read by the user ----------------------------------------------------------------
    def flush(self) -> Summary:
        """Hand :meth:`summary` to ``on_flush`` and append it to ``flush_path``; returns it."""
        now, messages = time.monotonic(), self.messages
        since, before = self._flushed
        summary = self.summary()
        summary["recent_rate"] = (messages - before) / (now - since) if now > since else 0.0
        self._flushed = (now, messages)
        if self._flush_path is not None:
            with self._flush_path.open("a", encoding="utf-8") as out:
                out.write(json.dumps(summary) + "\n")
        if self._on_flush is not None:
            self._on_flush(summary)
        self.flushes += 1
        return summary

    @property
    def messages(self) -> int:
        """Messages that went into the ring."""
        return self._source.messages_received if self._source else 0

    @property
    def packets(self) -> int:
        """Frames that the worker saw."""
        return self._source.packets_received if self._source else 0

    @property
    def elapsed(self) -> float:
        """Seconds since the start, until the stop."""
        if self._source is None:
            return 0.0
        return (self._stopped or time.monotonic()) - self._started

    @property
    def rate(self) -> float:
        """Messages a second since the start."""
        elapsed = self.elapsed
        return self.messages / elapsed if elapsed > 0 else 0.0

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Ranges of sequence numbers that are missing, first and last inclusive."""
        return accounting.gaps(self._snapshot())

    @property
    def missing(self) -> int:
        """Messages that are known to exist and have not come."""
        return accounting.feed_totals(self._snapshot())["missing"]

    @property
    def wire_to_ring(self) -> Histogram:
        """Copy of the histogram of ns from a frame's receive timestamp until its messages stood in
        the ring, one sample per message."""
        return self._source.wire_to_ring() if self._source else Histogram()

    def latency_ns(self) -> dict[str, dict[str, int]]:
        """Percentiles of both histograms."""
        return {
            "wire_to_ring": percentiles(self.wire_to_ring),
            "ring_to_consumer": percentiles(self.ring_to_consumer),
        }

    def summary(self) -> Summary:
        """Everything above as plain values, ready for JSON."""
        snapshot = self._snapshot()
        return {
            "time": time.time(),
            "elapsed": self.elapsed,
            "packets": self.packets,
            "messages": self.messages,
            "rate": self.rate,
            "gaps": [list(gap) for gap in accounting.gaps(snapshot)],
            "missing": self.missing,
            "ring_full": snapshot.get("ring_full", 0),
            "latency_ns": self.latency_ns(),
        }

    def _snapshot(self) -> dict[str, Any]:
        return self._source.snapshot() if self._source else {}
