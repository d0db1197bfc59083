# SPDX-License-Identifier: Apache-2.0
"""wirepath's side of the DPDK benchmarks: one port, one worker, in a process of its own.

    python -m benchmarks.dpdk_worker receive dpdk:net_memif0,role=server,… --cpu 1

Says `ready` on stderr once it listens, ends with standard input, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time

import wirepath as wp
from wirepath import _core

from .receiver import StageState

_STAGES = {"field": "bench_read_field", "swap": "bench_swap_macs"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.dpdk_worker", description=__doc__)
    parser.add_argument("how", choices=("receive", *_STAGES))
    parser.add_argument("spec")
    parser.add_argument("--stage", required=True, help="the library with the C stages")
    parser.add_argument("--flow", help="GROUP:PORT to steer; none: everything")
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--offset", type=int, default=42)
    parser.add_argument("--delay-ns", type=int, default=0)
    args = parser.parse_args()
    steer = wp.everything()
    if args.flow:
        host, _, number = args.flow.rpartition(":")
        steer = wp.udp(host, int(number))
    state = StageState(offset=args.offset, delay_ns=args.delay_ns)
    library = ctypes.CDLL(args.stage)
    with wp.open(args.spec, steer=steer, batch_size=args.batch, link_wait_ms=0) as port:
        worker = wp.Worker("bench", cpu_core=args.cpu, batch_size=args.batch, idle="spin")
        worker.add_port(port)
        # Without a stage of its own a slower worker is one that spends the time in a stage.
        how = "field" if args.how == "receive" and args.delay_ns else args.how
        if how in _STAGES:
            function = ctypes.cast(getattr(library, _STAGES[how]), ctypes.c_void_p).value
            assert function is not None
            worker.add_stage(_core.CStage(how, function, ctypes.addressof(state)))
        before = time.process_time()
        with worker:
            print("ready", file=sys.stderr, flush=True)
            sys.stdin.read()
        used = time.process_time() - before
        told = {"stats": port.stats(), "port": port.info(), "processor_seconds": used}
        print(json.dumps(told))


if __name__ == "__main__":
    main()
