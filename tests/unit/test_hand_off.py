"""Handing frames over: long ones by reference, short ones copied, a bounded number of them."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames

LONG, SHORT = 400, 20


@pytest.fixture
def lane(flow):
    """A UDP port to receive on with 64 buffers, and one to send from."""
    with (
        wp.open("socket:lo", steer=wp.udp(*flow), rx_ring_size=64) as rx,
        wp.open("socket:lo", steer=wp.udp(*flow), tx_only=True) as tx,
    ):
        yield (
            rx,
            lambda *numbers, size=LONG: tx.send(
                [frames.udp(n.to_bytes(4, "big").ljust(size, b"."), dst=flow) for n in numbers]
            ),
        )


def handing(rx, hand_off, *stages):
    worker = wp.Worker("handing")
    worker.add_port(rx)
    for stage in (*stages, hand_off):
        worker.add_stage(stage)
    return worker


def number(view):
    return int.from_bytes(view[42:46], "big")


def adds_up(hand_off):
    stats = hand_off.stats()
    drops = sum(n for name, n in stats.items() if name.startswith("drop."))
    assert stats["frames"] == stats["by_reference"] + stats["copied"] + drops
    return stats


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_long_frames_by_reference_short_ones_copied_in_order(lane):
    rx, send = lane
    hand_off = wp.HandOff(zero_copy_threshold=200, name="order")
    with handing(rx, hand_off):
        send(1, 2)
        send(3, size=SHORT)
        send(4)
        got = []
        while len(got) < 4:
            got += hand_off.pop_batch(timeout=5)
        assert [number(f.view) for f in got] == [1, 2, 3, 4]
        assert [f.by_reference for f in got] == [True, True, False, True]
        assert [len(f) for f in got] == [42 + LONG, 42 + LONG, 62, 42 + LONG]
        assert all(abs(f.timestamp - wp.now()) < 60e9 for f in got)
        assert hand_off.stats()["held"] == 3
        for frame in got:
            frame.release()
        wait_for(lambda: hand_off.stats()["returned"] == 4)
        assert hand_off.stats()["held"] == 0
    assert adds_up(hand_off) | {"frames": 4, "by_reference": 3, "copied": 1} == hand_off.stats()
    assert hand_off.ended
    assert hand_off.pop(timeout=5) is None


def test_after_release_every_use_raises(lane):
    rx, send = lane
    hand_off = wp.HandOff()
    with handing(rx, hand_off):
        send(7, 8)
        frame = hand_off.pop(timeout=5)
        view = frame.view
        part = view[42:46]
        assert number(view) == 7
        part.release()
        frame.release()
        frame.release()  # twice is no mistake
        assert frame.released
        with pytest.raises(ValueError, match="released"):
            view[0]
        with pytest.raises(wp.ReleasedError, match="released"):
            frame.view  # noqa: B018
        with hand_off.pop(timeout=5) as inside:
            assert number(inside) == 8
        with pytest.raises(ValueError, match="released"):
            inside[0]


def test_an_array_keeps_its_frame_until_it_is_gone(lane):
    rx, send = lane
    hand_off = wp.HandOff()
    with handing(rx, hand_off):
        send(9)
        frame = hand_off.pop(timeout=5)
        array = np.frombuffer(frame.view, np.uint8)
        before = array.tobytes()
        frame.release()
        for n in range(40):  # more than the port has buffers
            send(*range(100 + 4 * n, 104 + 4 * n))
            for _ in range(4):
                hand_off.pop(timeout=5).release()
        assert array.tobytes() == before
        assert hand_off.stats()["returned"] < 161
        del array
        wait_for(lambda: hand_off.stats()["returned"] == 161)


def test_a_consumer_that_never_releases_is_bounded_and_counted(lane):
    rx, send = lane
    hand_off = wp.HandOff(max_held=10)
    kept = []
    with handing(rx, hand_off) as worker:
        for n in range(30):
            send(*range(10 * n, 10 * n + 10))
            wait_for(lambda n=n: worker.stats()["frames"] == 10 * n + 10)
            kept += hand_off.pop_batch()
        # The pool never ran dry: every frame was received, the loss is here and counted.
        stats = adds_up(hand_off)
        assert stats["held"] == stats["by_reference"] == len(kept) == 10
        assert stats["drop.held_full"] == 290
        assert worker.stats()["verdict.keep"] == 10
        assert {k: v for k, v in rx.stats().items() if k.startswith("drop.") and v} == {}
        # Released, they make room again.
        for frame in kept:
            frame.release()
        wait_for(lambda: hand_off.stats()["held"] == 0)
        send(777)
        assert number(hand_off.pop(timeout=5).view) == 777


def test_short_frames_are_bounded_by_capacity(lane):
    rx, send = lane
    hand_off = wp.HandOff(zero_copy_threshold=1000, capacity=5)
    with handing(rx, hand_off) as worker:
        send(*range(20))
        wait_for(lambda: worker.stats()["frames"] == 20)
        stats = adds_up(hand_off)
        assert (stats["copied"], stats["drop.queue_full"], stats["held"]) == (5, 15, 0)
        assert len(hand_off) == 5
        assert [number(f.view) for f in hand_off.pop_batch()] == [0, 1, 2, 3, 4]


def test_the_bound_follows_the_ports_buffers(lane):
    rx, _ = lane
    assert rx.capabilities["pool_frames"] == 64
    hand_off = wp.HandOff()
    with handing(rx, hand_off):
        assert hand_off.max_held == 48
    with pytest.raises(wp.ConfigError, match="at most 48, three quarters of the buffers"):
        handing(rx, wp.HandOff(max_held=49)).start()


def test_released_from_other_threads_and_after_the_worker_ended(lane):
    rx, send = lane
    hand_off = wp.HandOff()
    with handing(rx, hand_off):
        send(*range(30))
        got = []
        while len(got) < 30:
            got += hand_off.pop_batch(timeout=5)
        threads = [
            threading.Thread(target=lambda k=k: [f.release() for f in got[k:20:4]])
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: hand_off.stats()["returned"] == 20)
    views = [bytes(f.view) for f in got[20:]]
    assert [number(v) for v in views] == list(range(20, 30))
    for frame in got[20:]:
        frame.release()
    assert hand_off.stats()["returned"] == 30
    assert hand_off.stats()["held"] == 0
    # All buffers are back: another worker gets as many frames as there are.
    with handing(rx, again := wp.HandOff(max_held=48)):
        send(*range(48))
        wait_for(lambda: again.stats()["held"] == 48)
        again.close()


def test_the_port_lives_as_long_as_a_frame_of_it(flow):
    rx = wp.open("socket:lo", steer=wp.udp(*flow), rx_ring_size=64)
    with wp.open("socket:lo", steer=wp.udp(*flow), tx_only=True) as tx:
        hand_off = wp.HandOff()
        with handing(rx, hand_off):
            tx.send([frames.udp(b"held" * 100, dst=flow)])
            frame = hand_off.pop(timeout=5)
    rx.close()
    gc.collect()
    assert bytes(frame.view[42:46]) == b"held"
    frame.release()


def test_what_a_filter_kept_is_taken_and_nothing_else(lane):
    rx, send = lane

    @wp.stage(compile="never")
    def even(batch, state):
        for i in range(batch.count):
            batch.verdict[i] = wp.DROP if batch.data[i][45] % 2 else wp.KEEP

    hand_off = wp.HandOff(take="kept", zero_copy_threshold=200)
    with handing(rx, hand_off, even.bind()) as worker:
        send(*range(10))
        send(10, 11, size=SHORT)
        wait_for(lambda: worker.stats()["frames"] == 12)
        got = hand_off.pop_batch()
        assert [number(f.view) for f in got] == [0, 2, 4, 6, 8, 10]
        stats = worker.stats()
        assert (stats["verdict.keep"], stats["verdict.drop"]) == (5, 7)


def test_it_is_the_last_stage():
    worker = wp.Worker("last")
    worker.add_stage(wp.HandOff())
    with pytest.raises(wp.ConfigError, match="verdicts are final"):
        worker.add_stage(wp.HandOff())


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"zero_copy_threshold": 65537}, "zero_copy_threshold"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": 1 << 21}, "capacity"),
        ({"max_held": 0}, "max_held"),
        ({"capacity": 4, "max_held": 5}, "max_held"),
        ({"take": "some"}, "take"),
    ],
)
def test_unusable_settings(arguments, field):
    with pytest.raises(wp.ConfigError, match=field):
        wp.HandOff(**arguments)
