#!/usr/bin/env python3
"""A feed as NumPy arrays: shares added per side, shares executed, orders deleted.

wirepath publish --to 239.1.1.1:9001 --via socket:lo --rate 200000 &
python examples/feed_to_numpy.py 239.1.1.1 9001 --interface lo
"""

from __future__ import annotations

import argparse

import numpy as np

import wirepath as wp


def main() -> None:
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
    added = {"bid": 0, "asked": 0}
    executed = deleted = 0

    with wp.IngestionClient(config) as client:
        client.start_ingestion(ring, stats)
        for records in client.batches():  # until the session ends
            adds = records[records["action"] == wp.Action.ADD]
            for side, letter in (("bid", "B"), ("asked", "S")):
                added[side] += int(adds["qty"][adds["side"] == ord(letter)].sum())
            # Executions and deletions name the order, not its side.
            executed += int(records["qty"][records["action"] == wp.Action.EXECUTE].sum())
            deleted += int(np.count_nonzero(records["action"] == wp.Action.DELETE))

    print(f"shares added: {added['bid']:,} bid, {added['asked']:,} asked")
    print(f"shares executed: {executed:,}; orders deleted: {deleted:,}")
    print(f"{stats.messages:,} messages, gaps {stats.gaps}, latency {stats.latency_ns()}")


if __name__ == "__main__":
    try:
        main()
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
