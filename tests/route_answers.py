"""What the kernel's own look-up says of many addresses, and which are worth asking for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirepath import _core
from wirepath.route import HopKind, RouteTable
from wirepath.route.model import Kind

MAIN = 254
_GETROUTE, _REQUEST = 26, 1
_AT_ONCE = 128
_NO_ROUTE = {101, 113}  # ENETUNREACH, EHOSTUNREACH
_REFUSED = {
    22: HopKind.BLACKHOLE,  # EINVAL
    113: HopKind.UNREACHABLE,  # EHOSTUNREACH
    13: HopKind.PROHIBIT,  # EACCES
}


class Kernel:
    """What the kernel's own look-up says, many addresses at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(30)
        self._decoder = _core.RtnetlinkDecoder()

    def get(self, addresses: NDArray[np.uint8]) -> list[tuple[Any, ...]]:
        """(type, interface, gateway) of each address, or (-errno,)."""
        out: list[tuple[Any, ...]] = []
        size = addresses.shape[1]
        family = socket.AF_INET if size == 4 else socket.AF_INET6
        head = struct.pack("=IHHII", 16 + 12 + 4 + size, _GETROUTE, _REQUEST, 1, 0)
        head += struct.pack("=BBBBBBBBI", family, size * 8, 0, 0, 0, 0, 0, 0, 0)
        head += struct.pack("=HH", 4 + size, 1)  # RTA_DST
        for start in range(0, len(addresses), _AT_ONCE):
            some = addresses[start : start + _AT_ONCE]
            self._socket.sendall(b"".join(head + a.tobytes() for a in some))
            wanted = len(out) + len(some)
            while len(out) < wanted:
                out += map(self._answer, self._decoder.decode(self._socket.recv(1 << 20)))
        return out

    @staticmethod
    def _answer(event: np.void) -> tuple[Any, ...]:
        if event["kind"] == Kind.ERROR:
            return (-int(event["error"]),)
        family = int(event["gateway_family"])
        gateway = None
        if family:
            raw = event["gateway"].tobytes()
            gateway = raw[:4] if family == socket.AF_INET else raw
        return (int(event["type"]), int(event["interface"]), gateway)


def judge_refusal(errno: int, kinds: Collection[HopKind]) -> tuple[bool, str]:
    """Whether what the kernel refuses is refused here: by a route that says so, or as no route
    holds the address (no kinds of next hops); and which of these."""
    expected = _REFUSED.get(errno)
    if expected is not None and expected in kinds:
        return True, expected.name.lower()
    return not kinds and errno in _NO_ROUTE, "none"


def probes(table: RouteTable, n: int, size: int, seed: int) -> NDArray[np.uint8]:
    """Addresses in prefixes, at their edges, and (IPv4) anywhere."""
    rng = np.random.default_rng(seed)
    known = [p for t, p, _ in table.routes() if t == MAIN and len(p[0]) == size]
    bits = size * 8
    chosen = rng.integers(0, len(known), n)
    kinds = rng.integers(0, 6, n)
    noise = rng.bytes(n * 16)
    out = bytearray()
    for i, (k, kind) in enumerate(zip(chosen.tolist(), kinds.tolist(), strict=True)):
        address, length = known[k]
        value = int.from_bytes(address, "big")
        some = int.from_bytes(noise[i * 16 : i * 16 + 16], "big")
        if kind == 0 and size == 4:
            value = some % (223 << 24)
        elif kind == 1:
            value += (1 << (bits - length)) * (1 if some & 1 else 0) - 1
        elif kind > 2:
            value += some & ((1 << (bits - length)) - 1)
        out += (value % (1 << bits)).to_bytes(size, "big")
    packed: NDArray[np.uint8] = np.frombuffer(bytes(out), np.uint8).reshape(-1, size)
    first = packed[:, 0]
    # The kernel's answers for these are no matter of routes alone.
    keep = (first != 0) & (first < 224) & (first != 127)
    if size == 16:
        keep = (first != 0) & (first < 0xFE)
    kept: NDArray[np.uint8] = packed[keep]
    return kept
