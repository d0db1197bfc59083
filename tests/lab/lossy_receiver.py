# SPDX-License-Identifier: Apache-2.0
"""A feed in a process of its own: what came, in which order, what was given up, and its memory.

``lossy_receiver.py BACKEND:INTERFACE SERVER FLOW…`` (SERVER ``-``: no recovery) ends with one JSON
object. Nothing is kept of the messages but the numbers that are missing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

import wirepath as wp
from wirepath.feed.events import GapAbandoned
from wirepath.feed_watch import FeedEvent, Missed

_LIMIT = 3600.0  # seconds; the publisher ends the run before
_PAGE = resource.getpagesize()
OPTIONS = {
    "socket": {"options": {"rx_buffer_bytes": 64 << 20}},
    "af_xdp": {"rx_ring_size": 16_384, "options": {"frames": 65_536}},
}


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Check:
    """Looks at every record once: its number against the one before."""

    def __init__(self) -> None:
        self.count = self.backwards = self.recovered = 0
        self.last = 0  # number
        self.missing: list[tuple[int, int]] = []
        self.memory: list[tuple[int, int]] = []  # records so far, bytes
        self._looked = 0.0

    def take(self, records: np.ndarray) -> None:
        """Records as they come out of the ring."""
        numbers = np.concatenate(([self.last], records["seq"].astype(np.int64)))
        steps = np.diff(numbers)
        self.backwards += int(np.count_nonzero(steps < 1))
        for at in np.flatnonzero(steps > 1).tolist():
            self.missing.append((int(numbers[at]) + 1, int(numbers[at + 1]) - 1))
        self.last = int(numbers[-1])
        self.count += len(records)
        recovered = records["flags"] & int(wp.RecordFlag.RECOVERED)
        self.recovered += int(np.count_nonzero(recovered))
        if (now := time.monotonic()) - self._looked >= 0.25:
            self._looked = now
            self.memory.append((self.count, resident()))


def main() -> None:
    """The run."""
    spec, server, *flows = sys.argv[1:]
    backend, _, interface = spec.partition(":")
    check = Check()
    given_up: list[tuple[int, int, str]] = []
    untold = 0

    def on_event(told: FeedEvent) -> None:
        nonlocal untold
        if isinstance(told.event, GapAbandoned):
            given_up.append((told.event.first, told.event.last, told.event.reason))
        elif isinstance(told.event, Missed):
            untold += 1

    # Without recovery a gap is waited for as long as the other line may be sent later, by a
    # publisher that has to wait for its turn on a busy machine.
    how = [{"kind": "mold_udp64", "server": server}] if server != "-" else []
    arbiter = (
        {}
        if how
        else {
            "hold_ns": 250_000_000,
            "hold_messages": 1 << 19,
            "hold_bytes": 64 << 20,
        }
    )
    config = wp.FeedConfig(
        feed={"backend": backend, "interface_name": interface, **OPTIONS[backend]},
        channel=[
            {
                "name": "c",
                "next_sequence": 1,
                "line": [{"group": g, "port": int(p)} for g, _, p in map(_split, flows)],
                "recovery": how,
                "arbiter": arbiter,
            }
        ],
    )
    with wp.FeedClient(config, on_event=on_event) as client:
        client.start_ingestion(stats=wp.IngestionStats())
        began = time.monotonic()
        client.run(max_seconds=_LIMIT, on_records=check.take)
        seconds = time.monotonic() - began
        port = client.port_stats()
    summary = client.summary()
    (channel,) = summary["channels"]
    print(
        json.dumps(
            {
                "records": check.count,
                "last": check.last,
                "backwards": check.backwards,
                "recovered": check.recovered,
                "missing": check.missing,
                "given_up": given_up,
                "untold_events": untold,
                "memory": check.memory,
                "seconds": seconds,
                "packets": summary["packets"],
                "ring_full": summary["ring_full"],
                "missing_told": summary["missing"],
                "lines": [
                    {name: line[name] for name in ("packets", "missing", "loss")}
                    for line in channel["lines"]
                ],
                "counters": channel["counters"],
                "recovery": channel["recovery"],
                "port": port,
            }
        )
    )


def _split(flow: str) -> tuple[str, str, str]:
    return flow.rpartition(":")


if __name__ == "__main__":
    main()
