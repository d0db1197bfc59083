# SPDX-License-Identifier: Apache-2.0
"""wirepath's side of the transmit benchmarks: `port.tx` of prepared batches, in its own process.

    python -m benchmarks.sender af_xdp:wp0,tx_only=true --seconds 1

Prints one line of JSON with the names that the yardsticks use.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import wirepath as wp


def _prepared(group: str, port: int, batch: int) -> wp.Batch:
    """A batch of UDP frames of 64 bytes in memory of their own, all to be sent."""
    with (
        wp.open("null:", steer=wp.udp(group, port), batch_size=batch) as source,
        source.poll() as burst,  # type: ignore[union-attr]  # null always has frames
    ):
        frames = burst.copy()
    frames.verdicts[:] = wp.TX
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sender", description=__doc__)
    parser.add_argument("spec")
    parser.add_argument("--group", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.cpu})
    frames = _prepared(args.group, args.port, args.batch)
    steer = wp.udp(args.group, args.port)
    with wp.open(args.spec, steer=steer, batch_size=args.batch) as port:
        info = port.info()
        clock, tx = time.monotonic_ns, port.tx
        packets = 0
        cpu, start = time.process_time(), clock()
        end = start + round(args.seconds * 1e9)
        while (now := clock()) < end:
            packets += tx(frames)
        cpu = time.process_time() - cpu
        stats = port.stats()
    result = {
        "packets": packets,
        "seconds": (now - start) / 1e9,
        "rate": packets * 1e9 / (now - start),
        "cpu_seconds": cpu,
        "drops": sum(n for name, n in stats.items() if name.startswith("drop.")),
        "stats": stats,
        "port": info,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
