# SPDX-License-Identifier: Apache-2.0
"""The lab's life on the real kernel: made as asked, and nothing ever left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wirepath import lab
from wirepath.lab import Lab, LabError, LabUnavailable, _links, _netns, _state, _status

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def namespaces(name: str) -> list[str]:
    found = Path("/run/netns")
    return sorted(p.name for p in found.glob(f"{name}-*")) if found.exists() else []


def assert_nothing_left(name: str) -> None:
    assert namespaces(name) == []
    assert not Path(f"/run/wirepath/lab-{name}.json").exists()


def here() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still running")


@pytest.mark.lab
def test_status_reads_back_what_was_asked(lab_name: str) -> None:
    with Lab(lab_name, queues=3, mtu=3000) as net:
        status = net.status()
        json.dumps(dataclasses.asdict(status))
        assert (status.kind, status.owner_pid) == ("owned", os.getpid())
        for host in status.hosts:
            (interface,) = host.interfaces
            state = interface.state
            planned = net[host.name].interface
            assert host.up
            assert state is not None
            assert state.up
            assert (state.rx_queues, state.tx_queues, state.mtu) == (3, 3, 3000)
            assert (state.gro, state.tx_checksum, state.xdp) == (True, False, "none")
            assert state.mac == planned.mac
            assert state.ipv4 == (f"{planned.ipv4}/24",)
            assert f"fd57:6972:6570::{planned.ipv4[-1]}/64" in state.ipv6
            with net[host.name].enter():
                assert Path("/proc/sys/net/ipv4/conf/wp0/rp_filter").read_text() == "0\n"
                assert Path("/proc/sys/net/ipv4/conf/all/rp_filter").read_text() == "0\n"
        assert [s.name for s in lab.status() if s.name == lab_name] == [lab_name]
    assert lab.status(lab_name) == []


@pytest.mark.lab
def test_ipv6_can_be_left_out(lab_name: str) -> None:
    with Lab(lab_name, ipv6=False) as net:
        state = net.status().hosts[0].interfaces[0].state
        assert state is not None
        assert state.ipv6 == ()


@pytest.mark.lab
def test_enter_moves_this_thread_only_and_returns(lab_name: str) -> None:
    home = here()
    with Lab(lab_name) as net:
        elsewhere: list[int] = []
        with net["a"].enter():
            assert here() == net["a"].netns.stat().st_ino != home
            thread = threading.Thread(target=lambda: elsewhere.append(here()))
            with net["b"].enter():
                assert here() == net["b"].netns.stat().st_ino
            assert here() == net["a"].netns.stat().st_ino
            thread.start()
            thread.join()
            # A new thread starts where the one that made it is.
            assert elsewhere == [net["a"].netns.stat().st_ino]
        assert here() == home
        with pytest.raises(ZeroDivisionError), net["a"].enter():
            _ = 1 / 0
        assert here() == home
        visit = net["a"].enter()
        visit.__enter__()
        with pytest.raises(LabError, match="already in use"):
            visit.__enter__()
        visit.__exit__(None, None, None)
        assert here() == home
    with pytest.raises(LabError, match="the lab is down"), net["a"].enter():
        pass
    assert here() == home


@pytest.mark.lab
def test_other_threads_stay_at_home(lab_name: str) -> None:
    inside, seen = threading.Event(), threading.Event()
    with Lab(lab_name) as net:

        def visit() -> None:
            with net["a"].enter():
                inside.set()
                seen.wait(5)

        thread = threading.Thread(target=visit)
        home = here()
        thread.start()
        assert inside.wait(5)
        assert here() == home
        seen.set()
        thread.join()


@pytest.mark.lab
def test_leaving_on_another_thread_is_an_error(lab_name: str) -> None:
    with Lab(lab_name) as net:
        visit = net["a"].enter()
        thread = threading.Thread(target=visit.__enter__)
        thread.start()
        thread.join()
        home = here()
        with pytest.raises(LabError, match="another thread"):
            visit.__exit__(None, None, None)
        assert here() == home


@pytest.mark.lab
def test_commands_run_on_their_host(lab_name: str) -> None:
    with Lab(lab_name) as net:
        asked = ["readlink", "/proc/self/ns/net"]
        shown = net["a"].run(asked, capture_output=True, text=True, check=True).stdout.strip()
        assert shown == f"net:[{net['a'].netns.stat().st_ino}]"
        typed = subprocess.run(net["a"].command(asked), capture_output=True, text=True, check=True)
        assert typed.stdout.strip() == shown
        with pytest.raises(FileNotFoundError):
            net["a"].run(["no-such-program"])


@pytest.mark.lab
def test_processes_end_when_the_lab_does(lab_name: str) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True)"
    stubborn += "; time.sleep(600)"
    outside = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    try:
        with Lab(lab_name) as net:
            polite = net["a"].popen(SLEEP, stdout=subprocess.PIPE)
            rude = net["b"].popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
            for child in (polite, rude):
                assert child.stdout is not None
                child.stdout.readline()
            assert net.status().hosts[0].pids == (polite.pid,)
        for child in (polite, rude):
            assert child.stdout is not None
            child.stdout.close()
        assert polite.returncode == -signal.SIGTERM
        assert rude.returncode == -signal.SIGKILL
        assert outside.poll() is None, "a process outside the lab was ended"
    finally:
        outside.kill()
        outside.wait()
    assert_nothing_left(lab_name)


@pytest.mark.lab
def test_clean_after_an_exception(lab_name: str) -> None:
    seen: list[float] = []
    with pytest.raises(ZeroDivisionError), Lab(lab_name):
        seen.append(len(namespaces(lab_name)) / 0)
    assert seen == []
    assert_nothing_left(lab_name)


@pytest.mark.lab
def test_clean_after_a_failure_half_way(lab_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[list[str]] = []

    def fail(*_: object) -> None:
        reached.append(namespaces(lab_name))
        raise KeyboardInterrupt

    monkeypatch.setattr(_links, "configure", fail)
    with pytest.raises(KeyboardInterrupt):
        Lab(lab_name).start()
    assert len(reached[0]) == 2, "the failure came before anything was made"
    assert_nothing_left(lab_name)


OWNER = """
import sys, time
from wirepath.lab import Lab
with Lab(sys.argv[1]) as lab:
    child = lab["a"].popen(["sleep", "600"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def owner_process(name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds a lab, and the pid of a command that runs in it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert owner.stdout is not None
        yield owner, int(owner.stdout.readline())
    finally:
        owner.kill()
        owner.wait()
        assert owner.stdout is not None
        owner.stdout.close()  # and not communicate(): the command in the lab holds it open, too


@pytest.mark.lab
@pytest.mark.parametrize(
    ("sign", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)],
)
def test_clean_after_a_signal(lab_name: str, sign: signal.Signals, status: int) -> None:
    with owner_process(lab_name) as (owner, child):
        assert len(namespaces(lab_name)) == 2
        owner.send_signal(sign)
        assert owner.wait(10) == status
        assert_nothing_left(lab_name)
        wait_until_dead(child)


@pytest.mark.lab
@pytest.mark.parametrize("mend", ["start", "start another", "down"])
def test_clean_after_kill_9(lab_name: str, mend: str) -> None:
    with owner_process(lab_name) as (owner, child):
        # Locked, because any other lab that starts meanwhile clears up too.
        with _state.locked():
            owner.kill()  # not reaped yet: a zombie owner is a dead owner
            wait_until_dead(owner.pid)
            assert len(namespaces(lab_name)) == 2
            os.kill(child, 0)
            record = _state.read(lab_name)
            assert record is not None
            assert _status.read_back(lab_name, record).kind == "stale"
        with pytest.raises(LabError, match="no lab"):
            lab.attach(lab_name)
        if mend == "down":
            Lab.down(lab_name)
        else:
            with Lab(lab_name if mend == "start" else f"{lab_name}y") as net:
                assert net.status().kind == "owned"
        wait_until_dead(child)
        assert_nothing_left(lab_name)


@pytest.mark.lab
def test_clean_after_a_crash_before_the_mount(lab_name: str) -> None:
    with Lab(lab_name) as net:
        spec = net.spec
    dead = subprocess.Popen(["true"])
    dead.wait()
    with _state.locked():
        _state.write(_state.Record(spec, _state.Owner(dead.pid, 1)))
        Path(f"/run/netns/{lab_name}-a").touch()
    lab.down(lab_name)
    assert_nothing_left(lab_name)


@pytest.mark.lab
def test_a_living_owner_is_respected(lab_name: str) -> None:
    with owner_process(lab_name) as (owner, child):
        for attempt in (Lab(lab_name).start, lambda: lab.down(lab_name)):
            with pytest.raises(LabError, match=f"process {owner.pid}"):
                attempt()
        assert len(namespaces(lab_name)) == 2
        visitor = lab.attach(lab_name)
        with visitor, visitor["b"].enter():
            assert socket.if_nametoindex("wp0") > 1
        assert len(namespaces(lab_name)) == 2, "closing an attached lab must not remove it"
        assert lab.down(lab_name, force=True)
        wait_until_dead(child)
        assert_nothing_left(lab_name)


@pytest.mark.lab
def test_a_persistent_lab_stays_until_down(lab_name: str) -> None:
    made = lab.up(lab_name, queues=2)
    with made:
        pass
    made.close()
    (status,) = lab.status(lab_name)
    assert (status.kind, status.owner_pid, status.queues) == ("persistent", None, 2)
    with pytest.raises(LabError, match="wirepath lab up"):
        lab.up(lab_name)
    mode = Path(f"/run/wirepath/lab-{lab_name}.json").stat().st_mode & 0o777
    assert mode == 0o600
    with Lab(f"{lab_name}y"):
        pass  # starting another lab reaps stale ones only
    assert lab.down(lab_name) is True
    assert lab.down(lab_name) is False
    assert_nothing_left(lab_name)


@pytest.mark.lab
def test_strangers_are_never_touched(lab_name: str) -> None:
    stranger, taken = Path(f"/run/netns/{lab_name}-zz"), Path(f"/run/netns/{lab_name}-b")
    _netns.create(stranger)
    try:
        with Lab(lab_name) as net:
            net.close()
            assert namespaces(lab_name) == [stranger.name]
        _netns.create(taken)
        with pytest.raises(LabError, match=f"ip netns delete {taken.name}"):
            Lab(lab_name).start()
        assert lab.down(lab_name) is False
        assert namespaces(lab_name) == [taken.name, stranger.name]
    finally:
        _netns.remove(stranger)
        _netns.remove(taken)


@pytest.mark.lab
def test_a_damaged_state_file_is_explained(lab_name: str) -> None:
    path = Path(f"/run/wirepath/lab-{lab_name}.json")
    with Lab(lab_name):
        whole = path.read_text()
        for text in (
            whole[:40],
            "{}",
            whole.replace('"a"', '"../a"'),
            whole.replace(": 1,", ": 9,"),
        ):
            path.write_text(text)
            with pytest.raises(LabError, match="damaged"):
                lab.status(lab_name)
            assert ("damaged", lab_name) in [(s.kind, s.name) for s in lab.status()]
            with Lab(f"{lab_name}y"):
                pass  # another lab is not kept from its work
        path.write_text(whole)


@pytest.mark.lab
def test_start_and_close_may_be_repeated(lab_name: str) -> None:
    before = signal.getsignal(signal.SIGTERM)  # not the default where other labs are up
    net = Lab(lab_name)
    for _ in range(3):
        net.start()
        with pytest.raises(LabError, match="up already"):
            net.start()
        assert len(namespaces(lab_name)) == 2
        net.close()
        net.close()
        assert_nothing_left(lab_name)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.lab
def test_a_forked_child_removes_nothing(lab_name: str) -> None:
    with Lab(lab_name) as net:
        pid = os.fork()
        if pid == 0:
            net.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert net.status().hosts[1].up


@pytest.mark.lab
def test_no_veth_in_the_kernel_is_explained(lab_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyroute2 import NetlinkError

    class Refusing:
        def link(self, *_: object, **__: object) -> None:
            raise NetlinkError(95, "Operation not supported")

    real = _links._netlink

    @contextlib.contextmanager
    def netlink() -> Iterator[object]:
        with real() as link:
            yield link if not made else Refusing()

    made: list[bool] = []
    add = _links.add_veth

    def add_veth(*arguments: object) -> None:
        made.append(True)
        try:
            add(*arguments)  # type: ignore[arg-type]
        finally:
            made.clear()

    monkeypatch.setattr(_links, "_netlink", netlink)
    monkeypatch.setattr(_links, "add_veth", add_veth)
    with pytest.raises(LabUnavailable, match=r"sudo modprobe veth.*CONFIG_VETH"):
        Lab(lab_name).start()
    assert_nothing_left(lab_name)


def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_netns, "effective_capabilities", lambda: 1 << 21)  # CAP_SYS_ADMIN only
    for attempt in (Lab("x").start, lambda: lab.up("x"), lambda: lab.down("x"), lab.status):
        with pytest.raises(LabUnavailable, match=r"CAP_NET_ADMIN.*sudo") as refusal:
            attempt()
        assert "CAP_SYS_ADMIN" not in str(refusal.value)
    assert_nothing_left("x")


NOBODY = """
import os, sys
from wirepath import lab
import pyroute2
from wirepath.lab import _netns
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
if sys.argv[1] == "kernel":                    # as if the capabilities were there
    _netns.missing_capabilities = lambda: []
print(lab.unavailable_reason())
try:
    with lab.Lab("nobody"):
        print("made")
except lab.LabUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("refused_by", ["capabilities", "kernel"])
def test_nobody_is_refused_with_the_mend(refused_by: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", NOBODY, refused_by],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stdout
    for line in lines:
        assert "CAP_NET_ADMIN" in line
        assert "CAP_SYS_ADMIN" in line
        assert "sudo" in line
    assert_nothing_left("nobody")
