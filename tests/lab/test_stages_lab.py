# SPDX-License-Identifier: Apache-2.0
"""Stages, hand-off and queues on AF_XDP ports of a real veth pair."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath.lab import Lab

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not {b.name: b for b in wp.backends()}["af_xdp"].available,
        reason="the af_xdp backend is not available here: see `wirepath backends`",
    ),
]

NUMBA = importlib.util.find_spec("numba") is not None
MODES = [
    "never",
    pytest.param("require", marks=pytest.mark.skipif(not NUMBA, reason="numba is not installed")),
]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GROUP = ("239.255.90.1", 48501)


def packet_socket(host, timeout=10):
    with host.enter():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind((host.interface.name, 0))
        sock.settimeout(timeout)
        return sock


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize("how", MODES)
def test_swapped_macs_come_back(lab_name, how):
    with Lab(lab_name) as lab:
        a, b = lab["a"], lab["b"]
        sent = [
            frames.udp(
                n.to_bytes(4, "big") * 8,
                dst=(b.interface.ipv4, 7),
                src=(a.interface.ipv4, 1000 + n),
                dst_mac=b.interface.mac,
                src_mac=a.interface.mac,
            )
            for n in range(50)
        ]
        program = [sys.executable, EXAMPLES / "stage_swap_macs.py", f"af_xdp:{b.interface.name}"]
        program += ["--udp", f"{b.interface.ipv4}:7", "--seconds", "20", "--compile", how]
        example = b.popen(program, stdout=subprocess.PIPE, text=True)
        try:
            assert example.stdout.readline() == "ready\n"
            with packet_socket(a) as wire:
                for frame in sent:
                    wire.send(frame)
                expected = [f[6:12] + f[:6] + f[12:] for f in sent]
                got = []
                while len(got) < len(sent):
                    frame = wire.recv(2048)
                    if frame in expected:
                        got.append(frame)
                assert got == expected
        finally:
            example.kill()
            example.communicate()


def test_held_frames_are_the_ports_own_and_bounded(lab_name):
    with Lab(lab_name) as lab:
        a, b = lab["a"], lab["b"]
        with b.enter():
            port = wp.open(
                f"af_xdp:{b.interface.name}", steer=wp.udp(*GROUP), rx_ring_size=64, frames=256
            )
        hand_off = wp.HandOff(zero_copy_threshold=256)
        with port, packet_socket(a) as wire:
            worker = wp.Worker("held")
            worker.add_port(port)
            worker.add_stage(hand_off)
            with worker:
                spare = port.capabilities["pool_frames"] * 3 // 4
                assert hand_off.max_held == spare > 64
                kept = []
                for n in range(spare + 60):
                    wire.send(frames.udp(n.to_bytes(4, "big") * 100, dst=GROUP))
                    wait_for(lambda n=n: worker.stats()["frames"] == n + 1)
                    kept += hand_off.pop_batch()
                # All arrived although nothing was given back: the loss is here, and counted.
                assert [f.view[42:46] for f in kept] == [n.to_bytes(4, "big") for n in range(spare)]
                stats = hand_off.stats()
                assert (stats["held"], stats["drop.held_full"]) == (spare, 60)
                counted = port.stats()
                assert counted["held"] == spare
                lost = {k: v for k, v in counted.items() if k.startswith("drop.") and v}
                assert lost == {}
                for frame in kept:
                    frame.release()
                wait_for(lambda: port.stats()["held"] == 0)
                wire.send(frames.udp(b"once more" * 60, dst=GROUP))
                wire.send(frames.udp(b"short", dst=GROUP))
                with hand_off.pop(timeout=5) as view:
                    assert bytes(view[42:51]) == b"once more"
                short = hand_off.pop(timeout=5)
                assert not short.by_reference
                short.release()


def test_a_flow_stays_on_one_queue_and_in_order_into_its_ring(lab_name):
    """Two queues, two workers, a ring each; the merged view is everything in order."""
    flows, each = 12, 200
    with Lab(lab_name, queues=2) as lab:
        a, b = lab["a"], lab["b"]
        with b.enter():
            port = wp.open(
                f"af_xdp:{b.interface.name},queues=0-1", steer=wp.udp(b.interface.ipv4, 48600)
            )
        rings = [wp.Ring(8192, "drop") for _ in range(2)]

        def stages(k):
            @wp.stage(compile="never")
            def into_ring(batch, state):
                rows = np.zeros(batch.count, wp.RECORD)
                rows["seq"] = batch.column(42, ">u4")
                rows["order_id"] = batch.column(46, ">u4")
                rows["instrument"] = batch.column(34, ">u2")  # source port: the flow
                rows["recv_time"] = batch.timestamps
                rows["channel"] = batch.queue
                assert rings[k].push(rows) == len(rows)

            return [into_ring.bind()]

        with a.enter():
            senders = []
            for _ in range(flows):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.connect((b.interface.ipv4, 48600))
                senders.append(sock)
        with port, wp.workers(port, stages=stages) as group:
            for n in range(each):
                for k, sock in enumerate(senders):
                    number = (n * flows + k).to_bytes(4, "big") + n.to_bytes(4, "big")
                    sock.send(number + b".." * 10)
                if n % 20 == 19:
                    time.sleep(0.002)
            wait_for(lambda: group.stats()["frames"] == flows * each)
            queues = [w.info()["queues"] for w in group]
            assert [[q for _, q in mine] for mine in queues] == [[0], [1]]
        numbers = {sock.getsockname()[1] for sock in senders}
        for sock in senders:
            sock.close()
        assert sum(len(ring) for ring in rings) == flows * each
        for ring in rings:
            ring.close()
        merged = np.concatenate(list(wp.merge(rings, "seq", patience=None)))
        assert merged["seq"].tolist() == list(range(flows * each))
        assert set(merged["channel"]) == {0, 1}, "the flows came by both queues"
        for number in numbers:
            mine = merged[merged["instrument"] == number]
            assert len(set(mine["channel"])) == 1
            assert mine["order_id"].tolist() == list(range(each))
            assert (np.diff(mine["recv_time"]) >= 0).all()
