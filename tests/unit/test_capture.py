"""Captures of ports of this process and of others: what is written is what came."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from capture_files import comments, dissected, nanoseconds, tshark
from hypothesis import given, settings
from hypothesis import strategies as st

import wirepath as wp
from wirepath import _core, capture, errors, frames
from wirepath.capture import Capture, CaptureConfig, compile_filter, filters, resolve

SUBJECT = Path(__file__).resolve().parents[1] / "capture_subject.py"
COMMAND = [sys.executable, "-m", "wirepath", "capture"]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


#: In turn. What a socket port sends to its own address would come back to it without end.
VERDICTS = [wp.ABORTED, wp.DROP, wp.PASS, wp.KEEP]


def payloads(count):
    """Numbered, the verdict in the last byte."""
    return [n.to_bytes(4, "big") + bytes([VERDICTS[n % 4]]) for n in range(count)]


@pytest.fixture
def loopback():
    """An address that no other test of this run uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()


@pytest.fixture
def subject(loopback):
    """A process with a socket port on loopback."""
    child = subprocess.Popen(
        [sys.executable, SUBJECT, "socket:lo", *map(str, loopback)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def send(to, messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for message in messages:
            out.sendto(message, to)


def captured(made, to, messages):
    """Sends as fast as the socket's buffer allows: until all of it is in the capture."""
    before = made.summary().frames
    for first in range(0, len(messages), 50):
        send(to, messages[first : first + 50])
        sent = before + len(messages[first : first + 50]) + first
        wait_for(lambda sent=sent: made.step(0.01) and made.summary().frames == sent)


# --- a running process ---------------------------------------------------------------------------


def test_a_running_process_is_captured_with_verdicts(subject, loopback, tmp_path):
    out = tmp_path / "port.pcapng"
    sent = payloads(600)
    before = time.time_ns()
    with Capture(f"{subject.pid}:socket", CaptureConfig(file=str(out), comment="why")) as made:
        wait_for(lambda: made.step(0.02) and made.ready)
        captured(made, loopback, sent)
        done = made.finish()
    rows = dissected(out)
    assert [bytes.fromhex(row["udp.payload"]) for row in rows] == sent
    assert [int(row["frame.packet_id"]) for row in rows] == list(range(1, 601))
    assert {row["frame.packet_flags_direction"] for row in rows} == {"0x00000001"}
    assert {row["frame.interface_queue"] for row in rows} == {"0"}
    assert {row["frame.interface_name"] for row in rows} == {"socket:lo"}
    stamps = [nanoseconds(row["frame.time_epoch"]) for row in rows]
    assert before <= stamps[0] <= stamps[-1] <= time.time_ns()
    assert stamps == sorted(stamps)
    assert len({stamp % 1000 for stamp in stamps}) > 20  # nanoseconds, not microseconds
    for number, row in enumerate(rows):
        verdict = VERDICTS[number % 4]
        kept = verdict == wp.KEEP
        assert row["frame.verdict.ebpf_xdp"] == ("" if kept else str(int(verdict)))
        assert ("KEEP" in row["frame.comment"]) == kept
    assert comments(out) == ["why"]
    (summary,) = done.interfaces
    assert (summary.seen, summary.delivered, summary.dropped) == (600, 600, 0)
    assert summary.received == 600
    # The tap is off again: what comes now is nobody's.
    send(loopback, sent[:50])
    assert len(dissected(out)) == 600


def test_stamps_are_those_of_the_port(tmp_path, loopback):
    out = tmp_path / "own.pcapng"
    with wp.open("socket:lo", steer=wp.udp(*loopback)) as port:
        with Capture(f"{os.getpid()}:{port.spec}", CaptureConfig(file=str(out))) as made:
            send(loopback, payloads(50))
            stamps = []
            wait_for(lambda: stamps.extend(take(port)) or len(stamps) == 50)
            made.step(0.05)
        assert [nanoseconds(r["frame.time_epoch"]) for r in dissected(out)] == stamps
        assert {r["frame.verdict.ebpf_xdp"] for r in dissected(out)} == {""}  # a loop gives none


def take(port):
    batch = port.poll(0.2)
    if batch is None:
        return []
    with batch:
        return batch.timestamps.tolist()


def test_what_is_sent_is_captured_outbound(tmp_path):
    out = tmp_path / "sent.pcapng"
    frame = frames.udp(b"out", dst=("239.1.1.1", 9))
    with (
        wp.open("null:", steer=wp.everything()) as port,
        Capture(f"{os.getpid()}:null:", CaptureConfig(file=str(out))) as made,
    ):
        assert port.send([frame] * 5) == 5
        made.step(0.05)
    rows = dissected(out)
    assert [row["frame.packet_flags_direction"] for row in rows] == ["0x00000002"] * 5
    assert {bytes.fromhex(row["udp.payload"]) for row in rows} == {b"out"}


def test_the_command_taps_a_process_and_reports(subject, loopback, tmp_path):
    out = tmp_path / "cli.pcapng"
    command = [*COMMAND, str(subject.pid), "-w", out, "-c", "100", "--json", "-s", "44"]
    child = subprocess.Popen(
        [*command, "udp", "and", "greater", "47"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert "frames of: udp and greater 47" in child.stderr.readline()
    for message in [b"tiny", *payloads(200)]:
        send(loopback, [message])
        time.sleep(0.001)
    output, _ = child.communicate(timeout=30)
    told = json.loads(output)
    assert child.returncode == 0
    assert told["frames"] == 100
    assert told["files"] == [str(out)]
    assert told["interfaces"][0]["filtered"] == 1
    rows = dissected(out)
    assert len(rows) == 100
    assert {(row["frame.len"], row["frame.cap_len"]) for row in rows} == {("47", "44")}


def test_into_a_pipe_and_an_end_by_its_reader(subject, loopback):
    child = subprocess.Popen(
        [*COMMAND, f"{subject.pid}:socket:lo", "-w", "-"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    reader = subprocess.Popen(
        ["tshark", "-n", "-l", "-c", "20", "-r", "-", "-T", "fields", "-e", "udp.payload"],
        stdin=child.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    child.stdout.close()
    assert b"capturing" in child.stderr.readline()
    send(loopback, payloads(20))
    seen, _ = reader.communicate(timeout=30)
    assert [bytes.fromhex(line) for line in seen.splitlines()] == payloads(20)
    wait_for(lambda: send(loopback, payloads(10)) or child.poll() is not None)
    assert child.returncode == 0
    assert b"reader has gone" in child.stderr.read()
    child.stderr.close()


def test_a_killed_capturer_leaves_the_tap_off(subject, loopback, tmp_path):
    out = tmp_path / "killed.pcapng"
    child = subprocess.Popen(
        [*COMMAND, str(subject.pid), "-w", out], stderr=subprocess.PIPE, text=True
    )
    assert "capturing" in child.stderr.readline()
    send(loopback, payloads(10))
    child.kill()
    child.communicate()
    # Another one may begin at once, and gets everything.
    again = tmp_path / "again.pcapng"
    with Capture(str(subject.pid), CaptureConfig(file=str(again))) as made:
        wait_for(lambda: made.step(0.02) and made.ready)
        captured(made, loopback, payloads(10))
    assert not list(Path("/dev/shm").glob(f"wirepath.tap.{os.getpid()}.*"))


def test_a_process_that_ends_ends_its_capture(subject, loopback, tmp_path):
    out = tmp_path / "gone.pcapng"
    with Capture(str(subject.pid), CaptureConfig(file=str(out))) as made:
        wait_for(lambda: made.step(0.02) and made.ready)
        captured(made, loopback, payloads(5))
        subject.send_signal(signal.SIGKILL)
        wait_for(lambda: not made.step(0.1))
    assert len(dissected(out)) == 5


def test_only_one_captures_a_port(subject, tmp_path):
    config = CaptureConfig(file=str(tmp_path / "a.pcapng"))
    with (
        Capture(str(subject.pid), config),
        pytest.raises(errors.DeviceBusy, match=f"captured by process {os.getpid()} already"),
    ):
        Capture(str(subject.pid), config).start()


# --- ports that are opened for it ----------------------------------------------------------------


def test_a_port_is_opened_for_the_capture(tmp_path, wirepath):
    out = tmp_path / "null.pcapng"
    done = wirepath("capture", "null:,frames=5000", "-w", out, "--json")
    assert done.code == 0, done.err
    told = done.json
    assert told["frames"] == 5000 == told["interfaces"][0]["seen"]
    assert len(dissected(out)) == 5000


def test_a_capture_of_a_capture_is_the_same(tmp_path, wirepath):
    first, second = tmp_path / "1.pcapng", tmp_path / "2.pcapng"
    assert wirepath("capture", "null:,frames=300,frame_size=200", "-w", first).code == 0
    assert wirepath("capture", f"pcap:{first}", "-w", second).code == 0
    names = ("frame.time_epoch", "frame.len", "eth.src")
    assert tshark(first, *names) == tshark(second, *names)


def test_ring_files_keep_the_newest(tmp_path, wirepath):
    out = tmp_path / "ring.pcapng"
    done = wirepath(
        *("capture", "null:,frames=20000", "-w", out, "--file-size", "0.1", "--ring-files", "3"),
        "--json",
    )
    told = done.json
    assert sorted(map(str, tmp_path.iterdir())) == sorted(told["files"])
    assert len(told["files"]) == 3
    assert told["removed"] > 0
    rows = [row for file in told["files"] for row in dissected(file)]
    assert [int(row["frame.packet_id"]) for row in rows] == list(range(20_001 - len(rows), 20_001))
    for file in told["files"][:-1]:
        assert 100_000 <= Path(file).stat().st_size < 102_000


def test_frames_that_found_no_room_are_told(tmp_path):
    out = tmp_path / "lost.pcapng"
    config = CaptureConfig(file=str(out), buffer_size=1)
    with wp.open("null:,frames=50000", steer=wp.everything()) as port:
        worker = wp.Worker("fast")
        worker.add_port(port)
        with Capture(f"{os.getpid()}:{port.spec}", config) as made:
            with worker:  # nobody takes the frames out meanwhile
                wait_for(lambda: not worker.running)
            made.step(0.1)
            done = made.finish()
    (row,) = done.interfaces
    assert row.seen == 50_000
    assert 0 < row.dropped == 50_000 - row.delivered
    assert len(dissected(out)) == row.delivered


# --- filters -------------------------------------------------------------------------------------

_FILTERS = [
    "udp port 9001",
    "ip6 or arp",
    "vlan 7 and tcp",
    "not (udp and dst host 239.1.1.1)",
    "ether[0] & 1 != 0 and greater 64",
    "ip[8] > 1 and ip[6:2] & 0x1fff = 0 and len % 3 == 1",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "portrange 9000-9010 or src net 10.0.0.0/8",
]


class _Header(ctypes.Structure):
    """struct pcap_pkthdr of pcap/pcap.h."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("captured", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
    )


def _libpcap_says(code, frame, length):
    program = filters._Program(len(code) // 8, ctypes.cast(code, ctypes.c_void_p))
    header = _Header(0, 0, len(frame), length)
    return filters._library().pcap_offline_filter(
        ctypes.byref(program), ctypes.byref(header), frame
    )


_FRAMES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda payload, port, vlan, group: frames.udp(
            payload, dst=("239.1.1.1" if group else "239.7.7.7", port), vlan=vlan
        ),
        st.binary(max_size=60),
        st.sampled_from([9001, 9005, 53]),
        st.sampled_from([None, 7, 8]),
        st.booleans(),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_FILTERS), _FRAMES, st.integers(0, 100))
def test_filters_say_what_libpcap_says(text, frame, longer):
    code = compile_filter(text)
    ours = _core.run_bpf(code, frame, len(frame) + longer)
    assert bool(ours) == bool(_libpcap_says(code, frame, len(frame) + longer))


def test_a_wrong_filter_is_told_in_libpcaps_words():
    with pytest.raises(errors.ConfigError, match=r"filter = .* is not usable.*syntax error"):
        compile_filter("udp prot 53")
    assert compile_filter("  ") == b""


def test_without_libpcap_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(filters, "_NAMES", ("libnowhere.so",))
    filters._library.cache_clear()
    try:
        with pytest.raises(errors.BackendUnavailable, match=r"apt install libpcap0\.8"):
            compile_filter("udp")
    finally:
        filters._library.cache_clear()


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["null:"], "--write is missing"),
        (["nowhere0", "-w", "x"], "target = .nowhere0. is not usable"),
        (["4194304", "-w", "x"], "process 4194304 is no wirepath process"),
        (["null:", "-w", "x", "--ring-files", "2"], "file_size is missing"),
        (["null:", "-w", "-", "--json"], "both want standard output"),
        (["null:", "-w", "x", "--snaplen", "-1"], "snaplen = -1 is not usable"),
        (["null:", "-w", "x", "--buffer-size", "3"], "buffer_size = 3 is not usable"),
        (["null:", "-w", "x", "--xdp-mode", "fast"], "--xdp-mode"),
        (["socket:lo", "-w", "x"], "--flow GROUP:PORT, or --everything"),
        (["null:", "-w", "x", "udp", "prot"], "filter = .udp prot. is not usable"),
        (["null:,frames=1", "-w", "/nowhere/x"], "cannot write the capture /nowhere/x"),
    ],
)
def test_mistakes_end_in_one_message(wirepath, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    done = wirepath("capture", *words)
    assert done.code in (1, 2), done.err
    assert re.search(said, done.err), done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_ports_of_a_process_are_told_apart(subject):
    assert resolve(str(subject.pid)).ports == ("socket:lo",)
    assert resolve(f"{subject.pid}:lo").ports == ("socket:lo",)
    found = resolve("socket:lo")
    assert (found.kind, found.pid) == ("process", subject.pid)
    with pytest.raises(errors.ConfigError, match="has no port like that"):
        resolve(f"{subject.pid}:af_xdp")


def test_the_package_exports_what_it_documents():
    assert set(capture.__all__) >= {"Capture", "CaptureConfig", "compile_filter", "resolve"}
