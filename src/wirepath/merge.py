"""One ordered view over several rings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ._core import Ring
from .dtypes import RECORD
from .errors import ConfigError

_NAP = 50e-6


class _Input:
    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.pending = np.empty(0, RECORD)
        self.last: int | None = None  # largest key that came
        self.spoke = time.monotonic()

    @property
    def over(self) -> bool:
        return self.ring.closed and len(self.ring) == 0


class Merge:
    """Records of several rings in the order of ``by``; made by :func:`merge`.

    counters: ``late`` records came with a smaller key than one that had been given out already;
    ``waived`` is how often a silent ring was not waited for any longer.
    """

    def __init__(
        self, rings: Sequence[Ring], by: Literal["recv_time", "seq"], patience: float | None
    ) -> None:
        if by not in ("recv_time", "seq"):
            raise ConfigError(f'by = {by!r} is not usable: it must be "recv_time" or "seq"')
        if not rings:
            raise ConfigError("rings = [] is not usable: it must be one ring or more")
        if patience is not None and patience < 0:
            raise ConfigError(
                f"patience = {patience} is not usable: it must be 0 seconds or more, or None"
            )
        self._inputs = [_Input(ring) for ring in rings]
        self._by = by
        self._patience = patience
        self._given: int | None = None  # largest key that was given out
        self._oldest = 0.0  # when the first of what is pending came
        self.late = 0
        self.waived = 0

    @property
    def closed(self) -> bool:
        """Every ring is closed, and all was given out."""
        return all(i.over and len(i.pending) == 0 for i in self._inputs)

    def pop_batch(self, max: int = 65536, timeout: float = 0.0) -> NDArray[np.void]:
        """Up to about ``max`` records of each ring, ordered: what no ring can precede any more.

        Waits up to ``timeout`` seconds; empty when there was nothing, or all is :attr:`closed`.
        """
        if max < 1:
            raise ConfigError(f"max = {max} is not usable: it must be at least 1")
        end = time.monotonic() + timeout
        while True:
            self._pull(max)
            out = self._take()
            if len(out) or self.closed or time.monotonic() >= end:
                return out
            time.sleep(_NAP)

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """Batches, until every ring is closed."""
        while not self.closed:
            out = self.pop_batch(timeout=0.1)
            if len(out):
                yield out

    def _pull(self, most: int) -> None:
        now = time.monotonic()
        for source in self._inputs:
            if len(source.pending) >= most:
                continue
            fresh = source.ring.pop_batch(most)
            if not len(fresh):
                continue
            if not any(len(i.pending) for i in self._inputs):
                self._oldest = now
            source.spoke = now
            top = int(fresh[self._by].max())
            source.last = top if source.last is None else max(source.last, top)
            source.pending = (
                np.concatenate([source.pending, fresh]) if len(source.pending) else fresh
            )

    def _take(self) -> NDArray[np.void]:
        waiting = [i for i in self._inputs if len(i.pending)]
        if not waiting:
            return np.empty(0, RECORD)
        limit = self._horizon()
        parts = []
        for source in waiting:
            keys = source.pending[self._by]
            ready = np.ones(len(keys), bool) if limit is None else keys <= limit
            if ready.all():
                parts.append(source.pending)
                source.pending = source.pending[:0]
            elif ready.any():
                parts.append(source.pending[ready])
                source.pending = source.pending[~ready]
        if not parts:
            return np.empty(0, RECORD)
        self._oldest = time.monotonic()
        out = np.concatenate(parts)
        out = out[np.argsort(out[self._by], kind="stable")]
        if self._given is not None:
            self.late += int((out[self._by] < self._given).sum())
        top = int(out[self._by][-1])
        self._given = top if self._given is None else max(self._given, top)
        return out

    def _horizon(self) -> int | None:
        """The key up to which every ring has spoken; None: no ring has to be waited for."""
        limits: list[int] = []
        now = time.monotonic()
        impatient = self._patience is not None and now - self._oldest >= self._patience
        for source in self._inputs:
            if source.over:
                continue
            if impatient and not len(source.pending):
                self.waived += 1
                continue
            limits.append(-1 if source.last is None else source.last)
        return min(limits) if limits else None


def merge(
    rings: Sequence[Ring],
    by: Literal["recv_time", "seq"] = "recv_time",
    *,
    patience: float | None = 0.05,
) -> Merge:
    """The records of ``rings`` as one stream, ordered by ``recv_time`` or ``seq``.

    Each ring is taken to be ordered by itself, as a worker with one flow, or with one queue by
    time, fills it. A record is given out once every other ring has shown a later one, is closed,
    or has been silent for ``patience`` seconds (None: for ever) while it waited. Records of the
    same key come in the order of the rings. The merge is the only consumer of its rings.
    """
    return Merge(rings, by, patience)


__all__ = ["Merge", "merge"]
