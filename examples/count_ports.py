#!/usr/bin/env python3
"""How many packets and bytes go to each UDP or TCP port: a batch at a time, with NumPy.

python examples/count_ports.py pcap:day.pcapng
sudo python examples/count_ports.py af_xdp:eth0 --group 239.1.1.1 --seconds 10
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

import wirepath as wp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", help="port spec")
    parser.add_argument("--group", help="destination address; without it, everything")
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()

    steer = wp.udp(arguments.group) if arguments.group else wp.everything()
    packets: Counter[int] = Counter()
    octets: Counter[int] = Counter()

    with wp.open(arguments.port, steer=steer, batch_size=256) as port:
        end = time.monotonic() + arguments.seconds
        for batch in port.batches(idle_timeout=arguments.seconds):
            ports = batch.headers()["dst_port"]
            for number, count in zip(*np.unique(ports, return_counts=True), strict=True):
                packets[int(number)] += int(count)
                octets[int(number)] += int(batch.lengths[ports == number].sum())
            if time.monotonic() > end:
                break
        lost = {name: n for name, n in port.stats().items() if name.startswith("drop.") and n}

    for number, count in packets.most_common(20):
        print(f"{number:>6} {count:>12,} packets {octets[number]:>15,} bytes")
    print("lost:", lost or "nothing")


if __name__ == "__main__":
    try:
        main()
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
