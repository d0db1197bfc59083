"""Sockets to the servers that recovery asks. Nothing blocks, nothing raises once it runs: what goes
wrong is counted, and the latest of it told in ``trouble``."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from typing import Any, Protocol

from ..errors import ConfigError
from ..feed.events import Request
from ..settings import problem
from .sides import SECOND, Channel, Counters, Stream

_DATAGRAM = 65_536
_READ = 1 << 18
# Datagrams and reads taken at a time, so that no server keeps the others waiting.
_BURST = 256
_READS = 8


class Server(Protocol):
    """One server of one channel, driven by :class:`wirepath.recovery.Control`."""

    def start(self, selector: selectors.BaseSelector, now: int) -> None:
        """Begin; sockets are registered with themselves as data."""

    def request(self, request: Request, now: int) -> None:
        """Ask for messages; what cannot be asked now is counted, and asked again by recovery."""

    def on_ready(self, now: int) -> None:
        """The socket is readable or writable."""

    def on_time(self, now: int) -> None:
        """Back-off, heartbeats, deadlines."""

    def close(self) -> None:
        """Give the socket back."""

    def status(self) -> dict[str, Any]:
        """Where it stands, in plain values."""


def resolve(
    address: tuple[str, int], kind: socket.SocketKind, field: str = "server"
) -> tuple[socket.AddressFamily, Any]:
    """Family and address of a server. Raises :class:`ConfigError` for a name nobody knows."""
    try:
        found = socket.getaddrinfo(address[0], address[1], type=kind)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise ConfigError(
            problem(field, f"{address[0]}:{address[1]}", "the address of a host") + f" ({why})"
        ) from None
    return found[0][0], found[0][4]


class UdpServer:
    """A server that answers datagrams with datagrams (MoldUDP64, IEX-TP gap fill)."""

    def __init__(
        self, channel: Channel, address: tuple[str, int], *, source: str | None = None
    ) -> None:
        self._channel = channel
        self._where = f"{address[0]}:{address[1]}"
        self._family, self._address = resolve(address, socket.SOCK_DGRAM)
        self._source = source
        self._socket: socket.socket | None = None
        self.trouble = ""
        self.counters: Counters = dict.fromkeys(
            ("requests", "send_errors", "unreachable", "replies", "reply_bytes", "no_room"), 0
        )

    def start(self, selector: selectors.BaseSelector, now: int) -> None:
        del now
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            with contextlib.suppress(OSError):  # bursts of answers; what the kernel allows
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            if self._source is not None:
                made.bind((self._source, 0))
            # Connected: only its datagrams come, and the kernel tells when it is not there.
            made.connect(self._address)
        except OSError as error:
            made.close()
            raise ConfigError(
                problem("server", self._where, "an address that this host can reach")
                + f" ({error.strerror})"
            ) from None
        selector.register(made, selectors.EVENT_READ, self)
        self._socket = made

    def request(self, request: Request, now: int) -> None:
        del now
        if self._socket is None:
            return
        try:
            self._socket.send(request.packet)
            self.counters["requests"] += 1
        except OSError as error:
            self._failed(error, "send_errors")

    def _failed(self, error: OSError, counter: str) -> None:
        refused = isinstance(error, ConnectionRefusedError)
        self.counters["unreachable" if refused else counter] += 1
        self.trouble = f"{self._where}: {error.strerror}"

    def on_ready(self, now: int) -> None:
        if self._socket is None:
            return
        for _ in range(_BURST):
            try:
                packet = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error, "unreachable")
                return
            self.counters["replies"] += 1
            self.counters["reply_bytes"] += len(packet)
            self.trouble = ""
            if not self._channel.reply(packet, now):
                self.counters["no_room"] += 1

    def on_time(self, now: int) -> None:
        """Nothing: recovery's own timers ask again."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def status(self) -> dict[str, Any]:
        return {"server": self._where, "trouble": self.trouble, **self.counters}


class StreamServer:
    """A server behind TCP: connects, again with a growing wait, and drives a stream's protocol."""

    def __init__(
        self,
        stream: Stream,
        address: tuple[str, int],
        *,
        source: str | None = None,
        timeout: float = 5.0,
        backoff: float = 0.2,
        max_backoff: float = 10.0,
    ) -> None:
        self.stream = stream
        self._where = f"{address[0]}:{address[1]}"
        self._family, self._address = resolve(address, socket.SOCK_STREAM)
        self._source = source
        self._timeout = int(timeout * SECOND)
        self._first_wait, self._longest_wait = int(backoff * SECOND), int(max_backoff * SECOND)
        self._wait = self._first_wait
        self._selector: selectors.BaseSelector | None = None
        self._socket: socket.socket | None = None
        self._state = "idle"
        self._since = self._again = 0
        self._out = b""
        self.trouble = ""
        self.counters: Counters = dict.fromkeys(
            ("connects", "connect_failures", "disconnects", "unsent", "bytes"), 0
        )

    def start(self, selector: selectors.BaseSelector, now: int) -> None:
        self._selector = selector
        self._again = now

    def request(self, request: Request, now: int) -> None:
        del now
        if self._state == "connected" and self.stream.request(request):
            self._flush()
        else:
            self.counters["unsent"] += 1

    # --- the connection --------------------------------------------------------------------
    def _connect(self, now: int) -> None:
        assert self._selector is not None
        made = socket.socket(self._family, socket.SOCK_STREAM)
        made.setblocking(False)
        self._since = now
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._source is not None:
                made.bind((self._source, 0))
            with contextlib.suppress(BlockingIOError):
                made.connect(self._address)
        except OSError as error:
            made.close()
            self.counters["connect_failures"] += 1
            self._later(now, error.strerror or str(error))
            return
        self._socket = made
        self._state = "connecting"
        self._selector.register(made, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def _later(self, now: int, why: str) -> None:
        self._state = "idle"
        self.trouble = f"{self._where}: {why}"
        self._again = now + self._wait
        self._wait = min(self._wait * 2, self._longest_wait)

    def _drop(self, now: int, why: str) -> None:
        if self._socket is None:
            return
        assert self._selector is not None
        self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = None
        self._out = b""
        if self._state == "connecting":
            self.counters["connect_failures"] += 1
        else:
            self.counters["disconnects"] += 1
            self.stream.disconnected()
        self._later(now, why)

    def _interest(self) -> None:
        if self._socket is None or self._selector is None:
            return
        events = selectors.EVENT_READ if self.stream.reading else 0
        events |= selectors.EVENT_WRITE if self._out else 0
        self._selector.modify(self._socket, events or selectors.EVENT_READ, self)

    def _flush(self) -> None:
        if self._socket is None or self._state != "connected":
            return
        waited = bool(self._out)
        self._out += self.stream.output()
        if self._out:
            try:
                self._out = self._out[self._socket.send(self._out) :]
            except BlockingIOError:
                pass
            except OSError:
                self._out = b""  # the next read tells
        if bool(self._out) != waited:
            self._interest()

    def on_ready(self, now: int) -> None:
        if self._socket is None:
            return
        if self._state == "connecting":
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._drop(now, os.strerror(code))
                return
            try:
                self._socket.getpeername()
            except OSError:
                return  # not yet
            self._state = "connected"
            self.counters["connects"] += 1
            self.stream.connected(now)
            self._flush()
            self._interest()
        for _ in range(_READS):
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                break
            except OSError as error:
                self._drop(now, error.strerror or "broken")
                return
            if not data:
                self._drop(now, self.stream.failed or "the server closed the connection")
                return
            self.counters["bytes"] += len(data)
            self.stream.on_bytes(data, now)
            if self.stream.ready:
                self._wait, self.trouble = self._first_wait, ""
            if self.stream.failed:
                self._drop(now, self.stream.failed)
                return
        self._flush()

    def on_time(self, now: int) -> None:
        self.stream.on_time(now)
        if self._state == "idle":
            if self.stream.wanted and now >= self._again:
                self._connect(now)
            return
        if self._state == "connecting":
            if now - self._since >= self._timeout:
                self._drop(now, "no answer")
            return
        if self.stream.failed:
            self._drop(now, self.stream.failed)
        elif not self.stream.wanted:
            self._flush()  # a logout
            self._drop(now, "")
            self.trouble = ""
            self._wait, self._again = self._first_wait, now
        else:
            self._flush()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self.stream.disconnected()
        self._state = "idle"

    def status(self) -> dict[str, Any]:
        return {
            "server": self._where,
            "state": "ready" if self._socket and self.stream.ready else self._state,
            "trouble": self.trouble,
            **self.counters,
            **self.stream.counters,
        }
