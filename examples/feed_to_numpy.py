#!/usr/bin/env python3
"""A feed as NumPy arrays: shares added, executed and deleted a second, per side.

wirepath publish --to 239.1.1.1:9001 --via socket:lo --rate 200000 &
python examples/feed_to_numpy.py 239.1.1.1 9001 --interface lo
"""

from __future__ import annotations

import argparse

import numpy as np

import wirepath as wp

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("group")
parser.add_argument("port", type=int)
parser.add_argument("--interface", default="")
parser.add_argument("--backend", default="socket")
arguments = parser.parse_args()

config = wp.IngestionConfig(
    backend=arguments.backend,
    interface_name=arguments.interface,
    host=arguments.group,
    port=arguments.port,
)
ring = wp.RingBuffer(1 << 16)
stats = wp.IngestionStats(
    flush_interval=1.0,
    on_flush=lambda now: print(
        f"{now['recent_rate']:>12,.0f} messages/s, {now['missing']} missing"
    ),
)
shares = {action: np.zeros(2, np.int64) for action in (wp.Action.ADD, wp.Action.EXECUTE)}

with wp.IngestionClient(config) as client:
    client.start_ingestion(ring, stats)
    for records in client.batches():  # until the session ends
        for action, total in shares.items():
            of_it = records[records["action"] == action]
            total[0] += of_it["qty"][of_it["side"] == ord("B")].sum()
            total[1] += of_it["qty"][of_it["side"] == ord("S")].sum()

for action, total in shares.items():
    print(f"{action.name.lower():>8}: {total[0]:,} shares bid, {total[1]:,} asked")
print(f"{stats.messages:,} messages, gaps {stats.gaps}, latency {stats.latency_ns()}")
