"""Channels from Python: over loopback with recovery and a snapshot, and what they refuse."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest

import wirepath as wp
from wirepath.feed import Books, SymbolTable, make_channel, make_stage

SESSION = b"SESSION__A"
RECOVERED = int(wp.RecordFlag.RECOVERED)


def added(order: int, locate: int = 7) -> bytes:
    head = struct.pack(">cHH6sQ", b"A", locate, 0, bytes(6), order)
    return head + struct.pack(">cI8sI", b"B", 100, b"IBM     ", 10_000)


def packet(first: int, count: int) -> bytes:
    messages = [added(seq) for seq in range(first, first + count)]
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    return SESSION + struct.pack(">QH", first, count) + blocks


@contextmanager
def running(flow, channel, **options):
    """A worker with the channel's stage on loopback, and a socket that sends to a line."""
    ring = wp.Ring(1 << 12, "drop", "")
    stage = make_stage(ring, [channel], **options)
    worker = wp.Worker("channels", poll_timeout_us=100)
    flows = [wp.udp(flow[0], flow[1]), wp.udp(flow[0], flow[1] + 1)]
    with (
        wp.open("socket:lo", steer=flows[0]) as a,
        wp.open("socket:lo", steer=flows[1]) as b,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out,
    ):
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        for port in (a, b):
            worker.add_port(port)
        worker.add_stage(stage)
        worker.start()
        try:
            yield ring, stage, lambda line, p: out.sendto(p, (flow[0], flow[1] + line))
        finally:
            worker.stop()
            worker.join()


def until(condition, seconds: float = 10.0):
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := condition():
            return answer
        time.sleep(0.005)
    raise AssertionError("it did not happen")


def itch(flow, **options):
    lines = [wp.udp(flow[0], flow[1]), wp.udp(flow[0], flow[1] + 1)]
    return make_channel("itch", name="test", lines=lines, channel=5, **options)


def popped(ring, count: int) -> np.ndarray:
    got = []
    until(lambda: got.append(ring.pop_batch(4096, 0.1)) or sum(map(len, got)) >= count)
    return np.concatenate(got)


def test_what_both_lines_lose_is_asked_for_and_comes_back_in_order(flow):
    books = Books()
    patient = {"hold_ns": 300_000_000, "retry_ns": 5_000_000_000, "max_retry_ns": 5_000_000_000}
    channel = itch(flow, recovery="mold_udp64", recovery_options=patient)
    with running(flow, channel, books=books) as (ring, stage, send):
        send(0, packet(1, 2))
        until(lambda: ring.pushed == 2)
        send(1, packet(1, 3))
        until(lambda: ring.pushed == 3)
        send(0, packet(6, 2))  # 4 and 5 come on neither line
        (request,) = until(channel.requests)
        assert (request.first, request.messages, request.unit) == (4, 2, 0)
        assert request.packet == SESSION + struct.pack(">QH", 4, 2)
        assert channel.reply(packet(4, 2), wp.now())
        records = popped(ring, 7)
    assert records["seq"].tolist() == list(range(1, 8))
    assert (records["channel"] == 5).all()
    assert (records["flags"] & RECOVERED != 0).tolist() == [s in (4, 5) for s in range(1, 8)]
    told = stage.snapshot()
    (own,) = told["channels"]
    assert told["frames"] == 3 == sum(line["packets"] for line in own["lines"][:2])
    assert [line["label"] for line in own["lines"]] == ["A", "B", "replies"]
    assert [line["won"] for line in own["lines"]] == [4, 1, 2]
    assert own["lines"][1]["loss"] == 0.0
    assert own["counters"]["gap_filled"] == own["counters"]["recovered"] == 2
    assert own["recovery"]["requests"] == own["recovery"]["replies"] == 1
    assert own["state"][0]["next_sequence"] == own["next_sequence"] == 8
    assert len(books.orders(7, "B")) == 7
    assert stage.wire_to_ring().total == stage.wire_to_book().total == 7


def test_a_snapshot_and_a_server_that_refuses(flow):
    channel = itch(
        flow,
        arbiter={"next_sequence": 1},
        recovery="mold_udp64",
        recovery_options={"hold_ns": 300_000_000, "deadline_ns": 60_000_000_000},
    )
    with running(flow, channel) as (ring, stage, send):
        send(0, packet(10, 2))
        send(0, packet(14, 1))
        request = until(channel.requests)[0]
        assert (request.first, request.attempt) == (1, 1)
        assert channel.inject(added(500), 10, wp.now())
        channel.skip_to(11)
        assert popped(ring, 2)["order_id"].tolist() == [500, 11]
        channel.refuse(12, 13)
        assert popped(ring, 1)["seq"].tolist() == [14]
        state = until(lambda: (s := channel.snapshot())["abandoned"][1:] and s)
    assert state["abandoned"] == [(1, 9, "snapshot", 0), (12, 13, "refused", 0)]
    assert state["counters"]["superseded"] == 1
    assert state["recovery"]["injected"] == 1
    assert stage.snapshot()["delivered"] == 3


def test_a_filter_by_symbol_and_type(flow):
    channel = itch(flow, symbols=["IBM"], types=["A"])
    directory = struct.pack(">cHH6s8s", b"R", 9, 0, bytes(6), b"IBM     ") + bytes(20)
    messages = [
        directory,
        added(1, 9),
        added(2, 8),
        struct.pack(">cHH6sQ", b"D", 9, 0, bytes(6), 1),
    ]
    blocks = b"".join(struct.pack(">H", len(m)) + m for m in messages)
    with running(flow, channel) as (ring, _, send):
        send(0, SESSION + struct.pack(">QH", 1, 4) + blocks)
        assert popped(ring, 1)["order_id"].tolist() == [1]
    told = channel.snapshot()
    assert (told["filtered"], told["messages"], told["resolved"]) == (3, 1, {"IBM": 9})


def test_hold_ns_is_above_the_deadline_or_refused():
    everything = [wp.everything()]
    options = {"deadline_ns": 1_000_000}
    with pytest.raises(wp.ConfigError, match=r"hold_ns = 1000000 .* deadline_ns"):
        make_channel(
            "itch", name="x", lines=everything, recovery="mold_udp64", recovery_options=options,
            arbiter={"hold_ns": 1_000_000},
        )  # fmt: skip
    make_channel(
        "itch", name="x", lines=everything, recovery="mold_udp64", recovery_options=options
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"lines": []}, "lines"),
        ({"lines": [wp.udp("239.1.1.1", 1), wp.udp("239.1.1.1", 1)]}, None),
        ({"recovery": "nyse"}, 'recovery = "nyse" .* "mold_udp64"'),
        ({"recovery": "", "recovery_options": {"hold_ns": 1}}, "recovery_options"),
        ({"recovery": "mold_udp64", "recovery_options": {"hold_nz": 1}}, "hold_nz"),
        ({"arbiter": {"hold_ns": "1 ms"}}, "hold_ns = '1 ms'"),
        ({"arbiter": {"lines": 3}}, "lines"),
        ({"types": ["AB"]}, "AB"),
        ({"types": [300]}, "types = 300"),
        ({"instruments": [70_000]}, "instruments = 70000"),
        ({"symbols": ["TOO LONG A NAME"]}, "TOO LONG"),
        ({"symbol_table": SymbolTable()}, "symbol_table"),
    ],
)
def test_what_a_channel_refuses_is_named(wrong, said):
    given = {"name": "x", "lines": [wp.everything()], **wrong}
    if said is None:
        channel = make_channel("itch", **given)
        with pytest.raises(wp.ConfigError, match=r"line 0 of channel x"):
            make_stage(wp.Ring(64, "drop", ""), [channel])
        return
    with pytest.raises(wp.ConfigError, match=said):
        make_channel("itch", **given)


def test_a_channel_is_of_one_stage():
    channel = make_channel("itch", name="x", lines=[wp.everything()])
    ring = wp.Ring(64, "drop", "")
    stage = make_stage(ring, [channel], name="first")
    with pytest.raises(wp.DeviceBusy, match="first"):
        make_stage(ring, [channel])
    with pytest.raises(wp.ConfigError, match="recovery"):
        channel.reply(b"", 0)
    del stage
    make_stage(ring, [channel])


def test_unknown_protocols_and_missing_templates():
    with pytest.raises(wp.ConfigError, match="itch, iex, pitch, cme"):
        make_channel("morse", name="x", lines=[wp.everything()])
    with pytest.raises(wp.ConfigError, match="schema"):
        make_channel("cme", name="x", lines=[wp.everything()])
