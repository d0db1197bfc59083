# SPDX-License-Identifier: Apache-2.0
"""A NIC behind DPDK's own driver for it: what is received, sent, counted."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath.measure import measure
from wirepath.publish import PublishConfig

GROUP = ("239.255.91.1", 48301)
DRIVERS = {"e1000e": "net_e1000_em", "vmxnet3": "net_vmxnet3"}
NOISE = ("239.255.91.9", 48301)  # another group, with another Ethernet address


def frame(number, dst=GROUP, size=18, **changes):
    """With a number at the front of its payload; 60 bytes where `size` is 18."""
    return frames.udp(number.to_bytes(4, "big").ljust(size, b"\0"), dst=dst, **changes)


def of_length(number, length):
    """A frame of just this many bytes, no two alike."""
    made = frame(number, size=length - 42)
    return made[:46] + bytes((number + i) % 256 for i in range(length - 46))


def collect(port, wanted, timeout=20.0):
    """The frames that come, up to `wanted`, as bytes."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < wanted and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += [bytes(batch[i]) for i in range(len(batch))]
    return out


def numbers(got, offset=42):
    return [int.from_bytes(one[offset : offset + 4], "big") for one in got]


def drops(stats):
    return {k: v for k, v in stats.items() if k.startswith("drop.") and v}


def wait_for(value, wanted, timeout=20.0):
    end = time.monotonic() + timeout
    while (have := value()) != wanted:
        assert time.monotonic() < end, f"{have}, and not {wanted}"
        time.sleep(0.02)


# --- receive -------------------------------------------------------------------------------------


def test_it_says_what_it_is(nic):
    with wp.open(nic.spec, steer=wp.everything()) as port:
        info = port.info()
    assert info["driver"] == DRIVERS[nic.model]
    assert info["mode"] == "poll-mode driver, hugepages"
    assert info["mac"] == nic.mac
    assert info["link"] == "up"
    assert info["link_mbits"] in (1000, 10000)
    assert info["interface"] == "none"
    assert info["receive_filter"] == "promiscuous"
    assert info["timestamp_source"].startswith("poll loop")
    assert not any("no-huge" in note for note in info["notes"])


def test_every_length_in_order_and_unchanged(nic, peer):
    sent = [of_length(n, length) for n, length in enumerate(range(60, 1515))]
    with wp.open(nic.spec, steer=wp.everything()) as port:
        before = time.time_ns()
        got, stamps = [], []
        sender = threading.Thread(target=peer.send, args=(sent, 0.01))
        sender.start()
        while len(got) < len(sent) and (batch := port.poll(5)) is not None:
            with batch:
                got += [bytes(batch[i]) for i in range(len(batch))]
                stamps += batch.timestamps.tolist()
        sender.join()
        assert numbers(got) == list(range(len(sent)))
        assert got == sent
        assert stamps == sorted(stamps)
        assert before <= stamps[0] <= stamps[-1] <= time.time_ns()
        stats = port.stats()
    assert stats["rx_packets"] == stats["xstat.rx_good_packets"] == len(sent)
    assert stats["rx_bytes"] == sum(map(len, sent))
    assert stats["held"] == 0
    assert drops(stats) == {}


def test_jumbo_frames(nic, peer):
    sent = [of_length(n, length) for n, length in enumerate(range(1514, 9015, 100))]
    sent.append(of_length(len(sent), 9014))
    with wp.open(nic.spec, steer=wp.everything(), mtu=9000, frame_size=9216) as port:
        assert port.info()["mtu"] == 9000
        peer.send(sent, 0.01)
        got = collect(port, len(sent))
        stats = port.stats()
        assert [len(one) for one in got] == [len(one) for one in sent], drops(stats)
        assert got == sent
        assert drops(stats) == {}
        assert port.send(sent) == len(sent)
        assert peer.receive(len(sent)) == sent


def test_frames_longer_than_a_buffer(nic, peer):
    """Where the driver chains buffers; where it has a least size, that is said."""
    if nic.model == "vmxnet3":
        with pytest.raises(wp.ConfigError, match=r"frame_size = 1024.*at least 1646"):
            wp.open(nic.spec, steer=wp.everything(), frame_size=1024)
        return
    sent = [of_length(n, 60 if n % 2 else 1500) for n in range(100)]
    with wp.open(nic.spec, steer=wp.everything(), frame_size=1024) as port:
        peer.send(sent, 0.01)
        assert collect(port, 50) == sent[1::2]
        wait_for(lambda: drops(port.stats()), {"drop.multi_segment": 50})
        assert port.stats()["rx_packets"] == 50


def test_vlan_tags_stay_in_the_frame(nic, peer):
    sent = [frame(n, vlan=n % 4094 + 1) for n in range(200)]
    with wp.open(nic.spec, steer=wp.udp(*GROUP)) as port:
        peer.send(sent, 0.01)
        assert collect(port, 200) == sent
        assert drops(port.stats()) == {}


def test_groups_of_both_families_and_nothing_else(nic, peer):
    six = ("ff15::91:1", 48301)
    with wp.open(nic.spec, steer=wp.udp(*GROUP) | wp.udp(*six)) as port:
        info = port.info()
        assert info["receive_filter"] != "promiscuous"
        assert "software" in info["steering_mode"]
        wanted, noise = [], []
        for n in range(100):
            wanted += [frame(2 * n), frame(2 * n + 1, dst=six)]
            noise += [
                frame(n, dst=NOISE),
                frame(n, dst=(GROUP[0], 9)),
                frame(n, dst=("10.98.0.7", 48301), dst_mac="02:00:00:00:09:09"),
            ]
        peer.send([one for pair in zip(wanted, noise[:200], strict=True) for one in pair], 0.01)
        peer.send(noise[200:])
        got = collect(port, 200)
        assert got == wanted
        # Most of the noise stops at the NIC, and is nobody's loss.
        assert collect(port, 1, timeout=0.3) == []
        stats = port.stats()
        assert set(drops(stats)) == {"drop.filtered"}
        multicast = {"e1000e": "2 multicast addresses", "vmxnet3": "all multicast"}
        assert info["receive_filter"] == multicast[nic.model]
        assert stats["drop.filtered"] == (200 if nic.model == "vmxnet3" else 100)
        assert stats["xstat.rx_good_packets"] == stats["rx_packets"] + stats["drop.filtered"]


def test_promiscuous_or_not(nic, peer):
    other = [frame(n, dst=("10.98.0.7", 48301), dst_mac="02:00:00:00:09:09") for n in range(50)]
    own = [frame(n, dst=("10.98.0.7", 48301), dst_mac=nic.mac) for n in range(50, 60)]
    with wp.open(nic.spec, steer=wp.everything()) as port:
        peer.send(other + own)
        assert collect(port, 60) == other + own
    with wp.open(nic.spec, steer=wp.everything(), promiscuous="off") as port:
        assert port.info()["receive_filter"] == "own address"
        peer.send(other + own)
        assert collect(port, 10) == own
        assert collect(port, 1, timeout=0.3) == []
    with wp.open(nic.spec, steer=wp.udp("10.98.0.7", 48301)) as port:
        peer.send(other + own)
        assert collect(port, 10) == own


def test_what_the_ring_cannot_take_is_counted(nic, peer):
    """Nobody polls: what does not fit waits outside of the NIC, or is lost and counted."""
    sent = [frame(n) for n in range(3000)]
    with wp.open(nic.spec, steer=wp.everything(), rx_ring_size=128) as port:
        peer.send(sent, 0.002)
        time.sleep(0.5)
        got = collect(port, 3000, timeout=3)
        stats = port.stats()
        assert numbers(got) == sorted(set(numbers(got)))
        assert len(got) + sum(drops(stats).values()) == 3000, drops(stats)
        assert stats["rx_packets"] == len(got)
        assert len(got) >= 127  # the driver keeps a descriptor back
        # And it goes on.
        peer.send(sent[:50])
        assert collect(port, 50) == sent[:50]


def test_held_frames_stay_as_they_are(nic, peer):
    sent = [frame(n) for n in range(600)]
    with wp.open(
        nic.spec, steer=wp.everything(), rx_ring_size=128, max_held=96, batch_size=32
    ) as port:
        peer.send(sent[:100], 0.01)
        held, count = [], 0
        while count < 96:
            held.append(port.poll(5))
            count += len(held[-1])
        assert port.poll(0.1) is None
        assert port.stats()["held_stalls"] > 0
        peer.send(sent[100:], 0.01)
        kept = [bytes(batch[i]) for batch in held for i in range(len(batch))]
        assert kept == sent[:count]
        for batch in held:
            batch.release()
        rest = collect(port, 600 - count, timeout=3)
        stats = port.stats()
        assert rest[:100] == sent[count : count + 100]
        assert count + len(rest) + sum(drops(stats).values()) == 600, drops(stats)
        assert stats["held"] == 0


# --- transmit ------------------------------------------------------------------------------------


def test_what_is_sent_arrives(nic, peer):
    sent = [of_length(n, length) for n, length in enumerate(range(60, 1515))]
    with wp.open(nic.spec, steer=wp.everything()) as port:
        done = 0
        end = time.monotonic() + 30
        while done < len(sent) and time.monotonic() < end:
            done += port.send(sent[done : done + 64])
        got = peer.receive(len(sent))
        assert got == sent
        stats = port.stats()
        assert stats["tx_packets"] == len(sent)
        assert stats["tx_bytes"] == sum(map(len, sent))
        assert stats["drop.tx_link_down"] == 0
        wait_for(lambda: port.stats()["xstat.tx_good_packets"], len(sent))


def test_frames_go_back_in_their_own_buffers(nic, peer):
    sent = [frame(n, dst=("10.98.0.7", 7), dst_mac=nic.mac) for n in range(500)]
    with wp.open(nic.spec, steer=wp.everything()) as port:
        peer.send(sent[:256])
        done = 0
        while done < 256 and (batch := port.poll(5)) is not None:
            with batch:
                for i in range(len(batch)):
                    batch[i][0:6], batch[i][6:12] = bytes(batch[i][6:12]), bytes(batch[i][0:6])
                batch.verdicts = wp.TX
                assert port.tx(batch) == len(batch)
                done += len(batch)
        swapped = [one[6:12] + one[0:6] + one[12:] for one in sent[:256]]
        assert peer.receive(256) == swapped
        stats = port.stats()
        assert stats["tx_packets"] == 256
        assert stats["held"] == 0
        assert drops(stats) == {}


def test_reports_of_ours_join_and_leave(nic, peer):
    with wp.open(nic.spec, steer=wp.udp(*GROUP), join_source="10.98.0.9") as port:
        assert port.info()["joined"] == [GROUP[0]]
        (report,) = peer.receive(1, 5)
        assert report[:6].hex(":") == frames.multicast_mac(GROUP[0])
        assert report[6:12].hex(":") == nic.mac
        assert report[38] == 0x16
        assert socket.inet_ntoa(report[42:46]) == GROUP[0]
    (leave,) = peer.receive(1, 5)
    assert leave[38] == 0x17


# --- queues --------------------------------------------------------------------------------------


def test_two_queues(nics, peers):
    """A flow stays on one queue, in order, and between them the queues have every frame."""
    nic, peer = nics["vmxnet3"], peers["vmxnet3"]
    sent = [frame(n, src=("10.98.0.1", 1000 + n % 8)) for n in range(800)]
    with wp.open(nic.spec, steer=wp.everything(), queues="0-1") as port:
        info = port.info()
        assert info["queues"] == 2
        peer.send(sent, 0.01)
        got: dict[int, list[bytes]] = {0: [], 1: []}
        end = time.monotonic() + 20
        while sum(map(len, got.values())) < 800 and time.monotonic() < end:
            batch = port.poll(0.2)
            if batch is not None:
                with batch:
                    got[batch.queue] += [bytes(batch[i]) for i in range(len(batch))]
        for out in got.values():
            assert numbers(out) == sorted(numbers(out))
        assert sorted(got[0] + got[1]) == sorted(sent)
        flows = [{one[34:36] for one in out} for out in got.values()]
        assert not flows[0] & flows[1]
        for queue in (0, 1):
            assert port.send([frame(queue)], queue=queue) == 1
        assert sorted(numbers(peer.receive(2))) == [0, 1]
        assert drops(port.stats()) == {}


def test_more_queues_than_the_nic_has(nic):
    with pytest.raises(wp.ConfigError, match=rf"20 receive queues, but {nic.address} has \d+"):
        wp.open(nic.spec, steer=wp.everything(), queues="0-19")


# --- the link ------------------------------------------------------------------------------------


def test_cable_pulled_and_put_back(nic, peer, monitor):
    with wp.open(nic.spec, steer=wp.udp(*GROUP)) as port:
        try:
            for turn in (1, 2):
                peer.send([frame(n) for n in range(20)])
                assert numbers(collect(port, 20)) == list(range(20))
                monitor.cable(nic, plugged=False)
                wait_for(lambda: port.info()["link"], "down")
                wait_for(lambda: port.stats()["link_downs"], turn)
                assert "the link is down" in port.info()["notes"]
                assert port.poll(0.2) is None
                monitor.cable(nic, plugged=True)
                # The port looks 20 times a second, and has to see the link up between two downs.
                wait_for(lambda: "the link is down" in port.info()["notes"], wanted=False)
        finally:
            monitor.cable(nic, plugged=True)
        peer.send([frame(n) for n in range(20)])
        assert numbers(collect(port, 20)) == list(range(20))
        assert set(drops(port.stats())) <= {"drop.filtered"}


def test_opened_without_a_cable(nic, peer, monitor):
    monitor.cable(nic, plugged=False)
    try:
        with wp.open(nic.spec, steer=wp.udp(*GROUP), link_wait_ms=100) as port:
            assert port.info()["link"] == "down"
            assert port.poll(0.1) is None
            monitor.cable(nic, plugged=True)
            wait_for(lambda: port.info()["link"], "up")
            time.sleep(0.2)
            peer.send([frame(n) for n in range(20)])
            assert numbers(collect(port, 20)) == list(range(20))
    finally:
        monitor.cable(nic, plugged=True)


# --- coming and going ----------------------------------------------------------------------------


def test_closed_while_frames_come(nic, peer):
    ends = threading.Event()

    def flood():
        while not ends.is_set():
            peer.send([frame(n) for n in range(64)], 0.001)

    sender = threading.Thread(target=flood)
    sender.start()
    try:
        for _ in range(3):
            port = wp.open(nic.spec, steer=wp.udp(*GROUP))
            assert len(collect(port, 200)) >= 200
            port.close()
    finally:
        ends.set()
        sender.join()
    # What QEMU has kept meanwhile is not to reach the next test.
    with wp.open(nic.spec, steer=wp.everything()) as port:
        peer.send([frame(0)])
        while collect(port, 1000, timeout=0.5):
            pass


def test_one_comes_and_goes_while_the_other_runs(nics, peers):
    with wp.open(nics["vmxnet3"].spec, steer=wp.udp(*GROUP)) as stays:
        for turn in range(3):
            with wp.open(nics["e1000e"].spec, steer=wp.udp(*GROUP)) as comes:
                for port, model in ((comes, "e1000e"), (stays, "vmxnet3")):
                    peers[model].send([frame(turn * 100 + n) for n in range(20)])
                    got = numbers(collect(port, 20))
                    assert got == list(range(turn * 100, turn * 100 + 20)), model
        assert stays.stats()["rx_packets"] == 60
        assert drops(stays.stats()) == {}


# --- the feed ------------------------------------------------------------------------------------


def test_the_feed(nic, peer):
    spec = f"{nic.spec},rx_ring_size=4096"  # seconds of the feed: an emulator stands still at times
    config = wp.IngestionConfig.from_spec(spec, host=GROUP[0], port=GROUP[1], batch_size=64)
    publish = PublishConfig(
        host=GROUP[0], port=GROUP[1], via=f"socket:{peer.name}", messages=20_000, rate=4_000
    )
    parts = []
    done = measure(
        config, publish, ring=wp.RingBuffer(1 << 18), on_records=parts.append, max_seconds=150
    )
    assert done.account.messages.equation() == "20,000 published = 20,000 delivered"
    assert done.account.balanced, done.account.packets.equation()
    assert np.array_equal(np.concatenate(parts)["seq"], np.arange(1, 20_001, dtype="u8"))


def test_the_feed_on_the_command_line(nic, peer):
    """As on any other backend, but for the port spec."""
    flow = f"{GROUP[0]}:{GROUP[1]}"
    program = [sys.executable, "-m", "wirepath"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    spec = f"{nic.spec},rx_ring_size=4096"
    feed = subprocess.Popen([*program, "feed", spec, flow, "--json", "--quiet"], **pipes)
    try:
        (report,) = peer.receive(1, 120)  # of its membership: it is open
        assert socket.inet_ntoa(report[42:46]) == GROUP[0]
        via = ["--via", f"socket:{peer.name}", "--rate", "4000", "--messages", "20000"]
        subprocess.run([*program, "publish", "--to", flow, *via], check=True, timeout=120, **pipes)
        out, err = feed.communicate(timeout=120)
    finally:
        feed.kill()
        feed.wait()
    assert feed.returncode == 0, err
    told = json.loads(out)
    assert told["messages"] == told["consumed"] == 20_000
    assert told["gaps"] == []
    assert drops(told["port_stats"]) == {}
    assert told["port"]["driver"] == DRIVERS[nic.model]
