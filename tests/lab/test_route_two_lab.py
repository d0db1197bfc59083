"""Two routers for the same interfaces, and the end of one by another process's command."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from pathlib import Path
from urllib.request import urlopen

import pytest
from route_lab import WIREPATH, RouterLab, wait_until

import wirepath as wp
from wirepath.programs import kernel
from wirepath.route import claims

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]
USER = """
[router]
plane = "user"
interfaces = ["lan", "wan"]
groups4 = 64
groups6 = 64
next_hops = 64

[router.ports]
lan = "af_xdp:wp0"
wan = "af_xdp:wp1"

[router.addresses]
lan = ["10.77.0.2/24"]
wan = ["10.77.1.1/24"]
"""


@pytest.fixture
def routers(lab_name: str):
    with RouterLab(lab_name) as made:
        yield made


def told(routers: RouterLab, *words: object) -> subprocess.CompletedProcess[str]:
    """A command of wirepath on r, however it ends."""
    return routers.lab["r"].run(
        [*WIREPATH, *map(str, words)], capture_output=True, text=True, timeout=120
    )


def ended(routers: RouterLab) -> dict[str, object]:
    """What the router that was asked to end has reported."""
    process, routers._command = routers._command, None
    assert process is not None
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "as it was asked to" in err
    return json.loads(out)


def follows(routers: RouterLab) -> None:
    """A new route is the router's."""
    routers.run("b", "ip", "address", "add", "192.0.2.7/32", "dev", "wp0")
    routers.run("a", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.0.2")
    routers.run("r", "ip", "route", "add", "192.0.2.0/24", "via", "10.77.1.2")
    before = routers.counters()["counters"]["forwarded4"]

    def forwards() -> bool:
        routers.ping(to="192.0.2.7", seconds=0.5)
        return bool(routers.counters()["counters"]["forwarded4"] >= before + 2)

    wait_until(forwards, "the new route is not the router's")


@pytest.mark.parametrize("first", [(), ("--pin",)])
@pytest.mark.parametrize("second", [(), ("--pin",), ("--plane", "xdp-kernel-fib")])
def test_a_second_one_is_refused_and_changes_nothing(
    routers: RouterLab, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    routers.start_command(*first)
    assert routers._command is not None
    # One interface in common is enough.
    for names in (["wp1"], ["wp0", "wp1"]):
        done = told(routers, "route", "run", *names, *second, "--max-seconds", 60)
        assert done.returncode == 3, done.stderr
        assert f"has a router already: that of process {routers._command.pid} on wp0, wp1" in (
            done.stderr
        )
        assert any(f"wirepath route stop {name})" in done.stderr for name in names), done.stderr
        assert "Traceback" not in done.stderr
    # The first one still hears of routes.
    assert routers.datagrams(5) == 5
    assert routers.counters()["counters"]["forwarded4"] == 10
    follows(routers)
    # Asked by either name it ends, and what it has pinned goes as well, off all its interfaces.
    done = told(routers, "route", "stop", "wp1")
    assert done.returncode == 0, done.stderr
    assert ended(routers)["plane"] == "xdp"
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp1")
    again = told(routers, "route", "stop", "wp1")
    assert again.returncode == 2
    assert "there is no router on wp1 (wirepath route run wp1)" in again.stderr


def test_one_of_a_program_follows_until_the_program_ends_it(
    routers: RouterLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`route stop` can tell a library's user no more than that; packets are forwarded meanwhile."""
    monkeypatch.setattr(claims, "_SECONDS", 240.0)
    routers.start()
    assert routers.router is not None
    assert not routers.router.wait(0)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            with routers.lab["r"].enter():
                who = claims.holder("wp1")
                assert who is not None
                claims.end(who)
        except BaseException as error:
            failed.append(error)

    asked = threading.Thread(target=ask)
    asked.start()
    try:
        assert routers.router.wait(60), failed
        with routers.lab["r"].enter():
            who = claims.holder("wp0")
        assert who is not None
        assert who.ending
        follows(routers)
        assert asked.is_alive()
    finally:
        routers.stop()
        asked.join(60)
    assert not failed
    with routers.lab["r"].enter():
        assert claims.holder("wp0") is None


@pytest.mark.parametrize("pin", [(), ("--pin",)])
def test_a_renamed_interface_has_the_router_that_it_had(
    routers: RouterLab, pin: tuple[str, ...]
) -> None:
    routers.start_command(*pin)
    assert routers._command is not None
    for words in (("down",), ("name", "lan0"), ("up",)):
        link = "lan0" if words == ("up",) else "wp1"
        routers.run("r", "ip", "link", "set", link, *words)
    second = told(routers, "route", "run", "lan0", "--max-seconds", 60)
    assert second.returncode == 3, second.stderr
    assert f"that of process {routers._command.pid} on wp0, wp1" in second.stderr
    routers.run("r", *WIREPATH, "route", "counters", "lan0")
    done = told(routers, "route", "stop", "lan0")
    assert done.returncode == 0, done.stderr
    ended(routers)
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")
    assert told(routers, "route", "counters", "lan0").returncode == 2


def test_a_scrape_is_of_the_router_that_runs_then(routers: RouterLab) -> None:
    routers.start_command()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [*WIREPATH, "metrics", "--router", "wp0", "--listen", where]
    process = routers.lab["r"].popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None

    def forwarded() -> list[float]:
        with routers.lab["r"].enter(), urlopen(f"http://{where}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        name = 'wirepath_router_outcome_total{outcome="forwarded4",router="wp0"} '
        return [float(line.split()[-1]) for line in lines if line.startswith(name)]

    try:
        line = process.stderr.readline()
        assert where in line, line
        assert routers.datagrams(5) == 5
        assert forwarded() == [10.0]
        routers.stop_command()
        assert forwarded() == []
        routers.start_command()
        assert routers.datagrams(2) == 2
        assert forwarded() == [4.0]
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_one_in_user_space_is_asked_and_ended_by_its_interface(
    routers: RouterLab, tmp_path: Path
) -> None:
    if not (af_xdp := {b.name: b for b in wp.backends()}["af_xdp"]).available:
        pytest.skip(f"unsupported: af_xdp: {af_xdp.reason}")
    for each in routers.lab["r"].interfaces:
        routers.run("r", "ip", "addr", "flush", "dev", each.name)
    for host, interface in (("a", "wp0"), ("b", "wp0")):
        routers.run(host, "ip", "-4", "neigh", "flush", "dev", interface, "nud", "permanent")
    config = tmp_path / "router.toml"
    config.write_text(USER)
    routers.start_command("--config", config)
    assert routers._command is not None

    def forwards() -> bool:
        routers.ping(to="10.77.1.2", seconds=1)
        found = json.loads(routers.run("r", *WIREPATH, "route", "counters", "wan", "--json"))
        return bool(found["counters"]["forwarded4"] >= 4 and found["next_hops"])

    wait_until(forwards, "nothing is forwarded, or nobody is told", 60)
    second = told(routers, "route", "run", "--config", config, "--max-seconds", 60)
    assert second.returncode == 3
    assert f"that of process {routers._command.pid} on lan, wan" in second.stderr
    found = json.loads(routers.run("r", *WIREPATH, "route", "counters", "lan", "--json"))
    assert {row["kind"] for row in found["next_hops"]} == {"forward"}
    assert set(found["interfaces"]) == {"lan", "wan"}
    assert "by interface" in routers.run("r", *WIREPATH, "route", "counters", "wan")
    scraped = routers.run("r", *WIREPATH, "metrics", "--router", "lan").splitlines()
    prefixes = (
        'wirepath_router_outcome_total{outcome="forwarded4",router="lan"} ',
        'wirepath_router_interface_forwarded_total{interface="wan",router="lan"} ',
        'wirepath_router_next_hop_packets_total{interface="wan",mac="',
        'wirepath_route_forwarded4_total{pid="',
    )
    for prefix in prefixes:
        values = [float(line.split()[-1]) for line in scraped if line.startswith(prefix)]
        assert values, prefix
        assert sum(values) >= 1, prefix
    assert told(routers, "route", "counters", "wp0").returncode == 2
    done = told(routers, "route", "stop", "wan")
    assert done.returncode == 0, done.stderr
    report = ended(routers)
    assert report["account"]["missing"] == 0
    for name, count in found["counters"].items():
        assert report["counters"][name] >= count
    gone = told(routers, "route", "counters", "lan")
    assert gone.returncode == 2
    assert "lan" in gone.stderr
    assert "Traceback" not in gone.stderr
