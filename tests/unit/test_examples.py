"""The examples run as their own text says."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wirepath as wp
from wirepath import frames
from wirepath.publish import PublishConfig, Publisher

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba is not installed: pip install numba"
)
EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def start(name, *arguments):
    return subprocess.Popen(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_socket(flow):
    group = bytes(map(int, flow[0].split(".")))[::-1].hex().upper()
    deadline = time.monotonic() + 20
    while f"{group}:{flow[1]:04X} " not in Path("/proc/net/udp").read_text():
        assert time.monotonic() < deadline, "the example opened no socket"
        time.sleep(0.02)


def publish(flow, **more):
    options = {"rate": 50_000, "messages": 3000, "end_of_session_interval": 0.02, **more}
    Publisher(PublishConfig(host=flow[0], port=flow[1], via="socket:lo", **options)).run()


def test_counting_ports(tmp_path):
    source, path = tmp_path / "empty.pcap", tmp_path / "some.pcap"
    source.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    sent = [frames.udp(b"x" * 10, dst=("239.1.1.1", 5000 + n % 3)) for n in range(30)]
    with wp.open(f"pcap:{source}", steer=wp.everything(), write=path) as port:
        port.send(sent)
    out, errors = start("count_ports.py", f"pcap:{path}").communicate(timeout=30)
    assert "5002           10 packets             600 bytes" in out, errors
    assert out.count("packets") == 3
    assert "lost: nothing" in out


def test_a_feed_to_numpy(flow):
    with start("feed_to_numpy.py", *flow, "--interface", "lo") as example:
        wait_for_socket(flow)
        publish(flow)
        out, errors = example.communicate(timeout=30)
    assert example.returncode == 0, errors
    assert "shares added:" in out
    assert "shares executed: 0;" not in out
    assert "3,000 messages, gaps []" in out


def test_two_lines(flow):
    second = (flow[0], flow[1] + 1)
    texts = [f"{group}:{port}" for group, port in (flow, second)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{probe.getsockname()[1]}"
    with start("feed_lines.py", *texts, "--recovery", server) as example:
        wait_for_socket(second)
        lines = [f"{text},loss=0.2,seed={i}" for i, text in enumerate(texts, 1)]
        options = {"rate": 20_000, "messages": 3000, "end_of_session_interval": 0.02}
        Publisher(PublishConfig(via="socket:lo", line=lines, retransmit=server, **options)).run()
        out, errors = example.communicate(timeout=30)
    assert example.returncode == 0, errors
    assert "3,000 messages" in out
    assert "3,000 messages, 0 of them" not in out
    assert out.splitlines()[-1] == "0 missing"


def test_asyncio(flow):
    name = f"{flow[0]}:{flow[1]}"
    with start("asyncio_sessions.py", "socket:lo", name, "--seconds", 20) as example:
        wait_for_socket(flow)
        publish(flow, rate=20_000)
        out, errors = example.communicate(timeout=30)
    assert example.returncode == 0, errors
    assert f"{name}: 3,000 messages, then the end" in out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_help(path):
    out, _ = start(path.name, "--help").communicate(timeout=30)
    assert "usage:" in out


def capture_of(folder, name, sent):
    source, path = folder / "empty.pcap", folder / name
    source.write_bytes(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    with wp.open(f"pcap:{source}", steer=wp.everything(), write=path) as port:
        assert port.send(sent) == len(sent)
    return source, path


def run(name, *arguments):
    example = start(name, *arguments)
    out, errors = example.communicate(timeout=60)
    assert example.returncode == 0, errors
    return out


COMPILE = ["never", pytest.param("require", marks=needs_numba)]


@pytest.mark.parametrize("how", COMPILE)
def test_a_stage_that_counts_ports(tmp_path, how):
    sent = [frames.udp(b"x" * n, dst=("239.1.1.1", 5000 + n % 3)) for n in range(300)]
    _, path = capture_of(tmp_path, "some.pcap", [*sent, b"\xff" * 60])
    out = run("stage_count_ports.py", f"pcap:{path}", "--compile", how)
    assert [line.split() for line in out.splitlines()[:3]] == [
        [str(5000 + k), "100", "frames"] for k in range(3)
    ]
    mode = "python" if how == "never" else "compiled (numba "
    assert f"300 of 301 frames were UDP; stage: {mode}" in out


@pytest.mark.parametrize("how", COMPILE)
def test_a_stage_that_swaps_macs(tmp_path, how):
    sent = [frames.udp(bytes([n]) * n, dst=("239.1.1.1", 5000), vlan=1 + n) for n in range(99)]
    _, path = capture_of(tmp_path, "in.pcap", sent)
    back = tmp_path / "out.pcap"
    out = run("stage_swap_macs.py", f"pcap:{path},write={back}", "--compile", how)
    assert "99 sent back, 0 too short" in out
    with (
        wp.open(f"pcap:{back}", steer=wp.everything(), batch_size=128) as port,
        port.poll(0) as batch,
    ):
        got = [bytes(batch[i]) for i in range(len(batch))]
    assert got == [f[6:12] + f[:6] + f[12:] for f in sent]


@pytest.mark.parametrize("how", COMPILE)
def test_a_stage_that_polices(tmp_path, how):
    """Two sources, 1,000-byte frames, one every millisecond: 1 MB/s each, half of it allowed."""
    empty, path = tmp_path / "empty.pcap", tmp_path / "in.pcap"
    header = bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000")
    empty.write_bytes(header)
    body = b""
    for n in range(2000):
        frame = frames.udp(b"p" * 958, dst=("239.1.1.1", 5000), src=(f"10.0.0.{n % 2}", 7))
        assert len(frame) == 1000
        ns = 1_700_000_000_000_000_000 + n * 500_000
        stamp = (ns // 10**9).to_bytes(4, "little") + (ns % 10**9).to_bytes(4, "little")
        body += stamp + len(frame).to_bytes(4, "little") * 2 + frame
    path.write_bytes(header + body)
    sink = tmp_path / "out.pcap"
    arguments = ("--rate", 500_000, "--burst", 20_000, "--compile", how)
    out = run("stage_police.py", f"pcap:{path}", f"pcap:{empty},write={sink}", *arguments)
    # Each source: the burst of 20 frames, and one every two milliseconds of the second.
    with (
        wp.open(f"pcap:{sink}", steer=wp.everything(), batch_size=4096) as port,
        port.poll(0) as batch,
    ):
        sources = batch.headers()["ip_src"][:, 3]
        passed = len(batch)
    assert f"{passed:,} passed, {2000 - passed:,} policed" in out
    for source in (0, 1):
        assert (sources == source).sum() == 519
