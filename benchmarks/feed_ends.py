# SPDX-License-Identifier: Apache-2.0
"""wirepath's side of the feed's latencies: port, feed and ring, in a process of its own.

    python -m benchmarks.feed_ends af_xdp:wp0 --group 239.1.1.1 --port 9001 --to book --out FILE

Says `ready` on stderr once it is bound, ends when nothing came for a while, writes a latency in ns
for every message (as the stage's histogram has them, within 0.4 %) to FILE, and prints one line of
JSON. --to record: without books; --to book: with them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

import wirepath as wp
from wirepath.feed import Books, make_channel, make_stage

_QUIET = 1.5  # seconds: longer than a busy machine keeps a process waiting
_CAPACITY = 1 << 21  # records: nobody takes them, so the second processor has nothing else to do


def _write(histogram: wp.Histogram, path: Path) -> None:
    counts = histogram.counts().astype(np.int64)
    np.repeat(wp.Histogram.bucket_lows(), counts).clip(0, 2**32 - 1).astype(np.uint32).tofile(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.feed_ends", description=__doc__)
    parser.add_argument("spec")
    parser.add_argument("--group", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True, help="file for the latencies")
    parser.add_argument("--to", choices=("record", "book"), default="record")
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    flow = wp.udp(args.group, args.port)
    ring = wp.RingBuffer(_CAPACITY, "drop")
    channel = make_channel("itch", name="feed", lines=[flow])
    stage = make_stage(ring, [channel], books=Books() if args.to == "book" else None)
    with wp.open(args.spec, steer=flow, idle="spin") as port:
        worker = wp.Worker("feed", cpu_core=args.cpu, idle="spin")
        worker.add_port(port)
        worker.add_stage(stage)
        end, frames, since = time.monotonic() + args.seconds, 0, time.monotonic()
        with worker:
            print("ready", file=sys.stderr, flush=True)
            while (now := time.monotonic()) < end:
                time.sleep(0.05)
                if (seen := stage.packets) != frames:
                    frames, since = seen, now
                elif frames and now - since > _QUIET:
                    break
        info, stats = port.info(), port.stats()
    _write(stage.wire_to_book() if args.to == "book" else stage.wire_to_ring(), Path(args.out))
    (told,) = stage.snapshot()["channels"]
    # Frames of other flows are none of the publisher's.
    drops = sum(n for k, n in stats.items() if k.startswith("drop.") and k != "drop.filtered")
    result = {
        "packets": stage.snapshot()["frames"],
        "drops": drops,
        "messages": told["counters"]["delivered"],
        "records": told["delivered"],
        "gaps": told["counters"]["gaps"],
        "port": info,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
