"""The adoption path with packets, over the loopback: sender, receiver, command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wirepath as wp
from wirepath import bench


@pytest.fixture
def setup(flow):
    host, port = flow
    return bench.Setup("socket:lo", host=host, udp_port=port)


def test_every_packet_is_accounted_for(setup):
    shape = bench.Shape.of("128:3,1000:1", rate=5_000, burst=5)
    steps = []
    made = bench.baseline(
        setup, bench.Load(shape, seconds=0.4, repeats=2), on_progress=steps.append
    )
    assert steps == ["repeat 1 of 2", "repeat 2 of 2"]
    assert made.kind == "baseline"
    assert made.where == "on this machine"
    assert made.receiver["info"]["backend"] == "socket"
    for repeat in made.repeats:
        assert repeat.planned == 2_000
        assert repeat.sent + repeat.refused + repeat.unsent == 2_000
        assert repeat.account.residual == 0
        assert repeat.received == 2_000 - sum(x.count for x in repeat.account.layers)
        assert repeat.duplicates == 0
        assert repeat.latency.total == repeat.received
        assert repeat.latency.min > 0
        assert repeat.from_stamp is not None
        assert repeat.from_stamp.total == repeat.received
        assert repeat.sender_lateness.total == repeat.sent + repeat.refused
        line = repeat.timeline
        assert sum(line.planned) == 2_000
        assert sum(line.received) == repeat.received
        assert all(got <= planned for got, planned in zip(line.received, line.planned, strict=True))
        assert repeat.counters["rx_packets"] >= repeat.received
        assert 0.1 < repeat.cpu["seconds"] < 5  # 0.4, and as late as a busy machine woke it
        assert repeat.worker_cpu_seconds > 0
        assert repeat.cpu["interrupts"]
        clock = repeat.perf["task_clock_ns"]
        assert clock["value"] is None or clock["value"] > 0
        assert (clock["value"] is None) == bool(clock["reason"])
    assert made.summary["packets_per_second"] == pytest.approx(5_000, rel=0.2)


def test_a_stall_of_50_ms_shows_in_full(setup):
    # 10,000 packets a second for 4 s: those meant to leave in the stall wait from 50 ms down to
    # nothing, so that the slowest thousandth, 4 ms of packets, begins at 46 ms.
    load = bench.Load(bench.Shape.of(128, rate=10_000), 4.0, 1, stall_seconds=0.05)
    tried = []
    for _ in range(6):  # the machine's own stalls come on top and may be longer than ours
        repeat = bench.run(setup, load).repeats[0]
        assert repeat.lost == 0
        assert repeat.stalled_ns >= 50_000_000
        tail = {q: repeat.latency.percentiles[q] / 1e6 for q in ("p99.9", "p99.99", "max")}
        # Never less than the stall gives, but for the gap to the first packet in it and half a
        # bucket of the histogram: less would be the omission.
        assert tail["p99.9"] >= 45.9 * 0.996
        assert tail["p99.99"] >= 49.5 * 0.996
        assert tail["max"] >= 49.9
        counts, lows = repeat.latency.counts, wp.Histogram.bucket_lows()
        assert counts[lows >= 1_000_000].sum() >= 485  # 49 ms of them waited above 1 ms
        stalled = repeat.stalled_ns / 1e6  # 50 ms, and until the core was given back to it
        tried.append(tail | {"stalled": stalled})
        if tail["p99.9"] <= stalled - 4 + 1.5 and tail["max"] <= stalled + 1.5:
            # In the timeline it is where it was, in the middle.
            worst = max(range(100), key=lambda i: repeat.timeline.max[i] or 0)
            assert worst in (50, 51)
            return
    pytest.fail(f"the tail was longer than the stall, time and again: {tried}")


def test_a_receiver_without_room_loses_what_its_socket_counts(setup, flow):
    small = bench.Setup(
        "socket:lo", host=flow[0], udp_port=flow[1], options={"rx_buffer_bytes": 8192}
    )
    load = bench.Load(bench.Shape.of(1000, rate=20_000), 0.4, 1, stall_seconds=0.1)
    repeat = bench.run(small, load).repeats[0]
    layers = {each.layer: each.count for each in repeat.account.layers if each.count}
    assert layers["port.socket_buffer"] > 500
    assert repeat.account.residual == 0
    assert repeat.lost == sum(layers.values())
    # Loss shows in the timeline, in the bins of the stall.
    missing = [
        p - r for p, r in zip(repeat.timeline.planned, repeat.timeline.received, strict=True)
    ]
    assert sum(missing[45:80]) > 500


def test_a_capture_is_sent_as_it_was_recorded(setup, tmp_path):
    path = tmp_path / "day.pcap"
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
    for at, length in ((0, 60), (100_000, 900), (1_000_000, 400)):
        data += struct.pack("<IIII", 7, at, length, length) + bytes(length)
    path.write_bytes(data)
    shape = bench.Shape.from_capture(path)
    repeat = bench.run(setup, bench.Load(shape, 0.15, 1, warmup=0)).repeats[0]
    assert repeat.planned == 300  # three every 1.5 ms
    assert repeat.received == 300
    # Headers are laid on by the socket backend: sizes are those of the capture.
    assert repeat.counters["rx_bytes"] == 100 * (60 + 900 + 400)


def test_the_zero_loss_rate_is_searched(setup):
    load = bench.Load(bench.Shape.of(128, rate=1_000), 0.1, 1, warmup=0)
    bounds = bench.Search(500, 4_000, resolution=0.3, seconds=0.1)
    found = bench.run(setup, load, zero_loss=bounds).zero_loss
    assert found is not None
    assert found.trials
    assert all(t.passed == (t.lost == 0 and not t.sender_late) for t in found.trials)
    assert found.rate == max((t.rate for t in found.trials if t.passed), default=None)


def test_errors_of_the_ends_are_told(setup, flow):
    load = bench.Load(bench.Shape.of(128, rate=1000), 0.1, 1)
    with pytest.raises(wp.WirepathError, match="the receiver: there is no network interface"):
        bench.run(bench.Setup("socket:nope0", via="socket:lo"), load)
    with pytest.raises(wp.WirepathError, match="the sender: there is no network interface"):
        bench.run(bench.Setup("socket:lo", via="socket:nope0"), load)
    with pytest.raises(wp.ConfigError, match=r"the receiver: .*colour"):
        bench.run(bench.Setup("socket:lo", options={"colour": "red"}), load)
    long = bench.Load(bench.Shape.of(65_535, rate=1000), 0.1, 1)
    with pytest.raises(wp.ConfigError, match="the sender: size = 65535"):
        bench.run(setup, long)
    with pytest.raises(wp.PortError, match=r"no sender answers at 127\.0\.0\.1:9"):
        bench.run(bench.Setup("socket:lo", sender="127.0.0.1:9"), load)
    assert not children()


def children():
    """Processes of ours that are still there."""
    own = str(os.getpid())
    out = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == own and fields[0] != "Z":
            out.append((status.parent / "cmdline").read_bytes().replace(b"\0", b" "))
    return [line for line in out if b"wirepath.bench" in line]


def test_ends_end_with_their_parent(flow):
    code = (
        "from wirepath import bench; load = bench.Load(bench.Shape.of(128, rate=1000), 30, 1);"
        f"bench.run(bench.Setup('socket:lo', host='{flow[0]}', udp_port={flow[1]}), load)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        ends = []
        deadline = time.monotonic() + 30
        while len(ends) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
            listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
            ends = [int(pid) for pid in listed]
        assert len(ends) == 2
        time.sleep(1)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while (left := [pid for pid in ends if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_interrupt_ends_a_run_at_once(flow, tmp_path):
    words = ["bench", "run", "socket", "--seconds", "60", "--to", f"{flow[0]}:{flow[1]}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "wirepath", *words, "-O", str(tmp_path / "a.json")],
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while len(children.read_text().split()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    ends = [int(pid) for pid in children.read_text().split()]
    time.sleep(1.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "Traceback" not in said
    assert time.monotonic() - begin < 4
    assert len(ends) == 2
    assert not [pid for pid in ends if alive(pid)]


def test_a_sender_whose_asker_goes_stops_sending(flow):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    words = ["bench", "send", "--via", "socket:lo,tx_only=true", "--to", f"{flow[0]}:{flow[1]}"]
    words += ["--listen", f"127.0.0.1:{address[1]}", "--once"]
    sender = subprocess.Popen(
        [sys.executable, "-m", "wirepath", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        sender.stderr.readline()
        cycle = bench.Shape.of(128, rate=100).cycle()
        plan = {"do": "send", "run": 1, "count": cycle.count(60), "start": time.time_ns()}
        with socket.create_connection(address) as line:
            line.sendall(json.dumps(plan | cycle.packed()).encode() + b"\n")
            time.sleep(0.5)
            assert sender.poll() is None
        assert sender.wait(5) == 0
    finally:
        sender.kill()
        assert "Traceback" not in sender.communicate()[1]


# --- the command line ----------------------------------------------------------------------------
def test_from_baseline_to_report(wirepath, flow, tmp_path):
    to = f"{flow[0]}:{flow[1]}"
    shape = ("--rate", 2000, "--size", "imix", "--burst", 2, "--seconds", 0.2, "--repeats", 3)
    files = [tmp_path / name for name in ("a.json", "b.json")]
    first = wirepath("bench", "baseline", *shape, "--to", to, "-O", files[0], "--json")
    assert first.code == 0, first.err
    brief = first.json
    assert brief["kind"] == "baseline"
    assert brief["planned"] == 1200
    assert brief["account"][0]["planned"] == 400
    assert brief["summary"] == bench.Result.load(files[0]).summary
    name = ("--name", "spinning", "--idle", "spin")
    second = wirepath("bench", "run", "socket", *shape, *name, "--to", to, "-O", files[1])
    assert second.code == 0, second.err
    assert "spinning" in second.out
    assert "latency p99.9" in second.out

    compared = wirepath("bench", "compare", *files, "--json")
    assert compared.code == 0, compared.err
    both = bench.compare(*map(bench.Result.load, files))
    assert compared.json["verdict"]["answer"] == both.verdict.answer
    assert compared.json["b"]["name"] == "spinning"
    rows = {row["figure"]: row for row in compared.json["rows"]}
    assert rows["latency_p50"]["a"] == brief["summary"]["latency_p50"]
    table = wirepath("bench", "compare", *files)
    assert table.code == 0
    assert compared.json["verdict"]["text"].split(":")[0] in table.out

    page = tmp_path / "r.html"
    report = wirepath("report", *files, "-O", page, "--json")
    assert report.code == 0, report.err
    assert report.json == {"files": [str(page)]}
    assert "spinning" in page.read_text()

    other = wirepath(
        "bench", "run", "socket", "--rate", 999, *shape[2:], "--to", to, "-O", files[1]
    )
    assert other.code == 0, other.err
    refused = wirepath("bench", "compare", *files, "--json")
    assert refused.code == 2
    assert "different traffic" in refused.json["error"]
    assert wirepath("report", *files, "-O", page).code == 2
    anyway = wirepath("bench", "compare", *files, "--anyway", "--json")
    assert anyway.json["verdict"]["answer"] == "undecided"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench", "run", "pcap:x"), "receives nothing that a sender sends"),
        (("bench", "run", "socket", "--size", "1"), 'sizes = "1" is not usable'),
        (("bench", "run", "socket", "--speed", "2"), "--like gives a capture"),
        (("bench", "run", "socket", "--to", "x"), '--to = "x" is not usable'),
        (("bench", "run", "socket", "--idle", "nap"), 'idle = "nap" is not usable'),
        (("bench", "run", "socket", "-o", "x"), '--option = "x" is not usable'),
        (("bench", "run", "socket", "-O", "/nope/x.json"), "there is no directory /nope"),
        (("bench", "run", "socket", "--zero-loss", "--resolution", "9"), "resolution = 9.0"),
        (("bench", "run", "socket", "--sender", "x"), 'sender = "x" is not usable'),
        (("bench", "baseline", "af_xdp:eth9"), "a baseline is of the kernel path"),
        (("bench", "compare", "/nope/a", "/nope/b"), "cannot be read"),
        (("report", "/nope/a"), "cannot be read"),
        (("report", "/nope/a", "-O", "/nope/r.html"), "there is no directory /nope"),
        (("bench", "send", "--via", "socket:lo", "--to", "239.1.1.1:9", "--listen", "x"), "x"),
    ],
)
def test_mistakes_end_in_one_sentence(wirepath, arguments, said):
    answer = wirepath(*arguments)
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_sender_on_another_host(wirepath, flow, tmp_path):
    to = f"{flow[0]}:{flow[1]}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    words = ["bench", "send", "--via", "socket:lo,tx_only=true", "--to", to, "--listen", address]
    sender = subprocess.Popen(
        [sys.executable, "-m", "wirepath", *words], stderr=subprocess.PIPE, text=True
    )
    try:
        assert address in sender.stderr.readline()
        common = ("--rate", 1000, "--seconds", 0.2, "--repeats", 2, "--sender", address)
        out = tmp_path / "a.json"
        answer = wirepath("bench", "run", "socket:lo", *common, "--to", to, "-O", out, "--json")
        assert answer.code == 0, answer.err
        assert answer.json["planned"] == 400
        assert answer.json["lost"] == 0
        made = bench.Result.load(out)
        assert made.where == f"from the sender at {address}"
        assert made.sender["clock"]["round_trip_ns"] > 0
        assert abs(made.sender["clock"]["sender_ahead_ns"]) < 50_000_000  # one machine, one clock
        elsewhere = f"{flow[0]}:{flow[1] + 1}"
        wrong = wirepath("bench", "run", "socket:lo", *common, "--to", elsewhere, "-O", out)
        assert wrong.code == 2
        assert "give both the same --to" in wrong.err
        # What is no conversation ends that one, and not the sender.
        with socket.create_connection(address.split(":")) as line:
            line.sendall(b'{"do": "dance"}\nnonsense\n{"do": "send"}\n')
            lines = line.makefile()
            answers = [json.loads(lines.readline()) for _ in range(3)]
            lines.close()
        assert [sorted(each) for each in answers] == [["error", "kind"]] * 3
        assert wirepath("bench", "run", "socket:lo", *common, "--to", to, "-O", out).code == 0
    finally:
        sender.send_signal(signal.SIGTERM)
        said = sender.communicate(timeout=20)[1]
    assert sender.returncode == 130
    assert "Traceback" not in said
