"""The examples run as their own text says."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import wirepath as wp
from wirepath import frames
from wirepath.publish import PublishConfig, Publisher

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
