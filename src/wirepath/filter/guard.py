"""Would a filter cut the session of whoever sets it up? Told before it is in force."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

_ESTABLISHED, _SSH = "01", 22
_ACK, _PSH = 0x10, 0x08


@dataclass(frozen=True)
class Session:
    """A TCP connection into this host: addresses as text."""

    client: str
    client_port: int
    server: str
    server_port: int

    def __str__(self) -> str:
        return f"{self.client} port {self.client_port} to {self.server} port {self.server_port}"

    def frames(self) -> list[bytes]:
        """What the client sends in its course: bare acknowledgements and data."""
        ethernet = bytes.fromhex("020000000001020000000002")
        client = ipaddress.ip_address(self.client)
        server = ipaddress.ip_address(self.server)
        out = []
        for flags, payload in ((_ACK, 0), (_ACK | _PSH, 36), (_ACK, 1400)):
            # Data offset 8: with the timestamp option, as a session has it.
            segment = struct.pack(
                ">HHIIBBHHH", self.client_port, self.server_port, 1, 1, 0x80, flags, 501, 0, 0
            ) + bytes(12 + payload)
            if client.version == 4:
                header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, 6, 0)
                kind = b"\x08\x00"
            else:
                header = struct.pack(">IHBB", 0x60000000, len(segment), 6, 64)
                kind = b"\x86\xdd"
            out.append(ethernet + kind + header + client.packed + server.packed + segment)
        return out


def sessions(interface: str) -> list[Session]:
    """Sessions that come in through an interface: that of ``SSH_CONNECTION``, and every
    established connection to port 22 of one of its addresses."""
    own = _addresses(interface)
    found = []
    words = os.environ.get("SSH_CONNECTION", "").split()
    if len(words) == 4 and words[1].isdigit() and words[3].isdigit():
        client, server = (_unscoped(word, interface) for word in (words[0], words[2]))
        if client is not None and server is not None:
            found.append(Session(client, int(words[1]), server, int(words[3])))
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        if path.exists():
            found += _established(path.read_text().splitlines()[1:])
    return [s for s in dict.fromkeys(found) if s.server in own]


def _unscoped(text: str, interface: str) -> str | None:
    """An address as the kernel writes it, without the interface of a link-local one (``%eth1``);
    None where that is another interface, or it is no address."""
    address, _, scope = text.partition("%")
    if scope and scope not in (interface, str(_index(interface))):
        return None
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return 0


def _addresses(interface: str) -> set[str]:
    with IPRoute() as netlink:
        found = netlink.link_lookup(ifname=interface)
        if not found:
            return set()
        rows = netlink.get_addr(index=found[0])
        return {row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS") for row in rows}


def _established(lines: Iterable[str]) -> list[Session]:
    out = []
    for line in lines:
        words = line.split()
        if len(words) > 3 and words[3] == _ESTABLISHED:
            server, server_port = _endpoint(words[1])
            client, client_port = _endpoint(words[2])
            if server_port == _SSH:
                out.append(Session(client, client_port, server, server_port))
    return out


def _endpoint(text: str) -> tuple[str, int]:
    """``0100007F:0016`` of /proc/net/tcp: words in the order of this machine."""
    address, _, port = text.partition(":")
    packed = b"".join(
        struct.pack("=I", int(address[i : i + 8], 16)) for i in range(0, len(address), 8)
    )
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    shown = ipaddress.ip_address(socket.inet_ntop(family, packed))
    mapped = getattr(shown, "ipv4_mapped", None)
    return str(mapped or shown), int(port, 16)
