"""Taps in the driver: before and after other XDP programs, which drop some of the frames."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from capture_files import comments, dissected, nanoseconds

from wirepath import frames, programs
from wirepath.capture import Capture, CaptureConfig
from wirepath.errors import DeviceBusy
from wirepath.lab import Lab
from wirepath.programs import kernel

DROPPER = Path(__file__).parents[2] / "examples" / "programs" / "drop_port.c"
NUMBER = 500
PASS, DROP = "2", "1"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]


@pytest.fixture
def pair(lab_name):
    with Lab(lab_name) as lab:
        yield lab["a"], lab["b"]


@pytest.fixture
def wire(pair):
    """Sends numbered datagrams from a to b: odd numbers to port 48054, even ones to port 48053."""
    a, b = pair
    with a.enter():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind((a.interface.name, 0))

    def send(count=NUMBER, size=60):
        for number in range(count):
            payload = number.to_bytes(4, "big").ljust(size, b"\0")
            port = 48053 + number % 2
            out.send(
                frames.udp(
                    payload,
                    dst=(b.interface.ipv4, port),
                    src=(a.interface.ipv4, 4000),
                    dst_mac=b.interface.mac,
                    src_mac=a.interface.mac,
                )
            )

    with out:
        yield send


def taken(made, enough, seconds=20.0):
    end = time.monotonic() + seconds
    while made.summary().frames < enough:
        assert time.monotonic() < end, made.summary()
        assert made.step(0.05)


def ours(rows):
    """Those that `wire` sent, without the hosts' own chatter."""
    return [row for row in rows if len(row["udp.payload"]) == 120]


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_before_and_after_a_program_that_drops(pair, wire, tmp_path, mode):
    b = pair[1]
    out = tmp_path / "xdp.pcapng"
    interface = b.interface.name
    config = CaptureConfig(file=str(out), comment="dropper", filter="udp portrange 48053-48054")
    with b.enter(), programs.Chain(interface, mode) as chain:
        filtering = chain.add("filter", DROPPER)
        filtering.maps["blocked"][48053] = 1
        before = time.time_ns()
        with Capture(interface, config) as made:
            wire()
            taken(made, 2 * NUMBER)
            done = made.finish()
        after = time.time_ns()
        assert filtering.counters()["verdict.drop"] == NUMBER // 2
        assert [slot.slot for slot in chain.slots()] == ["filter"]  # the taps are gone
    rows = ours(dissected(out))
    first = [row for row in rows if row["frame.interface_name"] == f"{interface}:before"]
    last = [row for row in rows if row["frame.interface_name"] == f"{interface}:after"]
    numbers = list(range(NUMBER))
    assert [int(row["udp.payload"][:8], 16) for row in first] == numbers
    assert [int(row["udp.payload"][:8], 16) for row in last] == numbers
    assert {row["frame.verdict.ebpf_xdp"] for row in first} == {""}
    assert [row["frame.verdict.ebpf_xdp"] for row in last] == [DROP, PASS] * (NUMBER // 2)
    stamps = [nanoseconds(row["frame.time_epoch"]) for row in rows]
    assert before <= min(stamps)
    assert max(stamps) <= after
    for one, other in zip(first, last, strict=True):
        passed = nanoseconds(other["frame.time_epoch"]) - nanoseconds(one["frame.time_epoch"])
        assert -1_000 < passed < 100_000_000  # by one clock, read twice
    assert comments(out) == ["dropper"]
    for each in done.interfaces:
        assert each.delivered == NUMBER
        assert each.dropped == 0
        assert each.seen == each.delivered + each.filtered == each.received


def test_the_command_on_an_interface_without_programs(pair, wire, tmp_path):
    b = pair[1]
    out = tmp_path / "alone.pcapng"
    command = [sys.executable, "-m", "wirepath", "capture", b.interface.name, "-w", out]
    child = b.popen(
        [*command, "--xdp-at", "after", "-s", "60", "-c", "100", "--json", "udp", "port", "48054"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "capturing interface" in child.stderr.readline()
    wire(200)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    told = json.loads(output)
    assert told["frames"] == 100
    rows = dissected(out)
    assert {row["frame.verdict.ebpf_xdp"] for row in rows} == {PASS}
    assert {row["frame.cap_len"] for row in rows} == {"60"}
    assert {row["frame.interface_name"] for row in rows} == {f"{b.interface.name}:after"}
    with b.enter():
        assert programs.attached(b.interface.name) == []


def test_a_full_ring_loses_frames_that_are_counted(pair, wire, tmp_path):
    b = pair[1]
    out = tmp_path / "lost.pcapng"
    config = CaptureConfig(file=str(out), buffer_size=1, filter="udp portrange 48053-48054")
    with b.enter(), Capture(b.interface.name, config, xdp_at="before") as made:
        wire(1500, size=1400)  # 2 KiB each, into 1 MiB, and nobody takes them out
        made.step(0.2)
        wire(10)  # which tell of those that were lost
        made.step(0.2)
        done = made.finish()
    (told,) = done.interfaces
    assert told.dropped > 0
    assert told.delivered + told.filtered + told.dropped == told.seen == told.received
    rows = dissected(out)
    assert sum(int(row["frame.drop_count"] or 0) for row in rows) == told.dropped


def test_a_killed_capturer_leaves_no_tap(pair, wire, tmp_path):
    b = pair[1]
    out = tmp_path / "killed.pcapng"
    child = b.popen(
        [sys.executable, "-m", "wirepath", "capture", b.interface.name, "-w", out],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "capturing interface" in child.stderr.readline()
    child.kill()
    child.communicate()
    with b.enter():
        end = time.monotonic() + 10
        while programs.attached(b.interface.name):
            assert time.monotonic() < end
            time.sleep(0.05)
        with Capture(b.interface.name, CaptureConfig(file=str(tmp_path / "again.pcapng"))) as made:
            wire(10)
            taken(made, 20)


def test_a_second_capture_and_a_foreign_program_are_refused(pair, tmp_path):
    b = pair[1]
    config = CaptureConfig(file=str(tmp_path / "x.pcapng"))
    with b.enter():
        with Capture(b.interface.name, config), pytest.raises(DeviceBusy, match="is captured by"):
            Capture(b.interface.name, config).start()
        alone = programs.load("count")  # in no chain, as somebody else's would be
        with (
            programs.attach(alone, b.interface.name, "generic"),
            pytest.raises(DeviceBusy, match=r"already has .*\n.*capture that port"),
        ):
            Capture(b.interface.name, config).start()
        assert programs.attached(b.interface.name) == []
