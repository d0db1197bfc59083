"""`wirepath filter` on a veth pair: in force, replaced, pinned, killed, and as a stage."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import wirepath as wp
from wirepath import programs
from wirepath.filter import Filter, FilterConfig, Refused, Rule, SampleWriter
from wirepath.frames import udp
from wirepath.lab import Lab
from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(900),
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]


class Bench:
    """Host a sends datagrams, host b is filtered."""

    def __init__(self, lab):
        self.a, self.b = lab["a"], lab["b"]
        self.device, self.address = self.b.interface.name, self.b.interface.ipv4
        with self.b.enter():
            self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self.receiver.bind((self.address, 7001))
            self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.other.bind((self.address, 7002))
        with self.a.enter():
            self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def close(self):
        for each in (self.receiver, self.other, self.sender):
            each.close()

    def arrives(self, port=7001, wait=0.3):
        """Whether a datagram to a port of b comes through."""
        self.sender.sendto(b"x", (self.address, port))
        sock = self.receiver if port == 7001 else self.other
        ready, _, _ = select.select([sock], [], [], wait)
        if ready:
            sock.recv(100)
        return bool(ready)

    def cli(self, *arguments, ok=True, env=None):
        done = self.b.run(
            [sys.executable, "-m", "wirepath", "filter", *arguments],
            capture_output=True, text=True, timeout=240, env={**os.environ, **(env or {})},
        )  # fmt: skip
        assert (done.returncode == 0) == ok, done.stderr
        return json.loads(done.stdout) if "--json" in arguments and ok else done

    def running(self, *arguments):
        """`wirepath filter run` until the filter is in force."""
        child = self.b.popen(
            [sys.executable, "-m", "wirepath", "filter", "run", self.device, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        line = child.stderr.readline()
        assert " rules on " in line, line + child.stderr.read()
        return child

    def attached(self):
        with self.b.enter():
            return [a.name for a in programs.attached(self.device)]


@pytest.fixture
def bench(lab_name):
    with Lab(lab_name) as lab:
        made = Bench(lab)
        assert made.arrives(wait=5)
        try:
            yield made
        finally:
            with made.b.enter(), contextlib.suppress(wp.WirepathError):
                Filter.adopt(made.device).detach(made.device)
            made.close()


def ended(child, number):
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    return out, err


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_run_drops_in_the_driver_counts_and_leaves_nothing(bench):
    child = bench.running("--rule", "drop name=seven protocol=udp destination_port=7001", "--json")
    assert not bench.arrives(7001)
    assert bench.arrives(7002)
    shown = bench.cli("show", bench.device, "--json")
    assert shown["rules"]["seven"]["packets"] == 1
    assert shown["rules"]["seven"]["dropped_packets"] == 1
    assert shown["counters"]["drop.rule"] == 1
    words = [sys.executable, "-m", "wirepath", "metrics", "--filter", bench.device]
    told = bench.b.run(words, capture_output=True, text=True, timeout=240).stdout
    device = f'filter="{bench.device}"'
    assert f'wirepath_filter_dropped_packets_total{{{device},rule="seven"}} 1.0' in told
    assert f'wirepath_filter_outcome_total{{{device},outcome="drop.rule"}} 1.0' in told
    out, err = ended(child, signal.SIGINT)
    assert child.returncode == 130, err
    assert json.loads(out)["rules"]["seven"]["packets"] == 1
    assert bench.attached() == []
    assert bench.arrives(7001)
    assert "one with a filter" in bench.cli("show", bench.device, ok=False).stderr


def test_killed_it_is_gone_and_pinned_it_stays(bench):
    rule = ("--rule", "drop destination_port=7001")
    child = bench.running(*rule)
    assert not bench.arrives(7001)
    ended(child, signal.SIGKILL)
    wait_for(lambda: bench.attached() == [])
    assert bench.arrives(7001)

    assert bench.cli("run", bench.device, *rule, "--pin", "--json")["pinned"]
    assert not bench.arrives(7001)
    assert bench.arrives(7002)
    # What is pinned is not replaced by the way.
    refused = bench.cli("run", bench.device, "--rule", "drop destination_port=7002", ok=False)
    assert "a filter is in force" in refused.stderr
    assert not bench.arrives(7001)
    # Another process adopts it, changes it, and ends as well.
    bench.cli("reload", bench.device, "--rule", "drop name=other destination_port=7002", "--json")
    assert bench.arrives(7001)
    assert not bench.arrives(7002)
    assert bench.cli("show", bench.device, "--json")["rules"]["other"]["packets"] == 1
    bench.cli("stop", bench.device)
    wait_for(lambda: bench.attached() == [])
    assert bench.arrives(7002)


def test_a_reload_is_whole_or_not_at_all_and_leaves_no_gap(bench, tmp_path):
    """Port 9 is dropped by every filter of the row: not one packet to it may come through."""
    with bench.b.enter():
        nine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        nine.bind((bench.address, 7009))
        nine.settimeout(0)
    stop = threading.Event()

    def send():
        while not stop.is_set():
            for _ in range(50):
                bench.sender.sendto(b"x", (bench.address, 7009))

    def config(i):
        return FilterConfig(
            rules=(Rule(destination_port=str(8000 + i)), Rule(name="nine", destination_port="7009"))
        )

    with bench.b.enter(), Filter(config(0)) as one:
        one.attach(bench.device)
        thread = threading.Thread(target=send)
        thread.start()
        try:
            for i in range(1, 12):
                one.reload(config(i))
                wait_for(lambda: one.counts()["nine"]["packets"] > 20)
                before = one.counts()
                with pytest.raises(wp.ConfigError, match=r"gone.txt"):
                    one.reload(
                        FilterConfig(
                            rules=(Rule(source="@gone"),),
                            sets=(wp.filter.Set(name="gone", file=str(tmp_path / "gone.txt")),),
                        )
                    )
                assert list(one.counts()) == list(before)
        finally:
            stop.set()
            thread.join()
        with pytest.raises(BlockingIOError):
            nine.recv(10)
    nine.close()


def test_hang_up_reads_the_file_again(bench, tmp_path):
    path = tmp_path / "filter.toml"
    path.write_text('[filter]\n[[filter.rules]]\ndestination_port = "7001"\n')
    child = bench.running("--config", str(path))
    path.write_text('[filter]\n[[filter.rules]]\ndestination_port = "x"\n')
    child.send_signal(signal.SIGHUP)
    assert "not in force, the old rules stay" in child.stderr.readline()
    assert not bench.arrives(7001)
    path.write_text('[filter]\n[[filter.rules]]\ndestination_port = "7002"\n')
    child.send_signal(signal.SIGHUP)
    while "read again" not in (line := child.stderr.readline()):
        assert line
    assert bench.arrives(7001)
    assert not bench.arrives(7002)
    ended(child, signal.SIGTERM)


def test_the_operators_session_is_not_cut_unless_forced(bench):
    session = {"SSH_CONNECTION": f"{bench.a.interface.ipv4} 50000 {bench.address} 22"}
    cut = ("run", bench.device, "--rule", "drop name=all protocol=tcp", "--max-seconds", "0.3")
    told = bench.cli(*cut, ok=False, env=session).stderr
    assert "all would cut the session from" in told
    assert "destination_port=22" in told
    assert bench.attached() == []
    bench.cli(*cut, "--force", env=session)
    bench.cli(*cut, "--rule", f"pass source={bench.a.interface.ipv4}", ok=False, env=session)
    in_front = ("--rule", f"pass source={bench.a.interface.ipv4} destination_port=22")
    bench.cli("run", bench.device, *in_front, *cut[2:], env=session)
    bench.cli(*cut, "--dry-run", env=session)
    with bench.b.enter():  # not by the environment, but by what the kernel says
        server = socket.create_server((bench.address, 22))
        with bench.a.enter():
            client = socket.create_connection((bench.address, 22))
        taken, _ = server.accept()
        with pytest.raises(Refused, match=bench.a.interface.ipv4):
            Filter(FilterConfig(default="drop")).attach(bench.device)
        for each in (server, client, taken):
            each.close()


def test_a_session_over_a_link_local_address_is_not_cut(bench):
    with bench.b.enter(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
        one.connect(("fe80::1", 9, 0, socket.if_nametoindex(bench.device)))
        own = one.getsockname()[0].partition("%")[0]
    words = f"fe80::1%{{}} 50000 {own}%{{}} 22"
    cut = ("run", bench.device, "--rule", "drop name=all protocol=tcp", "--max-seconds", "0.1")
    for scope in (bench.device, "lo"):
        session = {"SSH_CONNECTION": words.format(scope, scope)}
        said = bench.cli(*cut, ok=scope == "lo", env=session)
        assert ("would cut the session from fe80::1 port 50000" in said.stderr) == (scope != "lo")


def test_what_another_process_put_there_comes_back_where_a_reload_fails(bench, monkeypatch):
    def config(name):
        return FilterConfig(rules=(Rule(name=name, destination_port="7001"),))

    with bench.b.enter(), Filter(config("mine")) as one:
        one.attach(bench.device, pin=True)
        one.attach("lo", "generic")
        bench.cli("reload", bench.device, "--rule", "drop name=theirs destination_port=7001")
        one.refresh()
        assert "theirs" in one.counts()
        second = one._drivers["lo"].chain

        def fails(program, **options):
            raise wp.WirepathError("no")

        monkeypatch.setattr(second, "put", fails)
        with pytest.raises(wp.WirepathError, match="no"):
            one.reload(config("new"))
        monkeypatch.undo()
        there = Filter.adopt(bench.device)
        assert "theirs" in there.counts()
        assert not bench.arrives(7001)
        assert there.counts()["theirs"]["packets"] == 1
        one.detach("lo")
        one.detach(bench.device)


def test_blocks_from_another_process_end_by_themselves(bench):
    child = bench.running("--blocks", "10", "--rule", "pass name=all")
    assert bench.arrives(7001)
    source = bench.a.interface.ipv4
    left = bench.cli("block", bench.device, source, "--seconds", "600", "--json")["blocks"]
    assert 590 < left[source] <= 600
    assert not bench.arrives(7001)
    assert bench.cli("unblock", bench.device, source, "--json") == {
        "was_blocked": True,
        "blocks": {},
    }
    assert bench.arrives(7001)
    bench.cli("block", bench.device, source, "--seconds", "1")
    assert not bench.arrives(7001)
    time.sleep(1)
    assert bench.arrives(7001)
    bench.cli("block", bench.device, source, "--seconds", "600")
    bench.cli("reload", bench.device, "--rule", "pass name=again", "--blocks", "10")
    assert not bench.arrives(7001)  # blocks outlast a reload
    ended(child, signal.SIGTERM)


def test_top_and_samples(bench, tmp_path):
    path = tmp_path / "samples.pcapng"
    rules = ("--rule", "drop name=seven destination_port=7001 sample=1")
    child = bench.running(*rules, "--samples", str(path))
    for _ in range(5):
        assert not bench.arrives(7001, wait=0.01)
    stop = threading.Event()

    def send():
        while not stop.is_set():
            bench.sender.sendto(b"x", (bench.address, 7001))
            time.sleep(0.001)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        reading = bench.cli(
            "top", bench.device, "--every", "1", "--interval", "0.5", "--count", "1", "--json"
        )
    finally:
        stop.set()
        thread.join()
    assert reading["samples"] > 20
    assert max(reading["sources"], key=reading["sources"].get) == bench.a.interface.ipv4
    assert max(reading["rules"], key=reading["rules"].get) == "seven"
    assert any(text.endswith("> 7001") for text in reading["ports"])
    ended(child, signal.SIGTERM)
    with wp.open(f"pcap:{path}", steer=wp.everything()) as port:
        taken = [bytes(batch[i]) for batch in port for i in range(len(batch))]
    assert len(taken) >= 5
    assert all(frame[36:38] == (7001).to_bytes(2, "big") for frame in taken)
    assert SampleWriter is wp.filter.SampleWriter


FRAMES = [
    udp(bytes(n % 50), dst=("10.9.0.1", 7000 + n % 20), src=(f"192.0.2.{n % 9}", 53 + n % 3),
        dst_mac="02:00:00:00:00:02")
    for n in range(500)
]  # fmt: skip
SAME = FilterConfig(
    rules=(
        Rule(name="ports", destination_port="7003-7005"),
        Rule(name="rate", action="limit", packets=1, burst=30, source_port="54", per="rule"),
        Rule(name="some", source="192.0.2.0/30"),
    ),
    signatures="all",
)


def expected():
    engine = wp.filter.Engine.native(wp.filter.compile_filter(SAME), test=True)
    for frame in FRAMES:
        engine.program.run(frame, time=1)
    return engine.counts(), engine.counters()


def only_mine(found):
    return {name: row for name, row in found.items() if name in ("ports", "rate", "some")}


def test_in_the_driver_and_as_a_stage_the_same_comes_out(bench):
    """As XDP, behind an AF_XDP port, and behind a capture."""
    counts, counters = expected()
    assert counters["drop.limit"] > 0
    with bench.b.enter(), Filter(SAME) as one:
        assert one.attach(bench.device) in ("native", "generic")
        with bench.a.enter():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            raw.bind((bench.a.interface.name, 0))
        for frame in FRAMES:
            raw.send(frame)
        wait_for(lambda: only_mine(one.counts()) == only_mine(counts))
        assert one.counters()["drop.limit"] == counters["drop.limit"]
        one.detach(bench.device)
    staged = Filter(SAME)
    with (
        bench.b.enter(),
        wp.open(f"af_xdp:{bench.device}", steer=wp.everything()) as port,
    ):
        worker = wp.Worker("filter")
        worker.add_port(port)
        worker.add_stage(staged.stage())
        worker.start()
        for frame in FRAMES:
            raw.send(frame)
        wait_for(lambda: only_mine(staged.counts()) == only_mine(counts))
        assert staged.counters()["drop.limit"] == counters["drop.limit"]
        assert staged.counters()["drop.rule"] == counters["drop.rule"]
        worker.stop()
        worker.join()
    raw.close()


@pytest.mark.skipif(
    not {b.name: b for b in wp.backends()}["dpdk"].available,
    reason="unsupported: the dpdk backend is not available here: see `wirepath backends`",
)
def test_as_a_stage_of_a_dpdk_port_the_same_comes_out(tmp_path):
    """Over a memif link, whose other side sends."""
    counts, counters = expected()
    link = f",socket={tmp_path}/memif.sock,socket-abstract=no"
    staged = Filter(SAME)
    with (
        wp.open(
            f"dpdk:net_memif90,role=server{link},link_wait_ms=0", steer=wp.everything()
        ) as near,
        wp.open(f"dpdk:net_memif91,role=client{link}", steer=wp.everything()) as far,
    ):
        wait_for(lambda: "the link is down" not in far.info()["notes"])
        worker = wp.Worker("dpdk filter")
        worker.add_port(near)
        worker.add_stage(staged.stage())
        worker.start()
        for i in range(0, len(FRAMES), 50):
            assert far.send(FRAMES[i : i + 50]) == 50
            wait_for(lambda n=i + 50: staged.counters()["packets"] == n)
        worker.stop()
        worker.join()
    assert only_mine(staged.counts()) == only_mine(counts)
    assert staged.counters() == counters
