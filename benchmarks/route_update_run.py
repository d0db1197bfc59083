# SPDX-License-Identifier: Apache-2.0
"""The router in user space on ports that cost nothing while its tables are changed at full speed, a
process of its own.

    python -m benchmarks.route_update_run --stage build/benchmarks/route_frames.so --writer

prints one line of JSON: nanoseconds of the worker's processor a packet, and updates a second. It
fails where a packet was not forwarded, or not by a next hop of its own: of each first byte of
destinations the next hops must have had as many packets as were sent there.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import route_path_lab, route_user_run
from .harness import Refused, Unavailable
from .route_path_lab import WAYS, Routes, hop_of, station
from .route_writer import Writer

_FRAMES = 12_000_000
_OWN = 1024


def _program(routes: Routes) -> Any:
    """The forwarding program with the table, its next hops dealt over two ports."""
    from wirepath import programs  # noqa: PLC0415 -- --help needs no built package
    from wirepath.route.program import ForwardingTables, entries  # noqa: PLC0415

    made = programs.native(
        "route",
        config={"seed": 1, "port": 0, "kernel_fib": 0},
        entries=entries(groups6=64, next_hops=hop_of(255, WAYS)),
    )
    tables = ForwardingTables(made)
    for number in (1, 2):
        mac = [2, 0, 0, 0, 0, number - 1]
        made.maps["interfaces"][number] = {"index": number, "flags": 1, "mac": mac}
        made.maps["ports"][number] = number
    for first in np.unique(routes.prefixes >> 24).tolist():
        for way in range(WAYS):
            hop, out = hop_of(first, way), 1 + way % 2
            source = bytes([2, 0, 0, 0, 0, out - 1])
            tables.next_hops.set(hop, 1, out, station(first, way), source, 1500, 0, out, out)
            tables.next_hops.set_group(hop, [(hop, 1)])
    tables.fib4.add_many(routes.prefixes, routes.lengths, routes.hops)
    return made, tables


def _by_first(destinations: NDArray[np.uint32], packets: int) -> NDArray[np.int64]:
    """How many of so many packets to these destinations, in turns, have each first byte."""
    first = destinations >> 24
    rounds, rest = divmod(packets, len(first))
    return np.bincount(first, minlength=256) * rounds + np.bincount(first[:rest], minlength=256)


def run(words: argparse.Namespace) -> dict[str, Any]:
    """One measurement."""
    import wirepath as wp  # noqa: PLC0415
    from wirepath import _core  # noqa: PLC0415
    from wirepath.route.program import hop_counters  # noqa: PLC0415

    routes = route_path_lab.full()
    made, tables = _program(routes)
    writer = Writer(tables.fib4, routes, words.writer_cpu)
    if words.alone:
        with writer:
            began = time.perf_counter()
            time.sleep(words.seconds)
            ended = time.perf_counter()
        return {"updates": writer.rate(began, ended)}
    list_ = route_user_run.packets_to(routes.destinations)
    room = np.zeros(_OWN * 128 + 64, np.uint8)
    state = route_user_run.Frames(
        addresses=list_.ctypes.data,
        count=len(list_),
        own=(room.ctypes.data + 63) & ~63,
        own_frames=_OWN,
        verdict=4,  # REDIRECT
        other_port=1,
        head=(ctypes.c_uint8 * 42)(*route_user_run.head()),
    )
    function = ctypes.cast(ctypes.CDLL(words.stage).bench_route_frames, ctypes.c_void_p).value
    assert function is not None
    spec = f"null:,frames={_FRAMES // 2}"
    with ExitStack() as stack:
        ports = [stack.enter_context(wp.open(spec, steer=wp.everything())) for _ in range(2)]
        worker = wp.Worker("bench", cpu_core=words.cpu, idle="spin")
        for port in ports:
            worker.add_port(port)
        worker.add_stage(_core.CStage("frames", function, ctypes.addressof(state)))
        worker.add_stage(made.stage())
        before = time.process_time_ns()
        with writer if words.writer else ExitStack():
            began = time.perf_counter()
            worker.start()
            worker.join()
            ended = time.perf_counter()
        spent = time.process_time_ns() - before - writer.processor_ns
        sent = sum(port.stats()["tx_packets"] for port in ports)
    counted = np.zeros(256, np.int64)
    for hop, count in hop_counters(made).items():
        counted[(hop - 1) // WAYS] += count["packets"]
    lost = _FRAMES - sent
    wrong = int(np.abs(counted - _by_first(routes.destinations, _FRAMES)).sum())
    if lost or wrong:
        raise SystemExit(f"{lost} of {_FRAMES} packets lost, {wrong} astray: {made.counters()}")
    out = {"cost": spent / _FRAMES}
    return out | ({"updates": writer.rate(began, ended)} if words.writer else {})


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.route_update_run", description=__doc__)
    parser.add_argument("--stage", required=True)
    parser.add_argument("--writer", action="store_true", help="change the table meanwhile")
    parser.add_argument("--alone", action="store_true", help="change it, and forward nothing")
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--writer-cpu", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.8, help="of the writer alone")
    try:
        print(json.dumps(run(parser.parse_args())))
    except (Refused, Unavailable) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
