# SPDX-License-Identifier: Apache-2.0
"""Changes a forwarding table at full speed while somebody forwards by it."""

from __future__ import annotations

import itertools
import os
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from .harness import Refused
from .route_path_lab import WAYS, Routes, hop_of

if TYPE_CHECKING:
    from wirepath.route import Fib

_BATCH = 1024


class Writer:
    """Replaces, takes out and adds prefixes from entering a `with` block to its end.

    In batches of 1,024 prefixes drawn at random. The /8s below all of them stay, so that every
    address has a route at any time, and a prefix keeps to the next hops of its first byte, so that
    a packet which goes to others was led astray. Every prefix is in again after a batch.
    """

    def __init__(self, table: Fib, routes: Routes, cpu: int) -> None:
        self._table = table
        self._cpu = cpu
        self._prefixes, self._lengths, self._ways = (
            each[routes.lengths > 8] for each in (routes.prefixes, routes.lengths, routes.ways)
        )
        self._writing = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None
        self.processor_ns = 0  # that it has had, once it has ended
        # When each batch was done, and how many updates there had been by then.
        self._times: list[float] = []
        self._updates: list[int] = []

    def rate(self, began: float, ended: float) -> float:
        """Updates a second between two times of `time.perf_counter`, once it has ended."""
        first, last = np.interp([began, ended], self._times, self._updates)
        return float(last - first) / (ended - began)

    def _run(self) -> None:
        try:
            os.sched_setaffinity(0, {self._cpu})  # of this thread alone
            order = np.random.default_rng(5).permutation(len(self._prefixes))
            updates = 0
            for at in itertools.cycle(range(0, len(order), _BATCH)):
                updates += self._change(order[at : at + _BATCH])
                self._times.append(time.perf_counter())
                self._updates.append(updates)
                self._writing.set()
                if self._ending.is_set():
                    break
            self.processor_ns = time.thread_time_ns()
        except BaseException as error:  # raised where the block ends
            self._error = error
        finally:
            self._writing.set()

    def _change(self, which: NDArray[np.int64]) -> int:
        """How many updates it took."""
        prefixes, lengths = self._prefixes[which], self._lengths[which]
        for step in (1, 2):
            self._ways[which] = (self._ways[which] + 1) % WAYS
            hops = hop_of(prefixes >> 24, self._ways[which])
            new = self._table.add_many(prefixes, lengths, hops)
            meant = 0 if step == 1 else len(which)
            if new != meant:
                raise Refused(f"{new} of {len(which)} prefixes were new to the table, not {meant}")
            if step == 1:
                gone = self._table.remove_many(prefixes, lengths)
                if gone != len(which):
                    raise Refused(f"{gone} of {len(which)} prefixes were there to take out")
        return 3 * len(which)

    def __enter__(self) -> Self:
        self._thread.start()
        self._writing.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        if self._error is None or exc is not None:  # the first to fail tells why
            return
        if isinstance(self._error, Refused):
            raise self._error
        what = f"{type(self._error).__name__}: {self._error}"
        raise Refused(f"the writer of the tables failed: {what}") from self._error
