"""VLAN interfaces and VRFs of a router, in each data plane. They need a kernel that has them:
`./dev test --vm` boots one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from route_lab import SMALL, RouterLab, in_the_machine, unsupported, wait_until

import wirepath as wp
from wirepath.programs import kernel
from wirepath.route.probe import Probe

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        WHY_NOT is not None and not in_the_machine(), reason=f"unsupported: {WHY_NOT}"
    ),
]
PROCESS = Path(__file__).parent / "route_user_process.py"
PLANES = ("xdp", "xdp-kernel-fib", "user")
# Behind b, and asked for by a.
THERE = {4: "192.0.2.7", 6: "2001:db8:2::7"}
NET = {4: "192.0.2.0/24", 6: "2001:db8:2::/64"}
ANSWER = {4: (0, 0), 6: (129, 0)}

Counters = Callable[[], dict[str, Any]]


@pytest.fixture
def routers(lab_name: str) -> Iterator[RouterLab]:
    with RouterLab(lab_name) as made:
        yield made


@contextmanager
def forwarding(lab: RouterLab, plane: str, vrf: str | None = None) -> Iterator[Counters]:
    """A router between lan and wan, and how to ask what it counted."""
    config: dict[str, Any] = {"plane": plane, "interfaces": ["lan", "wan"], **SMALL}
    if plane == "user":
        config["ports"] = {"lan": "af_xdp:wp0", "wan": "af_xdp:wp1"}
    if plane != "xdp-kernel-fib" and vrf is not None:
        config["vrf"] = vrf
    process = lab.lab["r"].popen(
        [sys.executable, str(PROCESS), "router", json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    assert process.stdin is not None
    assert process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def ask() -> dict[str, Any]:
        asked.write("\n")
        asked.flush()
        return dict(json.loads(answers.readline()))

    try:
        line = answers.readline()
        assert line == "ready\n", line + process.communicate(timeout=60)[1]
        yield ask
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def links(lab: RouterLab, plane: str) -> None:
    """r has lan and wan, without addresses: ports of the driver, or devices of its own."""
    (af_xdp,) = (each for each in wp.backends() if each.name == "af_xdp")
    if plane == "user" and not af_xdp.available:
        unsupported(f"af_xdp: {af_xdp.reason}")
    for number, name in enumerate(("lan", "wan")):
        port = f"wp{number}"
        lab.run("r", "ip", "address", "flush", "dev", port)
        lab.run("r", "ethtool", "-K", port, "txvlan", "off", "rxvlan", "off")
        if plane == "user":
            lab.run("r", "ip", "tuntap", "add", name, "mode", "tap")
        else:
            lab.run("r", "ip", "link", "set", port, "down")
            lab.run("r", "ip", "link", "set", port, "name", name)
        lab.run("r", "ip", "link", "set", name, "up")


def made(lab: RouterLab, host: str, *words: str) -> None:
    """A link of a kind that not every kernel has; the virtual machine's has."""
    command = ["ip", "link", "add", *words]
    done = lab.lab[host].run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        unsupported(f"this kernel makes no such link: {done.stderr.strip()}")


def address(lab: RouterLab, host: str, link: str, *addresses: str) -> None:
    lab.run(host, "ip", "link", "set", link, "up")
    for each in addresses:
        quick = ["nodad"] if ":" in each else []
        lab.run(host, "ip", "address", "replace", each, "dev", link, *quick)


def behind_b(lab: RouterLab) -> None:
    """b has the addresses that a asks for, and finds back to a's."""
    address(lab, "b", "wp0", "10.9.0.2/24", "2001:db8:9::2/64", f"{THERE[4]}/32", f"{THERE[6]}/128")
    for net, via in (("10.7.0.0/24", "10.9.0.1"), ("2001:db8:7::/64", "2001:db8:9::1")):
        lab.run("b", "ip", "route", "replace", net, "via", via)


def behind_r(lab: RouterLab) -> None:
    for family, via in ((4, "10.7.0.1"), (6, "2001:db8:7::1")):
        lab.run("a", "ip", "route", "replace", NET[family], "via", via)


def in_red(lab: RouterLab) -> None:
    """VRF red, table 77, has lan and wan. Their addresses come after: a move takes IPv6's away."""
    made(lab, "r", "red", "type", "vrf", "table", "77")
    lab.run("r", "ip", "link", "set", "red", "up")
    for name, net in (("lan", 7), ("wan", 9)):
        lab.run("r", "ip", "link", "set", name, "master", "red")
        address(lab, "r", name, f"10.{net}.0.1/24", f"2001:db8:{net}::1/64")
    address(lab, "a", "wp0", "10.7.0.2/24", "2001:db8:7::2/64")
    behind_b(lab)
    behind_r(lab)


def forwarded(lab: RouterLab, ask: Counters) -> None:
    """Once neighbours are known, an echo request and its answer are forwarded, neither by the
    kernel."""
    for family in (4, 6):
        name = f"forwarded{family}"

        def both(family: int = family, name: str = name) -> bool:
            before = ask()["counters"][name]
            answer = lab.ping(family, to=THERE[family], seconds=2)
            return answer[:2] == ANSWER[family] and bool(ask()["counters"][name] >= before + 2)

        wait_until(both, f"{THERE[family]} is asked through the router and answers", 60)


@pytest.mark.parametrize("plane", PLANES)
def test_vlan_interfaces_are_routed(routers: RouterLab, plane: str) -> None:
    """a sends on VLAN 7, b on none; the tag comes off on the way there and on on the way back."""
    links(routers, plane)
    for host, parent, own in (("a", "wp0", 2), ("r", "lan", 1)):
        tagged = f"{parent}.7"
        made(routers, host, "link", parent, "name", tagged, "type", "vlan", "id", "7")
        address(routers, host, tagged, f"10.7.0.{own}/24", f"2001:db8:7::{own}/64")
    address(routers, "r", "wan", "10.9.0.1/24", "2001:db8:9::1/64")
    behind_b(routers)
    behind_r(routers)
    for family, via in ((4, "10.9.0.2"), (6, "2001:db8:9::2")):
        routers.run("r", "ip", "route", "replace", NET[family], "via", via)
    with forwarding(routers, plane) as ask:
        forwarded(routers, ask)
        found = ask()
        assert found["interfaces"]["lan.7"]["sent_packets"] >= 2
        assert found["interfaces"]["lan.7"]["forwarded"] >= 2
        assert found["interfaces"].get("lan", {"forwarded": 0})["forwarded"] == 0
        if plane != "xdp-kernel-fib":  # it counts by next hop of its own tables
            assert {0, 7} <= {row["vlan"] for row in found["next_hops"]}
        if plane == "xdp":
            with routers.lab["r"].enter():
                there, back = Probe("lan.7").run(THERE[4]), Probe("wan").run("10.7.0.2")
            assert (there.fate, there.out_of, there.vlan) == ("forwarded", "wan", None)
            assert (back.fate, back.out_of, back.vlan) == ("forwarded", "lan.7", 7)


@pytest.mark.parametrize("plane", PLANES)
def test_the_tables_of_a_vrf_are_followed(routers: RouterLab, plane: str) -> None:
    """Table main leads nowhere, that of the VRF to b."""
    links(routers, plane)
    in_red(routers)
    for family, via in ((4, "10.9.0.2"), (6, "2001:db8:9::2")):
        net = NET[family]
        routers.run("r", "ip", "route", "add", "blackhole", net)
        routers.run("r", "ip", "route", "add", net, "via", via, "dev", "wan", "table", "77")
    with forwarding(routers, plane, "red") as ask:
        forwarded(routers, ask)
        assert ask()["counters"]["drop_blackhole"] == 0


def test_what_is_in_a_vrf_is_left_to_the_host(routers: RouterLab) -> None:
    """A router that follows no VRF's tables forwards nothing of one's interfaces; the kernel
    does."""
    links(routers, "xdp")
    in_red(routers)
    routers.run("r", "ip", "route", "add", NET[4], "via", "10.9.0.2", "dev", "wan", "table", "77")
    with forwarding(routers, "xdp") as ask:
        wait_until(
            lambda: routers.ping(4, to=THERE[4], seconds=2)[:2] == ANSWER[4], "the kernel forwards"
        )
        counters = ask()["counters"]
        assert counters["to_host_off"] >= 2
        assert (counters["forwarded4"], counters["forwarded6"]) == (0, 0)
