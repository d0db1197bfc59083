# SPDX-License-Identifier: Apache-2.0
"""The lab's plan: names, addresses and routes, and every argument that is refused."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from typing import Any

import pytest

from wirepath.errors import ConfigError
from wirepath.lab import Lab, LabError, LabSpec


def test_two_hosts_are_the_default() -> None:
    spec = LabSpec.make()
    assert spec.namespaces == ("wirepath-a", "wirepath-b")
    (a,), (b,) = spec.interfaces["a"], spec.interfaces["b"]
    assert (a.name, a.mac, a.ipv4, a.ipv6) == (
        "wp0",
        "02:57:50:00:00:01",
        "10.77.0.1",
        "fd57:6972:6570:0::1",
    )
    assert (a.peer.host, a.peer.mac, a.peer.ipv4) == ("b", b.mac, b.ipv4)
    assert b.peer.host == "a"
    assert spec.static_routes == ()


def test_addresses_are_unique_and_in_their_subnet() -> None:
    spec = LabSpec.make(hosts=12, topology="star")
    everything = [i for host in spec.hosts for i in spec.interfaces[host]]
    for field in ("mac", "ipv4", "ipv6"):
        assert len({getattr(i, field) for i in everything}) == len(everything) == 22
    for i in everything:
        assert i.ipv6 is not None
        assert ipaddress.ip_address(i.peer.ipv4) in ipaddress.ip_network(f"{i.ipv4}/24", False)
        assert ipaddress.ip_address(i.ipv6) in ipaddress.ip_network("fc00::/7")
        assert int(i.mac[:2], 16) & 3 == 2, "locally administered, unicast"


def test_a_line_is_routed_through_the_middle() -> None:
    spec = LabSpec.make(hosts=4, topology="line")
    routes = {(r.host, r.segment): r.forwarder for r in spec.static_routes}
    assert routes == {
        ("a", 1): "b",
        ("a", 2): "b",
        ("b", 2): "c",
        ("c", 0): "b",
        ("d", 0): "c",
        ("d", 1): "c",
    }
    assert LabSpec.make(hosts=4, routes=False).static_routes == ()


def test_two_lines_between_the_same_hosts() -> None:
    spec = LabSpec.make(links=[("a", "b"), ("a", "b")])
    assert [i.name for i in spec.interfaces["b"]] == ["wp0", "wp1"]
    assert [i.ipv4 for i in spec.interfaces["b"]] == ["10.77.0.2", "10.77.1.2"]
    assert spec.interfaces["a"][1].peer.interface == "wp1"
    assert spec.static_routes == ()


def test_a_lan_has_a_switch_and_many_peers() -> None:
    spec = LabSpec.make(hosts=3, topology="lan")
    assert spec.namespaces[-1] == "wirepath-lan"
    (a,) = spec.interfaces["a"]
    assert [p.host for p in a.peers] == ["b", "c"]
    with pytest.raises(LabError, match="several peers"):
        _ = a.peer


def test_the_specification_survives_json() -> None:
    spec = LabSpec.make("x", 5, topology="lan", queues=4, mtu=9000, ipv6=False)
    assert LabSpec.from_json(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec.interfaces["a"][0].ipv6 is None


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("name", {"name": "../etc"}),
        ("name", {"name": ""}),
        ("name", {"name": "x" * 33}),
        ("hosts", {"hosts": 1}),
        ("hosts", {"hosts": 27}),
        ("hosts", {"hosts": "ab"}),
        ("hosts", {"hosts": ("a",)}),
        ("hosts", {"hosts": ("a", "a")}),
        ("hosts", {"hosts": ("a", "b-c")}),
        ("hosts", {"hosts": ("a", "lan")}),
        ("hosts", {"hosts": ("a", "../b")}),
        ("links", {"links": []}),
        ("links", {"links": [("a", "a")]}),
        ("links", {"links": [("a", "z")]}),
        ("topology", {"topology": "ring"}),
        ("queues", {"queues": 0}),
        ("queues", {"queues": 65}),
        ("mtu", {"mtu": 1279}),
        ("mtu", {"mtu": 65536}),
    ],
)
def test_refused_arguments_name_the_field(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{field}"):
        Lab(**options)
