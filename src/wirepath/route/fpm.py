"""FRR's FPM (``dplane_fpm_nl``): zebra connects and tells its routes as netlink messages.

:class:`FpmSession` has no socket and no clock; :class:`FpmServer` gives it both.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import socket
import threading
import time
import zlib
from collections import Counter, deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ConfigError, PortError
from ..settings import problem
from .table import RouteTable

__all__ = ["FPM_PORT", "FpmServer", "FpmSession", "read_fpm_dump"]

FPM_PORT = 2620
_RECEIVE = 1 << 20
_AT_ONCE = 1 << 15  # events that are taken in before somebody looks
_SOURCE = "fpm"


class FpmSession:
    """The routes of one zebra, over as many connections as it takes.

    Zebra tells everything after it has connected, and has no word for the end of that: once
    nothing came for ``quiet`` seconds, what it did not tell again is swept. Until then, and while
    there is no connection, everything stays in force.

    Args:
        table: where the routes go, as those of source ``"fpm"``.
        quiet: seconds of silence that end the telling.
    """

    def __init__(self, table: RouteTable, *, quiet: float = 5.0) -> None:
        if not quiet > 0:
            raise ConfigError(problem("quiet", quiet, "above 0 seconds"))
        self.table = table
        self.quiet = quiet
        self.counters: Counter[str] = Counter()
        self._last = 0.0

    def connected(self, now: float) -> None:
        """A connection begins: zebra will tell everything."""
        self.counters["connections"] += 1
        self.table.begin(_SOURCE)
        self._last = now

    def events(self, events: NDArray[np.void], now: float) -> None:
        """Takes what :class:`wirepath._core.FpmStream` made of the bytes."""
        if len(events):
            self._last = now
            self.counters["events"] += len(events)
            self.table.apply(events, _SOURCE)

    def disconnected(self, now: float) -> None:
        """The connection is gone: nothing is swept, whatever was told stays."""
        self._last = now
        self.counters["disconnections"] += 1

    def tick(self, now: float, *, connected: bool = True) -> bool:
        """Sweeps when it is time; whether it did."""
        if not connected or not self.table.syncing(_SOURCE) or now - self._last < self.quiet:
            return False
        self.counters["swept"] += self.table.end(_SOURCE)
        self.counters["sweeps"] += 1
        return True


class FpmServer:
    """Listens for zebra, and reads so fast that it never waits.

    A thread of its own receives and decodes without the GIL, and queues; :meth:`poll` takes what
    is queued into the table.

    Args:
        table: where the routes go.
        host, port: where zebra connects to (``fpm address HOST port PORT``).
        quiet: see :class:`FpmSession`.

    Raises:
        PortError: the address cannot be listened at.
    """

    def __init__(
        self,
        table: RouteTable,
        host: str = "127.0.0.1",
        port: int = FPM_PORT,
        *,
        quiet: float = 5.0,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise ConfigError(problem("port", port, "from 0 to 65535"))
        self.session = FpmSession(table, quiet=quiet)
        self.stream_counters: Counter[str] = Counter()
        self._queue: deque[tuple[str, NDArray[np.void] | None]] = deque()
        self._arrived = threading.Event()
        self._ending = threading.Event()
        self._connected = False
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family, backlog=1)
        except OSError as error:
            why = (error.strerror or str(error)).partition(" (while")[0]
            mend = "an address of this machine: fpm_host"
            if error.errno == errno.EADDRINUSE:
                mend = "another port: --fpm-port"
            raise PortError(
                f"fpm: {host} port {port} cannot be listened at: {why} "
                f"({mend}, and the same in zebra's `fpm address`)"
            ) from error
        self._listener.settimeout(0.2)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name="wirepath-fpm", daemon=True)
        self._thread.start()

    def __enter__(self) -> FpmServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the thread; the table stays as it is."""
        self._ending.set()
        self._thread.join()
        self._listener.close()

    @property
    def queued(self) -> int:
        """Events received that :meth:`poll` has not taken in."""
        return sum(len(e) for _, e in list(self._queue) if e is not None)

    def poll(self, timeout: float = 0.0) -> bool:
        """Takes what was received in, waiting for it at most ``timeout`` seconds. Where there is
        very much it takes some, so that it can be followed, and the next call the rest.

        Returns:
            Whether there was anything, or something was swept.
        """
        self._arrived.wait(timeout)
        self._arrived.clear()
        changed = False
        told: list[NDArray[np.void]] = []  # not taken in yet: many at a time are taken in faster
        taken = 0
        while self._queue and taken < _AT_ONCE:
            what, events = self._queue.popleft()
            changed = True
            taken += 1 if events is None else len(events)
            if events is not None:
                told.append(events)
                continue
            self._take(told)
            self._connected = what == "connected"
            if self._connected:
                self.session.connected(time.monotonic())
            else:
                self.session.disconnected(time.monotonic())
        self._take(told)
        if self._queue:  # told, and not taken in: nothing to be swept
            self._arrived.set()
            return True
        return self.session.tick(time.monotonic(), connected=self._connected) or changed

    def _take(self, told: list[NDArray[np.void]]) -> None:
        if told:
            self.session.events(np.concatenate(told), time.monotonic())
            told.clear()

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                with connection:
                    self._put("connected")
                    self._serve(connection)
                    self._put("disconnected")

    def _serve(self, connection: socket.socket) -> None:
        stream = _core.FpmStream()
        connection.settimeout(0.2)
        while not self._ending.is_set() and not stream.broken:
            try:
                data = connection.recv(_RECEIVE)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data:
                break
            events = stream.feed(data)
            if len(events):
                self._put("events", events)
        # A header that is none ends the connection: zebra connects again and tells everything.
        self.stream_counters["broken"] += int(stream.broken)
        self.stream_counters.update(stream.counters)

    def _put(self, what: str, events: NDArray[np.void] | None = None) -> None:
        self._queue.append((what, events))
        self._arrived.set()


def read_fpm_dump(path: Path, table: RouteTable) -> dict[str, int]:
    """Takes a recorded stream (gzip or not) into a table as one connection.

    Returns:
        The counters of the stream.

    Raises:
        ConfigError: the file cannot be read, or is no FPM stream.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"fpm dump {path}: {error}") from error
    stream = _core.FpmStream()
    table.apply(stream.feed(data), _SOURCE)
    counters = dict(stream.counters)
    if stream.broken or not counters["frames"]:
        raise ConfigError(
            f"fpm dump {path}: no frame of version 1 after {counters['frames']} frames "
            "(record what zebra sends to `fpm address`, from its first byte)"
        )
    if stream.pending:
        counters["cut_off"] = int(stream.pending)
    return counters
