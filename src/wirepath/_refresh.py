# SPDX-License-Identifier: Apache-2.0
"""Brings counters that kernels and devices keep into shared memory while ports are open, so that
whoever looks from outside sees them: a thread of its own, as the data path makes no system calls
for it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

from .errors import WirepathError

if TYPE_CHECKING:
    from .ports import Port

EVERY: Final = 0.5  # seconds
_BACKENDS: Final = ("socket", "af_xdp", "dpdk", "ef_vi", "auto")  # kept elsewhere


class _Refresher:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ports: weakref.WeakSet[Port] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def add(self, port: Port) -> None:
        if port.spec.partition(":")[0] not in _BACKENDS:
            return
        with self._lock:
            self._ports.add(port)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wp-counters", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(EVERY):
            with self._lock:
                found = [port for port in self._ports if not port.closed]
                if not found:  # the next port that is opened starts another thread
                    self._ports.clear()
                    self._thread = None
                    return
            for port in found:
                try:
                    port.stats()
                except WirepathError:
                    continue  # closed meanwhile
            found.clear()
            del port

    def stop(self) -> None:
        """A thread that is inside a native call must not meet the end of the interpreter."""
        self._over.set()
        thread = self._thread
        if thread is not None:
            thread.join()


_refresher = _Refresher()


def _end() -> None:
    _refresher.stop()  # the one of this process, after a fork


atexit.register(_end)


def _forked() -> None:
    global _refresher  # noqa: PLW0603 -- the child has no thread, and ports of its own
    _refresher = _Refresher()


os.register_at_fork(after_in_child=_forked)


def watch(port: Port) -> None:
    """Keep the port's counters up to date until it is closed or gone."""
    _refresher.add(port)
