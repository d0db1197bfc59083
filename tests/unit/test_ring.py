"""The ring from Python: order, copies, other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import wirepath as wp


def records(first, count):
    out = np.zeros(count, wp.RECORD)
    out["seq"] = np.arange(first, first + count)
    out["price"] = out["seq"].astype("i8") * 7
    return out


def test_pop_batch_gives_the_records_in_order_and_a_copy():
    ring = wp.Ring(16)
    assert ring.push(records(0, 10)) == 10
    first = ring.pop_batch(4)
    assert first.dtype == wp.RECORD
    assert first["seq"].tolist() == [0, 1, 2, 3]
    ring.push(records(10, 10))
    assert ring.pop_batch(100)["seq"].tolist() == list(range(4, 20))
    assert first["seq"].tolist() == [0, 1, 2, 3]
    assert len(ring) == 0
    assert (ring.pushed, ring.popped, ring.dropped) == (20, 20, 0)


def test_try_pop():
    ring = wp.Ring(4)
    assert ring.try_pop() is None
    ring.push(records(5, 1))
    assert ring.try_pop()["price"] == 35


def test_drop_policy_counts():
    ring = wp.Ring(4, policy="drop")
    assert ring.push(records(0, 7)) == 4
    assert ring.dropped == 3
    assert ring.pop_batch(10)["seq"].tolist() == [0, 1, 2, 3]


def test_block_policy_waits_for_the_consumer():
    ring = wp.Ring(8)
    producer = threading.Thread(target=ring.push, args=(records(0, 100),))
    producer.start()
    seen = []
    while len(seen) < 100:
        seen += ring.pop_batch(5, timeout=5)["seq"].tolist()
    producer.join()
    assert seen == list(range(100))
    assert ring.blocked >= 1
    assert ring.dropped == 0
    assert 0 < ring.high_water <= 8


def test_pop_batch_ends_when_the_ring_is_closed():
    ring = wp.Ring(8)
    threading.Timer(0.05, ring.close).start()
    assert len(ring.pop_batch(5, timeout=60)) == 0
    assert ring.closed


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"capacity": 1000}, "capacity = 1000"),
        ({"capacity": 0}, "power of two"),
        ({"policy": "maybe"}, "policy"),
        ({"name": "../x"}, "name"),
    ],
)
def test_wrong_arguments(arguments, part):
    with pytest.raises(wp.ConfigError, match=part):
        wp.Ring(**arguments)


def test_pushing_something_else():
    with pytest.raises(wp.ConfigError, match="RECORD"):
        wp.Ring(8).push(np.zeros(3, "u1"))
    with pytest.raises(wp.ConfigError, match="max"):
        wp.Ring(8).pop_batch(0)


def test_another_process_takes_from_a_named_ring():
    name = f"test-{os.getpid()}"
    ring = wp.Ring(64, name=name)
    ring.push(records(100, 50))
    program = (
        "import sys, wirepath as wp\n"
        "ring = wp.Ring.attach(sys.argv[1])\n"
        "print(ring.pop_batch(30)['seq'].sum())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, name], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == sum(range(100, 130))
    assert ring.popped == 30
    with pytest.raises(wp.DeviceBusy):
        wp.Ring(64, name=name)
    del ring
    with pytest.raises(wp.PortError, match=name):
        wp.Ring.attach(name)


def test_a_second_consumer_or_producer_is_refused_while_there_is_one():
    name = f"turns-{os.getpid()}"
    ring = wp.Ring(64, name=name)
    program = (
        "import sys, wirepath as wp\n"
        "ring = wp.Ring.attach(sys.argv[1])\n"
        "print('waiting', flush=True)\n"
        "while True:\n"
        "    try:\n"
        "        print(ring.pop_batch(timeout=60)['seq'].tolist())\n"
        "        break\n"
        "    except wp.DeviceBusy:\n"  # the test was looking at that very moment
        "        continue\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, name], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "waiting\n"
        end = time.monotonic() + 20
        with pytest.raises(wp.DeviceBusy, match="has a consumer, in another process"):
            while time.monotonic() < end:
                assert len(ring.pop_batch()) == 0
        ring.push(records(7, 3))  # of producers there is one
        assert other.stdout.read() == "[7, 8, 9]\n"
    ring.push(records(20, 2))
    assert ring.pop_batch()["seq"].tolist() == [20, 21]  # on from where the other one stopped

    pushing = threading.Thread(target=ring.push, args=(records(0, 65),))  # one too many: waits
    pushing.start()
    while len(ring) < 64:
        time.sleep(0.001)
    with pytest.raises(wp.DeviceBusy, match="has a producer in another thread"):
        ring.push(records(0, 1))
    assert len(ring.pop_batch()) == 64
    pushing.join()
    assert len(ring.pop_batch()) == 1


def test_hand_over_is_one_sample_a_record():
    ring, histogram = wp.Ring(64), wp.Histogram()
    ring.push(records(0, 40))
    ring.pop_batch(25)
    ring.record_hand_over(histogram)
    assert histogram.total == 25
    assert histogram.max > 0


def test_waiting_without_end_waits_until_the_ring_is_closed():
    ring = wp.Ring(16)
    timer = threading.Timer(0.1, ring.close)
    timer.start()
    began = time.monotonic()
    assert len(ring.pop_batch(4, timeout=float("inf"))) == 0
    assert time.monotonic() - began > 0.05
    timer.join()
