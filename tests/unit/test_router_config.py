"""What a router is told, and how its interfaces are numbered."""

from __future__ import annotations

from pathlib import Path

import pytest

from wirepath import ConfigError, programs
from wirepath.route import RouteTable
from wirepath.route.config import RouterConfig
from wirepath.route.interfaces import Interfaces
from wirepath.route.model import LOOPBACK, UP, Link
from wirepath.route.program import ForwardingTables, entries
from wirepath.route.report import RouterCollector, report


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "interfaces"),
        ({"interfaces": ()}, "interfaces = () is not usable"),
        ({"interfaces": ("a",), "rpf": "on"}, 'rpf = "on" is not usable: it must be "off"'),
        ({"interfaces": ("a",), "plane": "fast"}, 'plane = "fast" is not usable'),
        (
            {"interfaces": ("a",), "plane": "xdp-kernel-fib", "source": "fpm"},
            'source = "fpm" is not usable: it must be "kernel" with plane = "xdp-kernel-fib"',
        ),
        ({"interfaces": ("a",), "next_hops": 3}, "next_hops = 3 is not usable"),
        ({"interfaces": ("a",), "speed": 1}, "speed"),
    ],
)
def test_what_is_not_usable_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        RouterConfig(**values)
    assert said in str(error.value)


def test_toml_and_back(tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text('[router]\ninterfaces = ["eth1", "eth2"]\nrpf = "strict"\n')
    config = RouterConfig.from_toml(path)
    assert config.interfaces == ("eth1", "eth2")
    assert (config.rpf, config.plane) == ("strict", "xdp")


def test_the_command_names_what_is_wrong(wirepath) -> None:
    answer = wirepath("route", "run", "--rpf", "on")
    assert answer.code == 2
    assert "interfaces" in answer.err
    assert 'rpf = "on" is not usable: it must be "off", "strict" or "loose"' in answer.err
    answer = wirepath("route", "run", "no-such-interface")
    assert answer.code != 0
    assert "Traceback" not in answer.err


def link(name: str, **more: object) -> Link:
    mac = bytes([2, 0, 0, 0, 0, len(name)])
    return Link(name, UP, 1500, mac, **more)  # type: ignore[arg-type]


@pytest.fixture
def table() -> RouteTable:
    made = RouteTable()
    made.links = {
        1: Link("lo", UP | LOOPBACK, 65536, bytes(6)),
        5: link("eth1"),
        6: link("eth2"),
        7: link("eth2.9", kind="vlan", vlan=9, parent=6),
        8: link("other.9", kind="vlan", vlan=9, parent=99),
        9: link("br0", kind="bridge"),
        10: link("eth3", master=9),
    }
    return made


@pytest.fixture
def program() -> programs.NativeProgram:
    sizes = entries(groups4=16, groups6=16, next_hops=15)
    return programs.native("route", entries=sizes, slots=1)


def test_ports_and_their_vlans_are_numbered(table, program) -> None:
    found = Interfaces(table, ["eth2", "eth1"], rpf="strict", families=(4,))
    assert found.update(program)
    assert found.places == {6: (1, 1), 5: (2, 2), 7: (1, 3)}
    assert found.name(3) == "eth2.9"
    row = program.maps["interfaces"][3]
    up_strict_without_ip6 = 1 | 2 | 8 | 64
    assert (row["index"], row["flags"]) == (7, up_strict_without_ip6)
    assert bytes(row["mac"]) == bytes([2, 0, 0, 0, 0, 6])
    assert program.maps["vlans"][1, 9] == 3
    assert not found.update(program)
    # It goes, and with it what frames with its tag were; another one gets a number again.
    del table.links[7]
    table.links[20] = link("eth1.5", kind="vlan", vlan=5, parent=5)
    assert found.update(program)
    assert (1, 9) not in program.maps["vlans"]
    number = found.places[20][1]
    assert program.maps["vlans"][2, 5] == number
    # A port that goes down is the host's.
    table.links[5] = Link("eth1", 0, 1500, bytes([2, 0, 0, 0, 0, 4]))
    found.update(program)
    assert program.maps["interfaces"][2]["flags"] & 1 == 0


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        (["eth9"], 'interfaces = "eth9" is not usable'),
        (["lo"], 'interfaces = "lo" is not usable'),
        (["eth1", "eth1"], "named once"),
        (["eth3"], "eth3 is a member of bridge br0"),
        ([], "interfaces = 0 is not usable"),
    ],
)
def test_interfaces_that_cannot_be(table, ports: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Interfaces(table, ports)
    assert said in str(error.value)


def test_counters_have_names(program) -> None:
    tables = ForwardingTables(program)
    mac = bytes([2, 0, 0, 0, 0, 9])
    tables.next_hops.set(4, 1, 1, mac, mac, 1500, 0, 1, 1)
    program.maps["interfaces"][1] = (1, list(mac), 1)
    program.run(mac + bytes(6) + b"\x08\x06" + bytes(46))
    found = report(program)
    assert found["counters"]["to_host_not_ip"] == 1
    assert found["interfaces"]["lo"]["to_host"] == 1
    assert found["next_hops"] == []
    series = {m.name: m for m in RouterCollector({"r": program}).collect()}
    samples = {
        (s.labels["router"], s.labels["outcome"]): s.value
        for s in series["wirepath_router_outcome"].samples
    }
    assert samples["r", "to_host_not_ip"] == 1
    assert samples["r", "forwarded4"] == 0
