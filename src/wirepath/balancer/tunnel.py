"""Checks through the tunnel: their packets are addressed to the VIP and reach one server only.

A check's socket carries a mark; a rule sends what is marked to a TUN device, from which this
process takes each packet, and sends it to the server that the socket was made for, as the data
path would: within IPv4 or IPv6, within UDP (GUE), or to the server's MAC. The answer comes from
the server straight to the socket. Needs CAP_NET_ADMIN and CAP_NET_RAW.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ..errors import PermissionDenied, PortError
from .config import Mode

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x1, 0x1000
#: Mark, table and rule priority of checks: "lb" above a number that others rarely take.
MARK = TABLE = PRIORITY = 0x6C62
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_PROTOCOLS = {4: 4, 6: 41}  # IPv4 and IPv6 within another header
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


@dataclass(frozen=True)
class Way:
    """How a server is reached."""

    mode: Mode
    address: str
    mac: bytes
    gue_port: int


class CheckTunnel:
    """Makes sockets for checks, from :meth:`open` to :meth:`close`. These two talk to the kernel by
    pyroute2, which wants a thread without a running asyncio loop.

    Args:
        interface: whose link takes packets to MACs (dsr).
        sources: of each family the address that checks come from.
    """

    def __init__(self, interface: str, sources: dict[int, str]) -> None:
        self._interface = interface
        self._sources = sources
        self._ways: dict[tuple[int, int, int], Way] = {}  # family, protocol, source port
        self._tun = -1
        self._senders: dict[tuple[int, int], socket.socket] = {}
        self._rules: list[int] = []
        self.name = ""
        self.unsent = 0

    def open(self) -> None:
        """Set the device and the rules up. Raises PermissionDenied, PortError."""
        try:
            self._tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH22x", b"wplb%d", _IFF_TUN | _IFF_NO_PI)
            made = fcntl.ioctl(self._tun, _TUNSETIFF, request)
            self.name = made[:16].rstrip(b"\0").decode()
            self._route()
        except BaseException as error:
            self.close()
            if isinstance(error, PermissionError):
                raise PermissionDenied(
                    "checks through the tunnel need CAP_NET_ADMIN and CAP_NET_RAW (run as root, "
                    'or give the services check_through = "direct")'
                ) from error
            if isinstance(error, OSError | NetlinkError):
                raise PortError(
                    f"checks through the tunnel can't be set up: {error} (modprobe tun, or give "
                    'the services check_through = "direct")'
                ) from error
            raise

    def close(self) -> None:
        """Take them away."""
        with contextlib.suppress(NetlinkError, OSError), IPRoute() as ip:
            for family in self._rules:
                with contextlib.suppress(NetlinkError):
                    ip.rule("del", family=family, table=TABLE, fwmark=MARK, priority=PRIORITY)
        self._rules.clear()
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()
        if self._tun >= 0:
            os.close(self._tun)  # and with it the device and its routes
            self._tun = -1

    def _route(self) -> None:
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=self.name)[0]
            ip.link("set", index=index, state="up")
            for number in self._sources:
                family = _FAMILIES[number]
                ip.route("replace", family=family, dst="default", oif=index, table=TABLE)
                rule = {"family": family, "table": TABLE, "fwmark": MARK, "priority": PRIORITY}
                with contextlib.suppress(NetlinkError):  # of one that was killed
                    ip.rule("del", **rule)
                ip.rule("add", **rule)
                self._rules.append(family)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry packets from now on."""
        loop.add_reader(self._tun, self._carry)

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """The end of that."""
        loop.remove_reader(self._tun)

    def open_socket(self, family: int, kind: socket.SocketKind, way: Way) -> socket.socket:
        """A socket whose packets go that way, whatever address it is connected to. Closing it is
        the caller's affair, and :meth:`forget` of its port."""
        if family not in self._sources:
            raise OSError(0, f"the balancer has no IPv{family} address to check from")
        sock = socket.socket(_FAMILIES[family], kind)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
            sock.bind((self._sources[family], 0))
            protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP
            self._ways[family, protocol, sock.getsockname()[1]] = way
        except BaseException:
            sock.close()
            raise
        return sock

    def forget(self, family: int, kind: socket.SocketKind, port: int) -> None:
        """No more packets of this source port."""
        protocol = socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP
        self._ways.pop((family, protocol, port), None)

    def _carry(self) -> None:
        while True:
            try:
                packet = os.read(self._tun, 65536)
            except BlockingIOError:
                return
            except OSError:
                self.unsent += 1
                return
            family = packet[0] >> 4
            protocol = packet[9] if family == 4 else packet[6]
            start = (packet[0] & 15) * 4 if family == 4 else 40
            port = int.from_bytes(packet[start : start + 2], "big")
            way = self._ways.get((family, protocol, port))
            if way is None:
                continue  # a last ACK of a check that is over, or the kernel's own
            try:
                self._send(packet, family, way)
            except OSError:
                self.unsent += 1  # the check will time out, and say so

    def _send(self, packet: bytes, family: int, way: Way) -> None:
        outer = 6 if ":" in way.address else 4
        if way.mode == "dsr":
            link = self._sender(socket.AF_PACKET, 0)
            link.sendto(packet, (self._interface, _ETHERTYPES[family], 0, 0, way.mac))
        elif way.mode == "gue":
            self._sender(_FAMILIES[outer], socket.IPPROTO_UDP).sendto(
                packet, (way.address, way.gue_port)
            )
        else:
            self._sender(_FAMILIES[outer], _PROTOCOLS[family]).sendto(packet, (way.address, 0))

    def _sender(self, family: int, protocol: int) -> socket.socket:
        """A raw socket of the protocol, whose outer headers the kernel writes."""
        sender = self._senders.get((family, protocol))
        if sender is None:
            raw = protocol != socket.IPPROTO_UDP and family != socket.AF_PACKET
            kind = socket.SOCK_RAW if raw else socket.SOCK_DGRAM
            sender = socket.socket(family, kind, 0 if family == socket.AF_PACKET else protocol)
            self._senders[family, protocol] = sender
        return sender
