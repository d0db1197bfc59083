# SPDX-License-Identifier: Apache-2.0
"""What arrives: steering, order, lengths, VLAN, IPv6, multicast, timestamps, waiting."""

from __future__ import annotations

import asyncio
import select
import time

import pytest
from bench import (
    ELSEWHERE,
    GROUP,
    GROUP6,
    collect,
    drain,
    essence,
    losses,
    numbered,
    numbers,
    udp_socket,
    wait_for,
)
from declared import JUMBO
from file_benches import FIRST_STAMP, STEP

import wirepath as wp

CLOCKS = 1_000_000  # ns that two clocks of one machine may be apart


def frames_of(port, count, timeout=10.0):
    """The first `count` frames that arrive, whole."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < count and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += [bytes(batch[i]) for i in range(len(batch))]
                assert [len(f) for f in out[-len(batch) :]] == batch.lengths.tolist()
    return out


def assert_same_frames(port, got, wanted):
    if not port.capabilities["ethernet_headers"]:
        assert "wirepath" in port.info()["frame_headers"]
        got, wanted = list(map(essence, got)), list(map(essence, wanted))
    assert got == wanted


def assert_the_rest_is_known(bench, port, unwanted):
    """Frames of other flows reached the host, or are in a counter."""
    stats = port.stats()
    assert losses(stats) == {}
    if not port.capabilities["rest_to_host"]:
        assert unwanted <= stats["drop.filtered"] <= unwanted + bench.others


STEERINGS = {
    "address and port": (wp.udp(*GROUP), GROUP, (GROUP[0], GROUP[1] + 1)),
    "other group": (wp.udp(*GROUP), GROUP, ELSEWHERE),
    # 224.127.90.1 has the Ethernet address of 239.255.90.1
    "same Ethernet address": (wp.udp(*GROUP), GROUP, ("224.127.90.1", GROUP[1])),
    "any port": (wp.udp(GROUP[0]), (GROUP[0], 48207), ("239.255.90.3", 48207)),
    "two rules": (wp.udp(*GROUP) | wp.udp(*ELSEWHERE), ELSEWHERE, (ELSEWHERE[0], GROUP[1])),
}


@pytest.mark.needs("wire")
@pytest.mark.parametrize("case", STEERINGS)
def test_only_what_is_steered_arrives(bench, case):
    steer, matching, other = STEERINGS[case]
    if case in bench.refuses:
        with pytest.raises(wp.WirepathError, match=bench.refuses[case]):
            bench.open(steer)
        return
    wanted, unwanted = numbered(30, dst=matching), numbered(30, 1000, dst=other)
    mixed = [frame for pair in zip(unwanted, wanted, strict=True) for frame in pair]
    port = bench.open(steer, mixed)
    assert collect(port, 30) == list(range(30))
    assert port.stats()["rx_packets"] == 30
    assert_the_rest_is_known(bench, port, 30)


@pytest.mark.needs("wire")
@pytest.mark.parametrize("case", ["one address", "any address"])
def test_unicast_is_steered_by_address_and_port(bench, case):
    address, mac = bench.host_address()
    steer = wp.udp(address if case == "one address" else "*", 48230)
    wanted = numbered(30, dst=(address, 48230), dst_mac=mac)
    unwanted = numbered(30, 1000, dst=(address, 48231), dst_mac=mac)
    mixed = [frame for pair in zip(unwanted, wanted, strict=True) for frame in pair]
    if case in bench.refuses:
        with pytest.raises(wp.Unsupported, match=bench.refuses[case]):
            bench.open(steer)
        return
    port = bench.open(steer, mixed)
    assert collect(port, 30) == list(range(30))
    assert_the_rest_is_known(bench, port, 30)


@pytest.mark.needs("rest_to_host")
def test_what_steering_leaves_out_reaches_the_host(bench):
    address, mac = bench.host_address()
    with bench.host():
        host = udp_socket((address, 48240))
    with host:
        port = bench.open(
            wp.udp(address, 48241),
            [
                *numbered(1, 7, dst=(address, 48240), dst_mac=mac),
                *numbered(1, 8, dst=(address, 48241), dst_mac=mac),
            ],
        )
        assert collect(port, 1) == [8]
        assert host.recv(100)[:4] == b"\0\0\0\x07"


@pytest.mark.needs("divert")
def test_a_share_of_the_flows_is_taken_and_the_rest_left_to_the_host(bench):
    port = bench.open()
    port.native.divert(0)
    bench.send(numbered(20))
    assert drain(port) == []
    assert port.stats()["steer.left_to_host"] == 20
    port.native.divert(0, wp.udp(*GROUP))  # named
    bench.send(numbered(20, 20))
    assert collect(port, 20) == list(range(20, 40))
    port.native.divert(65536)
    bench.send(numbered(20, 40))
    assert collect(port, 20) == list(range(40, 60))
    with pytest.raises(wp.ConfigError, match="share"):
        port.native.divert(65537)
    with pytest.raises(wp.ConfigError, match="named flow"):
        port.native.divert(0, wp.udp("239.1.1.1"))


@pytest.mark.needs("wire", "everything")
def test_everything_is_everything(bench):
    address, mac = bench.host_address()
    arp = bytes.fromhex("ffffffffffff020000000001 0806 0001080006040001") + bytes(38)
    wanted = [
        arp,
        *numbered(1, dst=(address, 48245), dst_mac=mac),
        *numbered(1, dst=("239.3.3.3", 48246)),
    ]
    port = bench.open(wp.everything(), wanted)
    got = []
    end = time.monotonic() + 10
    while len(got) < 3 and time.monotonic() < end:
        got += [f for f in frames_of(port, 1, timeout=0.5) if f in wanted]
    assert got == wanted


@pytest.mark.needs("wire", "live")
def test_order_is_kept_over_many_turns_of_every_ring(bench):
    port = bench.open(rx_ring_size=64)
    got = []
    for start in range(0, 2000, 40):
        bench.send(numbered(40, start))
        got += collect(port, 40)
    assert got == list(range(2000))
    stats = port.stats()
    assert stats["rx_packets"] == 2000
    assert losses(stats) == {}
    assert bench.lost() == 0
    assert stats["held"] == 0


LENGTHS = [60, 61, 63, 64, 65, 127, 128, 255, 256, 511, 512, 1023, 1024, 1280, 1500, 1513, 1514]


@pytest.mark.needs("wire")
def test_every_length_arrives_as_it_was_sent(bench):
    wanted = [numbered(1, n, length=n)[0] for n in LENGTHS]
    port = bench.open(sending=wanted)
    got = frames_of(port, len(wanted))
    assert_same_frames(port, got, wanted)
    assert [len(f) for f in got] == LENGTHS
    assert port.stats()["rx_bytes"] == sum(LENGTHS)
    assert port.capabilities["max_frame"] >= 1514


@pytest.mark.needs("wire", "jumbo")
def test_jumbo_frames_both_ways(bench):
    bench.resize(3000)
    wanted = [numbered(1, n, length=n)[0] for n in (60, 1515, 2048, 3000, JUMBO)]
    port = bench.open(sending=wanted, **bench.jumbo)
    assert port.capabilities["max_frame"] >= JUMBO
    assert_same_frames(port, frames_of(port, len(wanted)), wanted)
    out = [numbered(1, n, length=n, dst=ELSEWHERE)[0] for n in (60, 1515, 2048, 3000, JUMBO)]
    assert port.send(out) == len(out)
    assert_same_frames(port, bench.receive(len(out)), out)
    assert losses(port.stats()) == {}


@pytest.mark.needs("wire", "ethernet_headers")
def test_vlan_tags_stay_and_are_looked_behind(bench):
    wanted = numbered(20, vlan=141, length=64)
    unwanted = numbered(20, 1000, vlan=141, length=64, dst=ELSEWHERE)
    port = bench.open(sending=[f for pair in zip(unwanted, wanted, strict=True) for f in pair])
    assert frames_of(port, 20) == wanted
    assert_the_rest_is_known(bench, port, 20)


@pytest.mark.needs("wire")
def test_ipv6(bench):
    wanted = numbered(20, dst=GROUP6, length=80)
    unwanted = [
        *numbered(10, 1000, dst=("ff15::91", GROUP6[1]), length=80),
        *numbered(10, 1000, dst=(GROUP6[0], 48207), length=80),
    ]
    port = bench.open(
        wp.udp(*GROUP6), [f for pair in zip(unwanted, wanted, strict=True) for f in pair]
    )
    assert_same_frames(port, frames_of(port, 20), wanted)
    assert_the_rest_is_known(bench, port, 20)


@pytest.mark.needs("link")
def test_the_multicast_group_is_joined_while_the_port_is_open(bench):
    port = bench.open()

    def joined():
        port.poll(0)  # where there is no kernel it is the poller who sends the reports
        return bench.joined(GROUP[0])

    wait_for(joined, "the join")
    assert not bench.left(GROUP[0])
    port.close()
    wait_for(lambda: bench.left(GROUP[0]), "the leave")


@pytest.mark.parametrize("asked", ["default", "poll"])
def test_timestamps_are_monotonic_and_of_the_declared_source(bench, asked):
    options = bench.poll_stamps if asked == "poll" else {}
    port = bench.open(sending=() if bench.live else numbered(50), **options)
    can = port.capabilities
    assert bench.live == (can["wire"] and not can["finite"])
    if bench.live:
        time.sleep(0.1)  # kernels begin to stamp a moment after they are asked to
    begin = time.time_ns()
    if bench.live:
        bench.send(numbered(50))
    time.sleep(0.05)
    polled = time.time_ns()
    stamps = []
    while len(stamps) < 50:
        with port.poll(5) as batch:
            stamps += batch.timestamps.tolist()
    end = time.time_ns()
    assert stamps == sorted(stamps)
    source = port.info()["timestamp_source"]
    if asked == "poll":
        assert source == "poll loop"
    if source.startswith("capture"):
        assert stamps == [FIRST_STAMP + n * STEP for n in range(50)]
    elif source.startswith("poll loop"):
        assert polled - CLOCKS <= stamps[0]
        assert stamps[-1] <= end + CLOCKS
    else:  # of the arrival, long before the poll
        assert begin - CLOCKS <= stamps[0]
        assert stamps[-1] <= polled - 30_000_000


@pytest.mark.needs("waitable")
def test_the_descriptor_tells_when_frames_wait(bench):
    port = bench.open(batch_size=4)
    fd = port.fileno()
    assert select.select([fd], [], [], 0) == ([], [], [])
    for turn in range(3):
        bench.send(numbered(10, 10 * turn))
        seen = []
        while len(seen) < 10:
            assert select.select([fd], [], [], 5)[0], "frames are left and nobody says so"
            if (batch := port.poll(0)) is not None:
                with batch:
                    seen += numbers(batch)
        assert seen == list(range(10 * turn, 10 * turn + 10))
        end = time.monotonic() + 10
        while select.select([fd], [], [], 0.02)[0]:
            assert port.poll(0) is None
            assert time.monotonic() < end, "readable for ever, and nothing to read"


@pytest.mark.needs("wire", "live")
def test_asyncio(bench):
    port = bench.open()

    async def run():
        async def send():
            for n in range(10):
                bench.send(numbered(1, n))
                await asyncio.sleep(0.001)

        task = asyncio.create_task(send())
        seen = []
        async for batch in port:
            seen += numbers(batch)
            if len(seen) == 10:
                break
        await task
        return seen

    assert asyncio.run(asyncio.wait_for(run(), 20)) == list(range(10))
