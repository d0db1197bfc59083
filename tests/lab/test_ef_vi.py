# SPDX-License-Identifier: Apache-2.0
"""The ef_vi backend over the simulator of Onload's API on a veth: both receive models.

The simulator ends the process where the backend breaks a documented rule (a buffer across 4 KiB,
a packet released twice, an event array too short), so that every test checks those too.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import wirepath as wp
from wirepath import frames
from wirepath.lab import Lab

_BUILT = {b.name: b for b in wp.backends()}.get("ef_vi_sim")

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        _BUILT is None or not _BUILT.available,
        reason="the simulator of ef_vi is not built (WIREPATH_EF_VI=SIM), or needs CAP_NET_RAW",
    ),
]

GROUP = ("239.255.89.1", 48101)
X2 = {"nic": "x2"}
MERGED = {"nic": "x2", "event_merge": True}
X3 = {"nic": "x3"}
X3_SHARED = {"nic": "x3", "zero_copy": "require"}
MODELS = pytest.mark.parametrize(
    "model", [X2, MERGED, X3, X3_SHARED], ids=["x2", "x2-merged", "x3-copy", "x3-shared"]
)


@pytest.fixture
def lab(lab_name):
    with Lab(lab_name) as made:
        yield made


def open_on(host, **keywords):
    keywords.setdefault("steer", wp.udp(*GROUP))
    with host.enter():
        return wp.open(f"ef_vi_sim:{host.interface.name}", **keywords)


def raw(host):
    """What a NIC on the other end would send: whole frames, nothing added."""
    with host.enter():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind((host.interface.name, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        return sock


def numbered(count, first=0, size=4, **changes):
    flow = {"dst": GROUP} | changes
    return [
        frames.udp(n.to_bytes(4, "big").ljust(size, b"x"), **flow)
        for n in range(first, first + count)
    ]


def send(sock, wanted):
    for frame in wanted:
        sock.send(frame)


def collect(port, count, timeout=10.0):
    """The first `count` numbers at the front of the payloads that arrive."""
    out = []
    end = time.monotonic() + timeout
    while len(out) < count and time.monotonic() < end:
        batch = port.poll(0.2)
        if batch is not None:
            with batch:
                out += batch.column(0, ">u4", of="payload").tolist()
    return out


def drain(port, quiet=0.3):
    """Everything that arrives until nothing has for a while."""
    out = []
    while (batch := port.poll(quiet)) is not None:
        with batch:
            out += batch.column(0, ">u4", of="payload").tolist()
    return out


def quiet(port, fd):
    """The descriptor stops being readable. Other hosts' frames may wake the simulator for nothing:
    its interrupt comes before its filters."""
    end = time.monotonic() + 10
    while select.select([fd], [], [], 0.05)[0]:
        assert port.poll(0) is None
        assert time.monotonic() < end, "readable for ever, and nothing to read"


def descriptors_open():
    return len(list(Path("/proc/self/fd").iterdir()))


def drops(stats):
    return {k: v for k, v in stats.items() if k.startswith("drop.") and ".tx" not in k and v}


# --- what it is -------------------------------------------------------------------------------


def test_the_hardware_backend_says_what_to_install_and_the_simulator_is_never_taken_for_it():
    found = {b.name: b for b in wp.backends()}
    if not found["ef_vi"].available:
        assert "Onload" in found["ef_vi"].mend
        with pytest.raises(wp.BackendUnavailable, match="Onload") as caught:
            wp.open("ef_vi:eth0", steer=wp.udp(*GROUP))
        assert "libciul1" in str(caught.value)
    assert "simulator" in found["ef_vi_sim"].help


@pytest.mark.parametrize(
    ("model", "mode", "zero_copy"),
    [
        (X2, "simulator of ef_vi, EF10 descriptors, zero-copy", True),
        (MERGED, "simulator of ef_vi, EF10 descriptors, merged events, zero-copy", True),
        (X3, "simulator of ef_vi, X3 shared buffers, copy", False),
        (X3_SHARED, "simulator of ef_vi, X3 shared buffers, zero-copy", True),
    ],
)
def test_info_names_the_simulator_and_the_receive_model(lab, model, mode, zero_copy):
    with open_on(lab["b"], rx_ring_size=256, tx_ring_size=128, **model) as port:
        info = port.info()
        assert info["mode"] == mode
        assert info["zero_copy"] is zero_copy
        assert info["driver"] == "simulator over veth"
        assert info["backend"] == "ef_vi_sim"
        assert (info["rx_ring_size"], info["tx_ring_size"]) == (256, 128)
        assert info["filters"] == ["udp 239.255.89.1:48101"]
        assert info["joined"] == ["239.255.89.1"]
        assert port.capabilities["max_frame"] == 1518
        assert any("simulator" in note or "no NIC" in note for note in info["notes"])


# --- receive ----------------------------------------------------------------------------------


def test_what_no_filter_says_is_sniffed_matched_in_software_and_declared(lab):
    with raw(lab["a"]) as out, open_on(lab["b"], steer=wp.udp("*", 48120)) as port:
        info = port.info()
        assert info["filters"] == ["port sniff"]
        assert any("the host receives them too" in note for note in info["notes"])
        send(out, numbered(5, dst=("239.0.0.1", 48120)))
        send(out, numbered(5, 5, dst=("239.0.0.1", 48121)))
        send(out, numbered(5, 10, dst=("ff15::1", 48120)))
        assert drain(port) == [*range(5), *range(10, 15)]
        assert port.stats()["steer.filtered"] >= 5


@pytest.mark.parametrize(
    ("options", "inserted"),
    [
        (X2, ["all unicast", "all multicast"]),
        (
            X2 | {"nic_refuses": "all"},
            ["unicast that nobody asked for", "multicast that nobody asked for"],
        ),
        (X3, ["unicast that nobody asked for", "multicast that nobody asked for"]),
    ],
)
def test_everything_takes_all_or_the_rest(lab, options, inserted):
    with raw(lab["a"]) as out, open_on(lab["b"], steer=wp.everything(), **options) as port:
        assert port.info()["filters"] == inserted
        arp = bytes.fromhex("ffffffffffff020000000001 0806 0001080006040001") + bytes(38)
        unicast = numbered(1, dst=("10.1.1.1", 5), dst_mac="02:00:00:00:00:77")[0]
        send(out, [arp, unicast, *numbered(1, dst=("239.3.3.3", 4))])
        got = set()
        end = time.monotonic() + 5
        while len(got) < 3 and time.monotonic() < end:
            if (batch := port.poll(0.2)) is not None:
                with batch:
                    got |= {f for f in map(bytes, batch) if f in (arp, unicast) or f[0] == 1}
        assert {arp, unicast} <= got


def test_a_filter_that_the_nic_lacks_falls_back_or_is_refused_with_the_mend(lab):
    with open_on(lab["b"], steer=wp.udp("ff15::89", 48110), nic_refuses="ip6") as port:
        assert port.info()["filters"] == ["ethernet 33:33:00:00:00:89"]
        assert port.info()["software_match"] is True
    with open_on(lab["b"], steer=wp.udp("239.1.1.1"), nic_refuses="mac") as port:
        assert port.info()["filters"] == ["port sniff"]
    for options in ({"nic_refuses": "sniff"}, X3):
        with pytest.raises(wp.Unsupported, match=r"udp \*:9") as caught:
            open_on(lab["b"], steer=wp.udp("*", 9), **options)
        assert "wp.everything()" in str(caught.value)


def test_fragments_stay_with_the_host(lab):
    whole = frames.udp(b"\0\0\0\1" + bytes(60), dst=GROUP)
    first = bytearray(whole)
    first[20] = 0x20  # more fragments
    with raw(lab["a"]) as out, open_on(lab["b"], steer=wp.udp(GROUP[0])) as port:
        ip = bytes(first[14:24]) + b"\0\0" + bytes(first[26:34])
        total = sum(int.from_bytes(ip[i : i + 2], "big") for i in range(0, 20, 2))
        total = (total & 0xFFFF) + (total >> 16)
        first[24:26] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
        send(out, [bytes(first), whole])
        assert drain(port) == [1]
        assert port.stats()["steer.fragments"] == 1


# --- what the NIC discards, and what is lost ----------------------------------------------------


@MODELS
def test_a_bad_checksum_is_a_discard_and_costs_no_buffer(lab, model):
    bad_udp = bytearray(frames.udp(b"\0\0\0\7" + bytes(40), dst=GROUP))
    bad_udp[50] ^= 0xFF
    bad_ip = bytearray(frames.udp(b"\0\0\0\7" + bytes(40), dst=GROUP))
    bad_ip[22] ^= 1  # TTL
    foreign = bytearray(frames.udp(b"\0\0\0\7" + bytes(40), dst=("239.9.9.9", 1)))
    foreign[50] ^= 0xFF
    with raw(lab["a"]) as out, open_on(lab["b"], rx_ring_size=64, **model) as port:
        good = numbered(300)
        for n in range(300):
            send(out, [bytes(bad_udp), bytes(foreign), good[n]])
            if n % 30 == 0:
                send(out, [bytes(bad_ip)])
            if n % 10 == 9:
                assert collect(port, 10) == list(range(n - 9, n + 1))
        stats = port.stats()
        assert drops(stats) == {"drop.rx_checksum": 310}
        assert stats["rx_packets"] == 300


@pytest.mark.parametrize("model", [X2, MERGED], ids=["x2", "x2-merged"])
def test_a_frame_longer_than_a_buffer_is_scattered_and_counted_once(lab_name, model):
    with Lab(lab_name, mtu=3000) as lab:
        with pytest.raises(wp.ConfigError) as caught:
            open_on(lab["b"], **model)
        assert "frame_size=4096" in str(caught.value)
        with open_on(lab["b"], frame_size=4096, **model) as port, raw(lab["a"]) as out:
            big = numbered(50, size=2900)
            send(out, big)
            with port.poll(5) as batch:
                assert bytes(batch[0]) == big[0]
                n = len(batch)
            assert n + len(collect(port, 50 - n)) == 50
            # Longer than the link allows, as a neighbour with another MTU would send it.
            with lab["a"].enter():
                lab["a"].run(["ip", "link", "set", lab["a"].interface.name, "mtu", "9000"])
            with lab["b"].enter():
                lab["b"].run(["ip", "link", "set", lab["b"].interface.name, "mtu", "9000"])
            for _ in range(100):
                send(out, [*numbered(1, size=8000), *numbered(1, 7)])
                assert collect(port, 1) == [7]
            stats = port.stats()
            assert drops(stats) == {"drop.rx_too_long": 100}
            assert stats["rx_packets"] == 150


@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3-copy"])
def test_held_frames_are_bounded_by_the_buffers_and_come_back(lab, model):
    cause = "drop.rx_no_desc" if model is X2 else "drop.rx_no_buffer"
    with raw(lab["a"]) as out, open_on(lab["b"], rx_ring_size=64, frames=256, **model) as port:
        held, seen, sent = [], 0, 0
        while sent < 1200:
            send(out, numbered(30, sent))
            sent += 30
            while (batch := port.poll(0.05)) is not None:
                with batch:
                    seen += len(batch)
                    held += [np.frombuffer(f, "u1") for f in batch]
        assert port.held == seen == len(held) <= 256
        for n, frame in enumerate(held):
            assert int.from_bytes(frame[42:46].tobytes(), "big") == n
        assert port.stats()[cause] + seen == sent
        held.clear()
        del frame
        send(out, numbered(10, 5000))
        assert collect(port, 10) == list(range(5000, 5010))
        assert port.held == 0


def test_held_frames_of_shared_buffers_are_bounded_by_max_held(lab):
    options = X3_SHARED | {"rx_ring_size": 2048, "max_held": 100}
    with raw(lab["a"]) as out, open_on(lab["b"], batch_size=16, **options) as port:
        held, sent = [], 0
        while sent < 600:
            send(out, numbered(30, sent))
            sent += 30
            while (batch := port.poll(0.05)) is not None:
                with batch:
                    held += [np.frombuffer(f, "u1") for f in batch]
        assert len(held) == port.held == 100 + 2 * 16
        assert port.stats()["drop.rx_no_buffer"] == sent - len(held)
        assert [int.from_bytes(f[42:46].tobytes(), "big") for f in held] == list(range(len(held)))
        held.clear()
        send(out, numbered(10, 5000))
        assert collect(port, 10) == list(range(5000, 5010))


@MODELS
def test_frames_handed_to_another_thread_come_back(lab, model):
    """Many times round the buffers, by reference, released by the consumer's thread."""
    options = {"rx_ring_size": 2048 if model is X3_SHARED else 64} | model
    hand_off = wp.HandOff(zero_copy_threshold=0, name="ef_vi")
    got, sent = [], 3000

    def consume():
        while (frame := hand_off.pop(timeout=10)) is not None:
            got.append(int.from_bytes(frame.view[42:46], "big"))
            frame.release()

    with raw(lab["a"]) as out, open_on(lab["b"], batch_size=16, **options) as port:
        assert port.capabilities["pool_frames"] > 0
        worker = wp.Worker("handing", batch_size=16)
        worker.add_port(port)
        worker.add_stage(hand_off)
        consumer = threading.Thread(target=consume)
        with worker:
            consumer.start()
            for first in range(0, sent, 20):
                send(out, numbered(20, first))
                end = time.monotonic() + 10
                while len(got) < first + 20 and time.monotonic() < end:
                    time.sleep(0.0002)
        consumer.join()
        assert got == list(range(sent))
        assert hand_off.stats()["by_reference"] == sent
        assert port.poll(0) is None  # takes back what came after the worker's end
        assert port.stats()["held"] == 0
        assert drops(port.stats()) == {}


@MODELS
def test_a_consumer_that_releases_nothing_does_not_starve_the_nic(lab, model):
    options = {"rx_ring_size": 2048, "max_held": 64} if model is X3_SHARED else {"frames": 256}
    hand_off = wp.HandOff(zero_copy_threshold=0, name="ef_vi")
    with raw(lab["a"]) as out, open_on(lab["b"], batch_size=16, **options, **model) as port:
        pool = port.capabilities["pool_frames"]
        with pytest.raises(wp.ConfigError, match="three quarters"):
            greedy = wp.Worker("greedy")
            greedy.add_port(port)
            greedy.add_stage(wp.HandOff(zero_copy_threshold=0, max_held=pool))
            greedy.start()
        worker = wp.Worker("handing", batch_size=16)
        worker.add_port(port)
        worker.add_stage(hand_off)
        with worker:
            for first in range(0, 600, 20):
                send(out, numbered(20, first))
                end = time.monotonic() + 10
                while worker.stats()["frames"] < first + 20 and time.monotonic() < end:
                    time.sleep(0.0002)
        stats = hand_off.stats()
        assert stats["held"] == hand_off.max_held == pool - pool // 4
        assert stats["drop.held_full"] == 600 - stats["held"]
        assert drops(port.stats()) == {}
        hand_off.close()


def test_read_only_frames_stay_so_in_stages_and_in_other_threads(lab):
    @wp.stage(compile="never")
    def scribble(batch, state):
        batch.data[0][0] = 1

    hand_off = wp.HandOff(zero_copy_threshold=0, name="ef_vi")
    with raw(lab["a"]) as out, open_on(lab["b"], **X3_SHARED) as port:
        worker = wp.Worker("handing")
        worker.add_port(port)
        worker.add_stage(hand_off)
        with worker:
            send(out, numbered(1))
            with hand_off.pop(timeout=10) as view:
                assert view.readonly
        worker = wp.Worker("scribbling")
        worker.add_port(port)
        worker.add_stage(scribble.bind())
        worker.start()
        send(out, numbered(1))
        with pytest.raises(ValueError, match="read-only"):
            worker.join()


def test_frames_in_shared_buffers_are_read_only_and_others_are_not(lab):
    for model, writable in ((X2, True), (X3, True), (X3_SHARED, False)):
        with raw(lab["a"]) as out, open_on(lab["b"], **model) as port:
            assert port.capabilities["writable"] is writable
            send(out, numbered(1))
            with port.poll(5) as batch:
                assert batch[0].readonly is not writable
                if writable:
                    batch[0][0] = 0x55
                    assert bytes(batch[0])[0] == 0x55
                else:
                    with pytest.raises(TypeError):
                        batch[0][0] = 0x55


# --- timestamps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "source"),
    [
        ("sync", "simulated hardware (clock of the NIC, in sync)"),
        ("set", "simulated hardware (clock of the NIC, set once, not in sync)"),
        ("free", "simulated hardware (clock of the NIC, unsynchronised)"),
        ("none", "poll loop (the NIC does not stamp)"),
    ],
)
@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3"])
def test_the_state_of_the_nics_clock_is_declared(lab, model, clock, source):
    with raw(lab["a"]) as out, open_on(lab["b"], nic_clock=clock, **model) as port:
        send(out, numbered(3))
        assert collect(port, 3) == [0, 1, 2]
        assert port.info()["timestamp_source"] == source
        assert port.stats()["rx_unstamped"] == 0
    if clock == "none":
        with pytest.raises(wp.Unsupported, match="timestamps"):
            open_on(lab["b"], nic_clock=clock, timestamps="hardware", **model)


@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3"])
def test_frames_before_the_clock_is_known_are_stamped_by_rx_and_counted(lab, model):
    with raw(lab["a"]) as out, open_on(lab["b"], nic_clock="late", **model) as port:
        before = time.time_ns()
        send(out, numbered(50))
        stamps = []
        while len(stamps) < 50:
            with port.poll(5) as batch:
                stamps += batch.timestamps.tolist()
        assert all(before <= t <= time.time_ns() for t in stamps)
        assert port.stats()["rx_unstamped"] == 20
    with open_on(lab["b"], timestamps="poll", **model) as port:
        assert port.info()["timestamp_source"] == "poll loop"


# --- transmit -----------------------------------------------------------------------------------


@MODELS
def test_transmit_own_and_foreign_frames(lab, model):
    """a sends copies; b turns them round; what comes back is what was sent."""
    there, back = ("239.255.89.20", 48120), ("239.255.89.21", 48121)
    with (
        open_on(lab["a"], steer=wp.udp(*back), tx_ring_size=64, **model) as left,
        open_on(lab["b"], steer=wp.udp(*there), tx_ring_size=64, **model) as right,
    ):
        header = frames.udp(b"\0" * 40, dst=back)[:42]
        seen, turned = [], 0
        for start in range(0, 1000, 50):
            assert left.send(numbered(50, start, size=40, dst=there)) == 50
            end = time.monotonic() + 10
            while turned < start + 50 and time.monotonic() < end:
                batch = right.poll(0.2)
                if batch is None:
                    continue
                with batch:
                    if right.capabilities["writable"]:
                        for frame in batch:
                            frame[:40] = header[:40]
                            frame[40:42] = b"\0\0"  # no UDP checksum
                        batch.verdicts = wp.TX
                        turned += right.tx(batch)
                    else:
                        turned += right.send([header[:40] + b"\0\0" + bytes(f)[42:] for f in batch])
            seen += collect(left, 50)
        assert seen == list(range(1000))
        for stats in (left.stats(), right.stats()):
            assert stats["tx_packets"] == 1000
            assert 1000 - 64 <= stats["tx_completions"] <= 1000
            assert stats["held"] == 0
            assert not any(v for k, v in stats.items() if k.startswith("drop."))


@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3"])
def test_frames_leave_unchanged_even_with_a_wrong_checksum(lab, model):
    wrong = bytearray(frames.udp(bytes(100), dst=GROUP, vlan=77))
    wrong[60] ^= 0xFF
    with lab["b"].enter():
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sniffer.bind((lab["b"].interface.name, 3))
        sniffer.settimeout(5)
    with sniffer, open_on(lab["a"], tx_only=True, **model) as out:
        assert out.info()["mode"].endswith("transmit only")
        assert out.send([bytes(wrong)]) == 1
        while True:
            got = sniffer.recv(2048)
            if got[12:14] != b"\x86\xdd":  # the kernel took the tag off
                break
        assert got == bytes(wrong[:12] + wrong[16:])


@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3"])
def test_a_full_transmit_ring_is_counted_and_the_first_frames_are_those_sent(lab, model):
    with (
        open_on(lab["b"], **X2) as port,
        open_on(lab["a"], tx_only=True, tx_ring_size=64, batch_size=512, **model) as out,
    ):
        sent = out.send(numbered(300, size=1400))
        stats = out.stats()
        assert 0 < sent < 300
        assert stats["tx_packets"] == sent
        assert stats["drop.tx_ring_full"] == 300 - sent
        assert drain(port) == list(range(sent))
        assert out.send(numbered(10, 900)) == 10
        assert collect(port, 10) == list(range(900, 910))


def test_frames_that_cannot_be_sent_are_counted_by_cause(lab):
    with open_on(lab["a"], tx_only=True) as out:
        assert out.send([bytes(1519), numbered(1)[0]]) == 1
        assert out.stats()["drop.tx_too_long"] == 1
        # The device's limit has changed since: the NIC refuses what it had accepted.
        lab["a"].run(["ip", "link", "set", lab["a"].interface.name, "mtu", "1300"])
        assert out.send([*numbered(1, size=1400)]) == 1
        for _ in range(300):
            out.send(numbered(1))
        assert out.stats()["drop.tx_error"] == 1


# --- waiting ------------------------------------------------------------------------------------


def test_frames_that_came_while_sending_are_announced(lab):
    with (
        raw(lab["a"]) as far,
        open_on(lab["b"], tx_ring_size=64, batch_size=256) as port,
    ):
        fd = port.fileno()
        send(far, numbered(5))
        time.sleep(0.05)
        port.send(numbered(200, dst=("239.7.7.7", 7)))  # polls for room and finds them
        assert select.select([fd], [], [], 1)[0]
        assert collect(port, 5) == list(range(5))
        quiet(port, fd)


def test_without_interrupts_waiting_polls_and_says_so(lab):
    with raw(lab["a"]) as out, open_on(lab["b"], nic_refuses="interrupt") as port:
        assert port.info()["wakeup"].startswith("poll")
        assert port.capabilities["waitable"] is False
        with pytest.raises(wp.Unsupported):
            port.fileno()
        send(out, numbered(3))
        assert collect(port, 3) == [0, 1, 2]


# --- life ---------------------------------------------------------------------------------------


def test_a_group_may_be_received_twice_and_a_unicast_flow_has_one_owner(lab):
    with raw(lab["a"]) as out, open_on(lab["b"]) as one, open_on(lab["b"]) as two:
        send(out, numbered(5))
        assert collect(one, 5) == collect(two, 5) == list(range(5))
    mine = wp.udp(lab["b"].interface.ipv4, 48130)
    with open_on(lab["b"], steer=mine):
        with pytest.raises(wp.DeviceBusy) as caught:
            open_on(lab["b"], steer=mine)
        assert "48130" in str(caught.value)
        assert lab["b"].interface.name in str(caught.value)
    with open_on(lab["b"], steer=mine) as again:
        assert again.poll(0) is None


def test_a_worker_may_be_stopped_in_the_middle_of_a_flood(lab):
    with raw(lab["a"]) as out, open_on(lab["b"]) as port:
        worker = wp.Worker(name="efvi")
        worker.add_port(port)
        worker.start()
        send(out, numbered(3000))
        worker.stop()
        worker.join()
        stats = port.stats()
        assert stats["rx_packets"] + len(drain(port)) <= 3000
        assert stats["held"] == 0


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"rx_ring_size": 1000}, ["rx_ring_size = 1000", "power of two"]),
        ({"rx_ring_size": 8192}, ["rx_ring_size", "8192", "512 to 2048"]),
        ({"frame_size": 1024}, ["frame_size = 1024", "2048"]),
        ({"frames": 5}, ["frames = 5"]),
        ({"zero_copy": "maybe"}, ["zero_copy", "require"]),
        ({"timestamps": "driver"}, ["timestamps", "hardware"]),
        ({"nic": "x3", "event_merge": True}, ["event_merge"]),
        ({"nosuch": 1}, ["nosuch", "rx_ring_size"]),
    ],
)
def test_wrong_options_say_what_and_leave_nothing(lab, options, parts):
    descriptors = descriptors_open()
    with pytest.raises(wp.WirepathError) as caught:
        open_on(lab["b"], **options)
    for part in parts:
        assert part in str(caught.value)
    assert descriptors_open() == descriptors


def test_an_interface_that_is_down_or_does_not_exist(lab):
    with pytest.raises(wp.ConfigError, match="nosuch0"):
        wp.open("ef_vi_sim:nosuch0", steer=wp.udp(*GROUP))
    lab["b"].run(["ip", "link", "set", lab["b"].interface.name, "down"])
    with pytest.raises(wp.ConfigError, match="is down"):
        open_on(lab["b"])


def test_without_the_privilege_the_capability_is_named(lab):
    program = (
        "import wirepath as wp\n"
        "try:\n"
        f"    wp.open('ef_vi_sim:{lab['b'].interface.name}', steer=wp.udp('239.1.1.1', 9))\n"
        "except wp.PermissionDenied as e:\n"
        "    print(e)\n"
    )
    done = lab["b"].run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", program],
        capture_output=True,
        text=True,
    )
    assert "CAP_NET_RAW" in done.stdout, done.stderr


# --- what goes wrong in the NIC -----------------------------------------------------------------


@MODELS
def test_an_event_queue_that_ran_over_ends_the_port_and_says_so(lab, model):
    with raw(lab["a"]) as out, open_on(lab["b"], nic_fault="overflow", **model) as port:
        send(out, numbered(60))
        assert collect(port, 49) == list(range(49))
        assert list(port.batches(1.0)) == []  # ends at once: nothing more can come
        assert any("event queue has overflowed" in note for note in port.info()["notes"])
    with open_on(lab["b"], **model) as again:
        with raw(lab["a"]) as out:
            send(out, numbered(5))
        assert collect(again, 5) == list(range(5))


@MODELS
def test_bad_check_sequences_are_counted_and_cost_no_buffer(lab, model):
    options = {"nic_fault": "crc", "rx_ring_size": 2048 if model is X3_SHARED else 64} | model
    with raw(lab["a"]) as out, open_on(lab["b"], **options) as port:
        for first in range(0, 1000, 20):
            send(out, numbered(20, first))
            good = [n for n in range(first, first + 20) if n % 10 != 9]
            assert collect(port, 18) == good
        assert drops(port.stats()) == {"drop.rx_crc": 100}


@pytest.mark.parametrize("model", [X2, X3], ids=["x2", "x3-copy"])
def test_a_frame_that_the_nic_accepts_and_does_not_send_is_counted(lab, model):
    with (
        open_on(lab["a"], nic_fault="tx", tx_ring_size=64, **model) as out,
        open_on(lab["b"]) as to,
    ):
        for first in range(0, 1000, 20):
            assert out.send(numbered(20, first)) == 20
            good = [n for n in range(first, first + 20) if n % 10 != 9]
            assert collect(to, 18) == good
            out.poll(0)  # takes completions
        stats = out.stats()
        assert (stats["drop.tx_error"], stats["tx_completions"]) == (100, 900)
        assert stats["drop.tx_ring_full"] == 0
