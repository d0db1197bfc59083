"""The router in user space between hosts of a lab: AF_XDP, DPDK, and what the kernel does through
the TAP devices."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from route_lab import RouterLab, wait_until

import wirepath as wp
from wirepath.lab import Host

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


def comes(lab: RouterLab, family: int, to: str, answer: tuple[int, int], **options: int) -> None:
    """An echo request of a's comes to be answered like this."""

    def seen() -> bool:
        return lab.ping(family, to=to, seconds=2, **options)[:2] == answer

    wait_until(seen, f"a asks {to} and does not hear {answer}", 60)


def reaches(lab: RouterLab, family: int, to: str) -> None:
    comes(lab, family, to, (0, 0) if family == 4 else (129, 0))


@pytest.fixture
def three(lab_name: str) -> Iterator[RouterLab]:
    """a - r - b; on r nothing but the kernel's forwarding is set up, and nobody's neighbour is."""
    with RouterLab(lab_name) as made:
        for host in made.lab.hosts.values():
            said(host, "ip", "-4", "neigh", "flush", "nud", "permanent")
            said(host, "ip", "-6", "neigh", "flush", "nud", "permanent")
        for each in made.lab["r"].interfaces:
            said(made.lab["r"], "ip", "addr", "flush", "dev", each.name)
        default_routes(made)
        yield made


def default_routes(lab: RouterLab) -> None:
    for k, name in enumerate("ab"):
        host = lab.lab[name]
        said(host, "ip", "route", "replace", "default", "via", f"{NET}.{k}.{2 - k}")
        said(host, "ip", "-6", "route", "replace", "default", "via", f"{NET6}:{k}::{2 - k}")


@contextlib.contextmanager
def routing(lab: RouterLab, ports: dict[str, str], **options: object) -> Iterator[Process]:
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
    process = Process(lab.lab["r"], "router", json.dumps(config))
    try:
        process.ready()
        yield process
    finally:
        process.kill()


def exact(report: dict[str, Any]) -> dict[str, Any]:
    """The account of a router that has ended, in which every frame is."""
    account = report["account"]
    assert account["missing"] == 0, report
    assert account["received"] > 0
    assert isinstance(account, dict)
    return account


def check_a_router(lab: RouterLab, router: Process) -> None:
    """What hosts see of it: its own addresses, what is behind it, and ICMP errors."""
    r = lab.lab["r"]
    b4, b6 = f"{NET}.1.2", f"{NET6}:1::2"
    # ARP and ND are the kernel's, through the TAP device.
    reaches(lab, 4, f"{NET}.0.2")
    reaches(lab, 6, f"{NET6}:0::2")
    reaches(lab, 4, f"{NET}.1.1")
    reaches(lab, 4, b4)
    reaches(lab, 6, b6)

    def forwarded() -> bool:  # from when the neighbours are in the tables
        before = router.ask()["counters"]
        lab.ping(4, to=b4, seconds=2)
        lab.ping(6, to=b6, seconds=2)
        after = router.ask()["counters"]
        return all(after[name] >= before[name] + 2 for name in ("forwarded4", "forwarded6"))

    wait_until(forwarded, "packets are not forwarded both ways", 60)
    comes(lab, 4, b4, (0, 0), size=1464)
    assert lab.datagrams(20, 4) == 20
    assert lab.datagrams(20, 6) == 20
    assert lab.stream(200_000, 4) == 200_000
    assert lab.stream(200_000, 6) == 200_000
    comes(lab, 4, b4, (11, 0), hops=1)
    comes(lab, 6, b6, (3, 0), hops=1)
    comes(lab, 4, "203.0.113.9", (3, 0))
    said(r, "ip", "route", "add", "prohibit", "198.51.100.0/24")
    comes(lab, 4, "198.51.100.9", (3, 13))
    wait_until(lambda: asked(lab, router, "198.51.100.9")["to_host_prohibit"], "no prohibit", 60)
    said(r, "ip", "route", "add", "blackhole", "192.0.2.0/24")

    wait_until(lambda: asked(lab, router, "192.0.2.9")["drop_blackhole"], "no blackhole", 60)
    assert router.ask()["counters"]["to_host_ttl"] >= 2


def asked(lab: RouterLab, router: Process, address: str) -> dict[str, int]:
    """The router's counters after a packet for an address."""
    lab.ping(4, to=address, seconds=1)
    counters = router.ask()["counters"]
    assert isinstance(counters, dict)
    return counters


def _need(backend: str) -> None:
    if not BACKENDS[backend].available:
        pytest.skip(f"unsupported: {backend}: {BACKENDS[backend].reason}")


@pytest.mark.parametrize("out", ["af_xdp:wp1"])
def test_a_router_over_af_xdp(three: RouterLab, out: str) -> None:
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
    with RouterLab(lab_name) as lab, contextlib.ExitStack() as processes:
        for host in lab.lab.hosts.values():
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
        for k, name in enumerate("ab"):
            wires.append(
                Process(
                    lab.lab[name],
                    "wire",
                    link.format(0, "client", sockets[k]),
                    "tap0",
                    f"{NET}.{k}.{1 + k}/24",
                    f"{NET6}:{k}::{1 + k}/64",
                )
            )
            processes.callback(wires[-1].kill)
        for wire in wires:
            wire.ready()
        default_routes(lab)
        check_a_router(lab, router)
        account = exact(router.end())
    assert set(account["dropped"]) == {"drop_blackhole"}
    # What the kernel sends before the hosts are there finds no link.
    assert all(".drop.tx_" in name for name in account["refused"])


def test_changes_of_routes_under_load_lose_nothing(three: RouterLab) -> None:
    """Every packet of a paced stream arrives while routes come and go around its own."""
    _need("af_xdp")
    a, r, b = (three.lab[name] for name in "arb")
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
        reaches(three, 4, f"{NET}.1.2")
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


def test_a_port_without_a_link_is_a_device_without_a_carrier(three: RouterLab) -> None:
    _need("af_xdp")
    with routing(three, {"lan": "af_xdp:wp0", "wan": "af_xdp:wp1"}) as router:
        reaches(three, 4, f"{NET}.1.2")
        said(three.lab["b"], "ip", "link", "set", "wp0", "down")
        wait_until(
            lambda: "NO-CARRIER" in said(three.lab["r"], "ip", "link", "show", "wan"),
            "the device keeps its carrier",
        )
        said(three.lab["b"], "ip", "link", "set", "wp0", "up")
        said(three.lab["b"], "ip", "addr", "replace", f"{NET}.1.2/24", "dev", "wp0")
        said(three.lab["b"], "ip", "route", "replace", f"{NET}.0.0/24", "via", f"{NET}.1.1")
        reaches(three, 4, f"{NET}.1.2")
        exact(router.end())
    assert "lan" not in said(three.lab["r"], "ip", "link")


@pytest.mark.parametrize(
    ("ports", "names"),
    [
        ({"lan": "af_xdp:nowhere"}, "nowhere"),
        ({"much_too_long_a_name": "null:"}, "much_too_long_a_name"),
        ({"wp0": "null:"}, "wp0"),
        ({"lan": "pcap:/nowhere.pcap"}, "nowhere.pcap"),
    ],
)
def test_what_cannot_be_is_told(three: RouterLab, ports: dict[str, str], names: str) -> None:
    script = (
        "import sys,json\nfrom wirepath.route.user import UserPlane\nfrom wirepath.errors import "
        "WirepathError\ntry:\n UserPlane(json.loads(sys.argv[1]))\nexcept WirepathError as e:\n "
        "print(type(e).__name__, e)"
    )
    told = said(three.lab["r"], sys.executable, "-c", script, json.dumps(ports))
    assert names in told
    assert "Error" in told.split()[0]
