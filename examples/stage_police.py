#!/usr/bin/env python3
"""Polices traffic from one port to another: a token bucket for each source address.

wirepath publish --messages 100000 --fast --via pcap:,write=day.pcapng
python examples/stage_police.py pcap:day.pcapng pcap:,write=out.pcap --rate 1e6 --burst 3000
sudo python examples/stage_police.py af_xdp:eth0 af_xdp:eth1 --rate 125e6 --burst 64000
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import wirepath as wp

# A bucket is told in time: a byte costs 1/rate seconds of credit, which grows as time goes by up
# to what the burst costs. Whole nanoseconds, so that nothing is lost to rounding over the days.
BUCKET = np.dtype(
    [
        ("rate", np.int64),  # bytes per second
        ("limit", np.int64),  # credit of a full bucket, ns
        ("credit", np.int64),
        ("time", np.int64),  # of the latest frame, ns since the Unix epoch; 0: none yet
        ("passed", np.int64),
        ("policed", np.int64),
    ]
)
BUCKETS = 1024
OUT = 1  # number of the port that frames leave by


@wp.stage
def police(batch, state):
    for i in range(batch.count):
        frame = batch.data[i]
        bucket = state[0]  # for all that is not IPv4
        if len(frame) >= 34 and wp.be16(frame, 12) == 0x0800:
            # Knuth's multiplicative hash of the source address, its ten upper bits.
            bucket = state[(wp.be32(frame, 26) * 2654435761 & 0xFFFFFFFF) >> 22]
        now = batch.timestamp[i]
        if bucket["time"] == 0:
            bucket["credit"] = bucket["limit"]
        else:
            credit = bucket["credit"] + max(now - bucket["time"], 0)
            bucket["credit"] = min(credit, bucket["limit"])
        bucket["time"] = max(now, bucket["time"])
        cost = batch.length[i] * 1_000_000_000 // bucket["rate"]
        if cost > bucket["credit"]:
            bucket["policed"] += 1
            batch.verdict[i] = wp.DROP
        else:
            bucket["credit"] -= cost
            bucket["passed"] += 1
            batch.verdict[i] = wp.REDIRECT
            batch.target[i] = OUT


def buckets(rate: int, burst: int) -> np.ndarray:
    """Full buckets for ``rate`` bytes a second and ``burst`` bytes at a time."""
    state = np.zeros(BUCKETS, BUCKET)
    state["rate"] = rate
    state["limit"] = burst * 1_000_000_000 // rate
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="port spec")
    parser.add_argument("sink", help="port spec of a port that can transmit")
    parser.add_argument("--rate", type=float, required=True, help="bytes a second of each source")
    parser.add_argument("--burst", type=float, required=True, help="bytes at a time")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--compile", choices=("auto", "require", "never"), default="auto")
    arguments = parser.parse_args()
    if arguments.rate < 1 or arguments.burst < 1:
        parser.error("--rate and --burst: at least 1")

    state = buckets(int(arguments.rate), int(arguments.burst))
    stage = police.bind(state, compile=arguments.compile)
    with (
        wp.open(arguments.source, steer=wp.everything()) as source,
        wp.open(arguments.sink, steer=wp.everything()) as sink,
    ):
        worker = wp.Worker("police")
        worker.add_port(source)
        assert worker.add_port(sink, [0]) == OUT
        worker.add_stage(stage)
        end = time.monotonic() + arguments.seconds
        with worker:
            while worker.running and time.monotonic() < end:
                time.sleep(0.05)
    passed, policed = state["passed"].sum(), state["policed"].sum()
    print(f"{passed:,} passed, {policed:,} policed; {stage.info()['mode']}")


if __name__ == "__main__":
    try:
        main()
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
