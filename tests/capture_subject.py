"""A process to be captured: a port, and a worker whose stage gives each frame the verdict that
stands in the last byte of its payload.

    python tests/capture_subject.py SPEC GROUP PORT

It says ``ready`` once the worker runs, and ends, with the port's and worker's counters as one line
of JSON, when its standard input does. GROUP ``-``: everything.
"""

from __future__ import annotations

import json
import sys

import wirepath as wp


@wp.stage(compile="never")
def judge(batch, state):
    for i in range(batch.count):
        frame = batch.data[i]
        batch.verdict[i] = frame[len(frame) - 1]
        frame[0] = 0xEE  # what is captured is the frame as it came


def main() -> None:
    spec, group, number = sys.argv[1:]
    steer = wp.everything() if group == "-" else wp.udp(group, int(number))
    with wp.open(spec, steer=steer) as port:
        worker = wp.Worker("subject")
        worker.add_port(port)
        if port.capabilities["writable"]:
            worker.add_stage(judge)
        with worker:
            print("ready", flush=True)
            sys.stdin.read()
        print(json.dumps({"port": port.stats(), "worker": worker.stats()}), flush=True)


if __name__ == "__main__":
    main()
