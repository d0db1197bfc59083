#!/usr/bin/env python3
"""Counts frames by UDP destination port in a stage: in Python, compiled, or from a shared object.

python examples/stage_count_ports.py pcap:day.pcapng
sudo python examples/stage_count_ports.py af_xdp:eth0 --seconds 10 --compile require
python examples/stage_count_ports.py pcap:day.pcapng --library ./count_ports.so
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import wirepath as wp


@wp.stage
def count_ports(batch, state):
    """UDP over IPv4 without VLAN tag; examples/native has the same in C and in Rust."""
    for i in range(batch.count):
        frame = batch.data[i]
        if len(frame) < 42 or wp.be16(frame, 12) != 0x0800 or frame[23] != 17:
            continue
        udp = 14 + (frame[14] & 15) * 4
        if len(frame) >= udp + 8:
            state[wp.be16(frame, udp + 2)] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", help="port spec")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--compile", choices=("auto", "require", "never"), default="auto")
    parser.add_argument("--library", help="shared object with a stage count_ports, instead")
    arguments = parser.parse_args()

    counts = np.zeros(65536, np.int64)
    if arguments.library:
        stage = wp.load_stage(arguments.library, "count_ports", state=counts)
    else:
        stage = count_ports.bind(counts, compile=arguments.compile)

    with wp.open(arguments.port, steer=wp.everything()) as port:
        worker = wp.Worker("count")
        worker.add_port(port)
        worker.add_stage(stage)
        end = time.monotonic() + arguments.seconds
        with worker:
            while worker.running and time.monotonic() < end:
                time.sleep(0.05)
        stats = worker.stats()

    for number in np.argsort(-counts, kind="stable")[:20]:
        if counts[number]:
            print(f"{number:>6} {counts[number]:>12,} frames")
    print(f"{counts.sum():,} of {stats['frames']:,} frames were UDP; stage: {stage.info()['mode']}")


if __name__ == "__main__":
    try:
        main()
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
