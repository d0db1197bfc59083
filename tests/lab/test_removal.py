# SPDX-License-Identifier: Apache-2.0
"""Interfaces that are removed while something waits for frames on them."""

from __future__ import annotations

import asyncio
import threading

import pytest

import wirepath as wp
from wirepath import frames
from wirepath.lab import Lab

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("idle", ["sleep", "spin"])
def test_an_interface_that_is_removed_ends_the_loop(lab_name, idle):
    with Lab(lab_name) as lab:
        host = lab["b"]
        with host.enter():
            port = wp.open(
                f"socket:{host.interface.name}", steer=wp.udp("239.255.7.2", 17002), idle=idle
            )
        with port:
            remove = threading.Timer(0.3, host.run, (["ip", "link", "delete", "wp0"],))
            remove.start()
            burst = []
            loop = threading.Thread(target=lambda: burst.extend(port), daemon=True)
            loop.start()
            loop.join(20)
            remove.join()
            assert not loop.is_alive()
            assert burst == []


@pytest.mark.parametrize("backend", ["socket", "af_xdp"])
def test_a_task_that_waits_ends_with_the_interface(lab_name, backend):
    async def lengths(port):
        return [len(batch) async for batch in port]

    with Lab(lab_name) as lab:
        host = lab["b"]
        with host.enter():
            port = wp.open(f"{backend}:{host.interface.name}", steer=wp.udp("239.255.7.3", 17003))
        with port:
            remove = threading.Timer(0.3, host.run, (["ip", "link", "delete", "wp0"],))
            remove.start()
            assert asyncio.run(asyncio.wait_for(lengths(port), 20)) == []
            remove.join()


def test_a_task_gets_frames_again_after_all_buffers_were_held(lab_name):
    group = ("239.255.7.4", 17004)

    async def first(port):
        async for batch in port:
            return len(batch)
        return None

    with Lab(lab_name) as lab:
        with lab["a"].enter():
            out = wp.open("socket:wp0,tx_only=true,loop=false", steer=wp.udp(*group))
        with lab["b"].enter():
            port = wp.open("af_xdp:wp0,rx_ring_size=64,frames=128", steer=wp.udp(*group))
        with out, port:
            frame = frames.udp(b"x" * 20, dst=group)
            held = []
            while sum(map(len, held)) < 128:
                out.send([frame] * 16)
                while (batch := port.poll(0.05)) is not None:
                    held.append(batch)
            for batch in held:
                batch.release()
            out.send([frame] * 16)  # nothing may be free for them
            later = threading.Timer(0.3, out.send, ([frame] * 4,))
            later.start()
            assert asyncio.run(asyncio.wait_for(first(port), 10)) > 0
            later.join()
