"""The control thread: carries requests to servers and answers to channels, beside the data path."""

from __future__ import annotations

import selectors
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import logs, traces
from .._core import now as clock
from .glimpse import Glimpse
from .servers import Server, StreamServer
from .sides import Channel

# How often mailboxes are looked at: while something is missing, and otherwise.
_BUSY, _QUIET = 0.0005, 0.005
_BUSY_FOR = 200_000_000


@dataclass
class Recovering:
    """One channel and its servers; either may be missing."""

    name: str
    channel: Channel
    requests: Server | None = None
    snapshot: StreamServer | None = None
    anew: int = 0
    """How often the sequence began anew: sessions that followed another, and resets."""

    def look(self, snapshot: Mapping[str, Any], now: int) -> None:
        """Begin to take the state where the channel's snapshot says that a sequence began anew."""
        anew = snapshot["counters"]["session_changes"] + snapshot["counters"]["resets"]
        if anew != self.anew:
            self.anew = anew
            if self.glimpse is not None:
                self.glimpse.begin(now, self._highest)

    def _highest(self) -> int:
        return max((int(unit["highest"]) for unit in self.channel.snapshot()["state"]), default=0)

    @property
    def glimpse(self) -> Glimpse | None:
        """The snapshot server's protocol."""
        if self.snapshot is None:
            return None
        stream = self.snapshot.stream
        return stream if isinstance(stream, Glimpse) else None

    def servers(self) -> list[Server]:
        """Those that are there."""
        return [s for s in (self.requests, self.snapshot) if s is not None]

    def status(self) -> dict[str, Any]:
        """What :meth:`Server.status` says of each."""
        out = {}
        if self.requests is not None:
            out["requests"] = self.requests.status()
        if self.snapshot is not None:
            out["snapshot"] = self.snapshot.status()
        return out


class Control:
    """Drives the servers of channels, and calls ``look`` every ``interval`` seconds.

    On a thread of its own between :meth:`start` and :meth:`stop`, or a step at a time. What a
    step raises does not end it: it is logged as ``recovery.control_failed`` and counted in
    ``errors``.
    """

    def __init__(
        self,
        channels: Sequence[Recovering],
        *,
        look: Callable[[int], object] | None = None,
        interval: float = 0.05,
    ) -> None:
        self.channels = list(channels)
        self.errors = 0
        self._look, self._interval = look, int(interval * 1e9)
        self._looked = 0
        self._busy = 0
        self._selector = selectors.DefaultSelector()
        self._open = False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, now: int) -> None:
        """Open the servers' sockets. Raises :class:`~wirepath.errors.ConfigError`."""
        try:
            for each in self.channels:
                for server in each.servers():
                    server.start(self._selector, now)
        except BaseException:
            self.close()
            raise
        self._open = True

    def start(self) -> None:
        """Open, and go on on a thread."""
        if not self._open:
            self.open(clock())
        self._over = threading.Event()  # a thread that stopped itself may still look at the old one
        self._thread = threading.Thread(target=self._run, name="wp-control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the sockets; counters stay. From what ``look`` calls, too: the
        thread then ends with this step."""
        self._over.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        for each in self.channels:
            for server in each.servers():
                server.close()
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        self._open = False

    def _run(self) -> None:
        over = self._over
        while not over.is_set():
            try:
                self.step(clock())
            except Exception as error:  # the feed goes on whatever happens here
                self.errors += 1
                logs.emit("recovery.control_failed", trace=True, error=str(error))
                over.wait(0.1)

    def step(self, now: int, wait: float | None = None) -> None:
        """Requests out, answers in, timers. wait: seconds to wait for answers; None: by need."""
        for each in self.channels:
            wanted = each.channel.requests()
            for request in wanted:
                if each.requests is not None:
                    with traces.span(
                        "recovery.request",
                        channel=each.name,
                        first=request.first,
                        messages=request.messages,
                    ):
                        each.requests.request(request, now)
            if wanted or (each.glimpse is not None and each.glimpse.under_way):
                self._busy = now
            for server in each.servers():
                server.on_time(now)
        if self._look is not None and now - self._looked >= self._interval:
            self._looked = now
            self._look(now)
        if wait is None:
            wait = _BUSY if now - self._busy < _BUSY_FOR else _QUIET
        if not self._selector.get_map():
            self._over.wait(wait)
            return
        for key, _ in self._selector.select(wait):
            key.data.on_ready(clock())
