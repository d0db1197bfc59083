"""The kernel's tables by rtnetlink (man 7 rtnetlink): everything once, then what changes.

The messages are those that FRR sends to its FPM, so both go through one native decoder, fast
enough for a full table.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import PortError
from .model import Kind
from .table import RouteTable

__all__ = ["KernelSource"]

_SOL_NETLINK, _ADD_MEMBERSHIP, _RCVBUFFORCE = 270, 1, 33
_REQUEST_DUMP = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_GETLINK, _GETADDR, _GETROUTE, _GETNEIGH, _GETRULE, _GETNEXTHOP = 18, 22, 26, 30, 34, 106
# RTNLGRP_LINK, _NEIGH, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, and those of IPv6, _NEXTHOP; and
# _IPV4_NETCONF, which says nothing to the table, but that there is something to look at.
_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 32, 24)
_DUMPS = (
    (_GETLINK, socket.AF_UNSPEC, 16),
    (_GETADDR, socket.AF_UNSPEC, 8),
    (_GETNEXTHOP, socket.AF_UNSPEC, 8),
    (_GETNEIGH, socket.AF_INET, 12),
    (_GETNEIGH, socket.AF_INET6, 12),
    (_GETRULE, socket.AF_INET, 12),
    (_GETRULE, socket.AF_INET6, 12),
    (_GETROUTE, socket.AF_INET, 12),
    (_GETROUTE, socket.AF_INET6, 12),
)
_AT_ONCE = 1 << 15  # events that are taken in before somebody looks
_PATIENCE = 30.0  # seconds that the kernel may take for some of an answer
_ATTEMPTS = 10


class KernelSource:
    """Keeps a :class:`RouteTable` in step with the kernel of this network namespace.

    :meth:`sync` reads everything; :meth:`poll` takes what changed since. Where messages were
    missed (ENOBUFS) or the kernel takes routes out without a word it returns what was told, so
    that it can be followed at once, and reads everything again when it is called next. Until
    a new reading is complete what was known stays in force. Needs no privilege.

    Args:
        table: what to keep in step.
        buffer_bytes: receive buffer of the socket that hears of changes. The kernel takes twice
            that as the bound of its own memory, about 1 KiB a change, and takes it as they wait.

    Raises:
        PortError: the kernel refuses the socket.
    """

    def __init__(self, table: RouteTable, *, buffer_bytes: int = 128 << 20) -> None:
        self.table = table
        self.counters: Counter[str] = Counter()
        self._decoder = _core.RtnetlinkDecoder()
        self._missed = True
        try:
            self._monitor = _netlink()
        except OSError as error:
            raise PortError(f"no rtnetlink socket: {error}") from error
        try:
            try:
                self._monitor.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, buffer_bytes)
            except PermissionError:  # as much as net.core.rmem_max allows
                self._monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            for group in _GROUPS:
                self._monitor.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            self._monitor.setblocking(False)
        except OSError as error:
            self._monitor.close()
            raise PortError(f"no word of changes from rtnetlink: {error}") from error

    def __enter__(self) -> KernelSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hears no more; the table stays as it is."""
        self._monitor.close()

    def fileno(self) -> int:
        """Readable when something changed."""
        return self._monitor.fileno()

    def sync(self) -> None:
        """Reads everything, and sweeps what is no longer there.

        Raises:
            PortError: the kernel refuses, or its tables change faster than they can be read.
        """
        # What waits was said before the reading begins, and would undo what it finds.
        while self._drain():
            pass
        self._missed = False
        self.table.begin("kernel")
        waiting: list[NDArray[np.void]] = []
        for request, family, header in _DUMPS:
            self._dump(request, family, header, waiting)
        more = True
        while more:  # or half of what the kernel told would be laid over what was read later
            heard, more = self._receive()
            waiting.append(heard)
        self.counters["syncs"] += 1
        self.table.end("kernel")
        self._apply(np.concatenate(waiting))  # what changed meanwhile

    def poll(self, timeout: float = 0.0) -> bool:
        """Takes changes in, waiting for the first of them at most ``timeout`` seconds. Where there
        are very many it takes some, so that they can be followed, and the next call others.

        Returns:
            Whether there were any.
        """
        if self._missed:
            self.sync()
            return True
        select.select([self._monitor], [], [], timeout)
        # Some messages are no events, but say that there is something to look at.
        before = self._decoder.counters["messages"]
        heard, _ = self._receive()
        self._apply(heard)
        return self._decoder.counters["messages"] != before or self._missed

    def settle(self, quiet: float = 0.05, limit: float = 5.0) -> None:
        """Polls until nothing was heard for ``quiet`` seconds."""
        end = time.monotonic() + limit
        while self.poll(quiet) and time.monotonic() < end:
            pass

    def _drain(self) -> bool:
        """Takes in what waits; whether there may be more."""
        heard, more = self._receive()
        self._apply(heard)
        return more

    def _receive(self) -> tuple[NDArray[np.void], bool]:
        """Some of what waits, and whether there may be more."""
        events, missed, more, error = self._decoder.receive(self._monitor.fileno(), _AT_ONCE)
        if missed:
            self.counters["missed"] += 1
            self._missed = True
        if error:
            raise PortError(f"rtnetlink: {os.strerror(error)}")
        return events, more

    def _apply(self, events: NDArray[np.void]) -> None:
        if len(events):
            self.counters["heard"] += len(events)
            if self.table.apply(events, "kernel"):
                self._missed = True

    def _dump(
        self, request: int, family: int, header: int, waiting: list[NDArray[np.void]]
    ) -> None:
        """Reads one kind of things, again where they changed under way, and keeps what the kernel
        tells of changes meanwhile."""
        body = bytes([family]) + bytes(header - 1)
        message = struct.pack("=IHHII", 16 + header, request, _REQUEST_DUMP, 1, 0) + body
        for _ in range(_ATTEMPTS):
            before = self._decoder.counters["interrupted"]
            with _netlink() as sock:
                sock.sendall(message)
                while not self._take(sock, request):
                    # Its buffer would be full before a long table is read.
                    if len(heard := self._receive()[0]):
                        waiting.append(heard)
            if self._decoder.counters["interrupted"] == before:
                return
            self.counters["dumps_interrupted"] += 1
        raise PortError(
            f"the kernel's tables changed during each of {_ATTEMPTS} readings (try again)"
        )

    def _take(self, sock: socket.socket, request: int) -> bool:
        """Some of the kernel's answer; whether that was all."""
        if not select.select([sock], [], [], _PATIENCE)[0]:
            raise PortError(f"rtnetlink request {request}: no answer in {_PATIENCE:g} s")
        events, missed, _, error = self._decoder.receive(sock.fileno(), _AT_ONCE)
        if error or missed:
            why = os.strerror(error) if error else "the answer was cut off"
            raise PortError(f"rtnetlink request {request}: {why}")
        ends = events[(events["kind"] == Kind.DONE) | (events["kind"] == Kind.ERROR)]
        for code in ends["error"].tolist():
            # A kernel built without a thing has none of it.
            if code and code not in {errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EINVAL}:
                raise PortError(f"rtnetlink request {request}: {os.strerror(code)}")
        self.table.apply(events[events["kind"] < Kind.DONE], "kernel")
        return len(ends) > 0

    @property
    def decoded(self) -> dict[str, int]:
        """Counters of the decoder: messages, events, unknown, malformed, …"""
        return dict(self._decoder.counters)


def _netlink() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.bind((0, 0))
    return sock
