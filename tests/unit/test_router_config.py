"""What a router is told, and how its interfaces are numbered."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from wirepath import ConfigError, programs
from wirepath.route import RouteTable
from wirepath.route.config import RouterConfig
from wirepath.route.interfaces import Interfaces
from wirepath.route.model import LOOPBACK, UP, Link
from wirepath.route.program import ForwardingTables, entries
from wirepath.route.published import _OF_AN_INTERFACE
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
        (
            {"interfaces": ("a",), "plane": "user", "ports": {"a": "null:"}, "pin": True},
            'pin = True is not usable: it must be left out with plane = "user"',
        ),
        (
            {"interfaces": ("a",), "plane": "user", "ports": {"a": "null:"}, "attach": "native"},
            'attach = "native" is not usable: it must be left out with plane = "user"',
        ),
        (
            {"interfaces": ("a",), "workers": 2},
            'workers = 2 is not usable: it must be left out but with plane = "user"',
        ),
        ({"interfaces": ("a",), "idle": "spin"}, 'idle = "spin" is not usable'),
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


def test_an_interface_whose_ipv4_is_not_forwarded_is_the_hosts_for_it(table, program) -> None:
    off = {"eth2"}
    found = Interfaces(table, ["eth1", "eth2"], forwards4=lambda name: name not in off)
    found.update(program)
    rows = program.maps["interfaces"]
    assert [int(rows[n]["flags"]) for n in (1, 2)] == [1, 1 | 32]
    off.clear()
    found.update(program)
    assert int(rows[2]["flags"]) == 1


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


def test_what_belongs_elsewhere_is_the_hosts(table, program) -> None:
    table.links |= {30: link("red", kind="vrf", table=77), 31: link("blue", kind="vrf", table=78)}

    def up(found: Interfaces) -> dict[str, int]:
        found.update(program)
        rows = program.maps["interfaces"]
        return {i.name: int(rows[i.number]["flags"]) & 1 for i in found.known.values()}

    plain = Interfaces(table, ["eth1", "eth2"])
    assert up(plain) == {"eth1": 1, "eth2": 1, "eth2.9": 1}
    assert plain.elsewhere == {}
    table.links[7] = link("eth2.9", kind="vlan", vlan=9, parent=6, master=30)
    assert up(plain) == {"eth1": 1, "eth2": 1, "eth2.9": 0}
    assert plain.elsewhere == {"eth2.9": "in VRF red"}
    # Taken into a bridge while the router runs, and out of it again.
    table.links[5] = link("eth1", master=9)
    assert up(plain)["eth1"] == 0
    assert plain.elsewhere["eth1"] == "a member of br0"
    assert up(Interfaces(table, ["eth2"], any_vrf=True)) == {"eth2": 1, "eth2.9": 1}
    table.links[5] = link("eth1")
    assert up(plain)["eth1"] == 1
    # With a VRF's tables, only what is in it.
    table.links[6] = link("eth2", master=31)
    red = Interfaces(table, ["eth1", "eth2"], vrf="red")
    assert up(red) == {"eth1": 0, "eth2": 0, "eth2.9": 1}
    assert red.elsewhere == {"eth1": "not in VRF red", "eth2": "in VRF blue"}


def test_counters_have_names(program) -> None:
    tables = ForwardingTables(program)
    mac = bytes([2, 0, 0, 0, 0, 9])
    tables.next_hops.set(4, 1, 1, mac, mac, 1500, 0, 1, 1)
    program.maps["interfaces"][1] = (1, list(mac), 1)
    program.run(mac + bytes(6) + b"\x08\x06" + bytes(46))
    found = report(program)
    assert found["counters"]["to_host_not_ip"] == 1
    assert found["interfaces"]["lo"]["to_host"] == 1
    assert found["interfaces"]["lo"].keys() == _OF_AN_INTERFACE
    assert found["next_hops"] == []
    series = {m.name: m for m in RouterCollector({"r": lambda: report(program)}).collect()}
    samples = {
        (s.labels["router"], s.labels["outcome"]): s.value
        for s in series["wirepath_router_outcome"].samples
    }
    assert samples["r", "to_host_not_ip"] == 1
    assert samples["r", "forwarded4"] == 0


def test_next_hops_by_one_neighbour_have_series_of_their_own(program) -> None:
    """Two that differ by nothing but their MTU."""
    tables = ForwardingTables(program)
    mac = bytes([2, 0, 0, 0, 0, 9])
    program.maps["interfaces"][1] = (1, list(mac), 1)
    program.maps["ports"][1] = 1
    for number, mtu in ((4, 1500), (5, 1400)):
        tables.next_hops.set(number, 1, 1, mac, mac, mtu, 0, 1, 1)
        tables.next_hops.set_group(number, [(number, 1)])
        tables.fib4.add(f"20.{number}.0.0/16", number)
        program.run(datagram(mac, f"20.{number}.0.1"))
    assert len(report(program)["next_hops"]) == 2
    series = {m.name: m for m in RouterCollector({"r": lambda: report(program)}).collect()}
    samples = series["wirepath_router_next_hop_packets"].samples
    assert {s.labels["number"]: s.value for s in samples} == {"4": 1, "5": 1}
    assert len({tuple(s.labels.items()) for s in samples}) == len(samples)


def datagram(mac: bytes, to: str) -> bytes:
    """UDP over IPv4 for a station."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 46, 1, 0x4000, 64, 17, 0)
    head += socket.inet_aton("10.0.0.1") + socket.inet_aton(to)
    total = sum(struct.unpack("!10H", head))
    total = (total >> 16) + (total & 0xFFFF)
    total = ~((total >> 16) + total) & 0xFFFF
    return mac + bytes(6) + b"\x08\0" + head[:10] + total.to_bytes(2, "big") + head[12:] + bytes(26)
