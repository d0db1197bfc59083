"""Packet programs on a veth pair: modes, the chain and its order, replacing under traffic, what is
left after kill -9, pins, other processes, foreign programs, and the AF_XDP port in the chain."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import wirepath as wp
from wirepath import frames, programs
from wirepath.lab import Lab
from wirepath.programs import kernel, pins

EXAMPLE = Path(__file__).parents[2] / "examples" / "programs" / "drop_port.c"
PORT = 48_100
SO_RCVBUFFORCE = 33  # linux/socket.h; Python has no name for it

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        kernel.unavailable_reason() is not None,
        reason=f"unsupported: {kernel.unavailable_reason()}",
    ),
]

FOREIGN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int foreign(struct xdp_md* ctx) { return ctx->data ? XDP_PASS : XDP_DROP; }
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def pair(lab_name):
    with Lab(lab_name) as made:
        yield made


@contextmanager
def udp_pair(made):
    """A sender on `a`, a receiver on `b` with room for everything a test sends."""
    with made["b"].enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        receiver.bind((made["b"].interface.ipv4, PORT))
        receiver.settimeout(3)
    with made["a"].enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect((made["b"].interface.ipv4, PORT))
    with sender, receiver:
        yield sender, receiver


def received(receiver, most):
    count = 0
    try:
        while count < most:
            receiver.recv(100)
            count += 1
    except TimeoutError:
        pass
    return count


def child(made, body):
    """A process on `b` that says when it is ready and then waits."""
    text = "import time\nimport wirepath as wp\nfrom wirepath import programs\n"
    text += f"name = {made['b'].interface.name!r}\n" + textwrap.dedent(body)
    text += "\nprint('ready', flush=True)\ntime.sleep(60)\n"
    process = made["b"].popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def until(condition, timeout=60.0):
    """The kernel takes last references down in its own time."""
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_alone_in_each_mode_and_replaced(pair, mode):
    with pair["b"].enter(), udp_pair(pair) as (sender, receiver):
        name = pair["b"].interface.name
        program = programs.load("count")
        with program.attach(name, mode) as attachment:
            assert attachment.mode == mode
            [there] = programs.attached(name)
            assert (there.program_id, there.mode) == (program.id, mode)
            assert there.wirepath and there.held_by.startswith("bpf_link")
            sender.send(b"x")
            assert received(receiver, 1) == 1
            assert program.counters()["ip4"] >= 1
            dropping = programs.load(EXAMPLE)
            dropping.maps["blocked"][PORT] = 1
            attachment.replace(dropping)
            sender.send(b"x")
            assert until(lambda: dropping.counters()["drop_blocked"] == 1)
        assert programs.attached(name) == []


def test_a_mode_that_the_driver_lacks(pair):
    with pair["b"].enter():
        with pytest.raises(wp.Unsupported, match=r"no offload XDP|takes no offload"):
            programs.load("count").attach(pair["b"].interface.name, "offload")
        with pytest.raises(wp.ConfigError, match=r"mode = \"fast\" .* one of auto, native"):
            programs.load("count").attach(pair["b"].interface.name, "fast")
        with pytest.raises(wp.ConfigError, match=r"interface = \"nosuch\" .* one of .*lo"):
            programs.Chain("nosuch")


def test_a_chain_runs_in_its_order_whatever_the_order_of_adding(pair):
    with pair["b"].enter(), udp_pair(pair) as (sender, receiver):
        name = pair["b"].interface.name
        with programs.Chain(name) as chain:
            last = chain.add("post", "count")
            first = chain.add("tap", "count")
            middle = chain.add("filter", EXAMPLE)
            assert [s.slot for s in chain.slots()] == ["tap", "filter", "post"]
            middle.maps["blocked"][PORT] = 1
            before = last.counters()["ip4"]
            for _ in range(10):
                sender.send(b"x")
            assert until(lambda: middle.counters()["drop_blocked"] == 10)
            assert first.counters()["ip4"] >= 10 and last.counters()["ip4"] == before
            del middle.maps["blocked"][PORT]
            for _ in range(10):
                sender.send(b"x")
            assert received(receiver, 10) == 10
            assert last.counters()["ip4"] == before + 10
            assert chain.counters()["filter"]["drop_unnamed"] == 0
            chain.remove("filter")
            assert [s.slot for s in chain.slots()] == ["tap", "post"]
            sender.send(b"x")
            assert received(receiver, 1) == 1
            assert last.counters()["ip4"] == before + 11
            with pytest.raises(wp.ConfigError, match=r"slot filter .* is empty"):
                chain.remove("filter")
        assert programs.attached(name) == []


def test_replacing_under_traffic_loses_no_packet(pair):
    sent = 30_000
    with pair["b"].enter(), udp_pair(pair) as (sender, receiver):  # noqa: SIM117
        with programs.Chain(pair["b"].interface.name) as chain:
            current = chain.add("filter", "count")
            chain.add("post", "count")
            replaced, counted = 0, []

            def send():
                for i in range(sent):
                    sender.send(b"x")
                    if i % 100 == 0:
                        time.sleep(0.001)

            thread = threading.Thread(target=send)
            thread.start()
            while thread.is_alive():
                fresh = chain.load("filter", "count", share={"counters": current})
                chain.put(fresh)
                current = fresh
                replaced += 1
            thread.join()
            counted.append(received(receiver, sent))
            assert counted == [sent]
            assert replaced > 5
            assert current.counters()["ip4"] >= sent  # one map through all of them


def test_kill_9_leaves_nothing(pair):
    name = pair["b"].interface.name
    process = child(pair, "chain = programs.Chain(name)\nchain.add('filter', 'count')")
    with pair["b"].enter():
        assert [a.name for a in programs.attached(name)] == ["wirepath_root"]
        kill(process)
        assert until(lambda: programs.attached(name) == [])


def test_what_is_pinned_goes_on_and_is_adopted(pair):
    name = pair["b"].interface.name
    process = child(
        pair,
        f"""
        chain = programs.Chain(name)
        program = chain.load('filter', {str(EXAMPLE)!r})
        program.maps['blocked'][{PORT}] = 1
        chain.put(program, stays=True)
        chain.pin()
        """,
    )
    kill(process)
    with pair["b"].enter(), udp_pair(pair) as (sender, receiver):
        time.sleep(0.3)
        for _ in range(5):
            sender.send(b"x")
        with programs.Chain(name) as chain:
            assert chain.pinned
            [slot] = chain.slots()
            assert (slot.slot, slot.name, slot.pid) == ("filter", "drop_port", None)
            adopted = chain.program("filter")
            assert until(lambda: adopted.counters()["drop_blocked"] == 5)
            assert PORT in adopted.maps["blocked"]
            del adopted.maps["blocked"][PORT]
            sender.send(b"x")
            assert received(receiver, 1) == 1
            fresh = chain.load("filter", EXAMPLE, share={"blocked": adopted, "counters": adopted})
            chain.put(fresh, stays=True)
            assert fresh.counters()["drop_blocked"] == 5
        assert [a.name for a in programs.attached(name)] == ["wirepath_root"]
        assert [s.slot for s in programs.detach(name)] == ["filter"]
        assert until(lambda: programs.attached(name) == [])
        assert not pins.kept(name)


def test_a_pin_of_an_interface_that_is_gone_is_cleaned_up(lab_name):
    with Lab(lab_name) as made, made["b"].enter():  # noqa: SIM117
        with programs.Chain(made["b"].interface.name) as chain:
            place = chain.pin()
            chain.put(chain.load("filter", "count"), stays=True)
    assert place.exists()
    assert until(lambda: bool(pins.clean()) or not place.exists())
    assert not place.exists()


def test_a_bpf_file_system_of_our_own_where_there_is_none(pair, tmp_path, monkeypatch):
    own = tmp_path / "bpf"
    monkeypatch.setattr(pins, "_SYSTEM", tmp_path)
    monkeypatch.setattr(pins, "_OWN", own)
    assert pins.folder(make=False) is None
    try:
        with pair["b"].enter(), programs.Chain(pair["b"].interface.name) as chain:
            assert not chain.pinned
            place = chain.pin()
            assert place.parent == own and (place / "link").exists() and chain.pinned
            chain.unpin()
            assert not place.exists()
    finally:
        subprocess.run(["umount", str(own)], check=True)


def test_two_processes_share_a_chain(pair):
    name = pair["b"].interface.name
    other = child(pair, "chain = programs.Chain(name)\nchain.add('filter', 'count')")
    with pair["b"].enter():
        chain = programs.Chain(name)
        mine = chain.add("post", "count")
        program = chain.load("filter", "count")
        with pytest.raises(wp.DeviceBusy, match=f"of process {other.pid}"):
            chain.put(program)
        with pytest.raises(wp.DeviceBusy, match=f"process {other.pid}'s"):
            chain.remove("filter")
        kill(other)
        # The chain is ours now; what the dead one left is taken out by the next that comes.
        assert [a.name for a in programs.attached(name)] == ["wirepath_root"]
        with programs.Chain(name) as again:
            assert [s.slot for s in again.slots()] == ["post"]
        assert chain.program("post") is mine
        chain.put(program)
        chain.close()
        assert until(lambda: programs.attached(name) == [])


def test_a_foreign_program_is_named_and_left_alone(pair, tmp_path):
    name = pair["b"].interface.name
    source, image = tmp_path / "foreign.c", tmp_path / "foreign.o"
    source.write_text(FOREIGN)
    from wirepath.programs.source import _bpf_command

    subprocess.run(_bpf_command(source, image), check=True)
    with pair["b"].enter():
        foreign = programs.load(image)
        assert foreign.run(frames.udp(b"x", dst=("239.1.1.1", 5))).verdict == "pass"
        with foreign.attach(name):
            with pytest.raises(
                wp.DeviceBusy, match=r'"foreign" .*one XDP program.*end the process'
            ):
                programs.Chain(name)
            [there] = programs.attached(name)
            assert (there.name, there.wirepath) == ("foreign", False)
            with pytest.raises(wp.ConfigError, match="no chain of wirepath"):
                programs.detach(name)


def test_an_exit_tap_sees_every_verdict_and_changes_none(pair):
    with pair["b"].enter(), udp_pair(pair) as (sender, receiver):  # noqa: SIM117
        with programs.Chain(pair["b"].interface.name) as chain:
            dropping = chain.add("filter", EXAMPLE)
            taps = chain.add_exit_tap("count")
            sender.send(b"x")
            assert received(receiver, 1) == 1
            dropping.maps["blocked"][PORT] = 1
            before = taps[0].counters()["ip4"]
            for _ in range(7):
                sender.send(b"x")
            assert until(lambda: taps[0].counters()["ip4"] == before + 7)
            assert dropping.counters()["drop_blocked"] == 7
            chain.remove("exit")
            assert [s.slot for s in chain.slots()] == ["filter"]


@pytest.mark.skipif(
    not {b.name: b for b in wp.backends()}["af_xdp"].available,
    reason="unsupported: the af_xdp backend is not available here",
)
class TestAfXdpInTheChain:
    def test_a_port_joins_and_leaves(self, pair):
        name = pair["b"].interface.name
        flow = (pair["b"].interface.ipv4, PORT)
        with pair["b"].enter(), udp_pair(pair) as (sender, receiver):  # noqa: SIM117
            with programs.Chain(name) as chain:
                dropping = chain.add("filter", EXAMPLE)
                with wp.open(f"af_xdp:{name}", steer=wp.udp(*flow)) as port:
                    assert "wirepath's chain" in port.info()["attach"]
                    assert [s.slot for s in chain.slots()] == ["filter", "steer"]
                    sender.send(b"to the port")
                    batch = port.poll(5)
                    assert batch is not None
                    with batch:
                        assert bytes(batch[0]).endswith(b"to the port")
                    dropping.maps["blocked"][PORT] = 1
                    sender.send(b"dropped")
                    assert until(lambda: dropping.counters()["drop_blocked"] == 1)
                    assert port.poll(0.2) is None
                    del dropping.maps["blocked"][PORT]
                assert [s.slot for s in chain.slots()] == ["filter"]
                sender.send(b"to the host")
                assert receiver.recv(100) == b"to the host"

    def test_a_port_keeps_the_chain_alive(self, pair):
        name = pair["b"].interface.name
        flow = (pair["b"].interface.ipv4, PORT)
        owner = child(pair, "chain = programs.Chain(name)\nchain.add('filter', 'count')")
        with pair["b"].enter(), udp_pair(pair) as (sender, _):
            with wp.open(f"af_xdp:{name}", steer=wp.udp(*flow)) as port:
                kill(owner)
                time.sleep(0.2)
                sender.send(b"still steered")
                batch = port.poll(5)
                assert batch is not None
                batch.release()
            assert until(lambda: programs.attached(name) == [])

    def test_the_slot_of_a_killed_port_is_cleaned(self, pair):
        name = pair["b"].interface.name
        flow = (pair["b"].interface.ipv4, PORT)
        with pair["b"].enter(), udp_pair(pair) as (sender, receiver):
            chain = programs.Chain(name)
            process = child(pair, f"port = wp.open('af_xdp:' + name, steer=wp.udp(*{flow!r}))")
            assert [s.slot for s in chain.slots()] == ["steer"]
            kill(process)
            sender.send(b"passes meanwhile")
            assert receiver.recv(100) == b"passes meanwhile"
            with wp.open(f"af_xdp:{name}", steer=wp.udp(*flow)) as port:
                assert [s.pid for s in chain.slots()] == [os.getpid()]
                sender.send(b"x")
                batch = port.poll(5)
                assert batch is not None
                batch.release()
            chain.close()

    def test_a_port_that_is_alone_is_named(self, pair):
        name = pair["b"].interface.name
        with pair["b"].enter(), wp.open(f"af_xdp:{name}", steer=wp.udp("239.1.1.1", 5)):  # noqa: SIM117
            with pytest.raises(wp.DeviceBusy, match="close that port, attach the chain"):
                programs.Chain(name)
