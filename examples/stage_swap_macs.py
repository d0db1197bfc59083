#!/usr/bin/env python3
"""Sends every frame back to where it came from: swaps its Ethernet addresses, verdict TX.

sudo python examples/stage_swap_macs.py af_xdp:eth0 --udp 10.0.0.2:7
python examples/stage_swap_macs.py pcap:in.pcap,write=out.pcap
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import wirepath as wp

STATE = np.dtype([("sent", np.int64), ("runts", np.int64)])


@wp.stage
def swap_macs(batch, state):
    row = state[0]
    for i in range(batch.count):
        frame = batch.data[i]
        if len(frame) < 14:
            row["runts"] += 1
            continue
        for k in range(6):
            byte = frame[k]
            frame[k] = frame[k + 6]
            frame[k + 6] = byte
        batch.verdict[i] = wp.TX
        row["sent"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("port", help="port spec of a port that can transmit")
    parser.add_argument("--udp", help="ADDRESS:PORT to take; without it, everything")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--compile", choices=("auto", "require", "never"), default="auto")
    arguments = parser.parse_args()

    steer = wp.everything()
    if arguments.udp:
        address, _, number = arguments.udp.rpartition(":")
        if not number.isdecimal() or not address:
            raise wp.ConfigError(f"--udp {arguments.udp} is not usable: it must be ADDRESS:PORT")
        steer = wp.udp(address, int(number))
    state = np.zeros(1, STATE)
    stage = swap_macs.bind(state, compile=arguments.compile)
    with wp.open(arguments.port, steer=steer) as port:
        worker = wp.Worker("swap")
        worker.add_port(port)
        worker.add_stage(stage)
        end = time.monotonic() + arguments.seconds
        with worker:
            print("ready", flush=True)
            while worker.running and time.monotonic() < end:
                time.sleep(0.05)
    print(
        f"{state['sent'][0]:,} sent back, {state['runts'][0]:,} too short; {stage.info()['mode']}"
    )


if __name__ == "__main__":
    try:
        main()
    except wp.WirepathError as error:  # a user's mistake, or a missing privilege: no traceback
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
