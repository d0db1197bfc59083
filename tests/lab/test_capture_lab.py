"""Captures of socket, AF_XDP and DPDK ports of running processes, on veth pairs and memif: tshark
reads back what was sent, with equal counts, stamps, verdicts and comments."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
from capture_files import comments, dissected, nanoseconds

import wirepath as wp
from wirepath import frames
from wirepath.capture import Capture, CaptureConfig
from wirepath.lab import Lab

SUBJECT = Path(__file__).resolve().parents[1] / "capture_subject.py"
AVAILABLE = {b.name: b.available for b in wp.backends()}
NUMBER = 600
PORT = 48731
_devices = count(70)

pytestmark = pytest.mark.lab


def wait_for(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def needs(backend):
    return pytest.mark.skipif(
        not AVAILABLE[backend],
        reason=f"the {backend} backend is not available here: see `wirepath backends`",
    )


class Subject:
    """A running capture_subject on a host of a lab."""

    def __init__(self, start, spec, *flow):
        self.spec = spec
        self.process = start(
            [sys.executable, SUBJECT, spec, *map(str, flow)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self

    def counters(self):
        """Ends it; what its port and worker counted."""
        out, _ = self.process.communicate("", timeout=30)
        return json.loads(out)

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def messages(verdicts, number=NUMBER):
    """Payloads: a number, and in the last byte the verdict that the subject's stage gives."""
    return [
        n.to_bytes(4, "big") + bytes(40) + bytes([verdicts[n % len(verdicts)]])
        for n in range(number)
    ]


@pytest.mark.parametrize(
    "backend",
    [
        "socket",
        pytest.param("af_xdp", marks=needs("af_xdp")),
        pytest.param("dpdk", marks=needs("dpdk")),
    ],
)
def test_a_port_on_a_veth_pair(lab_name, tmp_path, backend):
    out = tmp_path / "port.pcapng"
    # What a socket port sends to its own address would come back to it without end.
    verdicts = [0, 1, 2, 5] if backend == "socket" else [0, 1, 2, 3, 4, 5]
    with Lab(lab_name) as lab:
        a, b = lab["a"], lab["b"]
        spec = f"{backend}:{b.interface.name}"
        if backend == "dpdk":
            spec = f"dpdk:net_af_packet{next(_devices)},iface={b.interface.name}"
        with Subject(b.popen, spec, b.interface.ipv4, PORT) as subject:
            before = time.time_ns()
            config = CaptureConfig(file=str(out), comment=backend, filter=f"udp dst port {PORT}")
            with Capture(f"{subject.process.pid}:{spec}", config) as made, wire(a) as sender:
                wait_for(lambda: made.step(0.02) and made.ready)
                for payload in messages(verdicts):
                    sender.send(
                        frames.udp(
                            payload,
                            dst=(b.interface.ipv4, PORT),
                            src=(a.interface.ipv4, 4000),
                            dst_mac=b.interface.mac,
                            src_mac=a.interface.mac,
                        )
                    )
                    time.sleep(0.0002)
                inbound = lambda: made.summary().interfaces[0].delivered >= NUMBER  # noqa: E731
                wait_for(lambda: made.step(0.02) and inbound())
                made.step(0.2)  # what the stage sent out
                done = made.finish()
            after = time.time_ns()
            counted = subject.counters()
    rows = dissected(out)
    assert len(rows) == done.frames == done.interfaces[0].delivered
    assert comments(out) == [backend]
    received = [row for row in rows if row["frame.packet_flags_direction"] == "0x00000001"]
    sent = [row for row in rows if row["frame.packet_flags_direction"] == "0x00000002"]
    assert [bytes.fromhex(row["udp.payload"]) for row in received] == messages(verdicts)
    stamps = [nanoseconds(row["frame.time_epoch"]) for row in received]
    assert before <= min(stamps)
    assert max(stamps) <= after
    assert stamps == sorted(stamps)
    for number, row in enumerate(received):
        verdict = verdicts[number % len(verdicts)]
        kept = verdict == wp.KEEP
        assert row["frame.verdict.ebpf_xdp"] == ("" if kept else str(verdict))
        assert ("KEEP" in row["frame.comment"]) == kept
        assert row["frame.interface_queue"] == "0"
    # As they came, and as they left: the stage writes over the first byte.
    assert not any(row["eth.dst"].startswith("ee:") for row in received)
    assert all(row["eth.dst"].startswith("ee:") for row in sent)
    # What the worker sent back (TX) and around (REDIRECT to its only port) left as well.
    worker = counted["worker"]
    each = 0 if backend == "socket" else NUMBER // 6
    assert worker["verdict.tx"] == worker["verdict.redirect"] == each
    assert counted["port"]["tx_packets"] == len(sent) == 2 * each
    if sent:
        assert {bytes.fromhex(row["udp.payload"])[-1] for row in sent} == {wp.TX, wp.REDIRECT}
    (told,) = done.interfaces
    assert told.dropped == told.device_drops == 0


def wire(host):
    with host.enter():
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        out.bind((host.interface.name, 0))
        return out


@needs("dpdk")
def test_a_memif_between_two_processes(tmp_path):
    link = f"socket={tmp_path}/memif.sock,socket-abstract=no"
    server = f"dpdk:net_memif{next(_devices)},role=server,{link}"
    client = f"dpdk:net_memif{next(_devices)},role=client,{link}"
    out = tmp_path / "memif.pcapng"
    sender = [
        sys.executable,
        "-c",
        "import sys, wirepath as wp\n"
        "from wirepath import frames\n"
        "with wp.open(sys.argv[1], steer=wp.everything()) as port:\n"
        "    print('ready', flush=True)\n"
        "    for line in sys.stdin:\n"
        "        frame = frames.udp(bytes.fromhex(line), dst=('239.255.9.9', 9))\n"
        "        while not port.send([frame]): pass\n",
        client,
    ]
    with Subject(subprocess.Popen, server, "-", 0) as subject:
        other = subprocess.Popen(sender, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert other.stdout.readline() == "ready\n"
            config = CaptureConfig(file=str(out))
            with Capture(str(subject.process.pid), config) as made:
                wait_for(lambda: made.step(0.02) and made.ready)
                for message in messages([wp.DROP], 300):
                    other.stdin.write(message.hex() + "\n")
                other.stdin.flush()
                enough = lambda: made.summary().frames == 300  # noqa: E731
                wait_for(lambda: made.step(0.02) and enough())
        finally:
            other.kill()
            other.communicate()
    rows = dissected(out)
    assert [int(row["udp.payload"][:8], 16) for row in rows] == list(range(300))
    assert {row["frame.verdict.ebpf_xdp"] for row in rows} == {str(int(wp.DROP))}


@needs("dpdk")
def test_a_device_that_never_rests_and_a_capture_that_ends(tmp_path):
    out = tmp_path / "null.pcapng"
    with Subject(subprocess.Popen, f"dpdk:net_null{next(_devices)}", "-", 0) as subject:
        config = CaptureConfig(file=str(out), count=5000, snaplen=20)
        with Capture(str(subject.process.pid), config) as made:
            wait_for(lambda: not made.step(0.1))
            done = made.finish()
    assert done.frames == 5000
    rows = dissected(out)
    assert len(rows) == 5000
    assert {row["frame.cap_len"] for row in rows} == {"20"}
    (told,) = done.interfaces
    assert told.seen >= 5000
