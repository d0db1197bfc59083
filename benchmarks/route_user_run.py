# SPDX-License-Identifier: Apache-2.0
"""One contestant of the benchmark of the router in user space, a process of its own.

    python -m benchmarks.route_user_run null program --stage route_frames.so --cpu 1

prints one line of JSON: nanoseconds of the processor for a packet, from one of two ports to one of
the two, in a worker with a stage that writes every packet's header. What routes the packets:
program: the forwarding program with the table; nothing: that stage itself, to the other port. With
--workers each has a queue of both ports, and goes where the scheduler puts it.
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import ipaddress
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
PREFIXES = Path(
    os.environ.get(
        "WIREPATH_BENCH_PREFIXES",
        ROOT.parent / "shared" / "data" / "rib" / "bart-prefixes.txt.gz",
    )
)
_HOPS = 1000  # as a router with many peers has them
_ADDRESSES = 1 << 20
_ZIPF = 1.1
_OWN = 1024
_FRAMES = 12_000_000
_UDP = 17
_LENGTH = 46


class Frames(ctypes.Structure):
    """`struct route_frames` of native/route_frames.c."""

    _fields_ = (
        ("addresses", ctypes.c_void_p),
        ("count", ctypes.c_uint64),
        ("next", ctypes.c_uint64),
        ("own", ctypes.c_void_p),
        ("own_frames", ctypes.c_uint64),
        ("verdict", ctypes.c_uint32),
        ("other_port", ctypes.c_uint32),
        ("head", ctypes.c_uint8 * 42),
    )


def prefixes() -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The IPv4 prefixes of the table: addresses and lengths."""
    text = gzip.decompress(PREFIXES.read_bytes()).decode().split()
    rows = [line.partition("/") for line in text if ":" not in line]
    packed = b"".join(socket.inet_aton(address) for address, _, _ in rows)
    lengths = np.array([length for _, _, length in rows], np.uint8)
    return np.frombuffer(packed, ">u4").astype(np.uint32), lengths


def _usable(addresses: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """No router forwards to the others."""
    first = addresses >> 24
    usable: NDArray[np.bool_] = (first != 0) & (first != 127) & (first < 224)
    return usable & (addresses >> 16 != 0xA9FE)


def destinations(how: str) -> NDArray[np.uint32]:
    """random: within prefixes that are all as likely. trace: a few prefixes get most of it."""
    found, lengths = prefixes()
    rng = np.random.default_rng(7)
    if how == "random":
        which = rng.integers(0, len(found), 2 * _ADDRESSES)
    else:
        which = rng.permutation(len(found))[(rng.zipf(_ZIPF, 2 * _ADDRESSES) - 1) % len(found)]
    host = (np.uint64(1) << (32 - lengths[which]).astype(np.uint64)) - np.uint64(1)
    some = rng.integers(0, 1 << 32, len(which), dtype=np.uint64) & host
    out = found[which] | some.astype(np.uint32)
    return out[_usable(out)][:_ADDRESSES]


def head() -> bytes:
    """Of a UDP packet of 46 bytes; checksum, destination and source port are the stage's."""
    ethernet = bytes.fromhex("0200000000000200000000090800")
    ip = bytes([0x45, 0, 0, _LENGTH, 0, 0, 0x40, 0, 64, _UDP, 0, 0])
    ip += ipaddress.ip_address("198.18.0.1").packed + bytes(4)
    return ethernet + ip + (0).to_bytes(2, "big") + (9).to_bytes(2, "big") + bytes([0, 26, 0, 0])


def packets(how: str) -> NDArray[np.uint64]:
    """`struct route_address` of each."""
    return packets_to(destinations(how))


def packets_to(to: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The same of these destinations, a power of two of them."""
    ip = head()[14:34]
    fixed = sum(int.from_bytes(ip[i : i + 2], "big") for i in range(0, 20, 2))
    total = fixed + (to >> 16).astype(np.uint64) + (to & 0xFFFF).astype(np.uint64)
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    out = np.zeros(len(to), [("to", ">u4"), ("checksum", ">u2"), ("port", ">u2")])
    out["to"], out["checksum"] = to, ~total.astype(np.uint16)
    out["port"] = np.random.default_rng(8).integers(1024, 65536, len(to))
    assert len(out) == _ADDRESSES
    return out.view(np.uint64)


def program(ports: int, workers: int = 1) -> Any:
    """The forwarding program with the table, its next hops dealt over the ports."""
    from wirepath import programs  # noqa: PLC0415 -- --help needs no built package
    from wirepath.route.program import ForwardingTables, entries  # noqa: PLC0415

    made = programs.native(
        "route",
        config={"seed": 1, "port": 0, "kernel_fib": 0},
        entries=entries(groups6=64, next_hops=2 * _HOPS),
        slots=workers,
    )
    tables = ForwardingTables(made)
    for number in range(1, ports + 1):
        mac = [2, 0, 0, 0, 0, number - 1]
        made.maps["interfaces"][number] = {"index": number, "flags": 1, "mac": mac}
        made.maps["ports"][number] = number
    for hop in range(1, _HOPS + 1):
        out = 1 + hop % ports
        tables.next_hops.set(
            hop,
            1,
            out,
            bytes([2, 1, 0, 0, hop >> 8, hop & 255]),
            bytes([2, 0, 0, 0, 0, out - 1]),
            1500,
            0,
            out,
            out,
        )
        tables.next_hops.set_group(hop, [(hop, 1)])
    found, lengths = prefixes()
    hops = np.random.default_rng(3).integers(1, _HOPS + 1, len(found))
    tables.fib4.add_many(found, lengths, hops)
    return made, tables


def run(words: argparse.Namespace) -> dict[str, Any]:
    """One measurement."""
    import wirepath as wp  # noqa: PLC0415
    from wirepath import _core  # noqa: PLC0415

    many = words.workers
    made = program(2, many) if words.what == "program" else None
    function = ctypes.cast(ctypes.CDLL(words.stage).bench_route_frames, ctypes.c_void_p).value
    assert function is not None
    specs = {
        "null": [f"null:,frames={_FRAMES // 2 // many},queues={many}"] * 2,
        "dpdk": [f"dpdk:net_null{n},queues=0-{many - 1}" for n in range(2)],
    }[words.where]
    opened = [wp.open(spec, steer=wp.everything()) for spec in specs]
    list_ = packets(words.addresses)
    rooms = [np.zeros(_OWN * 128 + 64, np.uint8) for _ in range(many)]
    states = [
        Frames(
            addresses=list_.ctypes.data,
            count=len(list_),
            next=k * len(list_) // many,
            own=(room.ctypes.data + 63) & ~63 if words.where == "null" else None,
            own_frames=_OWN,
            verdict=4,  # REDIRECT
            other_port=1,
            head=(ctypes.c_uint8 * 42)(*head()),
        )
        for k, room in enumerate(rooms)
    ]
    workers = []
    for k, state in enumerate(states):
        cpu = words.cpu if many == 1 else None
        worker = wp.Worker(f"bench{k}", cpu_core=cpu, idle="spin")
        for port in opened:
            worker.add_port(port, [k])
        worker.add_stage(_core.CStage("frames", function, ctypes.addressof(state)))
        if made is not None:
            worker.add_stage(made[0].stage())
        workers.append(worker)
    began, clock = time.process_time_ns(), time.monotonic_ns()
    for worker in workers:
        worker.start()
    if words.where == "dpdk":
        time.sleep(words.seconds)
        for worker in workers:
            worker.stop()
    for worker in workers:
        worker.join()
    spent, took = time.process_time_ns() - began, time.monotonic_ns() - clock
    frames = sum(worker.stats()["frames"] for worker in workers)
    sent = sum(port.stats()["tx_packets"] for port in opened)
    drops = {k: v for port in opened for k, v in port.stats().items() if "drop." in k and v}
    for port in opened:
        port.close()
    if drops or not frames or sent != frames:
        counted = made[0].counters() if made is not None else {}
        raise SystemExit(f"{sent} of {frames} packets were sent: {drops} {counted}")
    return {"cost": spent / frames, "packets": sent, "wall": took / frames}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("where", choices=["null", "dpdk"])
    parser.add_argument("what", choices=["program", "nothing"])
    parser.add_argument("--stage", required=True)
    parser.add_argument("--addresses", choices=["random", "trace"], default="random")
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.8)
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
