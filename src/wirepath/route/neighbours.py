"""Neighbours that packets go to without the kernel's knowledge: it is told to keep them.

The kernel asks a neighbour again only where it sends to it itself. A gateway that is not resolved
would stay so until the first packet for it had gone to the host, and one that a data plane sends to
would go stale, and be forwarded to for good when it is gone.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Self

from ..errors import PortError
from .groups import Groups, HopKind
from .program import AnyRouteProgram, hop_counters
from .table import RouteTable

__all__ = ["Prober"]

_SECONDS = 5.0
_RTM_NEWNEIGH = 28
_REQUEST_CREATE = 0x1 | 0x400  # NLM_F_REQUEST | NLM_F_CREATE
_NTF_USE = 0x01
_NDA_DST = 1
_STALE = 0x04
_FAILED = 0x20


class Prober:
    """Has the kernel resolve gateways that are not, and confirm stale ones that are sent to."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self.asked = 0
        self._due = 0.0
        self._sent: dict[int, int] = {}
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        except OSError as error:
            raise PortError(f"no rtnetlink socket: {error}") from error
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def tick(self, groups: Groups, program: AnyRouteProgram, now: float) -> None:
        """Asks for what has to be asked for, every few seconds."""
        if now < self._due:
            return
        self._due = now + _SECONDS
        sent = {number: row["packets"] for number, row in hop_counters(program).items()}
        for number, key in groups.hops():
            if key.kind is not HopKind.FORWARD or key.gateway is None:
                continue
            known = self.table.neighbours.get((key.interface, key.gateway))
            used = sent.get(number, 0) != self._sent.get(number, 0)
            if known is None or known.state & _FAILED or (used and known.state & _STALE):
                self.use(key.interface, key.gateway)
        self._sent = sent

    def use(self, interface: int, address: bytes) -> None:
        """As if the kernel sent a packet to the neighbour (NTF_USE, linux/neighbour.h)."""
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        body = struct.pack("=BxxxiHBB", family, interface, 0, _NTF_USE, 0)
        body += struct.pack("=HH", 4 + len(address), _NDA_DST) + address
        header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWNEIGH, _REQUEST_CREATE, 0, 0)
        # A link that has just gone is no matter; what the kernel answers is not looked at.
        with contextlib.suppress(OSError):
            self._socket.send(header + body)
            self.asked += 1
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(4096)
