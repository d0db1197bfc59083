# SPDX-License-Identifier: Apache-2.0
"""The router's program in the driver with a full Internet table: nanoseconds a packet.

By BPF_PROG_RUN over UDP packets of 64 bytes, each to a random address of a random prefix. The
kernel runs the program again over the packet that the last run left: the next hop has the router's
own address, so that it is forwarded again, with one hop less.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .harness import Contestant, Group, Line, Sample, Settings, Unavailable

PREFIXES = Path(
    os.environ.get(
        "WIREPATH_BENCH_PREFIXES",
        Path(__file__).resolve().parents[2] / "shared" / "data" / "rib" / "bart-prefixes.txt.gz",
    )
)
_LINE_RATE = 1e9 / 14_880_952  # ns: packets of 64 bytes on 10 Gbit/s
_TRAIN = 200  # packets to one address; at most as many as there are hops to live
_ADDRESSES = 3000
_HOPS = 1000
_OURS = bytes.fromhex("020000000001")
_LOOPBACK = 1  # a port that is there; nothing is sent to it


def _program(prefixes: list[tuple[bytes, int]]) -> Any:
    from wirepath import programs  # noqa: PLC0415 -- --list needs no built package
    from wirepath.route.program import ForwardingTables, entries  # noqa: PLC0415

    program = programs.load("route", config={"port": 1, "seed": 1}, entries=entries())
    tables = ForwardingTables(program)
    for number in range(1, _HOPS + 1):
        tables.next_hops.set(number, 1, _LOOPBACK, _OURS, _OURS, 1500, 0, 1, 1)
        tables.next_hops.set_group(number, [(number, 1)])
    rng = np.random.default_rng(1)
    for fib, size in ((tables.fib4, 4), (tables.fib6, 16)):
        rows = [p for p in prefixes if len(p[0]) == size]
        packed = np.frombuffer(b"".join(a for a, _ in rows), np.uint8).reshape(-1, size)
        groups = rng.integers(1, _HOPS + 1, len(rows), dtype=np.uint32)
        fib.add_many(packed, np.array([n for _, n in rows], np.uint8), groups)
    program.maps["interfaces"][1] = (_LOOPBACK, list(_OURS), 1)
    program.maps["ports"][1] = _LOOPBACK
    return program, tables


def _sum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _frame(destination: bytes) -> bytes:
    """UDP of 60 bytes, which is 64 with the checksum on the wire."""
    ports = struct.pack("!HHHH", 1000, 9, 26 if len(destination) == 4 else 8, 0)
    if len(destination) == 16:
        source = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        head = struct.pack("!IHBB", 6 << 28, 8, 17, 255) + source + destination
        return _OURS + _OURS + b"\x86\xdd" + head + ports
    head = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 255, 17, 0)
    head += socket.inet_aton("198.18.0.1") + destination
    head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return _OURS + _OURS + b"\x08\x00" + head + ports + bytes(18)


def _addresses(prefixes: list[tuple[bytes, int]], size: int) -> list[bytes]:
    from wirepath.route.model import masked  # noqa: PLC0415

    rng = np.random.default_rng(size)
    rows = [p for p in prefixes if len(p[0]) == size and p[1] > 0]
    out = []
    for i in rng.integers(0, len(rows), 2 * _ADDRESSES).tolist():
        address, length = rows[i]
        noise = int.from_bytes(rng.bytes(size), "big") & ((1 << (size * 8 - length)) - 1)
        one = (int.from_bytes(masked(address, length), "big") | noise).to_bytes(size, "big")
        first = one[0]
        special = first in (0, 127) or first >= 224 or one[:2] == b"\xa9\xfe"
        if size == 16 or not special:
            out.append(one)
    return out[:_ADDRESSES]


def _trains(program: Any, frames: list[bytes]) -> Sample:
    runs = [program.run(frame, repeat=_TRAIN) for frame in frames]
    assert {run.verdict for run in runs} == {"redirect"}
    return Sample({"ns": statistics.median(run.ns for run in runs)})


def _single(program: Any, empty: Any, frames: list[bytes]) -> Sample:
    """Each packet by itself, less what a run of one packet costs without the program."""
    runs = [program.run(frame) for frame in frames]
    assert {run.verdict for run in runs} == {"redirect"}
    nothing = statistics.median(empty.run(frame)[2] for frame in frames)
    return Sample({"ns": statistics.median(run.ns for run in runs) - nothing})


@contextmanager
def _open(settings: Settings) -> Iterator[Mapping[str, Contestant | Unavailable]]:
    del settings
    from wirepath.programs import kernel  # noqa: PLC0415
    from wirepath.route import read_prefixes  # noqa: PLC0415

    if why := kernel.unavailable_reason():
        raise Unavailable(why)
    if not PREFIXES.exists():
        raise Unavailable(
            f"no table of prefixes at {PREFIXES} (a file with one prefix a line, gzip or not, in "
            "WIREPATH_BENCH_PREFIXES)"
        )
    prefixes = read_prefixes(PREFIXES)
    program, tables = _program(prefixes)
    note = f"{len(tables.fib4):,} IPv4 and {len(tables.fib6):,} IPv6 prefixes"
    module = kernel.module()
    empty = module.KernelProgram(module.builtin_object("root"))
    out: dict[str, Contestant | Unavailable] = {
        "line rate": lambda: Sample({"ns": _LINE_RATE}, note="10 GbE, 64 bytes"),
    }
    for family, size in ((4, 4), (6, 16)):
        frames = [_frame(address) for address in _addresses(prefixes, size)]
        out[f"trains {family}"] = partial(_trains, program, frames)
        out[f"single {family}"] = partial(_single, program, empty, frames)
    out["trains 4"] = partial(_noted, out["trains 4"], note)
    yield out


def _noted(contestant: Any, note: str) -> Sample:
    sample: Sample = contestant()
    return Sample(sample.figures, note=note)


FORWARDING = Group(
    "forwarding",
    (
        Line("route_xdp_v4", "IPv4 with the full table, 200 packets to an address in turn", "ns",
             "trains 4", "line rate", "ns", 1.0, "lower"),
        Line("route_xdp_v6", "IPv6 likewise", "ns", "trains 6", "line rate", "ns", 1.0, "lower"),
        Line("route_xdp_v4_cold", "IPv4, each packet to another address, by itself after a system "
             "call", "ns", "single 4", "line rate", "ns", None, "lower"),
        Line("route_xdp_v6_cold", "IPv6 likewise", "ns", "single 6", "line rate", "ns", None,
             "lower"),
    ),
    _open,
)  # fmt: skip
