"""wirepath's tables in one network namespace: follows the kernel or FRR, and answers questions.

    python route_follow.py kernel|fpm

A question is a line of JSON, {"what": "state" | "tables" | "lookups", …}; so is its answer.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirepath import _core
from wirepath.route import Forwarding, FpmServer, HopKind, KernelSource, RouteTable, RouteType
from wirepath.route.model import Kind, address_text, prefix_text

MAIN = 254
_GETROUTE, _REQUEST = 26, 1
_AT_ONCE = 128
_UNREACHED = {
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
    packed = np.frombuffer(bytes(out), np.uint8).reshape(-1, size)
    first = packed[:, 0]
    # The kernel's answers for these are no matter of routes alone.
    keep = (first != 0) & (first < 224) & (first != 127)
    if size == 16:
        keep = (first != 0) & (first < 0xFE)
    return packed[keep]


class Follower:
    """The sources, the tables, and the answers."""

    def __init__(self, source: str, stack: ExitStack) -> None:
        self.table = RouteTable()
        self.kernel = stack.enter_context(KernelSource(self.table))
        self.fpm = (
            stack.enter_context(FpmServer(self.table, quiet=2.0)) if source == "fpm" else None
        )
        self.kernel.sync()
        self.forwarding = Forwarding(self.table)
        self.forwarding.refresh()
        self._get = Kernel()
        self._changed = time.monotonic()
        self._least = len(self.forwarding.fibs[4])

    def follow(self) -> bool:
        """Takes in what was told; whether there was anything."""
        changed = self.kernel.poll(0.0)
        if self.fpm is not None:
            changed |= self.fpm.poll(0.0)
        if changed:
            self._changed = time.monotonic()
            self.forwarding.refresh()
            self._least = min(self._least, len(self.forwarding.fibs[4]))
        return changed

    def watch(self) -> dict[str, Any]:
        """From now on the least number of IPv4 prefixes in force is noted (see `state`)."""
        self._least = len(self.forwarding.fibs[4])
        return {"now": self._least}

    def ways(self, address: str) -> dict[str, Any]:
        """What becomes of packets to an address: (kind, interface, destination MAC) a member."""
        group = int(self.forwarding.fibs[4].lookup([address])[0])
        rewrites = [self.forwarding.groups.rewrite(h) for h in self._members(group)]
        links = self.table.links
        return {
            "ways": sorted(
                (
                    r.kind.name,
                    links[r.interface].name if r.interface in links else "",
                    r.destination.hex(":"),
                )
                for r in rewrites
            )
        }

    def state(self) -> dict[str, Any]:
        """Sizes and counters."""
        sources = Counter(r.source for _, _, r in self.table.routes() if r.protocol == 186)
        answer: dict[str, Any] = {
            "bgp": dict(sources),
            "fib4": len(self.forwarding.fibs[4]),
            "least4": self._least,
            "fib6": len(self.forwarding.fibs[16]),
            "kernel": dict(self.kernel.counters),
            "resident": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
            "refused": len(self.forwarding.refused),
            "cpu": time.process_time(),
            "idle": time.monotonic() - self._changed,
        }
        if self.fpm is not None:
            answer["fpm"] = dict(self.fpm.session.counters) | {"queued": self.fpm.queued}
            answer["syncing"] = self.table.syncing("fpm")
        return answer

    def tables(self) -> dict[str, Any]:
        """Routes of table main, as each source has them, against `ip route`."""
        kernel = set()
        for family in ("-4", "-6"):
            command = ["ip", "-j", "-N", family, "route", "show", "table", "main"]
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            for r in json.loads(said.stdout or "[]"):
                dst = {"default": "0.0.0.0/0" if family == "-4" else "::/0"}.get(r["dst"], r["dst"])
                row = (str(ip_network(dst)), int(r["protocol"]), r.get("metric", 0))
                kernel.add((*row, r.get("nhid", 0)))
        wrong: list[str] = []
        mine: dict[str, set[tuple[Any, ...]]] = {"kernel": set(), "fpm": set()}
        for number, prefix, r in self.table.routes():
            if number == MAIN:
                row = (prefix_text(prefix), r.protocol, r.metric, r.next_hop_id)
                mine[r.source].add(row)
        wrong += [f"kernel alone {r}" for r in sorted(kernel - mine["kernel"])]
        wrong += [f"ours alone {r}" for r in sorted(mine["kernel"] - kernel)]
        if self.fpm is not None:
            # FRR's numbers of next hops are the kernel's.
            bgp = {r for r in kernel if r[1] == 186}
            told = {r for r in mine["fpm"] if r[1] == 186}
            wrong += [f"not told by FRR {r}" for r in sorted(bgp - told)]
            wrong += [f"told by FRR alone {r}" for r in sorted(told - bgp)]
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "routes": len(kernel)}

    def lookups(self, n: int, seed: int) -> dict[str, Any]:
        """Our look-ups against the kernel's, half of them of each family."""
        wrong: list[str] = []
        sorts: Counter[str] = Counter()
        for size in (4, 16):
            addresses = probes(self.table, n // 2, size, seed)
            said = self._get.get(addresses)
            groups = self.forwarding.fibs[size].lookup(addresses).tolist()
            for a, group, answer in zip(addresses, groups, said, strict=True):
                packed = a.tobytes()
                good, sort = self._judge(packed, group, answer)
                sorts[sort] += 1
                if not good:
                    wrong.append(f"{address_text(packed)}: kernel {answer}, ours {group}")
        return {"wrong": wrong[:10], "n_wrong": len(wrong), "sorts": dict(sorts)}

    def _judge(self, packed: bytes, group: int, answer: tuple[Any, ...]) -> tuple[bool, str]:
        members = self._members(group)
        if len(answer) == 1:
            expected = _UNREACHED.get(-answer[0])
            if expected is not None and any(h.kind is expected for h in members):
                return True, expected.name.lower()
            return group == 0 and -answer[0] in {101, 113}, "none"
        kind, interface, gateway = answer
        if kind != RouteType.UNICAST:
            return all(h.kind is HopKind.HOST for h in members) and bool(members), "host"
        if gateway is None:
            on_link = any(h.interface == interface and h.gateway in {None, packed} for h in members)
            return on_link, "on link"
        return (interface, gateway) in {(h.interface, h.gateway) for h in members}, "via"

    def _members(self, group: int) -> list[Any]:
        return list(self.forwarding.groups.group_members(group)) if group else []


def main(source: str) -> None:
    with ExitStack() as stack:
        follower = Follower(source, stack)
        pending = b""
        while True:
            waits = [0, follower.kernel.fileno()]
            ready, _, _ = select.select(waits, [], [], 0.05)
            follower.follow()
            if 0 not in ready:
                continue
            if not (data := os.read(0, 1 << 16)):
                return
            pending += data
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                words = json.loads(line)
                while follower.follow():
                    pass
                answer = getattr(follower, words.pop("what"))(**words)
                print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
