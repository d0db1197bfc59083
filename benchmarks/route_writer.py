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
        self.updates = 0
        self.processor_ns = 0  # that it has had, once it has ended
        self._seconds = 0.0

    @property
    def rate(self) -> float:
        """Updates a second, once it has ended."""
        return self.updates / self._seconds

    def _run(self) -> None:
        try:
            os.sched_setaffinity(0, {self._cpu})  # of this thread alone
            order = np.random.default_rng(5).permutation(len(self._prefixes))
            began = time.perf_counter()
            for at in itertools.cycle(range(0, len(order), _BATCH)):
                self._change(order[at : at + _BATCH])
                self._writing.set()
                if self._ending.is_set():
                    break
            self._seconds = time.perf_counter() - began
            self.processor_ns = time.thread_time_ns()
        except BaseException as error:  # raised where the block ends
            self._error = error
        finally:
            self._writing.set()

    def _change(self, which: NDArray[np.int64]) -> None:
        prefixes, lengths = self._prefixes[which], self._lengths[which]
        for step in (1, 2):
            self._ways[which] = (self._ways[which] + 1) % WAYS
            hops = hop_of(prefixes >> 24, self._ways[which])
            new = self._table.add_many(prefixes, lengths, hops)
            assert new == (0 if step == 1 else len(which))
            if step == 1:
                gone = self._table.remove_many(prefixes, lengths)
                assert gone == len(which)
        self.updates += 3 * len(which)

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
        if self._error is not None:
            raise self._error
