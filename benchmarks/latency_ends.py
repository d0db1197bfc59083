# SPDX-License-Identifier: Apache-2.0
"""Both ends of the latency table, each in a process of its own.

    python -m benchmarks.latency_ends receive af_xdp:wp0 --idle spin --cpu 1 --out FOLDER
    python -m benchmarks.latency_ends send socket:wp0 --rate 20000 --seconds 1 --cpu 0

The sender keeps to absolute deadlines, whatever the receiver does, and writes the time into each
packet just before it hands it to its port. Both print one line of JSON; the receiver says `ready`
on stderr once it is bound, and ends when nothing came for a while.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import wirepath as wp
from wirepath import _core

_OFFSET = 42  # of the payload: behind Ethernet, IPv4 and UDP headers
_MOST = 1 << 22
_QUIET_NS = 1_500_000_000  # longer than a busy machine keeps a process waiting


class LatencyState(ctypes.Structure):
    """`struct bench_latency` of native/stage.c."""

    _fields_ = (
        ("count", ctypes.c_uint64),
        ("capacity", ctypes.c_uint64),
        ("since_sent", ctypes.c_void_p),
        ("since_stamp", ctypes.c_void_p),
        ("last_ns", ctypes.c_uint64),
        ("offset", ctypes.c_uint32),
    )


def _receive(args: argparse.Namespace) -> dict[str, Any]:
    sent, stamped = (np.zeros(_MOST, np.uint32) for _ in range(2))
    state = LatencyState(0, _MOST, sent.ctypes.data, stamped.ctypes.data, 0, _OFFSET)
    function = ctypes.cast(ctypes.CDLL(args.stage).bench_latency, ctypes.c_void_p).value
    assert function is not None
    steer = wp.udp(args.group, args.port)
    with wp.open(args.spec, steer=steer, batch_size=args.batch, idle=args.idle) as port:
        worker = wp.Worker("bench", cpu_core=args.cpu, batch_size=args.batch, idle=args.idle)
        worker.add_port(port)
        worker.add_stage(_core.CStage("latency", function, ctypes.addressof(state)))
        end = time.monotonic() + args.seconds
        with worker:
            print("ready", file=sys.stderr, flush=True)
            while time.monotonic() < end:
                time.sleep(0.05)
                if state.count and time.monotonic_ns() - state.last_ns > _QUIET_NS:
                    break
        info, stats = port.info(), port.stats()
    sent[: state.count].tofile(Path(args.out) / "since_sent")
    stamped[: state.count].tofile(Path(args.out) / "since_stamp")
    # Frames of other flows are none of the sender's.
    drops = sum(n for k, n in stats.items() if k.startswith("drop.") and k != "drop.filtered")
    return {"packets": state.count, "drops": drops, "port": info}


def _send(args: argparse.Namespace) -> dict[str, Any]:
    os.sched_setaffinity(0, {args.cpu})
    steer = wp.udp(args.group, args.port)
    with wp.open("null:", steer=steer, batch_size=1) as source:
        burst = source.poll()
        assert burst is not None
        with burst:
            batch = burst.copy()
    batch.verdicts[:] = wp.TX
    stamp = np.frombuffer(batch[0], np.uint8)[_OFFSET : _OFFSET + 8].view(np.int64)
    count = round(args.rate * args.seconds)
    late = np.zeros(count, np.int64)
    refused = 0
    with wp.open(args.spec, steer=steer, batch_size=1) as port:
        clock, wall, tx = time.monotonic_ns, time.time_ns, port.tx
        step = round(1e9 / args.rate)
        due = clock() + 10_000_000
        for k in range(count):
            while (now := clock()) < due:
                pass
            late[k] = now - due
            stamp[0] = wall()
            refused += 1 - tx(batch)
            due += step
        time.sleep(0.2)  # a memif takes what is on its way with it
    return {
        "packets": count,
        "refused": refused,
        "late_ns": {f"p{q:g}": float(np.percentile(late, q)) for q in (50, 99, 99.9)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.latency_ends", description=__doc__)
    parser.add_argument("end", choices=("receive", "send"))
    parser.add_argument("spec")
    parser.add_argument("--group", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stage", help="the library with the C stage")
    parser.add_argument("--idle", choices=("spin", "sleep"), default="spin")
    parser.add_argument("--out", help="folder for the receiver's latencies")
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=20_000, help="packets a second")
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    print(json.dumps((_receive if args.end == "receive" else _send)(args)))


if __name__ == "__main__":
    main()
