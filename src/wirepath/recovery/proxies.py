"""Servers that are asked over TCP and answer on a multicast group, without I/O.

Cboe's Gap Request Proxy (Multicast PITCH 2.41, "Gap Request Proxy") and NYSE's Request Server
(XDP / Pillar common client specification 2.4, "Request Server").
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import deque

from ..feed.events import Request
from .sides import DAY, SECOND, Channel, Counters, Notes

# Requests whose response has not come; an older one is forgotten.
_OUTSTANDING = 1024


class Proxy(ABC):
    """What both have in common: a stream cut into packets, silence, heartbeats."""

    def __init__(self, channel: Channel, *, timeout: float = 5.0) -> None:
        self._notes = Notes(channel)
        self._timeout = int(timeout * SECOND)
        self._in = bytearray()
        self._out = bytearray()
        self._heard = self._spoke = 0
        self._connected = False
        self._failed = ""
        self.ready = False
        self.counters: Counters = dict.fromkeys(
            (
                "requests",
                "accepted",
                "refused",
                "over_quota",
                "heartbeats",
                "unknown",
                "malformed",
                "rejected_logins",
                "untold",
            ),
            0,
        )

    # --- the connection --------------------------------------------------------------------
    def connected(self, now: int) -> None:
        self._in.clear()
        self._out.clear()
        self._heard = self._spoke = now
        self._connected, self._failed, self.ready = True, "", False
        self._begin()

    def disconnected(self) -> None:
        self._connected = self.ready = False
        self._out.clear()

    def output(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def wanted(self) -> bool:
        return True

    @property
    def reading(self) -> bool:
        return True

    @property
    def failed(self) -> str:
        return self._failed

    def on_time(self, now: int) -> None:
        self._notes.flush()
        self.counters["untold"] = self._notes.dropped
        if self._connected and now - self._heard >= self._timeout:
            self._failed = "silent" if self.ready else "no answer to the login"

    def on_bytes(self, data: bytes, now: int) -> None:
        self._heard = now
        self._in += data
        at, header = 0, self._header
        while not self._failed and len(self._in) - at >= header:
            size = int.from_bytes(self._in[at : at + 2], "little")
            if size < header:
                self.counters["malformed"] += 1
                self._failed = "its packets make no sense"
                break
            if len(self._in) - at < size:
                break
            self._packet(bytes(self._in[at : at + size]), now)
            at += size
        del self._in[:at]

    # --- by venue --------------------------------------------------------------------------
    _header = 0

    @abstractmethod
    def _begin(self) -> None:
        """The connection stands: what is said first."""

    @abstractmethod
    def _packet(self, packet: bytes, now: int) -> None:
        """One whole packet of the server."""


class GapRequestProxy(Proxy):
    """A client of Cboe's Gap Request Proxy.

    Login (0x01), answered by 0x02 with ``A``; Gap Request (0x03), answered by 0x04; empty packets
    as heartbeats, ours every second. Statuses of a response: ``A`` accepted, ``S`` ``M`` ``D`` over
    the quota of a second, a minute, a day; all others refuse. The replay comes on a multicast
    group, perhaps before the response.
    """

    _header = 8

    def __init__(
        self,
        channel: Channel,
        *,
        session: str = "",
        username: str = "",
        password: str = "",
        timeout: float = 5.0,
    ) -> None:
        super().__init__(channel, timeout=timeout)
        self._login = struct.pack(
            "<BB4s4s2s10s",
            22,
            0x01,
            session.encode("ascii").ljust(4),
            username.encode("ascii").ljust(4),
            b"  ",
            password.encode("ascii").ljust(10),
        )
        # By unit and number on the wire: 64-bit number and messages.
        self._asked: dict[tuple[int, int], tuple[int, int]] = {}

    def _begin(self) -> None:
        self._asked.clear()
        self._out += struct.pack("<HBBI", 8 + len(self._login), 1, 0, 0) + self._login

    def request(self, request: Request) -> bool:
        if not self.ready:
            return False
        number = int.from_bytes(request.packet[11:15], "little")
        while len(self._asked) >= _OUTSTANDING:
            del self._asked[next(iter(self._asked))]
        self._asked[request.unit, number] = (request.first, request.messages)
        self._out += request.packet
        self.counters["requests"] += 1
        return True

    def on_time(self, now: int) -> None:
        super().on_time(now)
        if self._connected and not self._out and now - self._spoke >= SECOND:
            self._out += struct.pack("<HBBI", 8, 0, 0, 0)
            self._spoke = now

    def _packet(self, packet: bytes, now: int) -> None:
        if packet[2] == 0:
            self.counters["heartbeats"] += 1
            return
        at = 8
        for _ in range(packet[2]):
            size = packet[at] if at < len(packet) else 0
            if size < 2 or at + size > len(packet):
                self.counters["malformed"] += 1
                return
            self._message(packet[at : at + size], now)
            at += size

    def _message(self, message: bytes, now: int) -> None:
        if message[1] == 0x02 and len(message) >= 3:
            self.ready = message[2:3] == b"A"
            if not self.ready:
                self.counters["rejected_logins"] += 1
                self._failed = f"login rejected ({message[2:3].decode('latin-1')})"
        elif message[1] == 0x04 and len(message) >= 10:
            unit, number, count, status = struct.unpack_from("<BIHc", message, 2)
            first, messages = self._asked.pop((unit, number), (number, count))
            wait = {b"S": SECOND, b"M": 60 * SECOND, b"D": DAY}.get(status)
            if status == b"A":
                self.counters["accepted"] += 1
            elif wait is not None:
                self.counters["over_quota"] += 1
                self._notes.pause(now + wait)
            else:
                self.counters["refused"] += 1
                self._notes.refuse(first, first + max(messages, 1) - 1, unit)
        else:
            self.counters["malformed" if message[1] in (0x02, 0x04) else "unknown"] += 1


class RequestServer(Proxy):
    """A client of NYSE's Request Server.

    There is no login: the source id in every request is who asks. The server's heartbeats are
    answered by a Heartbeat Response (type 12), or it hangs up. A Request Response (type 11) tells
    ``0`` accepted, ``5`` too many requests today, or why the request is refused.
    """

    _header = 16

    def __init__(self, channel: Channel, *, source_id: str, timeout: float = 5.0) -> None:
        super().__init__(channel, timeout=timeout)
        self._source = source_id.encode("ascii").ljust(10, b"\0")
        # 64-bit numbers by those on the wire, of the latest requests.
        self._asked: deque[tuple[int, int, int]] = deque(maxlen=_OUTSTANDING)

    def _begin(self) -> None:
        self._asked.clear()
        self.ready = True

    def request(self, request: Request) -> bool:
        if not self.ready:
            return False
        begin, end = struct.unpack_from("<II", request.packet, 20)
        self._asked.append((begin, end, request.first))
        self._out += request.packet
        self.counters["requests"] += 1
        return True

    def _packet(self, packet: bytes, now: int) -> None:
        if packet[2] == 1:
            self.counters["heartbeats"] += 1
            message = struct.pack("<HH10s", 14, 12, self._source)
            self._out += struct.pack("<HBBIII", 16 + len(message), 11, 1, 0, 0, 0) + message
            return
        at = 16
        for _ in range(packet[3]):
            size = int.from_bytes(packet[at : at + 2], "little")
            if size < 4 or at + size > len(packet):
                self.counters["malformed"] += 1
                return
            self._message(packet[at : at + size], now)
            at += size

    def _message(self, message: bytes, now: int) -> None:
        if message[2:4] != b"\x0b\0":
            self.counters["unknown"] += 1
            return
        if len(message) < 29:
            self.counters["malformed"] += 1
            return
        begin, end = struct.unpack_from("<II", message, 8)
        status = message[28:29]
        if status == b"0":
            self.counters["accepted"] += 1
        elif status == b"5":
            self.counters["over_quota"] += 1
            self._notes.pause(now + DAY)
        else:
            self.counters["refused"] += 1
            first = next((f for b, e, f in self._asked if (b, e) == (begin, end)), begin)
            self._notes.refuse(first, first + max(end - begin, 0))
