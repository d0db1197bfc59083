# SPDX-License-Identifier: Apache-2.0
"""wirepath's side of the receive benchmarks: one port, drained, in a process of its own.

    python -m benchmarks.receiver native af_xdp:wp0 --group 239.1.1.1 --port 9001 --cpu 1

Says `ready` on stderr once it is bound, ends when nothing came for --idle-ms after the first packet
(or after --seconds), and prints one line of JSON with the names that the yardsticks use.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from typing import Any

import wirepath as wp
from wirepath import _core


class StageState(ctypes.Structure):
    """`struct bench_stage` of native/stage.c."""

    _fields_ = (
        ("packets", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("sum", ctypes.c_uint64),
        ("first_ns", ctypes.c_uint64),
        ("last_ns", ctypes.c_uint64),
        ("first_batch", ctypes.c_uint64),
        ("offset", ctypes.c_uint32),
        ("delay_ns", ctypes.c_uint32),
    )


def _ready() -> float:
    print("ready", file=sys.stderr, flush=True)
    return time.process_time()


def _native(port: wp.Port, args: argparse.Namespace) -> dict[str, Any]:
    """A worker with the C stage; this thread sleeps meanwhile."""
    library = ctypes.CDLL(args.stage)
    state = StageState(offset=args.offset, delay_ns=args.delay_ns)
    function = ctypes.cast(library.bench_read_field, ctypes.c_void_p).value
    assert function is not None
    worker = wp.Worker(
        "bench",
        cpu_core=args.cpu,
        batch_size=args.batch,
        idle="spin" if args.busy else "sleep",
        poll_timeout_us=100_000,
    )
    worker.add_port(port)
    worker.add_stage(_core.CStage("read_field", function, ctypes.addressof(state)))
    end = time.monotonic() + args.seconds
    idle_ns = args.idle_ms * 1_000_000
    cpu = _ready()
    with worker:
        while time.monotonic() < end:
            time.sleep(0.02)
            if state.packets and time.monotonic_ns() - state.last_ns > idle_ns:
                break
    return {
        "packets": state.packets,
        "bytes": state.bytes,
        "sum": state.sum,
        "elapsed_ns": state.last_ns - state.first_ns,
        "counted": state.packets - state.first_batch,
        "bursts": worker.stats()["bursts"],
        "cpu_seconds": time.process_time() - cpu,
    }


def _python(port: wp.Port, args: argparse.Namespace) -> dict[str, Any]:
    """`for batch in port`, one field of every packet as a NumPy column."""
    os.sched_setaffinity(0, {args.cpu})
    clock, offset, delay = time.monotonic_ns, args.offset, args.delay_ns
    packets = total = bursts = first_batch = first_ns = last_ns = 0
    cpu = _ready()
    idle = args.idle_ms / 1000
    for step in (args.seconds, idle):  # the first packet may take long to come, the others not
        for batch in port.batches(step):
            column = batch.column(offset, ">u4")
            total += int(column.sum())
            n = len(batch)
            if delay:
                until = clock() + delay * n
                while clock() < until:
                    pass
            last_ns = clock()
            if not packets:
                first_ns, first_batch = last_ns, n
            packets += n
            bursts += 1
            if bursts == 1:
                break
    return {
        "packets": packets,
        "bytes": None,
        "sum": total,
        "elapsed_ns": last_ns - first_ns,
        "counted": packets - first_batch,
        "bursts": bursts,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.receiver", description=__doc__)
    parser.add_argument("how", choices=("native", "python"))
    parser.add_argument("spec")
    parser.add_argument("--group", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stage", default="", help="the library with the C stage")
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--idle-ms", type=int, default=200)
    parser.add_argument("--offset", type=int, default=42)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--delay-ns", type=int, default=0)
    args = parser.parse_args()
    with wp.open(
        args.spec,
        steer=wp.udp(args.group, args.port),
        batch_size=args.batch,
        idle="spin" if args.busy else "sleep",
    ) as port:
        info = port.info()
        result = (_native if args.how == "native" else _python)(port, args)
        stats = port.stats()
    elapsed = result.pop("elapsed_ns")
    counted = result.pop("counted")
    result |= {
        "seconds": elapsed / 1e9,
        "rate": counted / elapsed * 1e9 if elapsed else 0.0,
        "drops": sum(n for name, n in stats.items() if name.startswith("drop.")),
        "stats": stats,
        "port": info,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
