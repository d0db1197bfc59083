# SPDX-License-Identifier: Apache-2.0
"""Closing under traffic, opening twice, peers and links that go, ports beside ports."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bench import GROUP, collect, drain, numbered, numbers, tx_drops, wait_for

import wirepath as wp


class Reader(threading.Thread):
    """Iterates a port until it ends."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.seen, self.error = port, [], None
        self.start()

    def run(self):
        try:
            for batch in self.port:
                self.seen += numbers(batch)
        except BaseException as error:  # told by ended()
            self.error = error

    def ended(self, timeout=10):
        self.join(timeout)
        return not self.is_alive() and self.error is None


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_close_while_frames_arrive_and_are_held(bench):
    """The loop of the other thread ends, kept bytes stay, and nothing is left open."""
    counts = []
    for _ in range(3):
        port = bench.open(sending=numbered(50), **bench.endless)
        with port.poll(5) as batch:
            kept = np.frombuffer(batch[0], "u1")
        before = kept.copy()
        reader = Reader(port)
        if bench.live:
            bench.send(numbered(200, 50))
        time.sleep(0.01)
        port.close()
        assert reader.ended(), reader.error
        assert (kept == before).all()
        with pytest.raises(wp.ReleasedError):
            port.poll(0)
        del kept, batch, reader
        bench.detach(port)
        counts.append(descriptors())
    assert counts[2] - counts[1] <= bench.forgotten


def test_open_twice(bench):
    port = bench.open(sending=numbered(5))
    if not port.capabilities["shareable"]:
        options = {"busy_retry_ms": 100} if bench.backend == "af_xdp" else {}
        with pytest.raises(wp.DeviceBusy):
            bench.open_again(**options)
        if bench.live:
            assert collect(port, 5) == list(range(5))
        bench.detach(port)
        again = bench.open(sending=numbered(5))
        assert collect(again, 5) == list(range(5))
        return
    again = bench.open_again()
    if bench.live:
        assert collect(port, 5) == list(range(5))
        bench.send(numbered(5, 10))
        assert collect(port, 5) == collect(again, 5) == list(range(10, 15))
    else:
        first, second = collect(port, 5)[:5], collect(again, 5)[:5]
        assert len(first) == 5
        assert first == second
    again.close()
    if bench.live:
        bench.send(numbered(5, 20))
        assert collect(port, 5) == list(range(20, 25))


@pytest.mark.needs("link")
def test_the_peer_is_gone(bench):
    """The loop ends where the device went with it; else the link is down, until it comes back."""
    port = bench.open(sending=numbered(5))
    assert collect(port, 5) == list(range(5))
    bench.kill_peer()
    wait_for(lambda: port.poll(0.05) is None and _told(port), "the port sees that its peer is gone")
    before = tx_drops(port.stats())
    sent = port.send(numbered(3))
    stats = port.stats()
    assert sent + tx_drops(stats) - before == 3
    assert stats["rx_packets"] == 5
    if port.native.finished:
        assert list(port) == []
        return
    assert port.info()["link"] == "down"
    bench.revive_peer()
    wait_for(lambda: port.info()["link"] == "up", "the link to the next peer")
    bench.send(numbered(5, 10))
    assert collect(port, 5) == list(range(10, 15))


def _told(port):
    return port.native.finished or port.info()["link"] == "down"


@pytest.mark.needs("link")
def test_link_down_and_up_again(bench):
    port = bench.open(sending=numbered(5))
    assert collect(port, 5) == list(range(5))
    assert port.info()["link"] == "up"
    bench.link(up=False)
    wait_for(lambda: port.info()["link"] == "down", "the port says that the link is down")
    assert drain(port, 0.1) == []
    assert not port.native.finished
    before = tx_drops(port.stats())
    sent = port.send(numbered(3, dst=(GROUP[0], 48299)))
    assert sent + tx_drops(port.stats()) - before == 3
    bench.link(up=True)
    wait_for(lambda: port.info()["link"] == "up", "the port says that the link is up")
    bench.send(numbered(5, 10))
    assert collect(port, 5) == list(range(10, 15))


def test_ports_come_and_go_while_another_receives(bench):
    port = bench.open(sending=numbered(10), **bench.endless)
    reader = Reader(port)
    sent = 10
    for _ in range(4):
        other = bench.open(sending=numbered(10, 500), which=1)
        with other.poll(5) as batch:
            assert len(batch)
        if bench.live:
            bench.send(numbered(10, sent))
            sent += 10
        bench.detach(other, which=1)
    if bench.live:
        wait_for(lambda: len(reader.seen) >= sent, "all that was sent")
    assert reader.is_alive(), reader.error
    port.close()
    assert reader.ended(), reader.error
    if bench.live:
        assert reader.seen == list(range(sent))
