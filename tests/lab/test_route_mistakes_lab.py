"""What users do wrong with `wirepath route` is told in words, and so is what happens meanwhile."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from route_lab import RouterLab, wait_until

import wirepath as wp
from wirepath.cli import main
from wirepath.programs import kernel

WHY_NOT = kernel.unavailable_reason()
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(WHY_NOT is not None, reason=f"unsupported: {WHY_NOT}"),
]
USER = '[router]\nplane = "user"\ninterfaces = ["lan"]\n[router.ports]\nlan = "null:"\n'


@pytest.fixture
def routers(lab_name: str):
    with RouterLab(lab_name) as made:
        yield made


def told(routers: RouterLab, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command that fails says on r."""
    with routers.lab["r"].enter():
        code = main(["route", *map(str, words)])
    said = capsys.readouterr().err
    assert code in (1, 2, 3), (words, code, said)
    assert said.startswith("wirepath: ")
    return said


def test_values_that_no_router_can_have(
    routers: RouterLab, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, said in (
        (("run",), "interfaces is missing"),
        (("run", "nowhere", "wp1"), 'interfaces = "nowhere" is not usable'),
        (("run", "wp0", "wp0"), 'interfaces = "wp0" is not usable: it must be named once'),
        (("run", "lo", "wp0"), 'interfaces = "lo" is not usable'),
        (("run", "wp2"), "(did you mean wp"),
        (("run", "wp0", "--plane", "user"), "ports = {} is not usable"),
        (("run", "wp0", "--vrf", "red"), 'vrf = "red" is not usable'),
        (("counters", "nowhere"), "nowhere"),
        (("counters", "wp0"), "there is no router on wp0 (wirepath route run wp0)"),
        (("stop", "wp0", "wp1"), "there is no router on wp0 (wirepath route run wp0)"),
        (("stop", "../wp0"), "../wp0"),
    ):
        assert said in told(routers, capsys, *words)
    for text, said in (
        (USER + "wan = 'null:'\n", "a port for each of interfaces, and no other"),
        (USER.replace("null:", "nothing:"), "nothing"),
        (USER + '[router.addresses]\nwan = ["10.0.0.1/24"]\n', "it must be one of lan"),
        (USER + '[router.addresses]\nlan = ["10.0.0.1"]\n', "with its prefix length"),
        (USER.replace('"lan"', '"wp0"').replace("lan =", "wp0 ="), "wp0 is not to be had"),
        (USER.replace("plane", "pin = true\nplane"), 'left out with plane = "user"'),
    ):
        path = tmp_path / "router.toml"
        path.write_text(text)
        assert said in told(routers, capsys, "run", "--config", path, "--max-seconds", 1), text
    # Nothing of all that is left.
    routers.start()
    assert routers.datagrams(2) == 2


def test_what_the_machine_lacks(routers: RouterLab, capsys: pytest.CaptureFixture[str]) -> None:
    with routers.lab["r"].enter():
        taken = socket.create_server(("127.0.0.1", 2620))
    with taken:
        words = ("run", "wp0", "--source", "fpm", "--max-seconds", 1)
        assert "--fpm-port" in told(routers, capsys, *words)
    for family in ("ipv4", "ipv6"):
        routers.run("r", "sysctl", "-w", f"net.{family}.conf.all.forwarding=0")
    assert "sysctl -w net.ipv4.ip_forward=1" in told(routers, capsys, "run", "wp0", "wp1")


def test_an_interface_that_vanishes(routers: RouterLab) -> None:
    """The router goes on with what is left, says so, and reports at its end."""
    routers.start_command()
    assert routers.datagrams(5) == 5
    process = routers._command
    assert process is not None
    assert process.stderr is not None
    routers.run("r", "ip", "link", "del", "wp1")
    line = process.stderr.readline()
    assert line == "gone: wp1 (start the router again once there is one)\n"
    wait_until(
        lambda: routers.ping(to="10.77.1.2", seconds=0.5)[0] == 3, "unreachable, from the kernel"
    )
    assert routers.counters()["counters"]["forwarded4"] == 10
    said = routers.stop_command()
    assert said["modes"] == {"wp0": "generic", "wp1": "gone"}
    assert said["counters"]["forwarded4"] == 10
    assert "xdp" not in routers.run("r", "ip", "link", "show", "wp0")


def test_a_port_that_vanishes_from_under_a_router_in_user_space(
    routers: RouterLab, tmp_path: Path
) -> None:
    if not (af_xdp := {b.name: b for b in wp.backends()}["af_xdp"]).available:
        pytest.skip(f"unsupported: af_xdp: {af_xdp.reason}")
    path = tmp_path / "router.toml"
    path.write_text(USER.replace("null:", "af_xdp:wp1"))
    routers.start_command("--config", path)
    process = routers._command
    assert process is not None
    assert process.stderr is not None
    routers.run("r", "ip", "link", "del", "wp1")
    wait_until(
        lambda: (
            process.poll() is not None
            or "NO-CARRIER" in routers.run("r", "ip", "link", "show", "lan")
        ),
        "the device keeps its carrier",
    )
    process.terminate()
    out, err = process.communicate(timeout=60)
    routers._command = None
    assert "Traceback" not in err
    assert json.loads(out)
