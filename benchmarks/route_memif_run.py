# SPDX-License-Identifier: Apache-2.0
"""The router in user space between two DPDK ports, a process of its own.

    python -m benchmarks.route_memif_run dpdk:net_memif0,role=server,… dpdk:net_memif1,… --cpu 1

Has the full table, with the flows of testpmd's flowgen among its prefixes. Says `ready` on stderr
once it forwards, ends with standard input, and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

from . import route_user_run

# What flowgen sends: UDP to 10.253.0.0 and on, as many addresses as it has flows.
_STATION = bytes.fromhex("000102030401")
_FIRST = (10 << 24) | (253 << 16)
_FLOWS = 1024


def main() -> None:
    import wirepath as wp  # noqa: PLC0415 -- --help needs no built package

    parser = argparse.ArgumentParser(prog="benchmarks.route_memif_run", description=__doc__)
    parser.add_argument("specs", nargs=2)
    parser.add_argument("--cpu", type=int, default=1)
    args = parser.parse_args()
    made, tables = route_user_run.program(2)
    for number in (1, 2):
        mac = list(_STATION)
        made.maps["interfaces"][number] = {"index": number, "flags": 1, "mac": mac}
    # Half of the flows out of each port, by prefixes of 30 bits: most are in groups of the table.
    flows = np.arange(_FIRST, _FIRST + _FLOWS, 4, dtype=np.uint32)
    hops = np.random.default_rng(5).integers(1, route_user_run._HOPS + 1, len(flows))
    tables.fib4.add_many(flows, np.full(len(flows), 30, np.uint8), hops)
    opened = [wp.open(spec, steer=wp.everything(), link_wait_ms=0) for spec in args.specs]
    worker = wp.Worker("bench", cpu_core=args.cpu, idle="spin")
    for port in opened:
        worker.add_port(port)
    worker.add_stage(made.stage())
    with worker:
        print("ready", file=sys.stderr, flush=True)
        sys.stdin.read()
    told = {
        "counters": {name: count for name, count in made.counters().items() if count},
        "stats": [port.stats() for port in opened],
        "port": opened[0].info(),
    }
    for port in opened:
        port.close()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
