# SPDX-License-Identifier: Apache-2.0
"""Too much and too slow: every frame is delivered or in one named counter, and it goes on."""

from __future__ import annotations

import numpy as np
import pytest
from bench import collect, drain, losses, numbered, numbers, rx_drops


def named(bench, stats):
    """Frames that somebody counts as lost: the port, the NIC's queue, the wire."""
    nic = stats.get("nic.rx_overruns", 0) + stats.get("nic.rx_missed", 0)
    return sum(losses(stats).values()) + nic + bench.lost()


@pytest.mark.needs("wire", "live")
def test_overload_loses_frames_and_every_one_is_counted(bench):
    total = 8000
    port = bench.open(**bench.small)
    bench.send(numbered(total))
    got = drain(port)
    stats = port.stats()
    assert 0 < len(got) == stats["rx_packets"] < total
    assert got == sorted(got)
    assert len(set(got)) == len(got)
    assert total <= len(got) + named(bench, stats) <= total + bench.others
    bench.send(numbered(20, 90_000))
    assert collect(port, 20) == list(range(90_000, 90_020))
    stats = port.stats()
    assert total <= len(got) + named(bench, stats) <= total + bench.others
    assert stats["held"] == 0


@pytest.mark.needs("wire")
def test_without_overload_nothing_is_lost_and_everything_is_counted_once(bench):
    port = bench.open(sending=numbered(500))
    assert collect(port, 500) == list(range(500))
    stats = port.stats()
    assert stats["rx_packets"] == 500
    assert stats["rx_bytes"] == 500 * 60
    assert losses(stats) == {}
    assert bench.lost() == 0


@pytest.mark.needs("wire", "live")
def test_held_frames_are_bounded_keep_their_bytes_and_come_back(bench):
    port = bench.open(batch_size=16, **bench.holding)
    held, sent = [], 0
    while sent < 900:
        bench.send(numbered(30, sent))
        sent += 30
        while (batch := port.poll(0.01)) is not None:
            with batch:
                held += [np.frombuffer(batch[i], "u1") for i in range(len(batch))]
    assert port.held == len(held) < sent
    assert [int.from_bytes(f[42:46].tobytes(), "big") for f in held] == list(range(len(held)))
    seen = len(held)
    held.clear()
    seen += len(drain(port))
    assert port.held == 0
    stats = port.stats()
    assert seen == stats["rx_packets"]
    assert sent <= seen + named(bench, stats) <= sent + bench.others
    bench.send(numbered(10, 5000))
    assert collect(port, 10) == list(range(5000, 5010))
    assert port.stats()["held"] == 0


@pytest.mark.needs("wire")
def test_a_slow_consumer_of_what_waits_gets_it_in_order(bench):
    port = bench.open(sending=numbered(300), batch_size=8)
    seen = []
    while len(seen) < 300:
        with port.poll(5) as batch:
            assert len(batch) <= 8
            seen += numbers(batch)
    assert seen == list(range(300))
    assert rx_drops(port.stats()) == port.stats().get("drop.filtered", 0)
