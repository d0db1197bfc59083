"""The router in user space between hosts of a lab: AF_XDP, DPDK, and what the kernel does through
the TAP devices."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import wirepath as wp
from wirepath.lab import Host, Lab

pytestmark = pytest.mark.lab
PROCESS = Path(__file__).parent / "route_user_process.py"
BACKENDS = {b.name: b for b in wp.backends()}
NET = "10.77"
NET6 = "fd57:6972:6570"


class Process:
    """A process of route_user_process.py on a host."""

    def __init__(self, host: Host, *words: str) -> None:
        self._child = host.popen(
            [sys.executable, str(PROCESS), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.report: dict[str, Any] = {}

    def ready(self) -> None:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        assert line == "ready\n", line + self._child.communicate(timeout=60)[1]

    def ask(self) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def end(self) -> dict[str, Any]:
        """Its last word."""
        out, err = self._child.communicate(timeout=60)
        assert self._child.returncode == 0, err
        self.report = json.loads(out.splitlines()[-1])
        return self.report

    def kill(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.communicate()


def said(host: Host, *command: object, check: bool = True) -> str:
    done = host.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def answers(host: Host, address: str, *options: object) -> bool:
    done = host.run(
        ["ping", "-c1", "-W2", *map(str, options), address], capture_output=True, timeout=30
    )
    return done.returncode == 0


def reaches(host: Host, address: str, *options: object) -> None:
    wait_for(lambda: answers(host, address, *options), f"{host.name} does not reach {address}")


@pytest.fixture
def three(lab_name: str) -> Iterator[Lab]:
    """a - r - b; on r nothing but the kernel's forwarding is set up, and nobody's neighbour is."""
    with Lab(lab_name, hosts=("a", "r", "b")) as lab:
        for host in lab.hosts.values():
            said(host, "ip", "-4", "neigh", "flush", "nud", "permanent")
            said(host, "ip", "-6", "neigh", "flush", "nud", "permanent")
        for each in lab["r"].interfaces:
            said(lab["r"], "ip", "addr", "flush", "dev", each.name)
        said(lab["a"], "ip", "route", "replace", "default", "via", f"{NET}.0.2")
        said(lab["a"], "ip", "-6", "route", "replace", "default", "via", f"{NET6}:0::2")
        yield lab


@contextlib.contextmanager
def routing(lab: Lab, ports: dict[str, str], **options: object) -> Iterator[Process]:
    config = {
        "plane": "user",
        "interfaces": list(ports),
        "ports": ports,
        "addresses": {
            name: [f"{NET}.{k}.{2 - k}/24", f"{NET6}:{k}::{2 - k}/64"]
            for k, name in enumerate(ports)
        },
        "groups4": 64,
        "groups6": 64,
        "next_hops": 64,
        **options,
    }
    process = Process(lab["r"], "router", json.dumps(config))
    try:
        process.ready()
        yield process
    finally:
        process.kill()


def transfer(lab: Lab, address: str, size: int) -> int:
    """Bytes that b got of those that a sent by TCP."""
    take = (
        "import socket,sys\n"
        "s=socket.create_server((sys.argv[1],5001),family=socket.AF_INET6 if ':' in sys.argv[1] "
        "else socket.AF_INET)\nprint('ready',flush=True)\nc,_=s.accept()\nc.settimeout(60)\nn=0\n"
        "while d:=c.recv(65536):n+=len(d)\nprint(n)"
    )
    give = (
        "import socket,sys\nc=socket.create_connection((sys.argv[1],5001),60)\n"
        "c.sendall(bytes(int(sys.argv[2])))"
    )
    server = lab["b"].popen(
        [sys.executable, "-c", take, address], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        said(lab["a"], sys.executable, "-c", give, address, size)
        return int(server.communicate(timeout=60)[0])
    finally:
        server.kill()
        server.wait()


def exact(report: dict[str, Any]) -> dict[str, Any]:
    """The account of a router that has ended, in which every frame is."""
    account = report["account"]
    assert account["missing"] == 0, report
    assert account["received"] > 0
    return account


def check_a_router(lab: Lab, router: Process, size: int = 400_000) -> None:
    """What hosts see of it: its own addresses, what is behind it, and ICMP errors."""
    a, b = lab["a"], lab["b"]
    # ARP and ND are the kernel's, through the TAP device.
    reaches(a, f"{NET}.0.2")
    reaches(a, f"{NET6}:0::2")
    reaches(b, f"{NET}.1.1")
    reaches(a, f"{NET}.1.2")
    reaches(a, f"{NET6}:1::2")
    before = router.ask()["counters"]
    for k in range(5):
        assert answers(a, f"{NET}.1.2", "-s", 1472, "-M", "do"), k
        assert answers(a, f"{NET6}:1::2"), k
    after = router.ask()["counters"]
    assert after["forwarded4"] >= before["forwarded4"] + 10
    assert after["forwarded6"] >= before["forwarded6"] + 10
    assert transfer(lab, f"{NET}.1.2", size) == size
    assert "Time to live exceeded" in said(a, "ping", "-c1", "-t1", f"{NET}.1.2", check=False)
    assert "Time exceeded" in said(a, "ping", "-c1", "-t1", f"{NET6}:1::2", check=False)
    assert "Unreachable" in said(a, "ping", "-c1", "203.0.113.9", check=False)
    said(lab["r"], "ip", "route", "add", "prohibit", "198.51.100.0/24")
    wait_for(
        lambda: "filtered" in said(a, "ping", "-c1", "-W1", "198.51.100.9", check=False),
        "the kernel does not refuse",
    )
    said(lab["r"], "ip", "route", "add", "blackhole", "192.0.2.0/24")
    wait_for(lambda: "drop_blackhole" in _dropped(a, router), "the blackhole is not there")
    counters = router.ask()["counters"]
    assert counters["to_host_ttl"] >= 2
    assert counters["to_host_prohibit"] >= 1


def _dropped(a: Host, router: Process) -> dict[str, int]:
    answers(a, "192.0.2.9", "-W", 1)
    dropped = router.ask()["account"]["dropped"]
    assert isinstance(dropped, dict)
    return dropped


def _need(backend: str) -> None:
    if not BACKENDS[backend].available:
        pytest.skip(f"unsupported: {backend}: {BACKENDS[backend].reason}")


@pytest.mark.parametrize("out", ["af_xdp:wp1", "dpdk:net_af_packet0,iface=wp1"])
def test_a_router_over_af_xdp(three: Lab, out: str) -> None:
    _need("af_xdp")
    _need(out.partition(":")[0])
    with routing(three, {"lan": "af_xdp:wp0", "wan": out}) as router:
        check_a_router(three, router)
        account = exact(router.end())
    assert set(account["dropped"]) == {"drop_blackhole"}
    assert account["refused"] == {}
    assert account["to_host"] > 10
    assert account["from_host"] > 10


def test_hosts_behind_memif(lab_name: str, tmp_path: Path) -> None:
    """DPDK on both sides; frames go from one port's memory out of the other without a copy."""
    _need("dpdk")
    with Lab(lab_name, hosts=("a", "r", "b")) as lab, contextlib.ExitStack() as processes:
        for host in lab.hosts.values():
            for each in host.interfaces:
                said(host, "ip", "link", "set", each.name, "down")
        link = "dpdk:net_memif{},role={},socket={},socket-abstract=no"
        sockets = [tmp_path / "a.sock", tmp_path / "b.sock"]
        ports = {
            name: link.format(k, "server", path)
            for k, (name, path) in enumerate(zip(("lan", "wan"), sockets, strict=True))
        }
        router = processes.enter_context(routing(lab, ports))
        wires = []
        for k, host in enumerate((lab["a"], lab["b"])):
            own = 1 + k
            wire = Process(
                host,
                "wire",
                link.format(0, "client", sockets[k]),
                "tap0",
                f"{NET}.{k}.{own}/24",
                f"{NET6}:{k}::{own}/64",
            )
            processes.callback(wire.kill)
            wires.append(wire)
        for k, (host, wire) in enumerate(zip((lab["a"], lab["b"]), wires, strict=True)):
            wire.ready()
            said(host, "ip", "route", "replace", "default", "via", f"{NET}.{k}.{2 - k}")
            said(host, "ip", "-6", "route", "replace", "default", "via", f"{NET6}:{k}::{2 - k}")
        check_a_router(lab, router, 200_000)
        account = exact(router.end())
    assert set(account["dropped"]) == {"drop_blackhole"}
    assert account["refused"] == {}


def test_changes_of_routes_under_load_lose_nothing(three: Lab) -> None:
    """Every packet of a paced stream arrives while routes come and go around its own."""
    _need("af_xdp")
    a, r, b = three["a"], three["r"], three["b"]
    take = (
        "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,1<<22)\n"
        "s.bind(('0.0.0.0',5002))\ns.settimeout(30)\nprint('ready',flush=True)\nn=set()\n"
        "while (d:=s.recv(64))!=b'end':n.add(d)\nprint(len(n))"
    )
    give = (
        "import socket,sys,time\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        "for i in range(3000):\n s.sendto(b'%d'%i,(sys.argv[1],5002))\n"
        " if i%10==9:time.sleep(0.005)\n"
        "for _ in range(20):\n time.sleep(0.05);s.sendto(b'end',(sys.argv[1],5002))"
    )
    churn = (
        "i=0\nwhile :;do ip route replace 10.77.1.2/32 dev wan;ip route del 10.77.1.2/32;"
        "ip route replace 10.77.1.0/25 dev wan;ip route replace 30.$((i%250)).0.0/16 via 10.77.1.2;"
        "ip route del 10.77.1.0/25;i=$((i+1));done"
    )
    with routing(three, {"lan": "af_xdp:wp0", "wan": "af_xdp:wp1"}) as router:
        reaches(a, f"{NET}.1.2")
        server = b.popen([sys.executable, "-c", take], stdout=subprocess.PIPE, text=True)
        changing = r.popen(["sh", "-c", churn])
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            said(a, sys.executable, "-c", give, f"{NET}.1.2")
            assert int(server.communicate(timeout=60)[0]) == 3000
        finally:
            changing.kill()
            changing.wait()
            server.kill()
            server.wait()
        shown = router.ask()
        assert shown["tables"]["refreshes"] > 10
        account = exact(router.end())
    assert account["dropped"] == {}
    assert account["refused"] == {}


def test_a_port_without_a_link_is_a_device_without_a_carrier(three: Lab) -> None:
    _need("af_xdp")
    with routing(three, {"lan": "af_xdp:wp0", "wan": "af_xdp:wp1"}) as router:
        reaches(three["a"], f"{NET}.1.2")
        said(three["b"], "ip", "link", "set", "wp0", "down")
        wait_for(
            lambda: "NO-CARRIER" in said(three["r"], "ip", "link", "show", "wan"),
            "the device keeps its carrier",
        )
        said(three["b"], "ip", "link", "set", "wp0", "up")
        said(three["b"], "ip", "addr", "replace", f"{NET}.1.2/24", "dev", "wp0")
        said(three["b"], "ip", "route", "replace", f"{NET}.0.0/24", "via", f"{NET}.1.1")
        reaches(three["a"], f"{NET}.1.2")
        exact(router.end())
    assert "lan" not in said(three["r"], "ip", "link")


@pytest.mark.parametrize(
    ("ports", "names"),
    [
        ({"lan": "af_xdp:nowhere"}, "nowhere"),
        ({"much_too_long_a_name": "null:"}, "much_too_long_a_name"),
        ({"wp0": "null:"}, "wp0"),
        ({"lan": "pcap:/nowhere.pcap"}, "nowhere.pcap"),
    ],
)
def test_what_cannot_be_is_told(three: Lab, ports: dict[str, str], names: str) -> None:
    script = (
        "import sys,json\nfrom wirepath.route.user import UserPlane\nfrom wirepath.errors import "
        "WirepathError\ntry:\n UserPlane(json.loads(sys.argv[1]))\nexcept WirepathError as e:\n "
        "print(type(e).__name__, e)"
    )
    told = said(three["r"], sys.executable, "-c", script, json.dumps(ports))
    assert names in told
    assert "Error" in told.split()[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_user_space_and_driver_do_the_same(tmp_path: Path, seed: int) -> None:
    """Of 1,500 frames each: what leaves by which port, what the host gets, and all counters."""
    script = Path(__file__).parent / "route_user_differential.py"
    done = subprocess.run(
        ["unshare", "--net", "--", sys.executable, str(script), str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    user, kernel = said["user"], said["kernel"]
    assert user["missing"] == 0
    assert user["received"] == 1500
    assert user["counters"] == kernel["counters"]
    assert user["sent"] == kernel["sent"]
    assert user["to_host"] == kernel["to_host"]
    for verdict in ("redirect", "pass", "drop"):
        assert kernel["verdicts"][verdict] > 50, kernel["verdicts"]
    assert min(map(len, user["sent"])) > 50
